"""The values of one unknown for which an expression is zero.

This module runs in the sandbox: it imports the standard library alone.
"""

import math
from collections.abc import Iterator
from fractions import Fraction
from typing import TypeAlias

from language import Refused  # type: ignore[import-not-found]
from symbols.arithmetic import add, multiply, power  # type: ignore[import-not-found]
from symbols.magnitudes import approximate, is_positive, numeric  # type: ignore[import-not-found]
from symbols.polynomials import (  # type: ignore[import-not-found]
    Atoms,
    Polynomial,
    Quotient,
    by_degree,
    cancelled,
    places,
    plus,
    scaled,
    times,
)
from symbols.rewriting import floated, free_symbols, substitute  # type: ignore[import-not-found]
from symbols.roots import order, roots  # type: ignore[import-not-found]
from symbols.terms import HALF, MINUS, Expression, Number, Symbol  # type: ignore[import-not-found]

Solution: TypeAlias = dict[Expression, Expression]


def solve_one(side: Expression, unknown: Symbol) -> list[Expression]:
    """Returns the values of a symbol for which an expression is zero."""
    atoms = Atoms()
    quotient = atoms.quotient(side)
    place = atoms.place(unknown)
    hidden = [
        at
        for at, atom in enumerate(atoms.all)
        if at != place and unknown in free_symbols(atom)
    ]
    if hidden:
        found = _uncovered(atoms, quotient, hidden, unknown)
    else:
        found = list(polynomial_roots(atoms, zero_of(quotient), place))
    fit = [root for root in found if fits(root, unknown)]
    kept = [
        root
        for root in fit
        if not divides_by_zero(atoms, quotient, {unknown: root})
    ]
    if atoms.had_float:
        return sorted(map(floated, kept), key=order)
    return kept


def zero_of(quotient: Quotient) -> Polynomial:
    """Returns the polynomial that is zero where a quotient is."""
    number, above, shared, _ = cancelled(quotient)
    kept = tuple(pair for pair in shared if pair[1] > 0)
    return times(above, {kept: Fraction(1)}) if number else {}


def divides_by_zero(
    atoms: Atoms, quotient: Quotient, solution: Solution
) -> bool:
    """Returns whether a denominator is zero where the unknowns are found."""
    for factor, _ in quotient.below:
        if len(factor) > 1 or places(factor):
            at = substitute(atoms.expression(factor), solution)
            number = approximate(at)
            if number is not None and abs(number) < 1e-12:
                return True
    return False


def polynomial_roots(
    atoms: Atoms, of: Polynomial, place: int
) -> Iterator[Expression]:
    """Yields the values of one atom for which a polynomial is zero."""
    parts = by_degree(of, place)
    degree = max(parts, default=0)
    if degree == 0:
        return
    if not any(places(part) for part in parts.values()):
        numbers = [
            parts.get(n, {}).get((), Fraction(0)) for n in range(degree + 1)
        ]
        yield from roots(numbers)
        return
    if degree == 1:
        below = [(parts[1], 1)]
        yield atoms.fraction(
            Quotient(scaled(parts.get(0, {}), Fraction(-1)), below)
        )
        return
    low = min(parts)
    if low:
        yield Number(0)
        lower = {n - low: part for n, part in parts.items()}
        parts, degree = lower, degree - low
    if set(parts) == {0, degree}:
        ratio = atoms.fraction(
            Quotient(scaled(parts[0], Fraction(-1)), [(parts[degree], 1)])
        )
        root = power(ratio, Number(Fraction(1, degree)))
        yield from (
            [multiply((MINUS, root)), root] if degree % 2 == 0 else [root]
        )
    elif degree == 2:
        c, b, a = (parts.get(n, {}) for n in range(3))
        inside = plus(times(b, b), times(a, c), -4)
        root = power(atoms.expression(inside), HALF)
        below = power(atoms.expression(scaled(a, Fraction(2))), MINUS)
        for sign in (-1, 1):
            top = add(
                (
                    atoms.expression(scaled(b, Fraction(-1))),
                    multiply((Number(sign), root)),
                )
            )
            yield multiply((top, below))
    else:
        raise Refused("can't solve an equation of this form")


def _uncovered(
    atoms: Atoms, quotient: Quotient, hidden: list[int], unknown: Symbol
) -> list[Expression]:
    """Solves for the one power that hides the unknown, and then for it."""
    side = zero_of(quotient)
    bases = {atom: atoms.all[atom] for atom in hidden}
    if len(hidden) != 1 or atoms.place(unknown) in places(side):
        raise Refused("can't solve an equation of this form")
    [(place, atom)] = bases.items()
    found: list[Expression] = []
    for value in polynomial_roots(atoms, side, place):
        for base, exponent in atom.factors()[1]:
            number = numeric(value)
            if unknown not in free_symbols(exponent):
                inner = power(value, power(exponent, MINUS))
                if number is None or number >= 0:
                    found += solve_one(
                        add((base, multiply((MINUS, inner)))), unknown
                    )
            elif not numeric(base):
                raise Refused("can't solve an equation of this form")
            elif number is not None and number > 0:
                atoms.had_float = True
                log = math.log(number) / math.log(float(numeric(base)))
                found += solve_one(add((exponent, Number(-log))), unknown)
    return found


def fits(root: Expression, unknown: Symbol) -> bool:
    """Returns whether a value is one that a symbol may have."""
    assumed = unknown.assumptions
    if not assumed:
        return True
    number = approximate(root)
    if number is None:
        below = is_positive(multiply((MINUS, root)))
        above = is_positive(root)
        return not (
            (below and assumed & {"positive", "nonnegative"})
            or (above and assumed & {"negative", "nonpositive"})
        )
    if abs(number.imag) > 1e-12 * abs(number):
        return assumed.isdisjoint(
            {"real", "positive", "negative", "integer", "nonnegative"}
        )
    real = number.real
    return not (
        ("positive" in assumed and real <= 0)
        or ("negative" in assumed and real >= 0)
        or ("nonnegative" in assumed and real < 0)
        or ("nonzero" in assumed and real == 0)
        or ("integer" in assumed and abs(real - round(real)) > 1e-9)
    )
