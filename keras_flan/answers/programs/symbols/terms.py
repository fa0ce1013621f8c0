"""The parts of algebraic expressions: numbers, symbols, sums and products.

What `sympy` has, in a small and bounded form of this package. Operators and
text are given to these classes by `operations.py`.

This module runs in the sandbox: it imports the standard library alone.
"""

import decimal
import fractions
import math
from collections.abc import Iterable
from fractions import Fraction
from typing import Any, TypeAlias

from language import Refused, bounded  # type: ignore[import-not-found]

Value: TypeAlias = Fraction | float

MAX_SIZE = 5_000  # parts of an expression


class Expression:
    """A value with symbols in it, or a number of such a computation.

    Two expressions are equal if they have the same parts. `size` counts these.
    """

    __slots__ = ("_hash", "size")

    def _seal(self, parts: tuple[Any, ...], size: int) -> None:
        if size > MAX_SIZE:
            raise Refused(f"an expression of more than {MAX_SIZE:,} parts")
        self._hash = hash((type(self).__name__, *parts))
        self.size = size

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> Any:
        if self is other:
            return True
        made = convert(other)
        if made is NotImplemented:
            return NotImplemented
        if isinstance(self, Number) and isinstance(made, Number):
            return self.value == made.value
        return (
            type(self) is type(made)
            and self._hash == made._hash
            and self.parts() == made.parts()
        )

    def parts(self) -> tuple[Any, ...]:
        raise NotImplementedError

    def terms(self) -> Iterable[tuple["Expression", Value]]:
        """Yields (term, coefficient) of a sum; a number's term is 1."""
        return [(self, Fraction(1))]

    def factors(self) -> tuple[Value, Iterable[tuple["Expression", Any]]]:
        """Returns the coefficient and the (base, exponent) of a product."""
        return Fraction(1), [(self, ONE)]


class Number(Expression):
    """An exact number, or a float of 15 digits."""

    __slots__ = ("value",)

    def __init__(self, number: Value | int):
        if isinstance(number, float):
            if not math.isfinite(number):
                raise Refused("a number that is not finite")
        else:
            number = Fraction(number)
            bounded(number.numerator.bit_length())
            bounded(number.denominator.bit_length())
        self.value = number
        self.size = 1
        self._hash = hash(number)

    def parts(self) -> tuple[Any, ...]:
        return (self.value,)

    def terms(self) -> Iterable[tuple[Expression, Value]]:
        return [(ONE, self.value)]

    def factors(self) -> tuple[Value, Iterable[tuple[Expression, Any]]]:
        return self.value, []


class Symbol(Expression):
    """An unknown; or a constant such as pi, which has a value.

    Args:
        name: How it is written.
        constant: A constant's value; complex for I.
        **assumptions: `positive`, `negative`, `real`, `integer` ...
    """

    __slots__ = ("assumptions", "constant", "label")

    def __init__(
        self,
        name: str,
        constant: float | complex | None = None,
        **assumptions: bool,
    ):
        if not isinstance(name, str) or len(name) > 200:
            raise TypeError("name should be a string")
        self.label = name
        self.constant = constant
        self.assumptions = frozenset(k for k, v in assumptions.items() if v)
        self._seal(self.parts(), 1)

    def parts(self) -> tuple[Any, ...]:
        return self.label, self.assumptions


class Sum(Expression):
    """Terms with their coefficients."""

    __slots__ = ("items",)

    def __init__(self, items: dict[Expression, Value]):
        self.items = items
        parts = frozenset(items.items())
        self._seal((parts,), 1 + sum(term.size + 1 for term in items))

    def parts(self) -> tuple[Any, ...]:
        return (self.items,)

    def terms(self) -> Iterable[tuple[Expression, Value]]:
        return self.items.items()


class Product(Expression):
    """A coefficient, and bases with their exponents."""

    __slots__ = ("coefficient", "items")

    def __init__(self, coefficient: Value, items: dict[Expression, Expression]):
        self.coefficient = coefficient
        self.items = items
        parts = frozenset(items.items())
        size = sum(
            base.size + exponent.size for base, exponent in items.items()
        )
        self._seal((coefficient, parts), 1 + size)

    def parts(self) -> tuple[Any, ...]:
        return self.coefficient, self.items

    def terms(self) -> Iterable[tuple[Expression, Value]]:
        if is_one(self.coefficient):
            return [(self, self.coefficient)]
        return [(self.alone(), self.coefficient)]

    def factors(self) -> tuple[Value, Iterable[tuple[Expression, Any]]]:
        return self.coefficient, self.items.items()

    def alone(self) -> Expression:
        """Returns the factors without the coefficient."""
        if len(self.items) == 1:
            [(base, exponent)] = self.items.items()
            if exponent == ONE:
                return base
        return Product(Fraction(1), self.items)


class Equation(Expression):
    """Two sides that are equal."""

    __slots__ = ("left", "right")

    def __init__(self, left: Expression, right: Expression):
        self.left = left
        self.right = right
        self._seal(self.parts(), left.size + right.size)

    def parts(self) -> tuple[Any, ...]:
        return self.left, self.right


ONE, MINUS, HALF = Number(1), Number(-1), Number(Fraction(1, 2))
ZERO = Number(0)
PI = Symbol("pi", math.pi, positive=True)
E = Symbol("E", math.e, positive=True)
I = Symbol("I", 1j)  # noqa: E741


def convert(other: Any) -> Any:
    """Returns a number as an expression; `NotImplemented` for all else."""
    if isinstance(other, Expression):
        return other
    if isinstance(other, (int, fractions.Fraction)):
        return Number(Fraction(other))
    if isinstance(other, (float, decimal.Decimal)):
        return Number(float(other))
    return NotImplemented


def is_one(number: Value) -> bool:
    """Returns whether a coefficient is an exact 1; `sympy` writes 1.0*x."""
    return number == 1 and not isinstance(number, float)
