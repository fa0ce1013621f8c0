"""Dates and times of day, in one form each."""

import datetime
import re
from collections.abc import Callable, Iterator

from keras_flan.answers.cues import Found, Piece, segments, unannounced
from keras_flan.answers.texts import plain

_MONTHS = [
    "jan",
    "feb",
    "mar",
    "apr",
    "may",
    "jun",
    "jul",
    "aug",
    "sep",
    "oct",
    "nov",
    "dec",
]
_NAME = (
    r"(?P<{}>Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?"
    r"|Aug(?:ust)?|Sept?(?:ember)?|Oct(?:ober)?|Nov(?:ember)?"
    r"|Dec(?:ember)?)\.?"
)
_DATE = re.compile(
    rf"""
    (?<![\d/.-])(?:
      (?P<y1>\d{{4}})(?P<s1>[-/.])(?P<m1>\d{{1,2}})(?P=s1)(?P<d1>\d{{1,2}})
    | (?P<a>\d{{1,2}})\s?(?P<s2>[-/.])\s?(?P<b>\d{{1,2}})\s?(?P=s2)\s?
      (?P<y2>\d{{4}})
    | {_NAME.format("n1")}\s(?:the\s)?(?P<d2>\d{{1,2}})(?:st|nd|rd|th)?,?
      \s(?P<y3>\d{{4}})
    | (?P<d3>\d{{1,2}})(?:st|nd|rd|th)?\s(?:of\s)?{_NAME.format("n2")},?
      \s(?P<y4>\d{{4}})
    | (?P<y5>\d{{4}})年\s?(?P<m2>\d{{1,2}})月\s?(?P<d4>\d{{1,2}})日
    )(?!\d|[/-]\d)
    """,
    re.VERBOSE | re.IGNORECASE,
)
_TIME = re.compile(
    r"""
    (?<![\d:.,])(?:(?P<word>noon|midnight)
    | (?P<hour>\d{1,2})(?:[:.](?P<minute>\d{2})(?::(?P<second>\d{2}))?)?
      (?:\s?(?P<half>[ap])\.?\s?m\b\.?)?)(?![\d:])
    """,
    re.VERBOSE | re.IGNORECASE,
)


def find_date(text: str, language: str | None = None) -> Found | None:
    """Returns (date as ISO writes it, start, end, rule) of a text.

    Args:
        text: What `plain` returned.
        language: Its code, where it is known; see `normalise_date`.
    """
    return _find(text, lambda start, end: _dates(text, start, end, language))


def find_time(text: str) -> Found | None:
    """Returns (time of day as HH:MM, start, end, rule) of a text."""
    return _find(text, lambda start, end: _times(text, start, end))


def normalise_date(value: str, language: str | None = None) -> str | None:
    """Returns the first date of a text as ISO writes it; None without one.

    Args:
        value: The text.
        language: Numbers divided by strokes or hyphens are month, day and
            year, as in the United States; or day, month and year, if a
            language is given that is not `"en"` or `"en-US"`. What can be
            read in one way only, is.

    Example:
        >>> normalise_date("June 20, 2019"), normalise_date("6/20/2019")
        ('2019-06-20', '2019-06-20')
        >>> normalise_date("06/07/2019", "en-GB")
        '2019-07-06'
    """
    text = plain(value)
    found = next(_dates(text, 0, len(text), language), None)
    return found and found[0]


def normalise_time(value: str) -> str | None:
    """Returns the first time of day of a text as HH:MM; None without one.

    Example:
        >>> normalise_time("3:30 pm"), normalise_time("15.30"),
        ('15:30', '15:30')
    """
    text = plain(value)
    found = next(_times(text, 0, len(text)), None)
    return found and found[0]


def _find(
    text: str, look: Callable[[int, int], Iterator[Piece]]
) -> Found | None:
    parts = list(segments(text))
    for part in parts:
        if found := next(look(part.start, part.end), None):
            return (*found, part.cue)
    body = unannounced(text, parts)
    if body is None:
        return None
    closing = list(look(body.rstrip().rfind("\n") + 1, len(body)))
    return (*closing[-1], "closing") if closing else None


def _dates(
    text: str, start: int, end: int, language: str | None
) -> Iterator[Piece]:
    for match in _DATE.finditer(text, start, end):
        group = match.groupdict(default="")
        year = "".join(group[f"y{i}"] for i in range(1, 6))
        if group["a"]:
            order = [(group["a"], group["b"]), (group["b"], group["a"])]
            if group["s2"] == "." or language not in (None, "en", "en-US"):
                order.reverse()
        else:
            name = (group["n1"] or group["n2"])[:3].lower()
            month = group["m1"] or group["m2"]
            number = month or str(_MONTHS.index(name) + 1)
            order = [(number, "".join(group[f"d{i}"] for i in range(1, 5)))]
        for month, day in order:
            try:
                date = datetime.date(int(year), int(month), int(day))
            except ValueError:
                continue
            yield date.isoformat(), *match.span()
            break


def _times(text: str, start: int, end: int) -> Iterator[Piece]:
    for match in _TIME.finditer(text, start, end):
        if word := match["word"]:
            yield {"n": "12:00", "m": "00:00"}[word[0].lower()], *match.span()
            continue
        half, minute = (match["half"] or "").lower(), match["minute"]
        hour, second = int(match["hour"]), match["second"] or ""
        # A bare number is no time.
        if (not half and not minute) or (half and not 1 <= hour <= 12):
            continue
        hour = hour % 12 + 12 * (half == "p") if half else hour
        if hour < 24 and int(minute or 0) < 60:
            parts = [f"{hour:02}", minute or "00"]
            parts += [second] if int(second or 0) else []
            yield ":".join(parts), *match.span()
