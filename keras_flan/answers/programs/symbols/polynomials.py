"""Polynomials and their quotients: what equations are solved with.

A polynomial maps monomials to coefficients; a monomial is a sorted tuple of
(place, exponent), where a place numbers one of the `Atoms`: symbols, and
whatever else is taken for one, such as sqrt(x). Coefficients are exact.

This module runs in the sandbox: it imports the standard library alone.
"""

import math
from fractions import Fraction
from typing import NamedTuple, TypeAlias

from language import Refused, bounded  # type: ignore[import-not-found]
from symbols.arithmetic import add, multiply, power  # type: ignore[import-not-found]
from symbols.terms import Expression, Number, Product, Sum, Value  # type: ignore[import-not-found]

Monomial: TypeAlias = tuple[tuple[int, int], ...]
Polynomial: TypeAlias = dict[Monomial, Fraction]

MAX_TERMS = 2_000
MAX_DEGREE = 200


class Quotient(NamedTuple):
    """A numerator, and the factors of the denominator with exponents."""

    above: Polynomial
    below: list[tuple[Polynomial, int]]


def constant(number: Fraction | int) -> Polynomial:
    """Returns a number as a polynomial; zero has no terms."""
    return {(): Fraction(number)} if number else {}


def plus(one: Polynomial, other: Polynomial, times: int = 1) -> Polynomial:
    """Returns `one + times * other`."""
    made = dict(one)
    for monomial, number in other.items():
        made[monomial] = made.get(monomial, Fraction(0)) + times * number
    return {monomial: number for monomial, number in made.items() if number}


def times(one: Polynomial, other: Polynomial) -> Polynomial:
    """Returns the product, which has no more than `MAX_TERMS` terms."""
    if len(one) * len(other) > 50 * MAX_TERMS:
        raise Refused(f"a polynomial of more than {MAX_TERMS:,} terms")
    made: Polynomial = {}
    for first, a in one.items():
        for second, b in other.items():
            key = merge(first, second)
            made[key] = made.get(key, Fraction(0)) + a * b
    if len(made) > MAX_TERMS:
        raise Refused(f"a polynomial of more than {MAX_TERMS:,} terms")
    for number in made.values():
        bounded(number.numerator.bit_length())
        bounded(number.denominator.bit_length())
    return {monomial: number for monomial, number in made.items() if number}


def merge(one: Monomial, other: Monomial, sign: int = 1) -> Monomial:
    """Returns the product of two monomials, or their quotient."""
    if not one and sign == 1:
        return other
    made = dict(one)
    for place, exponent in other:
        made[place] = made.get(place, 0) + sign * exponent
        if abs(made[place]) > MAX_DEGREE:
            raise Refused(f"a polynomial of a degree above {MAX_DEGREE}")
    return tuple(sorted(pair for pair in made.items() if pair[1]))


def raised(base: Polynomial, exponent: int) -> Polynomial:
    """Returns a power, of no more than `MAX_DEGREE`."""
    if len(base) > 1 and exponent > MAX_DEGREE:
        raise Refused(f"a polynomial of a degree above {MAX_DEGREE}")
    made = constant(1)
    if len(base) == 1:
        [(monomial, number)] = base.items()
        bounded(
            (number.numerator.bit_length() + number.denominator.bit_length())
            * exponent
        )
        for _, own in monomial:
            if abs(own) * exponent > MAX_DEGREE:
                raise Refused(f"a polynomial of a degree above {MAX_DEGREE}")
        key = tuple((place, own * exponent) for place, own in monomial)
        return {key: number**exponent}
    for _ in range(exponent):
        made = times(made, base)
    return made


def by_degree(of: Polynomial, place: int) -> dict[int, Polynomial]:
    """Returns the coefficients of the powers of one atom."""
    made: dict[int, Polynomial] = {}
    for monomial, number in of.items():
        degree = dict(monomial).get(place, 0)
        rest = tuple(pair for pair in monomial if pair[0] != place)
        made.setdefault(degree, {})[rest] = number
    return made


def places(of: Polynomial) -> set[int]:
    """Returns the places of all atoms in it."""
    return {place for monomial in of for place, _ in monomial}


def content(of: Polynomial) -> tuple[Fraction, Monomial]:
    """Returns the number and the monomial that all terms share.

    The number has the sign of the first term in the order of its atoms.
    """
    if not of:
        return Fraction(1), ()
    above = math.gcd(*(number.numerator for number in of.values()))
    below = math.lcm(*(number.denominator for number in of.values()))
    lead = max(of, key=_order)
    number = Fraction(above if of[lead] > 0 else -above, below)
    shared: Monomial = ()
    for place in places(of):
        low = min(dict(monomial).get(place, 0) for monomial in of)
        if low:
            shared = merge(shared, ((place, low),))
    return number, shared


def _order(monomial: Monomial) -> list[tuple[int, int]]:
    return [(-place, exponent) for place, exponent in monomial]


def scaled(of: Polynomial, number: Fraction, by: Monomial = ()) -> Polynomial:
    """Returns `number * of / by`."""
    return {merge(m, by, -1): n * number for m, n in of.items()}


def divided(of: Polynomial, by: Polynomial) -> Polynomial | None:
    """Returns the quotient if a polynomial divides another, or None."""
    shared = places(by)
    if not shared or not of:
        return None
    place = min(shared)
    lowest = by_degree(by, place)
    degree = max(lowest)
    lead = lowest[degree]
    if degree == 0 or min(lowest) < 0:
        return None
    quotient: Polynomial = {}
    rest = dict(of)
    while rest:
        parts = by_degree(rest, place)
        top = max(parts)
        if top < degree or min(parts) < 0:
            return None
        if len(lead) == 1:
            [(monomial, number)] = lead.items()
            first: Polynomial | None = scaled(parts[top], 1 / number, monomial)
            if any(e < 0 for m in first or () for _, e in m):
                return None
        else:
            first = divided(parts[top], lead)
        if first is None:
            return None
        step = times(
            first, {((place, top - degree),) * (top > degree): Fraction(1)}
        )
        quotient = plus(quotient, step)
        rest = plus(rest, times(step, by), -1)
    return quotient


class Atoms:
    """The symbols of some expressions, numbered; and what was no polynomial."""

    def __init__(self) -> None:
        self.all: list[Expression] = []
        self._places: dict[Expression, int] = {}
        self.had_float = False

    def place(self, of: Expression) -> int:
        if of not in self._places:
            self._places[of] = len(self.all)
            self.all.append(of)
        return self._places[of]

    def exact(self, number: Value) -> Fraction:
        if isinstance(number, Fraction):
            return number
        self.had_float = True
        return rational(number)

    def polynomial(self, of: Expression) -> Polynomial:
        """Returns an expression multiplied out; other powers are atoms."""
        if isinstance(of, Number):
            return constant(self.exact(of.value))
        if isinstance(of, Sum):
            total: Polynomial = {}
            for term, number in of.items.items():
                part = self.polynomial(term)
                total = plus(total, scaled(part, self.exact(number)))
            return total
        if not isinstance(of, Product):
            return {((self.place(of), 1),): Fraction(1)}
        made = constant(self.exact(of.coefficient))
        for base, exponent in of.items.items():
            whole = _whole(exponent)
            if whole is None:
                atom = power(base, exponent)
                made = times(made, {((self.place(atom), 1),): Fraction(1)})
            elif isinstance(base, Sum) and whole < 0:
                key = ((self.place(base), whole),)
                made = times(made, {key: Fraction(1)})
            elif isinstance(base, Sum):
                made = times(made, raised(self.polynomial(base), whole))
            else:
                made = times(made, {((self.place(base), whole),): Fraction(1)})
        return made

    def quotient(self, of: Expression) -> Quotient:
        """Returns an expression as one fraction."""
        if isinstance(of, Sum):
            total = Quotient({}, [])
            for term, number in of.items.items():
                above, below = self.quotient(term)
                part = Quotient(scaled(above, self.exact(number)), below)
                total = _added(total, part)
            return total
        if not isinstance(of, Product):
            return Quotient(self.polynomial(of), [])
        made = Quotient(constant(self.exact(of.coefficient)), [])
        for base, exponent in of.items.items():
            whole = _whole(exponent)
            if whole is None:
                atom = self.polynomial(power(base, exponent))
                made = _multiplied(made, Quotient(atom, []))
                continue
            above, below = self.quotient(base)
            if whole < 0:
                if not above:
                    raise ZeroDivisionError("division by zero")
                top = constant(1)
                for factor, own in below:
                    top = times(top, raised(factor, own * -whole))
                part = Quotient(top, [(above, -whole)])
            else:
                part = Quotient(
                    raised(above, whole),
                    [(factor, own * whole) for factor, own in below],
                )
            made = _multiplied(made, part)
        return made

    def expression(self, of: Polynomial) -> Expression:
        """Returns a polynomial as an expression."""
        terms = []
        for monomial, number in of.items():
            parts = [Number(number)]
            for place, exponent in monomial:
                parts.append(power(self.all[place], Number(exponent)))
            terms.append(multiply(parts))
        return add(terms)

    def fraction(self, of: Quotient) -> Expression:
        """Returns a quotient as an expression, cancelled."""
        number, above, shared, below = cancelled(of)
        if self.had_float:
            # Only exact numbers are put before a bracket.
            above, number = scaled(above, number), Fraction(1)
        parts = [self.expression({shared: number}), self.expression(above)]
        for factor, exponent in below:
            parts.append(power(self.expression(factor), Number(-exponent)))
        return multiply(parts)


def cancelled(
    of: Quotient,
) -> tuple[Fraction, Polynomial, Monomial, list[tuple[Polynomial, int]]]:
    """Returns number, numerator, monomial, denominators without shared parts.

    The monomial may have negative exponents.
    """
    number, shared = content(of.above)
    above = scaled(of.above, 1 / number, shared)
    if not of.above:
        return Fraction(0), constant(1), (), []
    left: list[tuple[Polynomial, int]] = []
    for factor, exponent in of.below:
        own, monomial = content(factor)
        number /= own**exponent
        for _ in range(exponent):
            shared = merge(shared, monomial, -1)
        factor = scaled(factor, 1 / own, monomial)
        while exponent and len(factor) > 1:
            quotient = divided(above, factor)
            if quotient is None:
                break
            above, exponent = quotient, exponent - 1
        if exponent and len(factor) > 1:
            left.append((factor, exponent))
    rest, monomial = content(above)
    above = scaled(above, 1 / rest, monomial)
    return number * rest, above, merge(shared, monomial), left


def _whole(exponent: Expression) -> int | None:
    if isinstance(exponent, Number):
        number = exponent.value
        if isinstance(number, float) and number.is_integer():
            number = Fraction(number)
        if isinstance(number, Fraction) and number.denominator == 1:
            return number.numerator
    return None


def _added(one: Quotient, other: Quotient) -> Quotient:
    """Adds two quotients over their least common denominator."""
    if not one.above:
        return other
    first, second = one.above, other.above
    below = list(one.below)
    theirs = list(other.below)
    for at, (factor, exponent) in enumerate(below):
        match = next((i for i, t in enumerate(theirs) if t[0] == factor), None)
        other_exponent = theirs.pop(match)[1] if match is not None else 0
        if exponent > other_exponent:
            second = times(second, raised(factor, exponent - other_exponent))
        elif other_exponent > exponent:
            first = times(first, raised(factor, other_exponent - exponent))
            below[at] = factor, other_exponent
    for factor, exponent in theirs:
        first = times(first, raised(factor, exponent))
        below.append((factor, exponent))
    return Quotient(plus(first, second), below)


def _multiplied(one: Quotient, other: Quotient) -> Quotient:
    below = list(one.below)
    for factor, exponent in other.below:
        for at, (mine, own) in enumerate(below):
            if mine == factor:
                below[at] = mine, own + exponent
                break
        else:
            below.append((factor, exponent))
    return Quotient(times(one.above, other.above), below)


def rational(number: float) -> Fraction:
    """Returns the simple fraction that a float stands for: 5/9, 0.1."""
    exact = Fraction(number)
    simple = exact.limit_denominator(1_000_000)
    if abs(simple - exact) <= abs(exact) * Fraction(1, 2**51):
        return simple
    return Fraction(repr(number))
