# ruff: noqa: RUF001 (models do write these quotes, signs and dashes)
"""The letter of a multiple-choice answer."""

import re
import string
from collections.abc import Sequence

from keras_flan.generation.answers.cues import segments

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
    | \b[Oo]ption\s([A-Z])\b
    """,
    re.VERBOSE,
)
_ALONE = re.compile(r"\W{0,20}([A-Za-z])\W{0,20}")


def find_option(
    text: str, choices: Sequence[str] | None = None
) -> tuple[str, int, int, str] | None:
    """Returns (letter, start, end, rule) of the chosen option.

    Args:
        text: What the model wrote.
        choices: The texts of the options in order, or a string of letters
            such as `"ABCD"` when only their number is known.
    """
    letters = string.ascii_uppercase[: len(choices)] if choices else None
    texts = [] if not choices or isinstance(choices, str) else list(choices)
    for cue, start, end in segments(text):
        found = _letter(text, start, end, letters) or _by_text(
            text, start, end, texts
        )
        if found:
            return (*found, cue)
    if (alone := _ALONE.fullmatch(text.strip())) and _allowed(
        letter := alone[1].upper(), letters
    ):
        at = text.index(alone[1])
        return letter, at, at + 1, "alone"
    # Without a cue: an answer that opens with its letter, else the last mark.
    first = _FIRST.match(text)
    if first and _allowed(first[1], letters):
        return first[1], first.start(1), first.end(1), "first"
    for match in reversed(list(_MARKED.finditer(text))):
        if _allowed(match[match.lastindex], letters):
            return (
                match[match.lastindex],
                *match.span(match.lastindex),
                "mark",
            )
    if found := _by_text(text, 0, len(text), texts):
        return (*found, "choice")
    return None


def normalise_option(value: str) -> str | None:
    """Returns the bare letter: `(b)`, `B.` and `B) 300` become `B`."""
    match = re.match(r"\s*[\[(]?\s?([A-Za-z])(?!\w)", value)
    return match[1].upper() if match else None


def _allowed(letter: str, letters: str | None) -> bool:
    return letters is None or letter in letters


def _letter(text, start, end, letters):
    first = _FIRST.match(text, start, end)
    if first and _allowed(first[1], letters):
        return first[1], *first.span(1)
    for match in _MARKED.finditer(text, start, end):
        if _allowed(match[match.lastindex], letters):
            return match[match.lastindex], *match.span(match.lastindex)
    return None


def _by_text(text, start, end, texts):
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
