# ruff: noqa: RUF001 (models do write these quotes, signs and dashes)
"""The letter of a multiple-choice answer."""

import re
import string
from collections.abc import Sequence

from keras_flan.answers.cues import Choices, Found, Piece, last_group, segments

# "A" and "I" are also words, so they need a mark or the end of the line.
_FIRST = re.compile(
    r"""
    [\s:*_"'“‘`$\\]{0,20}(?:(?:option|choice|answer|letter)\s{1,5})?
    (?:text\{)?[\[(]?
    ([A-Z])(?:(?=\s{0,5}(?:[\])}.,:;*"'”’`$\n]|$))|(?<![AI])(?![\w'’]))
    """,
    re.VERBOSE,
)
_MARKED = re.compile(
    r"""
      [\[(]\s?([A-Z])\s?[\])]
    | (?<![\w'’])([A-Z])\)
    | \b(?:[Oo]ption|[Cc]hoice)\s([A-Z])\b
    """,
    re.VERBOSE,
)
# "(A) or (B)" chooses nothing.
_ANOTHER = re.compile(r"\s?[\])]?,?\s?(?:or|and|/|,)\s?[\[(]?[A-Z]\b[\])]?")
# Where a closing line without a cue names its option.
_CLOSING = re.compile(
    r"""
      (?:^|\b(?:is|be|option|choice)\s|[=:]\s?)[\s*:]{0,5}
      (?:option\s)?[\[(]?([A-Z])(?:[\])]|\.\s)
    | [\[(]([A-Z])[\])]\W{0,5}$
    """,
    re.VERBOSE,
)
_ALONE = re.compile(r"\W{0,20}([A-Za-z])\W{0,20}")


def find_option(text: str, choices: Choices = None) -> Found | None:
    """Returns (letter, start, end, rule) of the chosen option.

    Args:
        text: What the model wrote.
        choices: The texts of the options in order, or a string of letters
            such as `"ABCD"` when only their number is known.
    """
    letters = string.ascii_uppercase[: len(choices)] if choices else None
    found: Piece | None
    texts = [] if not choices or isinstance(choices, str) else list(choices)
    announced = False
    for cue, start, end in segments(text):
        announced = True
        found = _letter(text, start, end, letters)
        if found or (found := _by_text(text, start, end, texts)):
            return (*found, cue)
    stripped = text.strip()
    if announced or not stripped:
        return None
    start = text.rfind("\n", 0, text.index(stripped) + len(stripped)) + 1
    line = text[start:].rstrip()
    if match := _ALONE.fullmatch(line):
        found, rule = (match[1].upper(), *match.span(1)), "alone"
    elif (match := _FIRST.match(line)) and start <= text.index(stripped):
        found, rule = (match[1], *match.span(1)), "first"
    elif match := _CLOSING.search(line):
        found, rule = last_group(match), "closing"
    else:
        found, rule = _by_text(line, 0, len(line), texts), "choice"
    if not found or not _allowed(found[0], letters):
        return None
    if _ANOTHER.match(line, found[2]):
        return None
    return found[0], start + found[1], start + found[2], rule


def normalise_option(value: str) -> str | None:
    """Returns the bare letter: `(b)`, `B.` and `B) 300` become `B`."""
    match = re.match(r"\s*[\[(]?\s?([A-Za-z])(?!\w)", value)
    return match[1].upper() if match else None


def _allowed(letter: str, letters: str | None) -> bool:
    return letters is None or letter in letters


def _letter(
    text: str, start: int, end: int, letters: str | None
) -> Piece | None:
    first = _FIRST.match(text, start, end)
    if first and _allowed(first[1], letters):
        if _ANOTHER.match(text, first.end(1), end):
            return None
        return first[1], *first.span(1)
    for match in _MARKED.finditer(text, start, end):
        letter = last_group(match)
        if _allowed(letter[0], letters):
            return None if _ANOTHER.match(text, letter[2], end) else letter
    return None


def _by_text(
    text: str, start: int, end: int, texts: Sequence[str]
) -> Piece | None:
    """Finds the one option whose text stands in `text[start:end]`."""
    segment = text[start:end].lower()
    hits = [
        (segment.find(choice.lower()), i)
        for i, choice in enumerate(texts)
        if choice.strip() and choice.lower() in segment
    ]
    if len(hits) != 1:
        return None
    at, i = hits[0]
    at += start
    return string.ascii_uppercase[i], at, at + len(texts[i])
