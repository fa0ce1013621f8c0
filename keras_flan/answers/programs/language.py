"""What a program may use: syntax, functions, methods and modules.

All of it is an allow-list. Nothing on it leads to a file, a process, the
network, a frame, a class or the interpreter itself; the sandbox's limits
bound what it may cost.

This module runs in the sandbox: it imports the standard library alone.
"""

import ast
import collections
import datetime
import fractions
import functools
import itertools
import math
import operator
import statistics
from collections.abc import Callable
from types import ModuleType
from typing import Any

# Whole numbers of more bits (about 20,000 digits) are no quantity.
MAX_BITS = 65_536


class Refused(Exception):
    """A program did what it may not do, or too much of it."""

    def __init__(self, reason: str, line: int | None = None):
        super().__init__(reason)
        self.line = line


# === Syntax ===

_NODES = (
    ast.Module, ast.Expr, ast.Assign, ast.AnnAssign, ast.AugAssign,
    ast.If, ast.For, ast.While, ast.Break, ast.Continue, ast.Pass,
    ast.FunctionDef, ast.Lambda, ast.Return, ast.arguments, ast.arg,
    ast.Global, ast.Nonlocal, ast.Import, ast.ImportFrom, ast.alias,
    ast.Assert, ast.Raise, ast.Name, ast.Constant, ast.Attribute,
    ast.Subscript, ast.Slice, ast.Starred, ast.Call, ast.keyword,
    ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.IfExp,
    ast.NamedExpr, ast.List, ast.Tuple, ast.Dict, ast.Set,
    ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp,
    ast.comprehension, ast.JoinedStr, ast.FormattedValue,
    ast.expr_context, ast.operator, ast.unaryop, ast.boolop, ast.cmpop,
)  # fmt: skip
_CONSTANTS = (int, float, str, bool, type(None))


def check(tree: ast.Module) -> None:
    """Raises `Refused` for the first thing that is not allowed."""
    for node in ast.walk(tree):
        found = None
        if not isinstance(node, _NODES):
            found = type(node).__name__
        elif isinstance(node, ast.Constant):
            if not isinstance(node.value, _CONSTANTS):
                found = f"a constant of type {type(node.value).__name__}"
        elif isinstance(node, ast.Attribute) and node.attr.startswith("_"):
            found = f"the attribute {node.attr}"
        elif isinstance(node, ast.Name) and node.id.startswith("__"):
            if node.id != "__name__":
                found = f"the name {node.id}"
        elif isinstance(node, ast.FunctionDef) and node.decorator_list:
            found = "a decorator"
        elif isinstance(node, ast.Import):
            for alias in node.names:
                _check_module(alias.name, node)
        elif isinstance(node, ast.ImportFrom):
            _check_module("." * node.level + (node.module or ""), node)
        if found:
            raise Refused(f"not allowed: {found}", getattr(node, "lineno", 1))


def _check_module(name: str, node: ast.stmt) -> None:
    if name not in MODULES:
        raise Refused(f"not allowed: import of {name}", node.lineno)


# === Operators ===


def _bits(value: object) -> int:
    if isinstance(value, int):
        return value.bit_length()
    if isinstance(value, fractions.Fraction):
        return value.numerator.bit_length() + value.denominator.bit_length()
    return 0


def _bounded(bits: int) -> None:
    if bits > MAX_BITS:
        raise Refused(f"a number of more than {MAX_BITS:,} bits")


def _power(base: Any, exponent: Any, modulus: Any = None) -> Any:
    if modulus is not None:
        return pow(base, exponent, modulus)
    if isinstance(exponent, int) and _bits(base) > 1:
        _bounded(_bits(base) * abs(exponent))
    return base**exponent


def _multiply(left: Any, right: Any) -> Any:
    if _bits(left) and _bits(right):
        _bounded(_bits(left) + _bits(right))
    return left * right


def _shift(value: Any, places: Any) -> Any:
    _bounded(_bits(value) + max(places, 0))
    return value << places


def _factorial(n: Any) -> int:
    if isinstance(n, int) and n > 5000:
        raise Refused(f"a number of more than {MAX_BITS:,} bits")
    return math.factorial(n)


BINARY: dict[type[ast.operator], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: _multiply,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: _power,
    ast.LShift: _shift,
    ast.RShift: operator.rshift,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
}
UNARY = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
    ast.Not: operator.not_,
    ast.Invert: operator.invert,
}
COMPARE = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
    ast.In: lambda item, container: item in container,
    ast.NotIn: lambda item, container: item not in container,
}

# === Functions ===

_TYPES = (bool, dict, float, frozenset, int, list, set, str, tuple)
FUNCTIONS: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        *_TYPES, abs, all, any, bin, chr, divmod, enumerate, filter, format,
        hex, isinstance, iter, len, map, max, min, next, oct, ord, range,
        repr, reversed, round, slice, sorted, sum, zip,
    )
}  # fmt: skip
FUNCTIONS["pow"] = _power

_DATE = (
    "year month day weekday isoweekday isoformat strftime replace toordinal "
    "fromisoformat fromordinal ctime"
)
# Which attributes a value of each type has; `str.format` is not among them,
# because its fields walk from attribute to attribute.
ATTRIBUTES = {
    kind: frozenset(names.split())
    for kind, names in {
        str: "capitalize casefold center count endswith expandtabs find "
        "index isalnum isalpha isascii isdecimal isdigit isidentifier "
        "islower isnumeric isprintable isspace istitle isupper join ljust "
        "lower lstrip partition removeprefix removesuffix replace rfind "
        "rindex rjust rpartition rsplit rstrip split splitlines startswith "
        "strip swapcase title upper zfill",
        int: "bit_length numerator denominator",
        float: "is_integer",
        list: "append clear copy count extend index insert pop remove "
        "reverse sort",
        tuple: "count index",
        dict: "clear copy fromkeys get items keys pop popitem setdefault "
        "update values",
        set: "add clear copy difference difference_update discard "
        "intersection isdisjoint issubset issuperset pop remove "
        "symmetric_difference union update",
        frozenset: "difference intersection isdisjoint issubset issuperset "
        "symmetric_difference union",
        range: "count index start stop step",
        fractions.Fraction: "numerator denominator limit_denominator",
        datetime.date: _DATE,
        datetime.datetime: _DATE + " hour minute second date strptime",
        datetime.timedelta: "days seconds total_seconds",
        collections.Counter: "clear copy elements get items keys "
        "most_common pop setdefault subtract update values",
        collections.defaultdict: "clear copy get items keys pop setdefault "
        "update values",
        collections.deque: "append appendleft clear copy count extend "
        "extendleft index insert pop popleft remove reverse rotate",
    }.items()
}


def attribute(value: Any, name: str) -> Any:
    """Returns `value.name`; a type has the methods of its values."""
    if isinstance(value, Namespace):
        if name in value.names:
            return value.names[name]
        raise Refused(f"{value.name} has no {name} here")
    kind = value if isinstance(value, type) else type(value)
    if name in ATTRIBUTES.get(kind, ()):
        return getattr(value, name)
    raise Refused(f"not allowed: {name} of a value of type {kind.__name__}")


# === Modules ===


class Namespace:
    """A module as a program sees it."""

    __slots__ = ("name", "names")

    def __init__(self, name: str, names: dict[str, Any]):
        self.name = name
        self.names = names


def _some(module: ModuleType, names: str) -> dict[str, Any]:
    return {name: getattr(module, name) for name in names.split()}


_MATH = {k: v for k, v in vars(math).items() if not k.startswith("_")}
MODULES = {
    name: Namespace(name, names)
    for name, names in {
        "math": {**_MATH, "factorial": _factorial},
        "fractions": _some(fractions, "Fraction"),
        "statistics": _some(
            statistics,
            "fmean geometric_mean harmonic_mean mean median median_high "
            "median_low mode multimode pstdev pvariance stdev variance",
        ),
        "itertools": _some(
            itertools,
            "accumulate chain combinations combinations_with_replacement "
            "count cycle dropwhile groupby islice permutations product "
            "repeat starmap takewhile zip_longest",
        ),
        "collections": _some(collections, "Counter defaultdict deque"),
        "functools": _some(functools, "reduce"),
        "datetime": _some(datetime, "date datetime timedelta"),
        # Annotations are never evaluated: only the names must exist.
        "typing": dict.fromkeys(
            ("Any", "Dict", "List", "Optional", "Set", "Tuple", "Union")
        ),
    }.items()
}
