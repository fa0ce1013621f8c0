"""The operators of a program; what they make is bounded.

This module runs in the sandbox: it imports the standard library alone.
"""

import ast
import fractions
import math
import operator
from collections.abc import Callable
from typing import Any, TypeAlias

from language import Refused, bounded  # type: ignore[import-not-found]

Operate: TypeAlias = Callable[..., Any]


def _bits(value: object) -> int:
    if isinstance(value, int):
        return value.bit_length()
    if isinstance(value, fractions.Fraction):
        return value.numerator.bit_length() + value.denominator.bit_length()
    return 0


def power(base: Any, exp: Any, mod: Any = None) -> Any:
    """`pow`, of numbers that are not too large."""
    if mod is not None:
        return pow(base, exp, mod)
    if isinstance(exp, int) and _bits(base) > 1:
        bounded(_bits(base) * abs(exp))
    return base**exp


def multiply(left: Any, right: Any) -> Any:
    """`*`, of numbers that are not too large."""
    if _bits(left) and _bits(right):
        bounded(_bits(left) + _bits(right))
    return left * right


def _multiply_in_place(left: Any, right: Any) -> Any:
    if isinstance(left, (int, float, fractions.Fraction)):
        return multiply(left, right)
    return operator.imul(left, right)


def _shift(value: Any, places: Any) -> Any:
    if isinstance(value, int) and isinstance(places, int):
        bounded(_bits(value) + max(places, 0))
    return value << places


def factorial(n: Any) -> int:
    """`math.factorial`, up to 5,000."""
    if isinstance(n, int):
        bounded(n if n <= 5000 else n * 64)
    return math.factorial(n)


def refuse_operator(operator: ast.operator) -> Operate:
    """Returns what refuses an operator when it is used."""

    def refuse(left: Any, right: Any) -> None:
        raise Refused(f"not allowed: the operator {type(operator).__name__}")

    return refuse


BINARY: dict[type[ast.operator], Operate] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: multiply,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: power,
    ast.LShift: _shift,
    ast.RShift: operator.rshift,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
}
# Lists, sets, dicts and deques change in place: other names of them see it.
IN_PLACE: dict[type[ast.operator], Operate] = {
    **BINARY,
    ast.Add: operator.iadd,
    ast.Sub: operator.isub,
    ast.Mult: _multiply_in_place,
    ast.BitAnd: operator.iand,
    ast.BitOr: operator.ior,
    ast.BitXor: operator.ixor,
}
UNARY: dict[type[ast.unaryop], Operate] = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
    ast.Not: operator.not_,
    ast.Invert: operator.invert,
}
COMPARE: dict[type[ast.cmpop], Operate] = {
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
