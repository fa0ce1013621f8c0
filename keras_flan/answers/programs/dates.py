"""Spans of calendar time for programs: years and months beside days.

This module runs in the sandbox: it imports the standard library alone.
"""

import calendar
import datetime
from typing import Any

_SPANS = ["years", "months", "weeks", "days", "hours", "minutes", "seconds"]
_PLACES = ["year", "month", "day", "hour", "minute", "second"]


class RelativeDelta:
    """A span as `dateutil.relativedelta.relativedelta` has it.

    Args:
        first: With `second`, two dates whose distance this is.
        **parts: Plural names are added; singular ones (`year`, `day`, ...)
            replace a date's own.

    Example:
        `date(2024, 1, 31) + RelativeDelta(months=1)` is February 29.
    """

    __slots__ = ("moves", "places")

    def __init__(self, first: Any = None, second: Any = None, **parts: Any):
        unknown = parts.keys() - {*_SPANS, *_PLACES}
        if unknown:
            raise TypeError(f"unknown argument {min(unknown)}")
        self.moves = {name: parts.get(name, 0) for name in _SPANS}
        self.places = {k: v for k, v in parts.items() if k in _PLACES}
        for name in ("years", "months"):
            if int(self.moves[name]) != self.moves[name]:
                raise ValueError(f"{name} must be whole")
            self.moves[name] = int(self.moves[name])
        if first is not None:
            self.moves.update(_between(first, second))
        self._carry()

    def _carry(self) -> None:
        """Puts what is more than a year, a day ... where it belongs."""
        moves = self.moves
        moves["days"] += 7 * moves.pop("weeks", 0)
        for small, size, large in (
            ("seconds", 60, "minutes"),
            ("minutes", 60, "hours"),
            ("hours", 24, "days"),
            ("months", 12, "years"),
        ):
            sign = -1 if moves[small] < 0 else 1
            more, moves[small] = divmod(moves[small] * sign, size)
            moves[small] *= sign
            moves[large] += more * sign

    def __getattr__(self, name: str) -> Any:
        if name == "weeks":
            return int(self.moves["days"] / 7)
        return self.moves[name]

    def _added(self, when: Any, sign: int) -> Any:
        if not isinstance(when, datetime.date):
            return NotImplemented
        moves = {name: sign * value for name, value in self.moves.items()}
        year = self.places.get("year", when.year) + moves.pop("years")
        month = self.places.get("month", when.month) + moves.pop("months")
        year, month = year + (month - 1) // 12, (month - 1) % 12 + 1
        if not 1 <= year <= 9999:
            raise ValueError(f"year {year} is out of range")
        day = self.places.get("day", when.day)
        day = min(day, calendar.monthrange(year, month)[1])
        time = {k: v for k, v in self.places.items() if k in _PLACES[3:]}
        if any(moves[name] for name in ("hours", "minutes", "seconds")) or time:
            when = _with_time(when)
        placed = when.replace(year=year, month=month, day=day, **time)
        return placed + datetime.timedelta(**moves)

    def __radd__(self, when: Any) -> Any:
        return self._added(when, 1)

    def __rsub__(self, when: Any) -> Any:
        return self._added(when, -1)

    def __add__(self, other: Any) -> Any:
        if not isinstance(other, RelativeDelta):
            return self._added(other, 1)
        moves = {k: v + other.moves[k] for k, v in self.moves.items()}
        return RelativeDelta(**moves, **{**self.places, **other.places})

    def __sub__(self, other: Any) -> Any:
        return self + -other

    def __neg__(self) -> "RelativeDelta":
        return self * -1

    def __mul__(self, times: Any) -> "RelativeDelta":
        moves = {k: int(v * times) for k, v in self.moves.items()}
        return RelativeDelta(**moves, **self.places)

    __rmul__ = __mul__

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, RelativeDelta)
            and self.moves == other.moves
            and self.places == other.places
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        moves = [f"{k}={v:+g}" for k, v in self.moves.items() if v]
        places = [f"{k}={v}" for k, v in self.places.items()]
        return f"relativedelta({', '.join(moves + places)})"


def _with_time(when: datetime.date) -> datetime.datetime:
    if isinstance(when, datetime.datetime):
        return when
    return datetime.datetime(when.year, when.month, when.day)


def _between(first: Any, second: Any) -> dict[str, int]:
    """Returns the whole years, months, days ... from `second` to `first`."""
    first, second = _with_time(first), _with_time(second)
    sign = 1 if first >= second else -1
    months = (first.year - second.year) * 12 + first.month - second.month
    while sign * (first - (second + RelativeDelta(months=months))) < (
        datetime.timedelta(0)
    ):
        months -= sign
    left = first - (second + RelativeDelta(months=months))
    return {
        "months": months,
        "days": sign * (abs(left).days),
        "seconds": sign * abs(left).seconds,
    }
