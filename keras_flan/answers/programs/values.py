"""What the values of a program can do: their methods and their text.

All of it is an allow-list. Nothing on it leads to a file, a process, the
network, a frame, a class or the interpreter itself; the sandbox's limits
bound what it may cost.

This module runs in the sandbox: it imports the standard library alone.
"""

import collections
import datetime
import decimal
import fractions
import re
import string
from typing import Any, NoReturn

from arrays import Array  # type: ignore[import-not-found]
from dates import RelativeDelta  # type: ignore[import-not-found]
from language import Refused  # type: ignore[import-not-found]
from symbols.names import METHODS, PROPERTIES  # type: ignore[import-not-found]
from symbols.names import attribute as of_expression
from symbols.terms import Expression  # type: ignore[import-not-found]

MAX_TEXT = 65_536  # characters of an answer


class Namespace:
    """A module as a program sees it."""

    __slots__ = ("name", "names")

    def __init__(self, name: str, names: dict[str, Any]):
        self.name = name
        self.names = names

    def __repr__(self) -> str:
        raise Refused("not allowed: a module as text")


class Missing:
    """What an import found nothing for: refused when it is used."""

    __slots__ = ("line", "reason")

    def __init__(self, reason: str, line: int):
        self.reason = reason
        self.line = line

    def refuse(self) -> NoReturn:
        raise Refused(self.reason)


_DATE = (
    "year month day weekday isoweekday isoformat strftime replace toordinal "
    "fromisoformat fromordinal ctime isocalendar"
)
_DICT = "clear copy get items keys pop popitem setdefault update values"
_NUMBER = "real imag conjugate"
# Which attributes a value of each type has.
ATTRIBUTES = {
    kind: frozenset(names.split())
    for kind, names in {
        str: "capitalize casefold center count endswith expandtabs find "
        "index isalnum isalpha isascii isdecimal isdigit isidentifier "
        "islower isnumeric isprintable isspace istitle isupper join ljust "
        "lower lstrip partition removeprefix removesuffix replace rfind "
        "rindex rjust rpartition rsplit rstrip split splitlines startswith "
        "strip swapcase title upper zfill",
        int: f"{_NUMBER} bit_length bit_count numerator denominator "
        "as_integer_ratio",
        bool: f"{_NUMBER} numerator denominator",
        float: f"{_NUMBER} is_integer as_integer_ratio",
        complex: _NUMBER,
        list: "append clear copy count extend index insert pop remove "
        "reverse sort",
        tuple: "count index",
        dict: f"{_DICT} fromkeys",
        set: "add clear copy difference difference_update discard "
        "intersection intersection_update isdisjoint issubset issuperset "
        "pop remove symmetric_difference symmetric_difference_update union "
        "update",
        frozenset: "copy difference intersection isdisjoint issubset "
        "issuperset symmetric_difference union",
        range: "count index start stop step",
        slice: "start stop step indices",
        fractions.Fraction: f"{_NUMBER} numerator denominator "
        "limit_denominator as_integer_ratio",
        decimal.Decimal: f"{_NUMBER} quantize normalize sqrt "
        "to_integral_value as_integer_ratio",
        datetime.date: _DATE,
        datetime.datetime: _DATE + " hour minute second date time strptime "
        "combine",
        datetime.time: "hour minute second isoformat strftime replace",
        datetime.timedelta: "days seconds microseconds total_seconds",
        collections.Counter: f"{_DICT} elements most_common subtract total",
        collections.defaultdict: _DICT,
        collections.deque: "append appendleft clear copy count extend "
        "extendleft index insert pop popleft remove reverse rotate maxlen",
        RelativeDelta: "years months days hours minutes seconds weeks",
        Array: " ".join(Array.ATTRIBUTES),
        Expression: " ".join([*METHODS, *PROPERTIES]),
    }.items()
}
# The types of an answer.
_ANSWERS = set(ATTRIBUTES) - {slice, range, complex, bool, RelativeDelta}
_ADDRESS = re.compile(r"<[^<>]{0,300} at 0x[0-9a-fA-F]+")


def kind_of(value: Any) -> type:
    """Returns a value's type, as `ATTRIBUTES` names it."""
    kind = value if isinstance(value, type) else type(value)
    if issubclass(kind, Expression):
        return Expression
    return kind


def attribute(value: Any, name: str) -> Any:
    """Returns `value.name`; a type has the methods of its values."""
    if isinstance(value, Namespace):
        if name in value.names:
            return value.names[name]
        raise Refused(f"{value.name} has no {name} here")
    kind = kind_of(value)
    if name in ATTRIBUTES.get(kind, ()):
        if kind is Expression:
            return of_expression(value, name)
        return getattr(value, name)
    if name == "format" and kind is str:
        if value is str:
            return format_text
        return lambda *values, **named: format_text(value, *values, **named)
    if name == "args" and isinstance(value, Exception):
        return value.args
    if kind in ATTRIBUTES and not hasattr(kind, name):
        whose = f"'{kind.__name__}' object"
        if kind is value:
            whose = f"type object '{kind.__name__}'"
        raise AttributeError(f"{whose} has no attribute '{name}'")
    raise Refused(f"not allowed: {name} of a value of type {kind.__name__}")


# === Text ===


def format_text(text: str, /, *values: Any, **named: Any) -> str:
    """`str.format`, whose fields do not walk from attribute to attribute."""
    _check_fields(text)
    return stable(text.format(*values, **named))


def _check_fields(text: str) -> None:
    for _, name, spec, _ in string.Formatter().parse(text):
        if name and ("." in name or "__" in name):
            raise Refused(
                "not allowed: an attribute in format of a value of type str"
            )
        if spec and "{" in spec:
            _check_fields(spec)


def format_value(value: Any, spec: str = "") -> str:
    """`format`, of what has the same text in every run."""
    return stable(format(value, spec))


def text_of(value: Any) -> str:
    """`repr`, of what has the same text in every run."""
    return stable(repr(value))


def stable(text: str) -> str:
    """Returns a text that is the same in every run.

    Raises:
        Refused: If the text holds the address of an object.
    """
    if "<" in text and _ADDRESS.search(text):
        raise Refused("not allowed: an address as text")
    return text


def answer_text(value: Any) -> str:
    """Returns a value as an answer.

    One value in a list, a tuple or a dict is that value: what `solve` of one
    unknown gives.

    Raises:
        Refused: If the value is no answer.
    """
    for _ in range(3):
        if isinstance(value, (list, tuple, dict)) and len(value) == 1:
            [value] = value.values() if isinstance(value, dict) else value
    if isinstance(value, float) and not -1e300 < value < 1e300:
        raise Refused(f"the result is {value}")
    if isinstance(value, type) or (
        kind_of(value) not in _ANSWERS and not isinstance(value, bool)
    ):
        raise Refused(f"the result is of type {type(value).__name__}")
    return checked_answer(str(value))


def checked_answer(text: str) -> str:
    """Returns the text of an answer without white space around it."""
    text = text.strip()
    if len(text) > MAX_TEXT:
        raise Refused(f"a result of more than {MAX_TEXT:,} characters")
    if not text:
        raise Refused("the result is empty")
    if not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text):
        raise Refused("the result has half of a character")
    return stable(text)
