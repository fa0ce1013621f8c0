"""Numbers in text: separators, currency, fractions and other scripts."""

import re
import unicodedata
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction

from keras_flan.generation.answers.cues import plain_digits, segments

# Longer runs of digits are noise, not quantities.
_MAX_DIGITS = 60

# Every repetition that could be tried twice is bounded, so that the time is
# linear in the length of the text.
_NUMBER = re.compile(
    r"""
    (?P<sign>(?<![\w)\]])-[$€£¥₹]?|[$€£¥₹]-)?
    (?:
      \\[dt]?frac\{(?P<above>\d{1,20})\}\{(?P<below>\d{1,20})\}
    | (?P<whole>\d{0,20})\s?(?P<vulgar>[¼-¾⅐-⅞])
    | (?:(?P<plus>\d{1,20})[ ])?(?P<over>\d{1,20})\s?/\s?(?P<under>\d{1,20})
      (?!\s?[/=\d]|[.,]\d)
    | (?P<spaced>\d{1,3}(?:[\u00a0\u2009\u202f]\d{3}){1,20}(?!\d)
        (?:[.,]\d{1,20})?)
    | (?P<comma>\d{1,3}(?:,\d{2,3}){0,20},\d{3}(?![\d,])(?:\.\d{1,20})?)
    | (?P<point>\d{1,3}(?:\.\d{3}){1,20},\d{1,20}(?![\d.,])
        |\d{1,3}(?:\.\d{3}){2,20}(?![\d.]))
    | (?P<decimal_comma>\d{1,20},\d{1,20}(?![\d,]))
    | (?P<plain>(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d{1,2}(?!\w))?)
    )
    """,
    re.VERBOSE,
)


def find_numbers(text: str) -> Iterator[tuple[str, int, int]]:
    """Yields (canonical value, start, end) of the numbers in a text.

    Example:
        >>> list(find_numbers("$1,250.50 or 3/4 of it"))
        [('1250.5', 1, 9), ('0.75', 13, 16)]
    """
    for match in _NUMBER.finditer(plain_digits(text)):
        value = _value(match)
        if value is not None:
            yield _canonical(value), match.start(), match.end()


def normalise_number(text: str) -> str | None:
    """Returns the canonical form of the first number, None without one."""
    return next((value for value, _, _ in find_numbers(text)), None)


def find_number(text: str) -> tuple[str, int, int, str] | None:
    """Returns (value, start, end, rule) of the answer of a text.

    The first number after the last cue counts. A label such as `Answer:` is
    often followed by a calculation, whose result stands after the last `=`.
    Without a cue it is the last number.
    """
    for cue, start, end in segments(text):
        if cue == "label":
            equals = text.rfind("=", start, end)
            start = equals + 1 if equals >= 0 else start
        for value, first, last in find_numbers(text[start:end]):
            return value, start + first, start + last, cue
    found = list(find_numbers(text))
    return (*found[-1], "last") if found else None


def _value(match: re.Match) -> Fraction | None:
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
    """Writes a decimal if the value has one, else a reduced fraction."""
    rest = value.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    if rest != 1:
        return str(value)
    places = 0
    while value.denominator != 1 and (value * 10**places).denominator != 1:
        places += 1
    digits = str(abs(int(value * 10**places))).rjust(places + 1, "0")
    text = digits[: len(digits) - places]
    if places:
        text += "." + digits[-places:]
    return "-" + text if value < 0 else text
