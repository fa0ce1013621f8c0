"""Arrays of numbers for programs: the part of `numpy` that these use.

This module runs in the sandbox: it imports the standard library alone.
"""

import itertools
import math
import operator
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from language import Refused, bounded  # type: ignore[import-not-found]

MAX_ITEMS = 100_000


class Array:
    """Numbers, or arrays of one length, that are calculated with at once."""

    __slots__ = ("items",)

    ATTRIBUTES = (
        "shape", "size", "ndim", "T", "sum", "mean", "min", "max", "prod",
        "std", "var", "cumsum", "cumprod", "argmax", "argmin", "tolist",
        "round", "dot", "copy", "flatten", "sort", "all", "any",
    )  # fmt: skip

    def __init__(self, values: Iterable[Any]):
        items: list[Any] = []
        for value in values:
            if len(items) >= MAX_ITEMS:
                raise Refused(f"an array of more than {MAX_ITEMS:,} numbers")
            nested = isinstance(value, (list, tuple, range))
            items.append(Array(value) if nested else value)
        lengths = {len(i) if isinstance(i, Array) else None for i in items}
        if len(lengths) > 1:
            raise ValueError("expected rows of one length")
        if any(type(item) is float for item in items):
            items = [float(i) if type(i) is int else i for i in items]
        self.items = items

    @property
    def shape(self) -> tuple[int, ...]:
        if self.items and isinstance(self.items[0], Array):
            return (len(self.items), *self.items[0].shape)
        return (len(self.items),)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def T(self) -> "Array":
        if self.ndim == 1:
            return self
        return Array(Array(column) for column in zip(*self.items, strict=True))

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.items)

    def __bool__(self) -> bool:
        if len(self) == 1:
            return bool(self.items[0])
        raise ValueError("the truth value of an array is ambiguous")

    def __float__(self) -> float:
        [item] = self.items
        return float(item)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, tuple):
            first, *others = key
            found = self[first]
            if not others:
                return found
            rest = others[0] if len(others) == 1 else tuple(others)
            if isinstance(first, slice):
                return Array(row[rest] for row in found)
            return found[rest]
        if isinstance(key, slice):
            return Array(self.items[key])
        if isinstance(key, (Array, list)):
            picked = list(key)
            if picked and all(isinstance(one, bool) for one in picked):
                pairs = zip(self.items, picked, strict=True)
                return Array(item for item, one in pairs if one)
            return Array(self.items[one] for one in picked)
        return self.items[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        if isinstance(key, tuple):
            row = self[key[:-1] if len(key) > 2 else key[0]]
            row[key[-1]] = value
        elif isinstance(key, slice):
            places = range(*key.indices(len(self)))
            several = isinstance(value, (Array, list, tuple))
            values = list(value) if several else [value] * len(places)
            for place, one in zip(places, values, strict=True):
                self.items[place] = one
        else:
            self.items[key] = value

    def __repr__(self) -> str:
        return f"[{' '.join(map(_written, self.items))}]"

    # === Operators, of each item ===

    def _each(self, operate: Callable[[Any, Any], Any], other: Any) -> Any:
        if isinstance(other, (list, tuple)):
            other = Array(other)
        if not isinstance(other, Array):
            return Array(_apply(operate, item, other) for item in self.items)
        if other.ndim < self.ndim:
            return Array(_apply(operate, row, other) for row in self.items)
        if other.ndim > self.ndim:
            return Array(_apply(operate, self, row) for row in other.items)
        one, two = self.items, other.items
        if len(one) == 1:
            one = one * len(two)
        if len(two) == 1:
            two = two * len(one)
        if len(one) != len(two):
            raise ValueError("operands could not be broadcast together")
        return Array(map(lambda a, b: _apply(operate, a, b), one, two))

    def _called(self, other: Any, operate: Callable[[Any, Any], Any]) -> Any:
        return self._each(lambda a, b: operate(b, a), other)

    def __add__(self, other: Any) -> Any:
        return self._each(operator.add, other)

    def __radd__(self, other: Any) -> Any:
        return self._called(other, operator.add)

    def __sub__(self, other: Any) -> Any:
        return self._each(operator.sub, other)

    def __rsub__(self, other: Any) -> Any:
        return self._called(other, operator.sub)

    def __mul__(self, other: Any) -> Any:
        return self._each(_times, other)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Any:
        return self._each(operator.truediv, other)

    def __rtruediv__(self, other: Any) -> Any:
        return self._called(other, operator.truediv)

    def __floordiv__(self, other: Any) -> Any:
        return self._each(operator.floordiv, other)

    def __mod__(self, other: Any) -> Any:
        return self._each(operator.mod, other)

    def __pow__(self, other: Any) -> Any:
        return self._each(_power, other)

    def __rpow__(self, other: Any) -> Any:
        return self._called(other, _power)

    def __neg__(self) -> Any:
        return self._each(operator.mul, -1)

    def __abs__(self) -> Any:
        return each(abs)(self)

    def __eq__(self, other: Any) -> Any:
        return self._each(operator.eq, other)

    def __ne__(self, other: Any) -> Any:
        return self._each(operator.ne, other)

    def __lt__(self, other: Any) -> Any:
        return self._each(operator.lt, other)

    def __le__(self, other: Any) -> Any:
        return self._each(operator.le, other)

    def __gt__(self, other: Any) -> Any:
        return self._each(operator.gt, other)

    def __ge__(self, other: Any) -> Any:
        return self._each(operator.ge, other)

    __hash__ = None  # type: ignore[assignment]

    # === Methods ===

    def tolist(self) -> list[Any]:
        return [i.tolist() if isinstance(i, Array) else i for i in self.items]

    def flatten(self) -> "Array":
        return Array(_flat(self))

    def copy(self) -> "Array":
        return Array(self.tolist())

    def sort(self) -> None:
        self.items.sort()

    def __getattr__(self, name: str) -> Any:
        if name not in self.ATTRIBUTES:
            raise AttributeError(name)
        function = FUNCTIONS[name]
        return lambda *values, **named: function(self, *values, **named)


def _written(item: Any) -> str:
    if type(item) is float and item.is_integer() and abs(item) < 1e16:
        return f"{item:.0f}."
    return str(item)


def _apply(operate: Callable[[Any, Any], Any], one: Any, other: Any) -> Any:
    if isinstance(one, Array):
        return one._each(operate, other)
    if isinstance(other, Array):
        return other._each(lambda a, b: operate(b, a), one)
    return operate(one, other)


def _times(one: Any, other: Any) -> Any:
    if isinstance(one, int) and isinstance(other, int):
        bounded(one.bit_length() + other.bit_length())
    return one * other


def _power(one: Any, other: Any) -> Any:
    if isinstance(one, int) and isinstance(other, int):
        bounded(one.bit_length() * abs(other))
    return one**other


def _flat(of: Any) -> list[Any]:
    if isinstance(of, (Array, list, tuple, range)):
        return [number for item in of for number in _flat(item)]
    return [of]


def each(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a function of numbers as one of arrays, too."""

    def apply(of: Any, *others: Any) -> Any:
        if isinstance(of, (Array, list, tuple, range)):
            return Array(apply(item, *others) for item in of)
        return function(of, *others)

    return apply


def _reduced(function: Callable[[list[Any]], Any]) -> Callable[..., Any]:
    """Returns a function of all numbers, or of those along an axis."""

    def reduce(of: Any, axis: int | None = None, **options: Any) -> Any:
        if axis is None:
            return function(_flat(of), **options)
        array = of if isinstance(of, Array) else Array(of)
        rows = array.T if axis in (0, -2) and array.ndim > 1 else array
        if rows.ndim == 1:
            return function(rows.items, **options)
        return Array(function(row.items, **options) for row in rows)

    return reduce


def _mean(of: list[Any]) -> Any:
    return sum(of) / len(of)


def _variance(of: list[Any], ddof: int = 0) -> Any:
    mean = _mean(of)
    return sum((item - mean) ** 2 for item in of) / (len(of) - ddof)


def _median(of: list[Any]) -> Any:
    ordered, half = sorted(of), len(of) // 2
    if len(of) % 2:
        return float(ordered[half])
    return (ordered[half - 1] + ordered[half]) / 2


def _percentile(of: Any, share: Any) -> Any:
    ordered = sorted(_flat(of))
    place = (len(ordered) - 1) * share / 100
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def _running(operate: Callable[[Any, Any], Any]) -> Callable[[Any], Array]:
    def run(of: Any) -> Array:
        made: list[Any] = []
        for item in _flat(of):
            made.append(operate(made[-1], item) if made else item)
        return Array(made)

    return run


def _range(first: Any, last: Any = None, step: Any = 1) -> Array:
    if last is None:
        first, last = 0, first
    count = max(math.ceil((last - first) / step), 0)
    return Array(first + n * step for n in range(count))


def _spaced(first: Any, last: Any, count: int = 50) -> Array:
    gaps = max(count - 1, 1)
    return Array(first + (last - first) * n / gaps for n in range(count))


def _filled(value: Any) -> Callable[..., Array]:
    def fill(shape: Any, *_: Any, **__: Any) -> Array:
        sizes = shape if isinstance(shape, (tuple, list)) else (shape,)
        if math.prod(sizes) > MAX_ITEMS:
            raise Refused(f"an array of more than {MAX_ITEMS:,} numbers")
        if len(sizes) == 1:
            return Array([value] * sizes[0])
        return Array(fill(sizes[1:]) for _ in range(sizes[0]))

    return fill


def _dot(one: Any, other: Any) -> Any:
    first = one if isinstance(one, Array) else Array(one)
    second = other if isinstance(other, Array) else Array(other)
    if first.ndim == 2:
        return Array(_dot(row, second) for row in first)
    if second.ndim == 2:
        return Array(_dot(first, column) for column in second.T)
    pairs = zip(first.items, second.items, strict=True)
    return sum(_times(a, b) for a, b in pairs)


def _norm(of: Any) -> float:
    return math.sqrt(sum(item * item for item in _flat(of)))


def _solved(matrix: Any, right: Any) -> Array:
    """Solves linear equations by elimination with the largest pivot."""
    rows = [
        [*map(float, row), float(number)]
        for row, number in zip(matrix, right, strict=True)
    ]
    size = len(rows)
    for column in range(size):
        pivot = max(range(column, size), key=lambda n: abs(rows[n][column]))
        if not rows[pivot][column]:
            raise ValueError("singular matrix")
        rows[column], rows[pivot] = rows[pivot], rows[column]
        for n in range(size):
            if n != column:
                by = rows[n][column] / rows[column][column]
                rows[n] = [
                    a - by * b
                    for a, b in zip(rows[n], rows[column], strict=True)
                ]
    return Array(row[-1] / row[n] for n, row in enumerate(rows))


def _where(test: Any, one: Any, other: Any) -> Array:
    return Array(
        (one[n] if isinstance(one, Array) else one)
        if chosen
        else (other[n] if isinstance(other, Array) else other)
        for n, chosen in enumerate(test)
    )


def _rounded(value: Any, digits: int = 0) -> Any:
    made = round(value, digits)
    return made if isinstance(value, int) else float(made)


FUNCTIONS: dict[str, Any] = {
    "array": lambda of, *_, **__: Array(of),
    "asarray": lambda of, *_, **__: Array(of),
    "arange": _range,
    "linspace": _spaced,
    "zeros": _filled(0.0),
    "ones": _filled(1.0),
    "sum": _reduced(sum),
    "prod": _reduced(lambda of: math.prod(of)),
    "mean": _reduced(_mean),
    "average": lambda of, weights=None, **__: _mean(_flat(of))
    if weights is None
    else _dot(_flat(of), _flat(weights)) / sum(_flat(weights)),
    "median": _reduced(_median),
    "var": _reduced(_variance),
    "std": _reduced(lambda of, **named: math.sqrt(_variance(of, **named))),
    "min": _reduced(min),
    "max": _reduced(max),
    "amin": _reduced(min),
    "amax": _reduced(max),
    "all": _reduced(all),
    "any": _reduced(any),
    "argmax": _reduced(lambda of: of.index(max(of))),
    "argmin": _reduced(lambda of: of.index(min(of))),
    "cumsum": _running(operator.add),
    "cumprod": _running(_times),
    "diff": lambda of: Array(b - a for a, b in itertools.pairwise(of)),
    "unique": lambda of: Array(sorted(set(_flat(of)))),
    "sort": lambda of: Array(sorted(of)),
    "dot": _dot,
    "matmul": _dot,
    "percentile": _percentile,
    "where": _where,
    "round": each(_rounded),
    "around": each(_rounded),
    "abs": each(abs),
    "absolute": each(abs),
    "sign": each(lambda n: (n > 0) - (n < 0)),
    "power": lambda one, other: _apply(
        _power, Array(one) if isinstance(one, list) else one, other
    ),
    "sqrt": each(math.sqrt),
    "cbrt": each(lambda n: math.copysign(abs(n) ** (1 / 3), n)),
    "ceil": each(lambda n: float(math.ceil(n))),
    "floor": each(lambda n: float(math.floor(n))),
    "deg2rad": each(math.radians),
    "rad2deg": each(math.degrees),
    "arcsin": each(math.asin),
    "arccos": each(math.acos),
    "arctan": each(math.atan),
    "arctan2": each(math.atan2),
    "int64": int,
    "float64": float,
    "pi": math.pi,
    "e": math.e,
    "gcd": math.gcd,
    "lcm": math.lcm,
    **{
        name: each(getattr(math, name))
        for name in (
            "exp", "log", "log2", "log10", "sin", "cos", "tan", "radians",
            "degrees",
        )
    },
}  # fmt: skip
LINEAR: dict[str, Any] = {"norm": _norm, "solve": _solved}
