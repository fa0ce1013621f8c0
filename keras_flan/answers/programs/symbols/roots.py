"""Roots of polynomials of one unknown.

This module runs in the sandbox: it imports the standard library alone.
"""

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import TypeAlias

from symbols.arithmetic import add, multiply, power  # type: ignore[import-not-found]
from symbols.magnitudes import approximate  # type: ignore[import-not-found]
from symbols.terms import HALF, Expression, I, Number, Sum  # type: ignore[import-not-found]

Order: TypeAlias = tuple[bool, bool, bool, float]

_MAX_DENOMINATOR = 1_000_000
_ROUNDS = 500


def roots(coefficients: Sequence[Fraction]) -> list[Expression]:
    """Returns the distinct roots; coefficients begin with the constant.

    Rational roots and those of quadratic factors are exact; what is left of
    a higher degree has floats.
    """
    found: list[Expression] = []
    left = list(coefficients)
    while left and left[-1] == 0:
        left.pop()
    while len(left) > 1 and left[0] == 0:
        left.pop(0)
        found.append(Number(0))
    while len(left) > 3:
        root = _rational_root(left)
        if root is None:
            break
        found.append(Number(root))
        left = _deflated(left, root)
    if len(left) == 2:
        found.append(Number(-left[0] / left[1]))
    elif len(left) == 3:
        found += _quadratic(*left)
    elif len(left) > 3:
        shift = -left[-2] / (left[-1] * (len(left) - 1))
        shifted = _shifted(left, shift)
        if any(shifted[1:-1]):
            found += _numbers(left)
        else:
            pure = _pure(-shifted[0] / shifted[-1], len(left) - 1)
            found += [add((Number(shift), root)) for root in pure]
    return sorted(dict.fromkeys(found), key=order)


def order(root: Expression) -> Order:
    """Orders roots as `sympy` does: rational ones, real ones, complex ones.

    Rational ones and floats go by size. Of the others, those whose text
    begins with a number come first.
    """
    number = approximate(root) or 0j
    if abs(number.imag) > 1e-12 * abs(number):
        return True, True, False, number.imag
    if isinstance(root, Number) or not isinstance(root, Sum):
        return False, not isinstance(root, Number), False, number.real
    constant = float(root.items.get(Number(1), 0))
    rest = number.real - constant
    number_first = constant <= rest or rest < 0 < constant
    return False, True, not number_first, rest


def _deflated(of: Sequence[Fraction], root: Fraction) -> list[Fraction]:
    made: list[Fraction] = []
    carry = Fraction(0)
    for number in reversed(of):
        carry = carry * root + number
        made.append(carry)
    return made[-2::-1]


def _shifted(of: Sequence[Fraction], by: Fraction) -> list[Fraction]:
    """Returns the coefficients of a polynomial of x + by."""
    made: list[Fraction] = []
    for number in reversed(of):
        # made * (x + by) + number
        upper = [Fraction(0), *made]
        lower = [by * one for one in made] + [Fraction(0)]
        made = [a + b for a, b in zip(upper, lower, strict=True)]
        made[0] += number
    return made


def _value(of: Sequence[Fraction], at: Fraction) -> Fraction:
    total = Fraction(0)
    for number in reversed(of):
        total = total * at + number
    return total


def _rational_root(of: Sequence[Fraction]) -> Fraction | None:
    """Returns a rational root: one that is near a float one, and exact."""
    for root in _numbers(of):
        if isinstance(root, Number):
            near = Fraction(root.value).limit_denominator(_MAX_DENOMINATOR)
            if _value(of, near) == 0:
                return near
    return None


def _quadratic(c: Fraction, b: Fraction, a: Fraction) -> list[Expression]:
    middle = Number(-b / (2 * a))
    inside = Number(b * b - 4 * a * c)
    part = multiply((power(inside, HALF), Number(1 / (2 * abs(a)))))
    if inside.value == 0:
        return [middle]
    return [add((middle, multiply((Number(-1), part)))), add((middle, part))]


def _pure(number: Fraction, degree: int) -> list[Expression]:
    """Returns the roots of x**degree == number: the real ones are exact."""
    size = power(Number(abs(number)), Number(Fraction(1, degree)))
    found: list[Expression] = []
    for turn in range(degree):
        angle = (2 * turn + (number < 0)) * math.pi / degree
        real, imaginary = math.cos(angle), math.sin(angle)
        if abs(imaginary) < 1e-9:
            found.append(multiply((Number(round(real)), size)))
        else:
            found.append(
                multiply(
                    (
                        size,
                        add((Number(real), multiply((I, Number(imaginary))))),
                    )
                )
            )
    return found


def _numbers(of: Sequence[Fraction]) -> list[Expression]:
    """Returns all roots as floats, found at once (Aberth's method)."""
    scale = max(abs(number) for number in of)
    floats = [float(number / scale) for number in of]
    degree = len(floats) - 1
    if not floats[-1]:
        return []
    slopes = [n * number for n, number in enumerate(floats)][1:]
    radius = 1 + max(abs(n / floats[-1]) for n in floats[:-1])
    radius = min(radius, abs(floats[0] / floats[-1]) ** (1 / degree) * 2 + 1e-9)
    guesses = [
        radius * complex(math.cos(angle), math.sin(angle))
        for angle in (2 * math.pi * k / degree + 0.4 for k in range(degree))
    ]
    for _ in range(_ROUNDS):
        moved = 0.0
        for at, guess in enumerate(guesses):
            slope = _float_value(slopes, guess)
            if slope == 0:
                continue
            step = _float_value(floats, guess) / slope
            near = sum(
                1 / (guess - other)
                for n, other in enumerate(guesses)
                if n != at and guess != other
            )
            step /= 1 - step * near or 1
            guesses[at] = guess - step
            moved = max(moved, abs(step) / (abs(guess) or 1))
        if moved < 1e-15:
            break
    found: list[Expression] = []
    for guess in guesses:
        if abs(guess.imag) < 1e-9 * max(abs(guess), 1e-9):
            found.append(Number(_polished(of, guess.real)))
        else:
            parts = Number(guess.real), multiply((I, Number(guess.imag)))
            found.append(add(parts))
    return found


def _float_value(of: Sequence[float], at: complex) -> complex:
    total = 0j
    for number in reversed(of):
        total = total * at + number
    return total


def _polished(of: Sequence[Fraction], guess: float) -> float:
    """Returns a real root to its last digit, by exact Newton steps."""
    slopes = [n * number for n, number in enumerate(of)][1:]
    for _ in range(3):
        at = Fraction(guess)
        slope = _value(slopes, at)
        if slope == 0:
            break
        guess = float(at - _value(of, at) / slope)
    return guess
