"""Numbers in text: separators, currency, fractions and other scripts."""

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from decimal import Context, Decimal
from fractions import Fraction
from itertools import islice

from keras_flan.answers.cues import Found, Piece, plain_digits, segments

# Longer runs of digits are noise, not quantities.
_MAX_DIGITS = 60

# Every repetition that could be tried twice is bounded, so that the time is
# linear in the length of the text.
_NUMBER = re.compile(
    r"""
    (?=[$€£¥₹-]{0,2}[.\d\\¼-¾⅐-⅞])  # nothing else begins a number
    (?P<sign>(?<![\w)\]])-[$€£¥₹]?|[$€£¥₹]-)?
    (?:
      \\[dt]?frac\{(?P<above>\d{1,20})\}\{(?P<below>\d{1,20})\}
    | (?P<whole>\d{0,20})\s?(?P<vulgar>[¼-¾⅐-⅞])
    | (?:(?P<plus>\d{1,20})[ ])?(?P<over>\d{1,20})\s?/\s?(?P<under>\d{1,20})
      (?!\s?[/=\d]|[.,]\d)
    | (?P<spaced>\d{1,3}(?:[\u00a0\u2009\u202f]\d{3}){1,20}(?!\d)
        (?:[.,]\d{1,20})?)
    | (?P<comma>\d{1,3}(?:,\d{2,3}){0,20},\d{3}(?!\d|,\d)(?:\.\d{1,20})?)
    | (?P<point>\d{1,3}(?:\.\d{3}){1,20},\d{1,20}(?!\d|[.,]\d)
        |\d{1,3}(?:\.\d{3}){2,20}(?!\d|\.\d))
    | (?P<decimal_comma>\d{1,20},\d{1,20}(?!\d|,\d))
    | (?P<plain>(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d{1,2}(?!\w))?)
    )
    """,
    re.VERBOSE,
)

# Floats that differ only by rounding noise are the same answer.
_ROUNDING = Context(prec=12)
# Enough of the calculations and of the closing statement to find a result.
_MOST = 64


def find_numbers(text: str) -> Iterator[Piece]:
    """Yields (canonical value, start, end) of the numbers in a text.

    Example:
        >>> list(find_numbers("$1,250.50 or 3/4 of it"))
        [('1250.5', 1, 9), ('0.75', 13, 16)]
    """
    yield from _values(_NUMBER.finditer(plain_digits(text)))


def normalise_number(text: str) -> str | None:
    """Returns the canonical form of the first number, None without one."""
    return next((value for value, _, _ in find_numbers(text)), None)


def find_number(text: str) -> Found | None:
    """Returns (value, start, end, rule) of the answer of a text.

    The first number after the last cue counts. A label such as `Answer:`,
    or a text without a cue, has a closing statement in which the answer may
    stand beside other numbers: there it is the latest result of a
    calculation, else the first number after a label, the last without one.
    """
    text = plain_digits(text)
    matches = list(_NUMBER.finditer(text))
    starts = [match.start() for match in matches]
    announced = False
    for cue, start, end in segments(text):
        announced = True
        first, last = bisect_left(starts, start), bisect_left(starts, end)
        within = islice(matches, first, last)
        if found := next(_values(within), None):
            if cue == "label":
                found = _result(text, matches[:last], start) or found
            return (*found, cue)
    if announced:
        return None
    if result := _result(text, matches, text.rstrip().rfind("\n") + 1):
        return (*result, "result")
    final = next(_values(reversed(matches)), None)
    return (*final, "last") if final else None


def _result(
    text: str, matches: Sequence[re.Match[str]], start: int
) -> Piece | None:
    """Returns, of the numbers from `start` on, the one calculated last."""
    results = [m for m in matches if _follows_equals(text, m.start())]
    order = {value: at for value, at, _ in _values(results[-_MOST:])}
    stated = islice((m for m in matches if m.start() >= start), _MOST)
    produced = [number for number in _values(stated) if number[0] in order]
    return max(produced, key=lambda number: order[number[0]], default=None)


def _follows_equals(text: str, start: int) -> bool:
    return text[max(0, start - 4) : start].rstrip(" $€£¥₹").endswith("=")


def _values(matches: Iterable[re.Match[str]]) -> Iterator[Piece]:
    for match in matches:
        value = _value(match)
        if value is not None:
            yield _canonical(value), match.start(), match.end()


def _value(match: re.Match[str]) -> Fraction | None:
    group = match.groupdict(default="")
    if sum(c.isdigit() for c in match[0][: 2 * _MAX_DIGITS]) > _MAX_DIGITS:
        return None
    if group["vulgar"]:
        part = unicodedata.numeric(group["vulgar"])
        value = Fraction(part).limit_denominator(10)
        value += int(group["whole"] or 0)
    elif below := group["below"] or group["under"]:
        if int(below) == 0:
            return None
        value = Fraction(int(group["above"] or group["over"]), int(below))
        value += int(group["plus"] or 0)
    else:
        value = Fraction(Decimal(_plain(group)))
    return -value if group["sign"] else value


def _plain(group: dict[str, str]) -> str:
    if group["comma"]:
        return group["comma"].replace(",", "")
    if group["point"]:
        return group["point"].replace(".", "").replace(",", ".")
    if group["spaced"]:
        return re.sub(r"\s", "", group["spaced"]).replace(",", ".")
    return group["decimal_comma"].replace(",", ".") or group["plain"]


def _canonical(value: Fraction) -> str:
    """Writes whole numbers exactly, others with 12 significant digits."""
    if value.denominator == 1:
        return str(value)
    rounded = _ROUNDING.divide(
        Decimal(value.numerator), Decimal(value.denominator)
    )
    return f"{rounded:f}".rstrip("0").rstrip(".")
