"""The operators and the text of algebraic expressions.

They are given to the classes of `terms.py` here, so that each module knows
those below it only.

This module runs in the sandbox: it imports the standard library alone.
"""

import math
from fractions import Fraction
from typing import Any

from symbols.arithmetic import add, multiply, power  # type: ignore[import-not-found]
from symbols.magnitudes import numeric, value  # type: ignore[import-not-found]
from symbols.notation import write  # type: ignore[import-not-found]
from symbols.terms import MINUS, Equation, Expression, Number, convert  # type: ignore[import-not-found]


def _with(one: Expression, other: Any, operate: Any) -> Any:
    made = convert(other)
    if made is NotImplemented:
        return made
    if isinstance(one, Equation) or isinstance(made, Equation):
        raise TypeError("an equation is no number")
    return operate(one, made)


class _Operations:
    """What `Expression` gets: never an object of its own."""

    # === Operators ===

    def __add__(self, other: Any) -> Any:
        return _with(self, other, lambda a, b: add((a, b)))

    def __radd__(self, other: Any) -> Any:
        return _with(self, other, lambda a, b: add((b, a)))

    def __sub__(self, other: Any) -> Any:
        return _with(self, other, lambda a, b: add((a, multiply((MINUS, b)))))

    def __rsub__(self, other: Any) -> Any:
        return _with(self, other, lambda a, b: add((b, multiply((MINUS, a)))))

    def __mul__(self, other: Any) -> Any:
        return _with(self, other, lambda a, b: multiply((a, b)))

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Any:
        return _with(self, other, lambda a, b: multiply((a, power(b, MINUS))))

    def __rtruediv__(self, other: Any) -> Any:
        return _with(self, other, lambda a, b: multiply((b, power(a, MINUS))))

    def __pow__(self, other: Any) -> Any:
        return _with(self, other, power)

    def __rpow__(self, other: Any) -> Any:
        return _with(self, other, lambda a, b: power(b, a))

    def __floordiv__(self, other: Any) -> Any:
        return _with(self, other, lambda a, b: Number(value(a) // value(b)))

    def __rfloordiv__(self, other: Any) -> Any:
        return _with(self, other, lambda a, b: Number(value(b) // value(a)))

    def __mod__(self, other: Any) -> Any:
        return _with(self, other, lambda a, b: Number(value(a) % value(b)))

    def __rmod__(self, other: Any) -> Any:
        return _with(self, other, lambda a, b: Number(value(b) % value(a)))

    def __neg__(self) -> Any:
        return multiply((MINUS, self))

    def __pos__(self) -> Any:
        return self

    def __abs__(self) -> Any:
        return Number(abs(value(self)))

    def __lt__(self, other: Any) -> Any:
        return _with(self, other, lambda a, b: value(a) < value(b))

    def __le__(self, other: Any) -> Any:
        return _with(self, other, lambda a, b: value(a) <= value(b))

    def __gt__(self, other: Any) -> Any:
        return _with(self, other, lambda a, b: value(a) > value(b))

    def __ge__(self, other: Any) -> Any:
        return _with(self, other, lambda a, b: value(a) >= value(b))

    # === As numbers and text ===

    def __bool__(self) -> bool:
        return not (isinstance(self, Number) and self.value == 0)

    def __float__(self) -> float:
        return float(value(self))

    def __int__(self) -> int:
        return int(value(self))

    def __trunc__(self) -> int:
        return int(value(self))

    def __floor__(self) -> "Number":
        return Number(Fraction(math.floor(value(self))))

    def __ceil__(self) -> "Number":
        return Number(Fraction(math.ceil(value(self))))

    def __round__(self, digits: int | None = None) -> Any:
        exact = value(self)
        if digits is None:
            return Number(Fraction(round(exact)))
        if isinstance(exact, Fraction) and exact.denominator == 1:
            return Number(Fraction(round(exact, digits)))
        return round(float(exact), digits)

    def __index__(self) -> int:
        exact = value(self)
        if not isinstance(exact, Fraction) or exact.denominator != 1:
            raise TypeError("expected a whole number")
        return exact.numerator

    def __repr__(self) -> str:
        text: str = write(self)
        return text

    def __format__(self, spec: str) -> str:
        if not spec:
            return str(self)
        exact = numeric(self)
        if exact is None:
            return format(str(self), spec)
        if isinstance(exact, Fraction) and exact.denominator == 1:
            return format(exact.numerator, spec)
        return format(float(exact), spec)


for _name, _method in vars(_Operations).items():
    if _name.startswith("__") and callable(_method):
        setattr(Expression, _name, _method)
