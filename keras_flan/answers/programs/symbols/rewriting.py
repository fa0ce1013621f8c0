"""Algebraic expressions with others, or floats, put for their parts.

This module runs in the sandbox: it imports the standard library alone.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from symbols.arithmetic import add, multiply, power  # type: ignore[import-not-found]
from symbols.magnitudes import approximate  # type: ignore[import-not-found]
from symbols.polynomials import Atoms  # type: ignore[import-not-found]
from symbols.terms import Equation, Expression, I, Number, Product, Sum, Symbol  # type: ignore[import-not-found]


def free_symbols(of: Any) -> set[Symbol]:
    """Returns the symbols of an expression that are no constants."""
    if isinstance(of, Symbol):
        return {of} if of.constant is None else set()
    if isinstance(of, Equation):
        return free_symbols(of.left) | free_symbols(of.right)
    found: set[Symbol] = set()
    if isinstance(of, (Sum, Product)):
        for part, other in of.items.items():
            found |= free_symbols(part) | free_symbols(other)
    return found


def substitute(of: Any, values: Mapping[Expression, Any]) -> Any:
    """Returns an expression with others put for some of its parts."""
    if of in values:
        return values[of]
    if isinstance(of, Equation):
        return Equation(
            substitute(of.left, values), substitute(of.right, values)
        )
    if isinstance(of, Sum):
        return add(
            multiply((Number(number), substitute(term, values)))
            for term, number in of.items.items()
        )
    if isinstance(of, Product):
        parts = [
            power(substitute(base, values), substitute(exponent, values))
            for base, exponent in of.items.items()
        ]
        return multiply((Number(of.coefficient), *parts))
    return of


def floated(of: Expression, whole: bool = True) -> Expression:
    """Returns an expression whose numbers are floats of 15 digits.

    Args:
        of: The expression.
        whole: Make whole coefficients floats, too.
    """
    number = approximate(of)
    if number is not None:
        if not whole and isinstance(of, Number) and of == int(of):
            return of
        real = Number(number.real)
        if abs(number.imag) <= 1e-12 * abs(number):
            return real
        return add((real, multiply((I, Number(number.imag)))))
    if isinstance(of, Sum):
        return add(
            multiply((floated(Number(number), whole), floated(term, whole)))
            if abs(number) != 1 or term == 1
            else multiply((Number(number), floated(term, whole)))
            for term, number in of.items.items()
        )
    if isinstance(of, Product):
        coefficient = of.coefficient
        if coefficient not in (1, -1) and (whole or coefficient % 1):
            coefficient = float(coefficient)
        parts = []
        for base, exponent in of.items.items():
            inner = base
            if isinstance(base, (Sum, Product)):
                inner = floated(base, whole)
            if isinstance(base, Number):
                inner = Number(float(base.value))
            parts.append(power(inner, exponent))
        return multiply((Number(coefficient), *parts))
    return of


def simplified(of: Expression) -> Expression:
    """Returns an expression as one fraction if that is shorter."""
    atoms = Atoms()
    forms: Iterable[Expression] = [
        atoms.fraction(atoms.quotient(of)),
        atoms.expression(atoms.polynomial(of)),
    ]
    if atoms.had_float:
        forms = [floated(form, whole=False) for form in forms]
    return min([*forms, of], key=lambda form: form.size)
