# ruff: noqa: RUF001 (models do write these signs)
"""How numbers are written: separators, fractions, scales, words, LaTeX."""

import re
import unicodedata
from collections.abc import Callable, Iterator
from decimal import Context, Decimal
from fractions import Fraction
from functools import cache, cached_property, partial

# Longer runs of digits are noise, not quantities.
_MAX_DIGITS = 60

# In these languages a full stop groups thousands, in those a blank.
_POINT_GROUPS = frozenset(
    [
        "de",
        "es",
        "it",
        "pt",
        "nl",
        "id",
        "tr",
        "da",
        "el",
        "hr",
        "sr",
        "sl",
        "ro",
        "vi",
    ]
)
_BLANK_GROUPS = frozenset(
    [
        "fr",
        "ru",
        "uk",
        "be",
        "bg",
        "pl",
        "cs",
        "sk",
        "hu",
        "fi",
        "sv",
        "nb",
        "no",
        "et",
        "lv",
        "lt",
        "kk",
    ]
)
_MONTH = (
    r"(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?"
    r"|Aug(?:ust)?|Sept?(?:ember)?|Oct(?:ober)?|Nov(?:ember)?"
    r"|Dec(?:ember)?)\b\.?"
)
_SCALES = {
    "hundred": 100,
    "thousand": 1000,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
    "k": 1000,
    "m": 10**6,
    "mn": 10**6,
    "b": 10**9,
    "bn": 10**9,
}

# Every repetition that could be tried twice is bounded, so that the time is
# linear in the length of the text. {point} and {blank} depend on the language.
_NUMBER = r"""
    (?=[$€£¥₹.\d\\¼-¾⅐-⅞JFMASOND-]|minus|negative)
    (?:(?P<other>  # what has digits and is no number: dates, times, ratios
      \d{{1,4}}/\d{{1,2}}/\d{{1,4}}(?!\d)
    | \d{{4}}-\d{{1,2}}-\d{{1,2}}(?!\d)
    | \d{{1,2}}\.\d{{1,2}}\.\d{{4}}(?!\d)
    | (?<![\d.,:])\d{{1,9}}(?::\d{{1,9}}){{1,5}}(?!\d)(?:\s?[ap]\.?m\b)?
    | (?<![\d.,])\d{{1,2}}\s?[ap]\.?m\b
    | (?<!\w){month}\s\d{{1,2}}(?:st|nd|rd|th)?(?!\d)(?:,?\s\d{{4}}(?!\d))?
    | (?<![\d.,])\d{{1,2}}(?:st|nd|rd|th)?\s(?:of\s)?{month}(?:,?\s\d{{4}})?
    )
    |
    (?P<sign>(?<![\w)\]])-[$€£¥₹]?|[$€£¥₹]-
      |(?<![\d)\]][ ])(?<!\w)(?:minus|negative)\s[$€£¥₹]?)?
    (?P<currency>(?<=[$€£¥₹]))?
    (?:
      (?:(?P<mixed>\d{{1,20}})\s?)?\\[dtc]?frac\s?
      (?:\{{\s?(?P<above>-?\d{{1,20}})\s?\}}|(?P<top>\d))\s?
      (?:\{{\s?(?P<below>-?\d{{1,20}})\s?\}}|(?P<bottom>\d))
    | (?P<whole>\d{{0,20}})\s?(?P<vulgar>[¼-¾⅐-⅞])
    | (?:(?P<plus>\d{{1,20}})(?:[ ]|\s?and\s))?(?P<over>\d{{1,20}})\s?/\s?
      (?P<under>\d{{1,20}})(?!\s?[/=\d]|[.,]\d)
    | (?P<spaced>\d{{1,3}}(?:{blank}\d{{3}}){{1,20}}(?!\d)
        (?:[.,]\d{{1,20}})?)
    | (?P<comma>\d{{1,3}}(?:{comma}\d{{2,3}}){{0,20}}{comma}
        \d{{3}}(?!\d|{comma}\d)(?:\.\d{{1,20}})?)
    | (?P<point>\d{{1,3}}(?:\.\d{{3}}){{1,20}},\d{{1,20}}(?!\d|[.,]\d)
        |\d{{1,3}}(?:\.\d{{3}}){{{point},20}}(?!\d|[.,]\d))
    | (?P<decimal_comma>\d{{1,20}}(?:,|\{{,\}})\d{{1,20}}(?!\d|,\d))
    | (?P<plain>(?:\d+(?:\.\d+)?|\.\d+)
        (?:[eE][+-]?\d{{1,2}}(?!\w)|\s?(?:\\times|×|\*)\s?10\^\{{?
          (?P<power>-?\d{{1,2}})\}}?)?)
    )
    (?P<half>\sand\sa\shalf\b)?
    (?:(?:\s|-)(?P<scale>(?:hundred|thousand|million|billion|trillion)\b
        (?:\s(?:thousand|million|billion|trillion)\b)?)
      |(?P<kilo>k(?!\w))|(?(currency)(?P<mega>[MB]n?(?!\w)|mn?(?!\w)|bn(?!\w))))?
    )
"""
_COMMA = r"(?:,\\!|,|'|\{,\}|\\,|\\!|\\;|\\:)"
# Floats that differ only by rounding noise are the same answer.
_ROUNDING = Context(prec=12)


class Numeral:
    """A number in a text; its value is worked out when it is asked for.

    Args:
        start: Where it begins.
        end: Where it ends.
        value: A function of nothing to `value`.
    """

    def __init__(
        self, start: int, end: int, value: Callable[[], Fraction | None]
    ) -> None:
        self.start = start
        self.end = end
        self._value = value

    @cached_property
    def value(self) -> Fraction | None:
        """The number; None of what has digits but is none.

        That is a date, a time, a ratio, or a run of digits too long.
        """
        return self._value()


@cache
def _pattern(language: str | None) -> re.Pattern[str]:
    blank = r"[\u00a0 ]" if language in _BLANK_GROUPS else r"[\u00a0]"
    return re.compile(
        _NUMBER.format(
            month=_MONTH,
            blank=blank,
            comma=_COMMA,
            point=1 if language in _POINT_GROUPS else 2,
        ),
        re.VERBOSE,
    )


def numerals(
    text: str,
    start: int = 0,
    end: int | None = None,
    language: str | None = None,
) -> Iterator[Numeral]:
    """Yields what is written in digits in a text that `plain` returned.

    Args:
        text: The text.
        start: Where to begin.
        end: Where to end.
        language: Its code, such as `"de"`, where it is known: in German and
            Spanish 1.500 is 1500, in French and Russian 1 500 is.
    """
    stop = len(text) if end is None else end
    for match in _pattern(language).finditer(text, start, stop):
        if match[0].strip():
            yield Numeral(*match.span(), partial(_value, match))


def canonical(value: Fraction) -> str:
    """Writes whole numbers exactly, others with 12 significant digits.

    Example:
        >>> canonical(Fraction(3, 4)), canonical(Fraction(10**15, 1))
        ('0.75', '1000000000000000')
    """
    if value.denominator == 1:
        return str(value)
    rounded = _ROUNDING.divide(
        Decimal(value.numerator), Decimal(value.denominator)
    )
    return f"{rounded:f}".rstrip("0").rstrip(".")


def _value(match: re.Match[str]) -> Fraction | None:
    group = match.groupdict(default="")
    digits = sum(c.isdigit() for c in match[0][: 2 * _MAX_DIGITS])
    if group["other"] or digits > _MAX_DIGITS:
        return None
    if group["vulgar"]:
        part = unicodedata.numeric(group["vulgar"])
        value = Fraction(part).limit_denominator(10)
        value += int(group["whole"] or 0)
    elif below := group["below"] or group["bottom"] or group["under"]:
        if int(below) == 0:
            return None
        above = group["above"] or group["top"] or group["over"]
        value = Fraction(int(above), int(below))
        value += int(group["plus"] or group["mixed"] or 0)
    else:
        value = Fraction(Decimal(_digits(group)))
    value += Fraction(1, 2) if group["half"] else 0
    for scale in (group["scale"] or group["kilo"] or group["mega"]).split():
        value *= _SCALES[scale.lower()]
    return -value if group["sign"] else value


def _digits(group: dict[str, str]) -> str:
    if group["comma"]:
        return re.sub(r"[^\d.]", "", group["comma"])
    if group["point"]:
        return group["point"].replace(".", "").replace(",", ".")
    if group["spaced"]:
        return re.sub(r"\s", "", group["spaced"]).replace(",", ".")
    if group["decimal_comma"]:
        return re.sub(r"[^\d]+", ".", group["decimal_comma"])
    if group["power"]:
        mantissa = re.match(r"[\d.]+", group["plain"])
        return f"{mantissa[0] if mantissa else 0}e{group['power']}"
    return group["plain"]


# === Words ===

_UNITS = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
_TENS = [
    "twenty",
    "thirty",
    "forty",
    "fifty",
    "sixty",
    "seventy",
    "eighty",
    "ninety",
]
_WORDS = {word: number for number, word in enumerate(_UNITS)} | {
    word: 10 * number for number, word in enumerate(_TENS, 2)
}
_PARTS = {"half": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5}
_BELOW_100 = (
    rf"(?:(?:{'|'.join(_TENS)})(?:[\s-](?:{'|'.join(_UNITS[1:10])})\b)?"
)
_BELOW_100 += rf"|(?:{'|'.join(reversed(_UNITS))}))"
_BELOW_1000 = rf"(?:(?:{_BELOW_100}|an?(?=\shundred\b))\b"
_BELOW_1000 += rf"(?:\shundred\b(?:\s(?:and\s)?{_BELOW_100}\b)?)?)"
_LARGE = r"(?:thousand|million|billion|trillion)"
_SPELLED = re.compile(
    rf"""
    (?<![\w-])(?:(?P<sign>minus|negative)\s)?
    (?P<words>(?:{_BELOW_1000}|an?(?=\s{_LARGE}\b))
      (?:\s{_LARGE}\b(?:,?\s(?:and\s)?{_BELOW_1000}\b)?){{0,4}})
    (?:(?P<and>\sand\s(?:an?|one|two|three))?
      [\s-](?P<part>half|halves|thirds?|quarters?|fourths?|fifths?))?
    (?![\w-])
    """,
    re.VERBOSE | re.IGNORECASE,
)


def spelled_numerals(text: str, start: int, end: int) -> Iterator[Numeral]:
    """Yields the English number words in a part of a text.

    Example:
        >>> text = "twenty-one, or two and a half"
        >>> [canonical(n.value) for n in spelled_numerals(text, 0, len(text))]
        ['21', '2.5']
    """
    for match in _SPELLED.finditer(text, start, end):
        yield Numeral(*match.span(), partial(_spelled_value, match))


def _spelled_value(match: re.Match[str]) -> Fraction:
    value = Fraction(_spoken(match["words"].lower()))
    if part := match["part"]:
        below = _PARTS[part.lower().rstrip("s").replace("halve", "half")]
        above = match["and"].split()[-1].lower() if match["and"] else ""
        share = Fraction(_WORDS.get(above, 1), below)
        value = value + share if above else value / below
    return -value if match["sign"] else value


def _spoken(words: str) -> int:
    total = current = 0
    for word in re.findall(r"[a-z]+", words):
        if word in _WORDS:
            current += _WORDS[word]
        elif word == "hundred":
            current = 100 * (current or 1)
        elif word in _SCALES:
            total += _SCALES[word] * (current or 1)
            current = 0
    return total + current
