# ruff: noqa: RUF001 (models do write these quotes, signs and dashes)
"""Where in a text an answer stands: what is read of it, and its cues."""

import re
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple, TypeAlias

# A piece of a text, and where it begins and ends.
Piece: TypeAlias = tuple[str, int, int]
# The canonical value (None: it has none), where it begins and ends in the
# text, and the rule that found it.
Found: TypeAlias = tuple[str | None, int, int, str]
# The texts of the options in order, or a string of letters such as "ABCD".
Choices: TypeAlias = Sequence[str] | None

# An answer stands at the end; a bound keeps every rule fast on any input.
WINDOW = 10_000

# What a model writes when it goes on with a question of its own.
_NEXT_QUESTION = re.compile(r"\n\s{0,20}(?:Q|Question|Problem)\s?\d{0,3}:")

# The marks are unambiguous; a phrase is followed by the answer itself; a
# label may be followed by a whole sentence.
_CUE = re.compile(
    r"""
      (?P<mark>\#\#\#\#|\\boxed\s?\{|\bans\s?=)
    | (?P<phrase>
        \banswer\b(?:[^\n.:]{0,40}?\b(?:is|are)\b|\s?=)[\s:]*
      | \bAntwort\s(?:ist|lautet)
      | \brespuesta\s(?:final\s)?es
      | \bréponse\s(?:finale\s)?est
      | \bJibu\s(?:la\smwisho\s)?ni
      | Ответ\s?[—–:-]
      | উত্তর\s?(?:হল|হলো|:)
      | సమాధానం
      | คำตอบ\s?(?:คือ|:)
      | 答えは
      | 答案\s?(?:是|为|:)
      )
    | (?P<label>\banswer\s?\**:|^\s{0,20}A\s?:)
    """,
    re.VERBOSE | re.IGNORECASE | re.MULTILINE,
)


class Segment(NamedTuple):
    """The text between one cue and the next: `text[start:end]`."""

    cue: str
    start: int
    end: int


def last_group(match: re.Match[str]) -> Piece:
    """Returns the group that matched last."""
    group = match.lastindex or 0
    return match[group], *match.span(group)


def clip(text: str) -> tuple[str, int]:
    """Returns the part of a text that is read, and where it begins.

    That is the last 10,000 characters, up to the point where the model
    begins to ask and answer a question of its own.
    """
    offset = max(0, len(text) - WINDOW)
    text = text[offset:]
    # A text that opens with a line break has not answered anything yet.
    lead = len(text) - len(text.lstrip())
    following = _NEXT_QUESTION.search(text, lead)
    return (text[: following.start()] if following else text), offset


def cut_at_stop(text: str, stop: Sequence[str]) -> str:
    r"""Returns the part of an output before the first stop text.

    A stop text before anything was written doesn't count: a model may open
    with line breaks.

    Example:
        >>> cut_at_stop(" 4\nQ: next", ["\nQ:"])
        ' 4'
    """
    start = len(text) - len(text.lstrip())
    ends = [text.find(mark, start) for mark in stop]
    return text[: min((end for end in ends if end >= 0), default=None)]


def segments(text: str) -> Iterator[Segment]:
    """Yields what follows each answer cue, the last cue first."""
    end = len(text)
    for cue in reversed(list(_CUE.finditer(text))):
        yield Segment(cue.lastgroup or "", cue.end(), end)
        end = cue.start()


@cache
def _ascii_digits() -> dict[int, str]:
    signs = {"−": "-", "－": "-", "﹣": "-", "٬": ",", "٫": ".", "．": "."}
    table = {ord(sign): plain for sign, plain in signs.items()}
    for code in range(128, sys.maxunicode + 1):
        if unicodedata.category(char := chr(code)) == "Nd":
            table[code] = str(unicodedata.decimal(char))
    return table


def plain_digits(text: str) -> str:
    """Writes the digits of every script as 0-9; the length stays the same.

    Example:
        >>> plain_digits("উত্তর হল ১৮")
        'উত্তর হল 18'
    """
    return text if text.isascii() else text.translate(_ascii_digits())
