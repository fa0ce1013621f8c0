"""What a program finds in `sympy`: names on top of the algebra here.

This module runs in the sandbox: it imports the standard library alone.
"""

import cmath
import math
import string
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import symbols.operations  # type: ignore[import-not-found] # noqa: F401
from language import Refused  # type: ignore[import-not-found]
from operators import factorial  # type: ignore[import-not-found]
from symbols.arithmetic import add, multiply, power  # type: ignore[import-not-found]
from symbols.equations import solve, solve_it  # type: ignore[import-not-found]
from symbols.magnitudes import numeric, value  # type: ignore[import-not-found]
from symbols.polynomials import Atoms, rational  # type: ignore[import-not-found]
from symbols.rewriting import floated, free_symbols, simplified, substitute  # type: ignore[import-not-found]
from symbols.roots import roots  # type: ignore[import-not-found]
from symbols.terms import (  # type: ignore[import-not-found]
    HALF,
    PI,
    E,
    Equation,
    Expression,
    I,
    Number,
    Symbol,
    convert,
)


def _expression(of: Any) -> Expression:
    made = convert(of)
    if made is NotImplemented:
        raise TypeError(
            f"expected a number or a symbol, not {type(of).__name__}"
        )
    return made


def _symbols(names: str, **assumptions: Any) -> Any:
    if isinstance(names, (list, tuple)):
        return [_symbols(name, **assumptions) for name in names]
    made = [
        Symbol(name, **assumptions) for name in names.replace(",", " ").split()
    ]
    several = len(made) > 1 or names.rstrip().endswith(",")
    return tuple(made) if several else made[0]


def _symbol(name: str, **assumptions: Any) -> Symbol:
    return Symbol(name, **assumptions)


def _equation(left: Any, right: Any = 0, **flags: Any) -> Any:
    sides = _expression(left), _expression(right)
    numbers = [numeric(side) for side in sides]
    if None not in numbers:
        return numbers[0] == numbers[1]
    return True if sides[0] == sides[1] else Equation(*sides)


def _exact(above: Any, below: Any = 1) -> Expression:
    """`Rational`: of whole numbers, a text or a float as it is stored."""
    if isinstance(above, str):
        if len(above) > 1_000 or "e" in above.lower():
            raise ValueError("expected a fraction")
        above = Fraction(above)
    if isinstance(above, float):
        above = Fraction(above)
    if isinstance(below, float):
        below = Fraction(below)
    return _expression(above) / _expression(below)


def _whole(of: Any) -> Expression:
    return Number(int(of))


def _float(of: Any, digits: int = 15) -> Expression:
    return Number(float(of))


def _evaluated(of: Any, digits: int = 15, **flags: Any) -> Any:
    made = floated(_expression(of))
    number = numeric(made)
    if number is not None and digits < 15:
        return float(f"{float(number):.{max(int(digits), 1)}g}")
    return made


def _simplify(of: Any, **flags: Any) -> Any:
    if isinstance(of, (bool, Equation)):
        return of
    return simplified(_expression(of))


def _expand(of: Any, **flags: Any) -> Expression:
    atoms = Atoms()
    made = atoms.expression(atoms.polynomial(_expression(of)))
    return floated(made) if atoms.had_float else made


def _factor(of: Any, **flags: Any) -> Expression:
    """Splits a polynomial of one symbol at its rational roots."""
    atoms = Atoms()
    quotient = atoms.quotient(_expression(of))
    made: Expression = atoms.fraction(quotient)
    symbols = free_symbols(made)
    if len(symbols) != 1 or quotient.below or atoms.had_float:
        return made
    [symbol] = symbols
    place = atoms.place(symbol)
    degrees = {dict(m).get(place, 0): n for m, n in quotient.above.items()}
    if max(degrees) > 20 or min(degrees) < 0:
        return made
    parts, rest = [], _expand(of)
    for root in roots(
        [degrees.get(n, Fraction(0)) for n in range(max(degrees) + 1)]
    ):
        while isinstance(root, Number) and isinstance(root.value, Fraction):
            linear = symbol * root.value.denominator - root.value.numerator
            left = simplified(rest / linear)
            if substitute(_expand(rest), {symbol: root}) != 0:
                break
            parts.append(linear)
            rest = _expand(left)
    return multiply((*parts, rest))


def _nearest(equation: Any, unknown: Any, guess: Any) -> Expression:
    """`nsolve`: the real root that is nearest to a guess, as a float."""
    found = [floated(root) for root in solve(equation, unknown)]
    near = [root for root in found if isinstance(root, Number)]
    if not near:
        raise ValueError("no root was found")
    return min(near, key=lambda root: abs(root.value - float(guess)))


def _derivative(of: Any, by: Symbol, times: int = 1) -> Expression:
    atoms = Atoms()
    place = atoms.place(by)
    made = atoms.polynomial(_expression(of))
    if any(
        by in free_symbols(a) for n, a in enumerate(atoms.all) if n != place
    ):
        raise Refused("can't differentiate this")
    for _ in range(min(int(times), 300)):
        next_made = {}
        for monomial, number in made.items():
            powers = dict(monomial)
            exponent = powers.pop(place, 0)
            if exponent:
                if exponent != 1:
                    powers[place] = exponent - 1
                next_made[tuple(sorted(powers.items()))] = number * exponent
        made = next_made
    found = atoms.expression(made)
    return floated(found) if atoms.had_float else found


# === Functions of numbers ===


def _real(function: Callable[..., float]) -> Callable[..., Expression]:
    """Returns a function of numbers whose result is a float.

    Whole results, such as the sine of 0, are exact.
    """

    def evaluate(*of: Any) -> Expression:
        numbers = [value(_expression(one)) for one in of]
        made = function(*map(float, numbers))
        exact = all(isinstance(number, Fraction) for number in numbers)
        near = round(made * 2)
        if abs(made * 2 - near) < 1e-15 * max(1, abs(near)) and (
            exact or not made
        ):
            return Number(Fraction(near, 2))
        return Number(made)

    return evaluate


def _log(of: float, base: float = math.e) -> float:
    made = cmath.log(of) if of < 0 else math.log(of)
    if isinstance(made, complex):
        raise Refused("a number that is not real")
    return made if base == math.e else math.log(of, base)


def _root(of: Any) -> Expression:
    return power(_expression(of), HALF)


def _any_root(of: Any, degree: Any) -> Expression:
    return power(_expression(of), power(_expression(degree), Number(-1)))


def _rounded(function: Callable[[Any], int]) -> Callable[[Any], Expression]:
    return lambda of: Number(function(value(_expression(of))))


def _chosen(function: Callable[..., Any]) -> Callable[..., Expression]:
    return lambda *of: function([_expression(one) for one in of], key=value)


def _counted(function: Callable[..., int]) -> Callable[..., Expression]:
    return lambda *of: Number(
        function(*(_expression(one).__index__() for one in of))
    )


def _is_prime(number: Any) -> bool:
    whole = _expression(number).__index__()
    if whole > 10**14:
        raise Refused("a number that is too large to factor")
    return whole > 1 and all(whole % n for n in range(2, math.isqrt(whole) + 1))


def _all_divisors(number: Any) -> list[int]:
    whole = abs(_expression(number).__index__())
    if whole > 10**14:
        raise Refused("a number that is too large to factor")
    small = [n for n in range(1, math.isqrt(whole) + 1) if whole % n == 0]
    return sorted({*small, *(whole // n for n in small)})


FUNCTIONS: dict[str, Any] = {
    "Symbol": _symbol,
    "symbols": _symbols,
    "var": _symbols,
    "Eq": _equation,
    "solve": solve,
    "solve_it": solve_it,
    "nsolve": _nearest,
    "simplify": _simplify,
    "expand": _expand,
    "factor": _factor,
    "cancel": _simplify,
    "together": _simplify,
    "nsimplify": lambda of, **flags: _rational_form(of),
    "diff": _derivative,
    "Rational": _exact,
    "Integer": _whole,
    "Float": _float,
    "Number": _expression,
    "S": _expression,
    "sympify": _expression,
    "N": _evaluated,
    "pi": PI,
    "E": E,
    "I": I,
    "sqrt": _root,
    "cbrt": lambda of: _any_root(of, 3),
    "root": _any_root,
    "Pow": lambda base, exponent: _expression(base) ** exponent,
    "Add": lambda *of: add(map(_expression, of)),
    "Mul": lambda *of: multiply(map(_expression, of)),
    "Abs": lambda of: abs(_expression(of)),
    "Min": _chosen(min),
    "Max": _chosen(max),
    "floor": _rounded(math.floor),
    "ceiling": _rounded(math.ceil),
    "Mod": lambda a, b: _expression(a) % b,
    "gcd": _counted(math.gcd),
    "lcm": _counted(math.lcm),
    "igcd": _counted(math.gcd),
    "ilcm": _counted(math.lcm),
    "factorial": _counted(factorial),
    "binomial": _counted(math.comb),
    "isprime": _is_prime,
    "divisors": _all_divisors,
    "exp": lambda of: power(E, _expression(of)),
    "log": _real(_log),
    "ln": _real(_log),
    "rad": lambda of: _expression(of) * PI / 180,
    "deg": lambda of: _expression(of) * 180 / PI,
    **{
        name: _real(getattr(math, name))
        for name in ("sin", "cos", "tan", "asin", "acos", "atan", "atan2")
    },
}
LETTERS: dict[str, Any] = {
    letter: Symbol(letter) for letter in string.ascii_letters
}


def _rational_form(of: Any) -> Expression:
    """`nsimplify`: floats as the fractions they stand for."""
    made = _expression(of)
    number = numeric(made)
    if number is not None and isinstance(number, float):
        return Number(rational(number))
    atoms = Atoms()
    return atoms.fraction(atoms.quotient(made))


# === Attributes ===


def attribute(of: Expression, name: str) -> Any:
    """Returns an attribute or a method of an expression."""
    if name in METHODS:
        method = METHODS[name]
        return lambda *values, **named: method(of, *values, **named)
    if name in PROPERTIES:
        return PROPERTIES[name](of)
    raise Refused(f"{type(of).__name__} has no {name} here")


def _subs(of: Expression, *values: Any, **flags: Any) -> Any:
    pairs: Any = [values] if len(values) == 2 else values[0]
    if isinstance(pairs, dict):
        pairs = pairs.items()
    made: Any = of
    for old, new in pairs:
        made = substitute(made, {_expression(old): _expression(new)})
    return (
        _equation(made.left, made.right) if isinstance(made, Equation) else made
    )


def _parts(of: Expression) -> tuple[Expression, Expression]:
    coefficient, factors = of.factors()
    above, below = [], []
    for base, exponent in factors:
        number = numeric(exponent)
        if number is not None and number < 0:
            below.append(power(base, exponent * -1))
        else:
            above.append(power(base, exponent))
    if isinstance(coefficient, Fraction):
        above.append(Number(coefficient.numerator))
        below.append(Number(coefficient.denominator))
    else:
        above.append(Number(coefficient))
    return multiply(above), multiply(below)


def _fraction(of: Expression) -> Fraction:
    exact = value(of)
    if not isinstance(exact, Fraction):
        raise AttributeError("a float has no numerator")
    return exact


def _sign(of: Expression) -> float | None:
    number = numeric(of)
    if number is not None:
        return float(number)
    if isinstance(of, Symbol) and "positive" in of.assumptions:
        return 1.0
    return None


def _name(of: Expression) -> str:
    if isinstance(of, Symbol):
        label: str = of.label
        return label
    raise AttributeError("only a symbol has a name")


def _side(name: str) -> Callable[[Expression], Any]:
    def side(of: Expression) -> Any:
        if not isinstance(of, Equation):
            raise AttributeError("only an equation has sides")
        return getattr(of, name)

    return side


def _known(test: Callable[[float], bool]) -> Callable[[Expression], Any]:
    def known(of: Expression) -> bool | None:
        sign = _sign(of)
        return None if sign is None else test(sign)

    return known


METHODS: dict[str, Callable[..., Any]] = {
    "subs": _subs,
    "evalf": _evaluated,
    "n": _evaluated,
    "expand": _expand,
    "simplify": _simplify,
    "factor": _factor,
    "diff": _derivative,
    "doit": lambda of, **flags: of,
    "as_numer_denom": _parts,
}
PROPERTIES: dict[str, Callable[[Expression], Any]] = {
    "free_symbols": free_symbols,
    "name": _name,
    "lhs": _side("left"),
    "rhs": _side("right"),
    "p": lambda of: _fraction(of).numerator,
    "q": lambda of: _fraction(of).denominator,
    "numerator": lambda of: _fraction(of).numerator,
    "denominator": lambda of: _fraction(of).denominator,
    "is_number": lambda of: numeric(of) is not None,
    "is_integer": _known(lambda number: number.is_integer()),
    "is_real": _known(lambda number: True),
    "is_rational": lambda of: (
        isinstance(of, Number) and isinstance(of.value, Fraction)
    ),
    "is_positive": _known(lambda number: number > 0),
    "is_negative": _known(lambda number: number < 0),
    "is_zero": _known(lambda number: number == 0),
}
