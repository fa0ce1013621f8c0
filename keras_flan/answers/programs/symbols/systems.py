"""Equations of several unknowns that hold together.

This module runs in the sandbox: it imports the standard library alone.
"""

from collections.abc import Iterator, Sequence
from fractions import Fraction

from language import Refused  # type: ignore[import-not-found]
from symbols.magnitudes import numeric  # type: ignore[import-not-found]
from symbols.polynomials import (  # type: ignore[import-not-found]
    Atoms,
    Polynomial,
    Quotient,
    by_degree,
    constant,
    content,
    places,
    plus,
    raised,
    scaled,
    times,
)
from symbols.rewriting import floated, free_symbols, simplified, substitute  # type: ignore[import-not-found]
from symbols.roots import order  # type: ignore[import-not-found]
from symbols.terms import Expression, Symbol  # type: ignore[import-not-found]
from symbols.unknowns import (  # type: ignore[import-not-found]
    Solution,
    divides_by_zero,
    fits,
    polynomial_roots,
    zero_of,
)


class System:
    """Equations that hold together."""

    def __init__(self, sides: Sequence[Expression], unknowns: list[Symbol]):
        self.atoms = Atoms()
        self.unknowns = unknowns
        self.places = [self.atoms.place(unknown) for unknown in unknowns]
        self.quotients = [self.atoms.quotient(side) for side in sides]
        for at, atom in enumerate(self.atoms.all):
            if at not in self.places and not free_symbols(atom).isdisjoint(
                unknowns
            ):
                raise Refused("can't solve equations of this form")

    def solve(self) -> tuple[bool, list[Solution]]:
        """Returns whether the equations are linear, and the solutions."""
        sides = [zero_of(quotient) for quotient in self.quotients]
        sides = [side for side in sides if side]
        linear = all(self._is_linear(side) for side in sides)
        if linear:
            found = self._eliminated(sides)
            solutions = [found] if found is not None else []
        else:
            solutions = list(self._substituted(sides, self.places))
        kept = []
        for solution in solutions:
            if all(fits(v, s) for s, v in solution.items()) and not any(
                divides_by_zero(self.atoms, quotient, solution)
                for quotient in self.quotients
            ):
                if self.atoms.had_float:
                    solution = {s: floated(v) for s, v in solution.items()}
                kept.append(
                    {s: solution[s] for s in self.unknowns if s in solution}
                )
        return linear, sorted(kept, key=self._order)

    def _order(
        self, solution: Solution
    ) -> list[tuple[bool, bool, bool, float]]:
        return [order(solution.get(s, s)) for s in self.unknowns]

    def _is_linear(self, side: Polynomial) -> bool:
        return all(
            sum(e for place, e in monomial if place in self.places) <= 1
            for monomial in side
        )

    def _eliminated(self, rows: list[Polynomial]) -> Solution | None:
        """Solves linear equations; the last symbols may stay free."""
        pivots: dict[int, Polynomial] = {}
        for place in self.places:
            with_it = [row for row in rows if by_degree(row, place).get(1)]
            if not with_it:
                continue
            pivot = min(with_it, key=lambda row: len(by_degree(row, place)[1]))
            rows.remove(pivot)
            own = by_degree(pivot, place)[1]

            def without(
                row: Polynomial,
                place: int = place,
                pivot: Polynomial = pivot,
                own: Polynomial = own,
            ) -> Polynomial:
                theirs = by_degree(row, place).get(1)
                if not theirs:
                    return row
                left = plus(times(row, own), times(pivot, theirs), -1)
                number, _ = content(left)
                return scaled(left, 1 / number)

            rows = [left for row in rows if (left := without(row))]
            pivots = {at: without(row) for at, row in pivots.items()}
            pivots[place] = pivot
        if rows:
            return None
        solution: Solution = {}
        for place, row in pivots.items():
            parts = by_degree(row, place)
            above = scaled(parts.get(0, {}), Fraction(-1))
            solution[self.atoms.all[place]] = self.atoms.fraction(
                Quotient(above, [(parts[1], 1)])
            )
        return solution

    def _substituted(
        self, sides: list[Polynomial], unknowns: list[int]
    ) -> Iterator[Solution]:
        """Solves one equation for one symbol, puts it into the others."""
        sides = [side for side in sides if side]
        if not sides:
            yield {}
            return
        inside = [places(side) & set(unknowns) for side in sides]
        if not all(inside):
            return  # a number that is not zero
        side, place = self._choice(sides, unknowns)
        others = [other for other in sides if other is not side]
        left = [unknown for unknown in unknowns if unknown != place]
        symbol = self.atoms.all[place]
        parts = by_degree(side, place)
        if max(parts) == 1:
            value = Quotient(
                scaled(parts.get(0, {}), Fraction(-1)), [(parts[1], 1)]
            )
            changed = [_replaced(other, place, value) for other in others]
            for solution in self._substituted(changed, left):
                below = substitute(self.atoms.expression(parts[1]), solution)
                if numeric(below) == 0:
                    continue
                made = substitute(self.atoms.fraction(value), solution)
                yield {**solution, symbol: simplified(made)}
            return
        for root in polynomial_roots(self.atoms, side, place):
            value = self.atoms.quotient(root)
            changed = [_replaced(other, place, value) for other in others]
            for solution in self._substituted(changed, left):
                made = substitute(root, solution)
                yield {**solution, symbol: simplified(made)}

    def _choice(
        self, sides: list[Polynomial], unknowns: list[int]
    ) -> tuple[Polynomial, int]:
        """Returns the equation and the symbol that are best to begin with."""
        ranked: list[tuple[tuple[int, int, int, int], Polynomial, int]] = []
        for at, side in enumerate(sides):
            inside = places(side) & set(unknowns)
            for place in unknowns:
                if place not in inside:
                    continue
                parts = by_degree(side, place)
                lead = parts[max(parts)]
                mixed = bool(places(lead) & set(unknowns))
                alone = len(inside) == 1
                if max(parts) == 1:
                    rank = 1 if mixed else 0
                else:
                    rank = 2 if alone else 3
                ranked.append(((rank, len(side), at, place), side, place))
        (rank, *_), side, place = min(ranked, key=lambda one: one[0])
        if rank == 3 and len(sides) > 1:
            raise Refused("can't solve equations of this form")
        return side, place


def _replaced(of: Polynomial, place: int, value: Quotient) -> Polynomial:
    """Returns the numerator of a polynomial with a quotient for an atom."""
    parts = by_degree(of, place)
    degree = max(parts, default=0)
    below = constant(1)
    for factor, exponent in value.below:
        below = times(below, raised(factor, exponent))
    total: Polynomial = {}
    for n, part in parts.items():
        step = times(part, raised(value.above, n))
        total = plus(total, times(step, raised(below, degree - n)))
    return total
