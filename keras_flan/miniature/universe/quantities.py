"""Money and ordering (both held out), and comparison of quantities."""

from keras_flan.miniature.universe.families import Op, family, story
from keras_flan.miniature.universe.specs import Answer, Answerer, Draws
from keras_flan.miniature.universe.words import THINGS, people, yes_no

_Has = tuple[list[str], list[int], str]


# === Money (held out) ===


def _price(draws: Draws, _: None) -> Answer:
    n, each = draws.between(2, 5), draws.between(2, 9)
    sums = " + ".join([str(each)] * n)
    return n * each, f"{sums} = {n * each}.", {"n": n, "each": each}


def _afford(draws: Draws, _: None) -> Answer:
    price, cash = draws.sample(range(3, 30), 2)
    word = "more" if price > cash else "less"
    return yes_no(cash > price), f"{price} is {word} than {cash}.", {
        "price": price, "cash": cash}  # fmt: skip


def _total_price(draws: Draws, _: None) -> Answer:
    a, b = draws.between(2, 20), draws.between(2, 20)
    return a + b, f"{a} + {b} = {a + b}.", {"a": a, "b": b}


def _saved(draws: Draws, _: None) -> Answer:
    price, off = draws.between(10, 40), draws.between(2, 9)
    return price - off, f"{price} - {off} = {price - off}.", {
        "price": price, "off": off}  # fmt: skip


MONEY = family(
    "money",
    None,
    Op("price", "the price of {n} books at {each} dollars each", _price),
    Op("afford", "are {cash} dollars enough for a coat of {price} dollars?",
       _afford, kind="yes_no"),
    Op("total", "the price of a hat of {a} dollars and a scarf of {b} "
       "dollars", _total_price),
    Op("discount", "the price of a lamp of {price} dollars with {off} "
       "dollars off", _saved),
    held_out=True,
)  # fmt: skip


# === Ordering (held out) ===


RANKED = story(
    lambda d: people(d, 3),
    lambda v: f"{v[0]} came before {v[1]} and {v[1]} came before {v[2]}.",
)
ORDERING = family(
    "ordering",
    RANKED,
    Op("winner", "who came first?",
       lambda d, v: (v[0], f"The order is {', '.join(v)}."), chance=1 / 3),
    Op("loser", "who came last?",
       lambda d, v: (v[2], f"The order is {', '.join(v)}."), chance=1 / 3),
    Op("middle", "who came in the middle?",
       lambda d, v: (v[1], f"The order is {', '.join(v)}."), chance=1 / 3),
    held_out=True,
)  # fmt: skip


# === Comparison ===


def _has(draws: Draws) -> _Has:
    names = people(draws, 2)
    return names, draws.sample(range(1, 31), 2), draws.pick(THINGS)


HAS = story(
    _has,
    lambda v: f"{v[0][0]} has {v[1][0]} {v[2]} and {v[0][1]} has {v[1][1]}.",
)


def _who_has(more: bool) -> Answerer:
    def answer(draws: Draws, value: _Has) -> Answer:
        (one, two), (a, b), things = value
        high, low = max(a, b), min(a, b)
        who = one if (a > b) == more else two
        return who, f"{high} is larger than {low}.", {"things": things}

    return answer


def _how_many_more(draws: Draws, value: _Has) -> Answer:
    _, (a, b), things = value
    high, low = max(a, b), min(a, b)
    return high - low, f"{high} - {low} = {high - low}.", {"things": things}


def _equal(draws: Draws, _: None) -> Answer:
    a = draws.between(3, 20)
    b = a if draws.chance() else draws.between(3, 20)
    n = draws.between(1, a - 1)
    return (
        yes_no(a == b),
        f"{n} + {a - n} = {a}.",
        {"a": n, "b": a - n, "c": b},
    )


def _closer(draws: Draws, _: None) -> Answer:
    target = draws.between(10, 30)
    near, far = draws.between(1, 3), draws.between(4, 8)
    a, b = target + near, target - far
    if draws.chance():
        a, b = target - near, target + far
    one, two = draws.shuffled([a, b])
    return a, f"{abs(a - target)} is less than {abs(b - target)}.", {
        "one": one, "two": two, "n": target}  # fmt: skip


def _between(draws: Draws, _: None) -> Answer:
    a, n, b = sorted(draws.sample(range(1, 41), 3))
    inside = draws.chance()
    if not inside:
        a, n, b = (n, a, b) if draws.chance() else (a, b, n)
    return (
        yes_no(inside),
        f"In order: {', '.join(map(str, sorted((a, n, b))))}.",
        {"a": min(a, b), "b": max(a, b), "n": n},
    )


COMPARISON = family(
    "comparison",
    HAS,
    Op("who_has_more", "who has more {things}?", _who_has(True),
       chance=0.5),
    Op("who_has_fewer", "who has fewer {things}?", _who_has(False),
       chance=0.5),
    Op("how_many_more", "how many {things} more has the one than the "
       "other?", _how_many_more, held_out=True),
) + family(
    "comparison",
    None,
    Op("equal", "is {a} + {b} the same as {c}?", _equal, kind="yes_no"),
    Op("closer", "the number closer to {n}, {one} or {two}", _closer,
       chance=0.5),
    Op("between", "is {n} between {a} and {b}?", _between, kind="yes_no"),
)  # fmt: skip

TASKS = (*MONEY, *ORDERING, *COMPARISON)
