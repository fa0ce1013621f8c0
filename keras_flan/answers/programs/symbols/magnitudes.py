"""How large an algebraic expression is, if it is a number.

This module runs in the sandbox: it imports the standard library alone.
"""

import math
from fractions import Fraction

from symbols.terms import (  # type: ignore[import-not-found]
    HALF,
    Equation,
    Expression,
    Number,
    Product,
    Sum,
    Symbol,
    Value,
)


def value(of: Expression) -> Value:
    """Returns the number that an expression is.

    Raises:
        TypeError: If it has symbols.
    """
    found = numeric(of)
    if found is None:
        raise TypeError("cannot convert an expression with symbols to a number")
    return found


def numeric(of: Expression) -> Value | None:
    """Returns an expression's value if it is a real number, or None."""
    if isinstance(of, Number):
        return of.value
    found = approximate(of)
    if found is None or abs(found.imag) > 1e-12 * abs(found):
        return None
    return found.real


def approximate(of: Expression) -> complex | None:
    """Returns a number's value as a complex float; None with symbols."""
    if isinstance(of, Number):
        return complex(of.value)
    if isinstance(of, Symbol):
        return None if of.constant is None else complex(of.constant)
    if isinstance(of, Equation):
        return None
    precise = _precise(of)
    if precise is not None:
        return complex(float(precise))
    whole = isinstance(of, Product)
    total = complex(of.coefficient) if isinstance(of, Product) else 0j
    for part, other in of.items.items():
        first = approximate(part)
        second = approximate(other) if whole else complex(other)
        if first is None or second is None:
            return None
        total = total * first**second if whole else total + first * second
    return total


def _precise(of: Expression) -> Fraction | None:
    """Returns a number with square roots in it to 40 digits, or None."""
    if isinstance(of, Number):
        return of.value if isinstance(of.value, Fraction) else None
    if isinstance(of, Sum):
        total = Fraction(0)
        for term, number in of.items.items():
            part = _precise(term)
            if part is None or isinstance(number, float):
                return None
            total += number * part
        return total
    if not isinstance(of, Product) or isinstance(of.coefficient, float):
        return None
    made = of.coefficient
    for base, exponent in of.items.items():
        inside = _precise(base)
        if inside is None or inside < 0 or exponent != HALF:
            return None
        scale = 10**40
        below = inside.denominator
        made *= Fraction(
            math.isqrt(inside.numerator * below * scale**2), below * scale
        )
    return made


def is_positive(of: Expression) -> bool:
    """Returns whether an expression is known to be more than zero."""
    if isinstance(of, Number):
        return of.value > 0
    if isinstance(of, Symbol):
        return "positive" in of.assumptions
    if isinstance(of, Sum):
        return all(n > 0 and is_positive(term) for term, n in of.items.items())
    if isinstance(of, Product):
        return of.coefficient > 0 and all(map(is_positive, of.items))
    return False
