"""Sums, products and powers of algebraic expressions.

Like terms and factors are collected; numbers are exact until a float joins
them.

This module runs in the sandbox: it imports the standard library alone.
"""

import math
from collections.abc import Iterable
from fractions import Fraction

from language import Refused, bounded  # type: ignore[import-not-found]
from symbols.magnitudes import is_positive  # type: ignore[import-not-found]
from symbols.terms import (  # type: ignore[import-not-found]
    HALF,
    ONE,
    ZERO,
    Expression,
    I,
    Number,
    Product,
    Sum,
    Value,
    is_one,
)

_MAX_RADICAL = 10**24


def add(items: Iterable[Expression]) -> Expression:
    """Returns a sum whose like terms are collected."""
    made: dict[Expression, Value] = {}
    for item in items:
        for term, coefficient in item.terms():
            made[term] = made.get(term, 0) + coefficient
    made = {term: number for term, number in made.items() if number != 0}
    if not made:
        return ZERO
    if len(made) == 1:
        [(term, coefficient)] = made.items()
        return _scaled(term, coefficient)
    for number in made.values():
        Number(number)  # bounded
    return Sum(made)


def _scaled(term: Expression, by: Value) -> Expression:
    coefficient, factors = term.factors()
    return _product(coefficient * by, dict(factors))


def _product(
    coefficient: Value, factors: dict[Expression, Expression]
) -> Expression:
    """Returns a product whose factors are collected already."""
    if coefficient == 0:
        return ZERO
    if not factors:
        return Number(coefficient)
    if len(factors) == 1:
        [(base, exponent)] = factors.items()
        if exponent == ONE:
            if is_one(coefficient):
                return base
            if isinstance(base, Sum):
                # 2*(x + 1) is 2*x + 2.
                return Sum(
                    {
                        term: Number(number * coefficient).value
                        for term, number in base.items.items()
                    }
                )
    Number(coefficient)  # bounded
    return Product(coefficient, factors)


def multiply(items: Iterable[Expression]) -> Expression:
    """Returns a product whose like factors are collected."""
    coefficient: Value = Fraction(1)
    made: dict[Expression, Expression] = {}
    for item in items:
        number, factors = item.factors()
        coefficient = Number(coefficient * number).value
        for base, exponent in factors:
            made[base] = (
                add((made[base], exponent)) if base in made else exponent
            )
    if coefficient == 0:
        return ZERO
    radical = Fraction(1)
    for base, exponent in list(made.items()):
        if exponent == 0:
            del made[base]
        elif base is I or isinstance(base, (Number, Product)):
            # Roots of numbers may be numbers again; I**2 is -1.
            del made[base]
            if isinstance(base, Number) and exponent == HALF:
                radical *= Fraction(base.value)
                continue
            number, factors = power(base, exponent).factors()
            coefficient = coefficient * number
            made.update(factors)
    if radical != 1:
        number, factors = numeric_power(Number(radical), HALF).factors()
        coefficient = coefficient * number
        made.update(factors)
    return _product(coefficient, made)


def power(base: Expression, exponent: Expression) -> Expression:
    """Returns a power, of a product as a product of powers."""
    if exponent == 0:
        return ONE
    if exponent == 1:
        return base
    if not isinstance(exponent, Number):
        return Product(Fraction(1), {base: exponent})
    if isinstance(base, Number):
        return numeric_power(base, exponent)
    whole = _is_whole(exponent)
    if base is I and whole:
        turns = int(exponent.value) % 4
        sign = Fraction(-1 if turns > 1 else 1)
        return _product(sign, {I: ONE} if turns % 2 else {})
    if not isinstance(base, Product):
        return Product(Fraction(1), {base: exponent})
    parts: list[Expression] = []
    left: dict[Expression, Expression] = {}
    coefficient = base.coefficient
    if whole or coefficient > 0:
        parts.append(power(Number(coefficient), exponent))
        coefficient = Fraction(1)
    for inner, own in base.items.items():
        if whole or is_positive(inner):
            parts.append(power(inner, multiply((own, exponent))))
        else:
            left[inner] = own
    if left or coefficient != 1:
        rest = _product(coefficient, left)
        if isinstance(rest, Number):
            parts.append(power(rest, exponent))
        else:
            parts.append(Product(Fraction(1), {rest: exponent}))
    return multiply(parts)


def _is_whole(number: Number) -> bool:
    exact = number.value
    return isinstance(exact, Fraction) and exact.denominator == 1


def numeric_power(base: Number, exponent: Number) -> Expression:
    """Returns a power of numbers: exact if both are, with roots in it."""
    low, high = base.value, exponent.value
    if low == 0 and high < 0:
        raise ZeroDivisionError("division by zero")
    if isinstance(low, float) or isinstance(high, float):
        made = complex(low) ** complex(high) if low < 0 else low**high
        if isinstance(made, complex):
            if abs(made.imag) > 1e-12 * abs(made):
                raise Refused("a number that is not real")
            made = made.real
        return Number(float(made))
    size = low.numerator.bit_length() + low.denominator.bit_length()
    if low not in (0, 1, -1):
        bounded(size * abs(high.numerator))
    raised, root = low**high.numerator, high.denominator
    if root == 1:
        return Number(raised)
    if raised < 0:
        if root == 2:
            return multiply((I, numeric_power(Number(-raised), HALF)))
        return Product(Fraction(1), {Number(raised): Number(Fraction(1, root))})
    bounded(raised.denominator.bit_length() * root)
    outer, inner = _root(
        raised.numerator * raised.denominator ** (root - 1), root
    )
    coefficient = Fraction(outer, raised.denominator)
    if inner == 1:
        return Number(coefficient)
    return Product(coefficient, {Number(inner): Number(Fraction(1, root))})


def _root(number: int, root: int) -> tuple[int, int]:
    """Returns a, b with a**root * b == number, a as large as is found."""
    outer, inner, prime = 1, number, 2
    while prime**root <= inner and prime < 10_000:
        step = prime**root
        while inner % step == 0:
            inner //= step
            outer *= prime
        prime += 1
    if inner < _MAX_RADICAL:
        whole = round(inner ** (1 / root))
        if whole**root == inner:
            return outer * whole, 1
    elif root == 2 and math.isqrt(inner) ** 2 == inner:
        return outer * math.isqrt(inner), 1
    return outer, inner
