"""How an algebraic expression is written: as `sympy` writes it.

This module runs in the sandbox: it imports the standard library alone.
"""

from fractions import Fraction
from typing import Any

from symbols.arithmetic import multiply, power  # type: ignore[import-not-found]
from symbols.magnitudes import approximate, numeric  # type: ignore[import-not-found]
from symbols.terms import HALF, ONE, Number, Product, Sum, Symbol  # type: ignore[import-not-found]

_DIGITS = 15


def write(of: Any, nested: bool = False) -> str:
    """Returns an expression's text.

    A float alone has all of its 15 digits; within an expression, zeros at
    its end are left out.
    """
    if isinstance(of, Number):
        return _number(of.value, nested)
    if isinstance(of, Symbol):
        return str(of.label)
    if isinstance(of, Sum):
        return _sum(of)
    if isinstance(of, Product):
        return _product(of)
    return f"Eq({write(of.left, True)}, {write(of.right, True)})"


def _number(value: Any, nested: bool) -> str:
    if isinstance(value, Fraction):
        return str(value)
    if value == 0:
        return "0"
    mantissa, exponent = f"{abs(value):.{_DIGITS - 1}e}".split("e")
    digits, place = mantissa.replace(".", ""), int(exponent)
    if nested:
        digits = digits.rstrip("0")
    sign = "-" if value < 0 else ""
    if not -5 < place < _DIGITS:
        return f"{sign}{digits[0]}.{digits[1:] or '0'}e{place:+d}"
    if place < 0:
        return f"{sign}0.{'0' * (-place - 1)}{digits}"
    digits = digits.ljust(place + 1, "0")
    return f"{sign}{digits[: place + 1]}.{digits[place + 1 :] or '0'}"


# === Sums ===


def _sum(of: Any) -> str:
    terms = [
        (term, multiply((Number(number), term)))
        for term, number in of.items.items()
    ]
    if found := _number_first(of.items):
        return found
    powers = [_powers(term) for term, _ in terms]
    bases = sorted({base for found in powers for base in found}, key=_rank)
    ordered = sorted(
        zip(powers, terms, strict=True),
        key=lambda pair: (
            [-pair[0].get(base, 0) for base in bases],
            _size(pair[1][1]),
        ),
    )
    text = ""
    for _, (_, term) in ordered:
        written = write(term, True)
        if not text:
            text = written
        elif written.startswith("-"):
            text += f" - {written[1:]}"
        else:
            text += f" + {written}"
    return text


def _number_first(items: Any) -> str | None:
    """Returns `56 - m` for a positive number less one factor."""
    if len(items) != 2 or ONE not in items:
        return None
    number = items[ONE]
    [(term, by)] = [item for item in items.items() if item[0] != ONE]
    if number < 0 or by > 0 or len(list(term.factors()[1])) != 1:
        return None
    less = write(multiply((Number(-by), term)), True)
    return f"{_number(number, True)} - {less}"


def _powers(term: Any) -> dict[Any, float]:
    """Returns the exponents of a term's symbols."""
    found: dict[Any, float] = {}
    for base, exponent in term.factors()[1]:
        if approximate(base) is not None:
            continue
        number = numeric(exponent)
        if number is None:
            base, number = power(base, exponent), 1
        found[base] = float(number)
    return found


def _size(term: Any) -> tuple[Any, ...]:
    """Returns what orders terms of the same powers: real ones, by size."""
    number = 1 + 0j
    coefficient, factors = term.factors()
    for base, exponent in factors:
        if approximate(base) is not None:
            part = approximate(power(base, exponent))
            number *= 1 if part is None else part
    number *= complex(coefficient)
    return abs(number.imag) > 1e-12, number.imag, number.real


def _rank(base: Any) -> tuple[Any, ...]:
    """Returns what orders factors: roots, I, pi, symbols, sums."""
    if isinstance(base, Number):
        return 0, str(base)
    if isinstance(base, Symbol):
        constant = base.constant
        kind = 3 if constant is None else 1 if constant == 1j else 2
        return kind, base.label
    if isinstance(base, Sum):
        constant = float(base.items.get(ONE, 0))
        return 5, len(base.items), constant, str(base)
    return 4, str(base)


# === Products and powers ===


def _product(of: Any) -> str:
    above: list[str] = []
    below: list[str] = []
    coefficient = of.coefficient
    sign = "-" if coefficient < 0 else ""
    coefficient = abs(coefficient)
    if isinstance(coefficient, Fraction):
        if coefficient.numerator != 1:
            above.append(str(coefficient.numerator))
        if coefficient.denominator != 1:
            below.append(str(coefficient.denominator))
    elif coefficient != 1:
        above.append(_number(coefficient, True))
    else:
        above.append("1.0")
    items = sorted(of.items.items(), key=lambda item: _rank(item[0]))
    several = len(items) + len(above) + len(below) > 1
    for base, exponent in items:
        number = exponent.value if isinstance(exponent, Number) else 1
        if number < 0:
            below.append(_power(base, Number(-number)))
        elif number == 1 and exponent == 1:
            above.append(_within(base, several))
        else:
            above.append(_power(base, exponent))
    numerator = "*".join(above) or "1"
    if not below:
        return sign + numerator
    if len(below) == 1:
        return f"{sign}{numerator}/{below[0]}"
    return f"{sign}{numerator}/({'*'.join(below)})"


def _power(base: Any, exponent: Any) -> str:
    if exponent == HALF:
        return f"sqrt({write(base, True)})"
    text = _within(base, True)
    if exponent == 1:
        return text
    raised = write(exponent, True)
    plain = isinstance(exponent, Symbol) or raised.isdigit()
    if isinstance(exponent, Number) and "/" not in raised:
        plain = not raised.startswith("-")
    return f"{text}**{raised}" if plain else f"{text}**({raised})"


def _within(base: Any, several: bool) -> str:
    """Returns the text of a part, in brackets where these are needed."""
    text = write(base, True)
    if not several or isinstance(base, Symbol):
        return text
    if isinstance(base, Number) and text.replace(".", "").isdigit():
        return text
    return f"({text})"
