"""Solving equations: linear and polynomial ones, and systems of these.

This module runs in the sandbox: it imports the standard library alone.
"""

from collections.abc import Sequence
from typing import Any

from symbols.arithmetic import add, multiply  # type: ignore[import-not-found]
from symbols.rewriting import free_symbols  # type: ignore[import-not-found]
from symbols.systems import System  # type: ignore[import-not-found]
from symbols.terms import MINUS, Equation, Symbol, convert  # type: ignore[import-not-found]
from symbols.unknowns import solve_one  # type: ignore[import-not-found]


def solve(equations: Any, *symbols: Any, **flags: Any) -> Any:
    """Solves equations, in the form of `sympy.solve`.

    Returns:
        One equation of one symbol: the list of its roots. Several equations:
        a dict of the symbols if they are linear, else a list of tuples. With
        `dict=True`: a list of dicts.
    """
    several = isinstance(equations, (list, tuple, set))
    given = list(equations) if several else [equations]
    unknowns = _symbols(symbols, given)
    sides = [_side(equation) for equation in given if equation is not True]
    if False in sides or not sides:
        return []
    if not several and len(unknowns) == 1:
        [unknown] = unknowns
        found = solve_one(sides[0], unknown)
        if flags.get("dict"):
            return [{unknown: root} for root in found]
        return found
    linear, solutions = System(sides, unknowns).solve()
    if flags.get("dict") or (not symbols and not several):
        return solutions
    if linear and several:
        return solutions[0] if solutions else []
    return [
        tuple(solution.get(unknown, unknown) for unknown in unknowns)
        for solution in solutions
    ]


def solve_it(equation: Any, variable: Any) -> dict[Any, Any]:
    """Returns the first solution; None for each variable if there is none.

    Source: program of thoughts, arXiv:2211.12588.
    """
    solutions = solve(equation, variable, dict=True)
    if solutions:
        first: dict[Any, Any] = solutions[0]
        return first
    several = isinstance(variable, (list, tuple))
    return dict.fromkeys(variable if several else [variable])


def _symbols(given: Sequence[Any], equations: Sequence[Any]) -> list[Symbol]:
    """Returns the unknowns; all symbols in the order of names by default."""
    if len(given) == 1 and isinstance(given[0], (list, tuple, set)):
        given = list(given[0])
    if not given:
        free = {s for equation in equations for s in free_symbols(equation)}
        return sorted(free, key=lambda symbol: symbol.label)
    for symbol in given:
        if not isinstance(symbol, Symbol):
            raise ValueError("expected symbols to solve for")
    return list(dict.fromkeys(given))


def _side(equation: Any) -> Any:
    """Returns what is to be zero."""
    if equation is False:
        return False
    if isinstance(equation, Equation):
        return add((equation.left, multiply((MINUS, equation.right))))
    made = convert(equation)
    if made is NotImplemented:
        raise TypeError("expected an equation")
    return made
