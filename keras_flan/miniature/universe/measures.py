"""Divisors, units (held out) and shapes."""

from keras_flan.miniature.universe.families import Op, family
from keras_flan.miniature.universe.specs import Answer, Answerer, Draws
from keras_flan.miniature.universe.words import yes_no

# === Divisors ===


def _divides(by: int) -> Answerer:
    def answer(draws: Draws, _: None) -> Answer:
        n = by * draws.between(1, 60 // by)
        if draws.chance():
            n += draws.between(1, by - 1)
        rest = n % by
        low = n - rest
        steps = f"{low} is {low // by} times {by}. The rest is {rest}."
        return yes_no(not rest), steps, {"n": n}

    return answer


def _both_even(draws: Draws, _: None) -> Answer:
    a, b = draws.between(2, 40), draws.between(2, 40)
    words = ["odd" if n % 2 else "even" for n in (a, b)]
    return (
        yes_no(words[0] == words[1]),
        f"{a} is {words[0]}. {b} is {words[1]}.",
        {"a": a, "b": b},
    )


def _next_multiple(draws: Draws, _: None) -> Answer:
    by = draws.pick((5, 10))
    low = by * draws.between(1, 6)
    n = low + draws.between(1, by - 1)
    return low + by, f"{low}, then {low + by}.", {"n": n, "by": by}


DIVISORS = family(
    "divisors",
    None,
    Op("by_two", "can {n} be divided by 2?|does 2 divide {n}?", _divides(2),
       kind="yes_no"),
    Op("by_three", "can {n} be divided by 3?|does 3 divide {n}?",
       _divides(3), kind="yes_no"),
    Op("by_four", "can {n} be divided by 4?|does 4 divide {n}?",
       _divides(4), kind="yes_no", held_out=True),
    Op("by_five", "can {n} be divided by 5?|does 5 divide {n}?",
       _divides(5), kind="yes_no"),
    Op("by_ten", "can {n} be divided by 10?|does 10 divide {n}?",
       _divides(10), kind="yes_no"),
    Op("alike", "are {a} and {b} both even or both odd?", _both_even,
       kind="yes_no"),
    Op("next_multiple", "the next multiple of {by} after {n}",
       _next_multiple),
)  # fmt: skip


# === Units (held out) and shapes ===


def _convert(factor: int, low: int, high: int, back: bool = False) -> Answerer:
    def answer(draws: Draws, _: None) -> Answer:
        n = draws.between(low, high)
        whole = factor * n
        steps = f"{' + '.join([str(factor)] * n)} = {whole}."
        return (n, steps, {"n": whole}) if back else (whole, steps, {"n": n})

    return answer


UNITS = family(
    "units",
    None,
    Op("weeks_to_days", "the number of days in {n} weeks|the days of {n} "
       "weeks, counted", _convert(7, 2, 7)),
    Op("days_to_weeks", "the number of weeks in {n} days",
       _convert(7, 2, 7, back=True)),
    Op("dozens", "the number of eggs in {n} dozen", _convert(12, 2, 7)),
    Op("pairs", "the number of socks in {n} pairs", _convert(2, 2, 25)),
    Op("tens", "the number of coins of 10 cents in {n} cents",
       _convert(10, 2, 9, back=True)),
    Op("years_to_months", "the number of months in {n} years",
       _convert(12, 2, 6)),
    held_out=True,
)  # fmt: skip


SIDES = {"triangle": 3, "square": 4, "pentagon": 5, "hexagon": 6}


def _rectangle(area: bool) -> Answerer:
    def answer(draws: Draws, _: None) -> Answer:
        a, b = draws.between(2, 9), draws.between(2, 9)
        if area:
            sums = " + ".join([str(b)] * a)
            return a * b, f"{sums} = {a * b}.", {"a": a, "b": b}
        return (
            2 * (a + b),
            f"{a} + {b} = {a + b}. {a + b} + {a + b} = {2 * (a + b)}.",
            {"a": a, "b": b},
        )

    return answer


def _square(draws: Draws, _: None) -> Answer:
    a = draws.between(2, 15)
    return 4 * a, f"{a} + {a} + {a} + {a} = {4 * a}.", {"a": a}


def _sides(draws: Draws, _: None) -> Answer:
    one, two = draws.pick(tuple(SIDES)), draws.pick(tuple(SIDES))
    a, b = SIDES[one], SIDES[two]
    return a + b, f"A {one} has {a}, a {two} has {b}. {a} + {b} = {a + b}.", {
        "one": one, "two": two}  # fmt: skip


def _more_sides(draws: Draws, _: None) -> Answer:
    one, two = draws.sample(tuple(SIDES), 2)
    a, b = SIDES[one], SIDES[two]
    return (
        one if a > b else two,
        f"A {one} has {a}, a {two} has {b}.",
        {"one": one, "two": two},
    )


SHAPES = family(
    "shapes",
    None,
    Op("perimeter", "the perimeter of a rectangle of {a} by {b}|the way "
       "around a field of {a} by {b} steps", _rectangle(False)),
    Op("area", "the area of a rectangle of {a} by {b}|the number of tiles in "
       "{a} rows of {b}", _rectangle(True)),
    Op("square", "the perimeter of a square with sides of {a}", _square,
       held_out=True),
    Op("sides", "the number of sides of a {one} and a {two} together",
       _sides),
    Op("more_sides", "the shape with more sides, a {one} or a {two}",
       _more_sides, chance=0.5),
)  # fmt: skip

TASKS = (*DIVISORS, *UNITS, *SHAPES)
