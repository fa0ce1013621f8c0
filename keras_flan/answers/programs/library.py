"""What a program may use: functions and modules.

All of it is an allow-list, as are the methods in `values.py`.

This module runs in the sandbox: it imports the standard library alone.
"""

import bisect
import calendar
import collections
import datetime
import decimal
import fractions
import functools
import heapq
import itertools
import math
import operator
import statistics
import string
from collections.abc import Callable
from types import ModuleType
from typing import Any

import arrays  # type: ignore[import-not-found]
from dates import RelativeDelta  # type: ignore[import-not-found]
from operators import factorial, multiply, power  # type: ignore[import-not-found]
from symbols import names  # type: ignore[import-not-found]
from values import Missing, Namespace, format_value, text_of  # type: ignore[import-not-found]

__all__ = ["FUNCTIONS", "MODULES", "PRELUDE", "Missing", "Namespace"]

_TYPES = (bool, complex, dict, float, frozenset, int, list, set, str, tuple)
_EXCEPTIONS = (
    Exception, ArithmeticError, AssertionError, AttributeError, EOFError,
    ImportError, IndexError, KeyError, LookupError, ModuleNotFoundError,
    NameError, NotImplementedError, OverflowError, RuntimeError,
    StopIteration, TypeError, UnboundLocalError, ValueError,
    ZeroDivisionError,
)  # fmt: skip
FUNCTIONS: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        *_TYPES, *_EXCEPTIONS, abs, all, any, bin, callable, chr, divmod,
        enumerate, filter, hex, isinstance, iter, len, map, max, min, next,
        oct, ord, range, reversed, round, slice, sorted, sum, zip,
    )
}  # fmt: skip
FUNCTIONS |= {"pow": power, "repr": text_of, "format": format_value}


def _some(module: ModuleType, names: str) -> dict[str, Any]:
    return {name: getattr(module, name) for name in names.split()}


def _inexact(count: Callable[..., int]) -> Callable[..., float]:
    def counted(*of: int, exact: bool = False, **flags: bool) -> float:
        return count(*of) if exact else float(count(*of))

    return counted


_COUNTS = {**_some(math, "comb perm"), "factorial": factorial}
_MATH = {k: v for k, v in vars(math).items() if not k.startswith("_")}
_NUMPY = {**arrays.FUNCTIONS, "linalg": Namespace("linalg", arrays.LINEAR)}
_SYMBOLS = names.FUNCTIONS
MODULES = {
    name: Namespace(name, names)
    for name, names in {
        "math": {**_MATH, **_COUNTS},
        "fractions": _some(fractions, "Fraction"),
        "decimal": _some(
            decimal,
            "Decimal ROUND_CEILING ROUND_DOWN ROUND_FLOOR ROUND_HALF_DOWN "
            "ROUND_HALF_EVEN ROUND_HALF_UP ROUND_UP",
        ),
        "statistics": _some(
            statistics,
            "fmean geometric_mean harmonic_mean mean median median_high "
            "median_low mode multimode pstdev pvariance stdev variance",
        ),
        "itertools": _some(
            itertools,
            "accumulate chain combinations combinations_with_replacement "
            "compress count cycle dropwhile filterfalse groupby islice "
            "pairwise permutations product repeat starmap takewhile tee "
            "zip_longest",
        ),
        "collections": _some(collections, "Counter defaultdict deque"),
        "functools": _some(
            functools, "cache cmp_to_key lru_cache partial reduce"
        ),
        "operator": {
            **_some(operator, "add floordiv mod neg sub truediv"),
            "mul": multiply,
            "pow": power,
        },
        "heapq": _some(
            heapq,
            "heapify heappop heappush heappushpop heapreplace nlargest "
            "nsmallest",
        ),
        "bisect": _some(
            bisect, "bisect bisect_left bisect_right insort insort_left"
        ),
        "string": _some(
            string,
            "ascii_letters ascii_lowercase ascii_uppercase digits "
            "hexdigits octdigits punctuation whitespace",
        ),
        "calendar": {
            **_some(calendar, "isleap leapdays monthrange weekday"),
            "month_name": list(calendar.month_name),
            "month_abbr": list(calendar.month_abbr),
            "day_name": list(calendar.day_name),
            "day_abbr": list(calendar.day_abbr),
        },
        "datetime": _some(datetime, "date datetime time timedelta"),
        "dateutil.relativedelta": {"relativedelta": RelativeDelta},
        "numpy": _NUMPY,
        "numpy.linalg": arrays.LINEAR,
        # As `scipy` has them: floats, unless they are to be exact.
        "scipy.special": {
            name: _inexact(count)
            for name, count in {**_COUNTS, "binom": math.comb}.items()
        },
        "sympy": _SYMBOLS,
        "sympy.solvers": _SYMBOLS,
        "sympy.abc": names.LETTERS,
        # Annotations are never evaluated: only the names must exist.
        "typing": dict.fromkeys(
            (
                "Any", "Callable", "Dict", "Iterable", "List", "Optional",
                "Sequence", "Set", "Tuple", "Union",
            ),
            object(),
        ),
    }.items()
}  # fmt: skip
MODULES["dateutil"] = Namespace(
    "dateutil", {"relativedelta": MODULES["dateutil.relativedelta"]}
)
MODULES["scipy"] = Namespace("scipy", {"special": MODULES["scipy.special"]})
_SYMBOLS["solvers"] = MODULES["sympy.solvers"]
# What the published systems import before they run a program: it may use
# these names without an import of its own.
PRELUDE = {
    **{name: MODULES[name] for name in ("math", "statistics", "numpy")},
    "np": MODULES["numpy"],
    **{
        name: _SYMBOLS[name]
        for name in ("Symbol", "Eq", "simplify", "solve", "solve_it", "symbols")
    },
    **{
        name: MODULES["datetime"].names[name]
        for name in ("date", "datetime", "timedelta")
    },
    "relativedelta": RelativeDelta,
}
