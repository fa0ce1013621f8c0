"""Whole numbers: calculations, sequences and lists."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from keras_flan.miniature.universe.families import Content, Op, family
from keras_flan.miniature.universe.specs import Answer, Answerer, Draws
from keras_flan.miniature.universe.words import yes_no

_Keeper = Callable[[Draws, list[int]], tuple[list[int], str]]


def _calculate(low: int, high: int, sign: str, count: int = 2) -> Answerer:
    """Sums or differences of `count` numbers, in steps."""

    def answer(draws: Draws, _: None) -> Answer:
        numbers = [draws.between(low, high) for _ in range(count)]
        if sign == "-":
            numbers.sort(reverse=True)
            numbers[0] += sum(numbers[2:])
        total, steps = numbers[0], []
        for number in numbers[1:]:
            result = total + number if sign == "+" else total - number
            steps.append(f"{total} {sign} {number} = {result}.")
            total = result
        return total, " ".join(steps), dict(zip("abc", numbers, strict=False))

    return answer


def _two_signs(first: str) -> Answerer:
    def answer(draws: Draws, _: None) -> Answer:
        a, b, c = (draws.between(2, 12) for _ in range(3))
        a += 12
        if first == "+":
            middle, result = a + b, a + b - c
            steps = f"{a} + {b} = {middle}. {middle} - {c} = {result}."
        else:
            middle, result = a - b, a - b + c
            steps = f"{a} - {b} = {middle}. {middle} + {c} = {result}."
        return result, steps, {"a": a, "b": b, "c": c}

    return answer


def _times(factors: tuple[int, ...], low: int, high: int) -> Answerer:
    def answer(draws: Draws, _: None) -> Answer:
        a, n = draws.pick(factors), draws.between(low, high)
        sums = " + ".join([str(n)] * a)
        return a * n, f"{sums} = {a * n}.", {"a": a, "n": n}

    return answer


def _half(draws: Draws, _: None) -> Answer:
    n = 2 * draws.between(2, 24)
    return n // 2, f"{n // 2} + {n // 2} = {n}.", {"n": n}


def _missing(draws: Draws, _: None) -> Answer:
    a, b = draws.between(2, 15), draws.between(2, 15)
    return b, f"{a + b} - {a} = {b}.", {"a": a, "sum": a + b}


def _digits(draws: Draws, _: None) -> Answer:
    a, b = draws.between(1, 9), draws.between(1, 9)
    return a + b, f"{a} + {b} = {a + b}.", {"n": f"{a}{b}"}


def _remainder(draws: Draws, _: None) -> Answer:
    d = draws.between(2, 6)
    n = draws.between(d + 1, 30)
    low = n // d * d
    return n - low, f"{low} is {n // d} times {d}. {n} - {low} = {n - low}.", {
        "n": n, "d": d}  # fmt: skip


CALCULATION = family(
    "calculation",
    None,
    Op("sum", "{a} + {b}|the sum of {a} and {b}|{a} plus {b}",
       _calculate(2, 30, "+")),
    Op("difference", "{a} - {b}|the difference of {a} and {b}|{a} minus {b}",
       _calculate(2, 40, "-")),
    Op("sum_of_three", "{a} + {b} + {c}|the sum of {a}, {b} and {c}",
       _calculate(2, 15, "+", 3)),
    Op("take_away_two", "{a} - {b} - {c}|what is left of {a} without {b} "
       "and {c}", _calculate(2, 12, "-", 3)),
    Op("plus_minus", "{a} + {b} - {c}|{a} plus {b} minus {c}",
       _two_signs("+")),
    Op("minus_plus", "{a} - {b} + {c}|{a} minus {b} plus {c}",
       _two_signs("-"), held_out=True),
    Op("double", "the double of {n}|twice {n}", _times((2,), 2, 30)),
    Op("triple", "three times {n}|the triple of {n}", _times((3,), 2, 15),
       held_out=True),
    Op("product", "{a} times {n}|the product of {a} and {n}",
       _times((2, 3, 4, 5), 2, 9)),
    Op("half", "half of {n}|the half of {n}", _half),
    Op("missing", "the number that makes {sum} with {a}|the number to add to "
       "{a} to reach {sum}", _missing),
    Op("digits", "the sum of the digits of {n}|what the two digits of {n} "
       "add up to", _digits),
    Op("remainder", "the rest of {n} divided by {d}|the remainder of {n} by "
       "{d}", _remainder),
)  # fmt: skip


# === Sequences ===


def _series(draws: Draws, steps: Sequence[int], length: int = 4) -> list[int]:
    step = draws.pick(steps)
    start = draws.between(1, 15) if step > 0 else draws.between(40, 60)
    return [start + i * step for i in range(length)]


def _numbers(values: Iterable[object]) -> str:
    return ", ".join(map(str, values))


def _continue(draws: Draws, values: list[int]) -> Answer:
    step = values[1] - values[0]
    sign, size = ("+", step) if step > 0 else ("-", -step)
    result = values[-1] + step
    return result, f"The step is {sign} {size}. {values[-1]} {sign} {size} = " \
        f"{result}."  # fmt: skip


def _before(draws: Draws, values: list[int]) -> Answer:
    step = values[1] - values[0]
    result = values[0] - step
    return result, f"The step is + {step}. {values[0]} - {step} = {result}."


def _step(draws: Draws, values: list[int]) -> Answer:
    step = values[1] - values[0]
    return step, f"{values[1]} - {values[0]} = {step}."


def _grows(draws: Draws, values: list[int]) -> Answer:
    up = values[1] > values[0]
    word = "more" if up else "less"
    return yes_no(up), f"{values[1]} is {word} than {values[0]}."


def _gap(draws: Draws) -> list[Any]:
    values: list[Any] = [*_series(draws, (1, 2, 3, 5, 10), 5)]
    values[draws.between(1, 3)] = "?"
    return values


def _fill(draws: Draws, values: list[Any]) -> Answer:
    at = values.index("?")
    low, high = values[at - 1], values[at + 1]
    middle = (low + high) // 2
    return middle, f"{low} + {middle - low} = {middle}. {middle} + " \
        f"{high - middle} = {high}."  # fmt: skip


def _doubling(draws: Draws) -> list[int]:
    start = draws.between(1, 12)
    return [start, 2 * start, 4 * start]


def _double_again(draws: Draws, values: list[int]) -> Answer:
    last = values[-1]
    return 2 * last, f"Each is doubled. {last} + {last} = {2 * last}."


def _pattern(draws: Draws) -> list[int]:
    a, b, c = draws.sample(range(1, 10), 3)
    return ([a, b] * 3 if draws.chance() else [a, b, c] * 3)[:5]


def _repeat(draws: Draws, values: list[int]) -> Answer:
    period = 2 if values[2] == values[0] else 3
    return values[5 % period], f"{_numbers(values[:period])} comes again."


def _sequence(name: str, draw: Callable[[Draws], list]) -> Content:
    return Content("a sequence", "the sequence", draw, _numbers)


_UP = _sequence("up", lambda d: _series(d, (1, 2, 3, 4, 5, 10)))
SEQUENCES = family(
    "sequences",
    _UP,
    Op("next", "the next number of {it}|the number after {it}", _continue),
    Op("next_down", "the next number of {it}|the number that follows {it}",
       _continue,
       content=_sequence("down", lambda d: _series(d, (-1, -2, -3, -5)))),
    Op("before", "the number before {it}|the number in front of {it}",
       _before,
       content=_sequence("b", lambda d: [n + 10 for n in _series(d, (
           1, 2, 3, 5))]), held_out=True),
    Op("step", "the step of {it}|the step from one number to the next in "
       "{it}", _step),
    Op("gap", "the missing number of {it}|the number in place of ? in {it}",
       _fill, content=_sequence("gap", _gap)),
    Op("grows", "does {it} go up?|are the numbers of {it} growing?", _grows,
       kind="yes_no", content=_sequence("ud", lambda d: _series(d, (
           1, 2, 5, -1, -2, -5)))),
    Op("doubling", "the next number of {it}|the number after {it}",
       _double_again, content=_sequence("double", _doubling)),
    Op("pattern", "the next number of {it}|the number that comes after {it}",
       _repeat, content=_sequence("pattern", _pattern)),
)  # fmt: skip


# === Lists of numbers ===


def number_list(draws: Draws) -> list[int]:
    """Draws four different numbers of 1 to 30."""
    return draws.sample(range(1, 31), 4)


NUMBERS = Content("a list", "the list", number_list, _numbers)


def in_steps(values: Sequence[int]) -> str:
    """The sum of numbers, one at a time."""
    total, steps = values[0], []
    for value in values[1:]:
        steps.append(f"{total} + {value} = {total + value}.")
        total += value
    return " ".join(steps)


def _kept(keep: Callable[[int], object], label: str) -> _Keeper:
    def answer(draws: Draws, values: list[int]) -> tuple[list[int], str]:
        kept = [v for v in values if keep(v)]
        text = _numbers(kept) if kept else "none"
        return kept, f"{label}: {text}."

    return answer


def _count(kept: _Keeper) -> Answerer:
    def answer(draws: Draws, values: list[int]) -> Answer:
        found, rationale = kept(draws, values)
        return len(found), rationale

    return answer


def _show(kept: _Keeper) -> Answerer:
    def answer(draws: Draws, values: list[int]) -> Answer:
        found, _ = kept(draws, values)
        return _numbers(found) or "none", ""

    return answer


_even = _kept(lambda v: v % 2 == 0, "even")
_odd = _kept(lambda v: v % 2, "odd")
_large = _kept(lambda v: v > 10, "above 10")


def _extreme(pick: Callable[[list[int]], int], word: str) -> Answerer:
    def answer(draws: Draws, values: list[int]) -> Answer:
        ranked = sorted(values, reverse=word != "smallest")
        return pick(values), f"In order: {_numbers(ranked)}."

    return answer


def _contains(draws: Draws, values: list[int]) -> Answer:
    inside = draws.chance()
    n = draws.pick(values) if inside else draws.pick(
        [i for i in range(1, 31) if i not in values])  # fmt: skip
    word = "is" if inside else "is not"
    return yes_no(inside), f"{n} {word} in {_numbers(values)}.", {
        "n": n}  # fmt: skip


def _each(change: Callable[[int], int]) -> Answerer:
    return lambda d, values: (_numbers(change(v) for v in values), "")


def _range(draws: Draws, values: list[int]) -> Answer:
    high, low = max(values), min(values)
    return high - low, f"{high} - {low} = {high - low}."


def _ends(draws: Draws, values: list[int]) -> Answer:
    a, b = values[0], values[-1]
    return a + b, f"{a} + {b} = {a + b}."


def _sorted(reverse: bool) -> Answerer:
    return lambda d, v: (_numbers(sorted(v, reverse=reverse)), "")


NUMBER_LISTS = family(
    "number_lists",
    NUMBERS,
    Op("largest", "the largest number in {it}|the greatest number of {it}",
       _extreme(max, "largest"), chance=0.25),
    Op("smallest", "the smallest number in {it}|the least number of {it}",
       _extreme(min, "smallest"), chance=0.25),
    Op("second_largest", "the second largest number in {it}",
       _extreme(lambda v: sorted(v)[-2], "largest"), chance=0.25,
       held_out=True),
    Op("sum", "the sum of {it}|the total of {it}",
       lambda d, v: (sum(v), in_steps(v))),
    Op("ends", "the sum of the first and the last number of {it}", _ends),
    Op("range", "the difference of the largest and the smallest number in "
       "{it}", _range, held_out=True),
    Op("first", "the first number of {it}", lambda d, v: (v[0], ""),
       chance=0.25),
    Op("last", "the last number of {it}", lambda d, v: (v[-1], ""),
       chance=0.25),
    Op("third", "the third number of {it}",
       lambda d, v: (v[2], f"{_numbers(v[:3])}."), chance=0.25),
    Op("count_even", "how many even numbers are in {it}?", _count(_even)),
    Op("count_odd", "how many odd numbers are in {it}?", _count(_odd)),
    Op("count_large", "how many numbers of {it} are larger than 10?",
       _count(_large)),
    Op("even", "the even numbers of {it}", _show(_even), chance=0.06,
       plural=True),
    Op("odd", "the odd numbers of {it}", _show(_odd), chance=0.06,
       plural=True, held_out=True),
    Op("contains", "is {n} in {it}?|does {it} have the number {n}?",
       _contains, kind="yes_no"),
    Op("sorted", "the numbers of {it} in order, smallest first",
       _sorted(False), chance=0.04, plural=True),
    Op("sorted_down", "the numbers of {it} in order, largest first",
       _sorted(True), chance=0.04, plural=True),
    Op("add_one", "the numbers of {it}, each with 1 added",
       _each(lambda v: v + 1), plural=True),
    Op("double", "the numbers of {it}, each doubled",
       _each(lambda v: 2 * v), plural=True),
)  # fmt: skip


TASKS = (*CALCULATION, *SEQUENCES, *NUMBER_LISTS)
