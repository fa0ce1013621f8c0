# ruff: noqa: RUF001 (models do write these signs)
"""Which of the numbers in a text is its answer."""

import itertools
import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import TypeAlias

from keras_flan.answers.cues import Found, Piece, Segment, segments, unannounced
from keras_flan.answers.numerals import (
    Numeral,
    canonical,
    numerals,
    spelled_numerals,
)
from keras_flan.answers.texts import plain

# A value, or None where a look settles that there is none, and its span.
Look: TypeAlias = tuple[str | None, int, int]
# Enough of the calculations and of the closing statement to find a result.
_MOST = 64
# So much of a line tells whether it calculates.
_LINE = 300
_CURRENCY = "$€£¥₹"
# What stands between the numbers of a calculation, and of an enumeration.
_OPERATOR = re.compile(
    r"\s{0,3}[%)}°]{0,2}\s?(?:[A-Za-z°]{1,15}[%.)]?\s){0,3}"
    r"(?:[+*/×÷^·•-]|x|times|plus|minus|\\times|\\cdot|\\div"
    r"|(?:divided|multiplied)\sby)\s{0,3}[($€£¥₹{]{0,3}\s?"
)
_BARE_OPERATOR = re.compile(r"\s{0,3}[)}]?\s{0,3}(?:[+*×÷^]|x(?=\s))\s{0,3}")
_SEPARATOR = re.compile(r"\s?[,;]?\s?(?:(?:and|or|und|et|y|&)\s)?[$€£¥₹]?")
_EQUALS = re.compile(r"=|≈|\\approx|\bequals\b")
_DENIED = re.compile(r"\b(?:not|isn't|n't|never|rather than|instead of)\s+$")
# Where a sentence ends; a full stop in a number has no blank behind it.
_SENTENCE_END = re.compile(r"\n|[.!?](?=\s|$)")
_OF = re.compile(r"\sof\s(?:the|these|those|them|us|my|his|her)\b")
_CONCLUSION = re.compile(
    r"\s{0,20}(?:Step\s\d{1,2}:\s?)?(?:Therefore|So|Thus|Hence|In total)\b"
)
_TOTAL = re.compile(r"\bfor a total of\s?[$€£¥₹]?$")
_CALCULATES = re.compile(r"\d.{0,200}(?:[-+*/×÷^]|\sx\s)|[-+*/×÷^]\s?\$?\d")
# What may stand between a cue and its answer in words.
_LEAD = re.compile(
    r"[\s:*_\"'$\\({]{0,10}(?:(?:a\stotal\sof|equal\sto|exactly|about"
    r"|approximately|just|only|that|simply|thus|therefore)\s){0,2}",
    re.IGNORECASE,
)


def find_numbers(text: str) -> Iterator[Piece]:
    """Yields (canonical value, start, end) of the numbers in a text.

    Example:
        >>> list(find_numbers("$1,250.50 or 3/4 of it"))
        [('1250.5', 1, 9), ('0.75', 13, 16)]
    """
    for found in numerals(plain(text)):
        if found.value is not None:
            yield canonical(found.value), found.start, found.end


def normalise_number(text: str, language: str | None = None) -> str | None:
    """Returns the canonical form of the first number, None without one.

    Number words count where there are no digits.

    Example:
        >>> normalise_number("$1,250.00"), normalise_number("eleven apples")
        ('1250', '11')
    """
    text = plain(text)
    for number in itertools.chain(
        numerals(text, language=language), spelled_numerals(text, 0, len(text))
    ):
        if number.value is not None:
            return canonical(number.value)
    return None


def find_number(text: str, language: str | None = None) -> Found | None:
    """Returns (value, start, end, rule) of the answer of a text.

    1. After a mark or a phrase, the first number is the answer. Where a
       calculation begins with it, its result is: what follows the last
       equals sign. A second form of the same number (`25% = 1/4`) is none.
    2. A label such as `Answer:`, or a text without a cue, has a closing
       statement, in which the answer may stand beside other numbers: see
       `_concluded`. A label with nothing behind it announces nothing.
    3. Without digits, number words count.
    4. A list of numbers, a calculation without a result, and what is denied
       are no answers.

    Args:
        text: What `plain` returned.
        language: Its code, where it is known; a cue tells its own.
    """
    parts = list(segments(text))
    for part in parts:
        within = numerals(text, part.start, part.end, language or part.language)
        look = _concluded if part.cue == "label" else _stated
        if found := look(text, list(within), part):
            return (*found, part.cue)
    body = unannounced(text, parts)
    return None if body is None else _unannounced(body, language)


# === After a mark or a phrase ===


def _stated(text: str, found: list[Numeral], part: Segment) -> Look | None:
    """Returns the first number, or what is calculated from it."""
    lead = _LEAD.match(text, part.start, part.end)
    start = lead.end() if lead else part.start
    first = next(spelled_numerals(text, start, part.end), None)
    if first and first.start == start and not _OF.match(text, first.end):
        return _piece(first)
    for at, number in enumerate(found):
        denied = _DENIED.search(text, max(0, number.start - 12), number.start)
        if not denied:
            return _worked_out(text, found[at : at + _MOST], part.end)
    return _in_words(text, part) if not found else None


def _worked_out(text: str, run: list[Numeral], end: int) -> Look:
    """Returns the first number of a run, or the result if it calculates."""
    first = run[0]
    stop = _SENTENCE_END.search(text, first.end, end)
    end = stop.start() if stop else end
    run = [number for number in run if number.start < end]
    signs = [m.end() for m in _EQUALS.finditer(text, first.end, end)]
    if len(run) == 1:
        return _piece(first)
    second = run[1]
    if signs and _OPERATOR.fullmatch(text, first.end, second.start):
        results = [n for n in run if n.start >= signs[-1]]
        open_ended = len(results) > 1 and _OPERATOR.fullmatch(
            text, results[0].end, results[1].start
        )
        if second.start < signs[0]:
            return (
                _none(first)
                if open_ended or not results
                else _piece(results[0])
            )
    if _BARE_OPERATOR.fullmatch(text, first.end, second.start):
        return _none(first)
    return _none(first) if _is_list(text, run, end) else _piece(first)


def _is_list(text: str, run: Sequence[Numeral], end: int) -> bool:
    """Whether a run begins with a list: `2, 3 and 5`, but not `25% or 1/4`."""
    size, words = 1, ""
    for one, other in itertools.pairwise(run):
        gap = text[one.end : other.start]
        if not gap.strip(_CURRENCY + " ") or not _SEPARATOR.fullmatch(gap):
            break
        size, words = size + 1, words + gap
    if size == 2:
        first, second = (number.value or Fraction(0) for number in run[:2])
        same = any(
            abs(first * scale - second) <= abs(second) / 1000
            for scale in (1, 100, Fraction(1, 100))
        )
        closed = not text[run[1].end : end].strip(" .%)}$\\")
        return not same and (closed or "and" in words)
    return size > 2


# === After a label, or without a cue ===


def _concluded(text: str, found: list[Numeral], part: Segment) -> Look | None:
    """Returns the number that a closing statement is about.

    That is, in the last sentence with a number: what it calls a total; else
    the latest number in it that was calculated before; else its first number.
    Numbers in parentheses and indices such as `T4` count only where there is
    no other.
    """
    if not found:
        return _in_words(text, part)
    last = _last_sentence(text, found, part.start, part.end)
    if not last:
        return _none(found[0])
    if "=" not in text:
        return _of_sentence(text, last, {}, part.end)
    before = list(numerals(text, 0, part.end, part.language))
    return _of_sentence(text, last, _results(text, before), part.end)


def _unannounced(text: str, language: str | None) -> Found | None:
    found = list(numerals(text, language=language))
    start = text.rstrip().rfind("\n") + 1
    end = len(text)
    if not found:
        words = _in_words(text, Segment("label", start, start, end, None))
        return (*words, "words") if words else None
    results = _results(text, found)
    closing = [n for n in found if n.start >= start]
    if made := results and _made(closing, results):
        return (*_piece(made), "result")
    concluding = _CONCLUSION.match(text, start)
    if last := concluding and _last_sentence(text, closing, start, end):
        return (*_of_sentence(text, last, results, end), "closing")
    number = next((n for n in reversed(found) if n.value is not None), None)
    if number is None or _is_list(text, closing, end):
        return None
    return (*_piece(number), "last")


def _made(
    found: Sequence[Numeral], results: Mapping[Fraction | None, int]
) -> Numeral | None:
    """Returns, of the numbers that were calculated, the latest."""
    made = [n for n in found[:_MOST] if n.value in results]
    return max(made, key=lambda n: results[n.value], default=None)


def _last_sentence(
    text: str, found: Sequence[Numeral], start: int, end: int
) -> list[Numeral]:
    """Returns the numbers of the last sentence that has any."""
    last = next((n for n in reversed(found) if n.value is not None), None)
    if last is None:
        return []
    ends = [m.end() for m in _SENTENCE_END.finditer(text, start, end)]
    begin = max(start, *[0, *ends][: bisect_right(ends, last.start) + 1][-1:])
    sentence = [n for n in found if begin <= n.start <= last.start][:_MOST]
    numbers = [n for n in sentence if n.value is not None]
    plain_ones = [
        n
        for n in numbers
        if not _is_index(text, n.start)
        and text.count("(", begin, n.start) <= text.count(")", begin, n.start)
    ]
    return plain_ones or numbers


def _is_index(text: str, start: int) -> bool:
    """Whether a single letter stands before: T4 and x2 are names."""
    letters = text[max(0, start - 2) : start]
    return letters[-1:].isalpha() and not letters[:-1].isalpha()


def _of_sentence(
    text: str,
    found: list[Numeral],
    results: Mapping[Fraction | None, int],
    end: int,
) -> Look:
    for at, number in enumerate(found):
        if _TOTAL.search(text, max(0, number.start - 20), number.start):
            return _worked_out(text, found[at:], end)
    if made := _made(found, results):
        return _piece(made)
    return _worked_out(text, found, end)


def _results(text: str, found: Sequence[Numeral]) -> dict[Fraction | None, int]:
    """Returns what was calculated, and where last: what follows `=`.

    An operand (`= 45 / 5`) is no result, and a given (`Goal = 200`) is none:
    its line calculates nothing and its name had no value before.
    """
    results: dict[Fraction | None, int] = {}
    equal = [
        at
        for at, n in enumerate(found)
        if text[max(0, n.start - 5) : n.start].rstrip(" (\\" + _CURRENCY)[-1:]
        == "="
    ]
    for at in equal[-_MOST:]:
        number = found[at]
        following = found[at + 1 : at + 2]
        if number.value is None or any(
            _OPERATOR.fullmatch(text, number.end, n.start) for n in following
        ):
            continue
        line = max(text.rfind("\n", 0, number.start) + 1, number.start - _LINE)
        given = text[line : number.start]
        name = given.partition("=")[0].strip()
        if (
            not name
            or given.count("=") > 1
            or _CALCULATES.search(given)
            or text.find(name, 0, line) >= 0
        ):
            results[number.value] = number.start
    return results


def _in_words(text: str, part: Segment) -> Look | None:
    """Returns the first number in words of the last sentence that has one."""
    found = list(spelled_numerals(text, part.start, part.end))
    # "one" is often a mere pronoun.
    found = [n for n in found if n.value != 1] or found[:0]
    last = _last_sentence(text, found, part.start, part.end)
    return _piece(last[0]) if last else None


def _piece(number: Numeral) -> Look:
    value = None if number.value is None else canonical(number.value)
    return value, number.start, number.end


def _none(number: Numeral) -> Look:
    return None, number.start, number.end
