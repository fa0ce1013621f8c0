"""Tasks that need two skills: the second is asked of the first one's answer.

The pairs are made here, not listed: three ways to pick a word of a list and
five questions on a word give fifteen tasks, and so on.
"""

from collections.abc import Callable, Iterable

from keras_flan.miniature.universe.families import Content, Op, family, story
from keras_flan.miniature.universe.numbers import in_steps, number_list
from keras_flan.miniature.universe.specs import Answer, Answerer, Draws
from keras_flan.miniature.universe.strings import distinct_lengths
from keras_flan.miniature.universe.words import (
    DAYS,
    KIND_OF,
    PEOPLE,
    THINGS,
    people,
    spelled,
)

_Share = tuple[list[str], int, int, str]


def _join(items: Iterable[object]) -> str:
    return ", ".join(map(str, items))


# What to pick: name, phrase, picker.
PICKED_WORD = (
    ("first", "the first word of {it}", lambda v: v[0]),
    ("last", "the last word of {it}", lambda v: v[-1]),
    ("longest", "the longest word of {it}", lambda v: max(v, key=len)),
    ("shortest", "the shortest word of {it}", lambda v: min(v, key=len)),
)
# What to ask of it: name, phrase of {of}, answer, held out.
ABOUT_WORD = (
    ("initial", "the first letter of {of}", lambda w: (
        w[0], spelled(w)), False),
    ("final", "the last letter of {of}", lambda w: (
        w[-1], spelled(w)), False),
    ("length", "the number of letters of {of}", lambda w: (
        len(w), spelled(w)), False),
    ("kind", "the kind (animal, fruit, colour, tool or garment) of {of}",
     lambda w: (KIND_OF[w], f"It is of the kind {KIND_OF[w]}."), True),
)  # fmt: skip
PICKED_NUMBER = (
    ("largest", "the largest number of {it}", max),
    ("smallest", "the smallest number of {it}", min),
    ("first", "the first number of {it}", lambda v: v[0]),
    ("last", "the last number of {it}", lambda v: v[-1]),
)
ABOUT_NUMBER = (
    ("doubled", "the double of {of}", lambda n: (
        2 * n, f"{n} + {n} = {2 * n}."), False),
    ("plus_ten", "10 more than {of}", lambda n: (
        n + 10, f"{n} + 10 = {n + 10}."), False),
    ("parity", "the word odd or even for {of}", lambda n: (
        "odd" if n % 2 else "even", f"The last digit is {n % 10}."), False),
    ("plus_five", "5 more than {of}", lambda n: (
        n + 5, f"{n} + 5 = {n + 5}."), True),
)  # fmt: skip


def _of_word(
    pick: Callable[[list[str]], str], about: Callable[[str], tuple]
) -> Answerer:
    def answer(draws: Draws, items: list[str]) -> Answer:
        word = pick(items)
        result, step = about(word)
        return result, f"The word is {word}. {step}"

    return answer


def _of_number(
    pick: Callable[[list[int]], int], about: Callable[[int], tuple]
) -> Answerer:
    def answer(draws: Draws, values: list[int]) -> Answer:
        n = pick(values)
        result, step = about(n)
        return result, f"The number is {n}. {step}"

    return answer


WORDS_OPS = tuple(
    Op(
        f"{picked}_{asked}",
        phrase.replace("{of}", of),
        _of_word(pick, about),
        held_out=held_out,
        chance=0.2 if asked == "kind" else 0.0,
    )
    for picked, of, pick in PICKED_WORD
    for asked, phrase, about, held_out in ABOUT_WORD
)
NUMBERS_OPS = tuple(
    Op(
        f"{picked}_number_{asked}",
        phrase.replace("{of}", of),
        _of_number(pick, about),
        held_out=held_out,
        chance=0.5 if asked == "parity" else 0.0,
    )
    for picked, of, pick in PICKED_NUMBER
    for asked, phrase, about, held_out in ABOUT_NUMBER
)


def _sum_parity(draws: Draws, values: list[int]) -> Answer:
    total = sum(values)
    return "odd" if total % 2 else "even", (
        f"{in_steps(values)} The last digit is {total % 10}.")  # fmt: skip


def _sum_minus(draws: Draws, values: list[int]) -> Answer:
    total, high = sum(values), max(values)
    return total - high, (
        f"{in_steps(values)} The largest is {high}. {total} - {high} = "
        f"{total - high}.")  # fmt: skip


def _sorted_middle(draws: Draws, values: list[int]) -> Answer:
    ranked = sorted(values)
    return ranked[1], f"In order: {_join(ranked)}."


def _day_letter(draws: Draws, _: None) -> Answer:
    at, n = draws.below(7), draws.between(1, 3)
    way = [DAYS[(at + i) % 7] for i in range(1, n + 1)]
    return way[-1][0], f"{', '.join(way)}. It begins with {way[-1][0]}.", {
        "day": DAYS[at], "n": f"{n} day{'s' if n > 1 else ''}"}  # fmt: skip


def _difference_parity(draws: Draws, _: None) -> Answer:
    a, b = draws.between(12, 40), draws.between(2, 11)
    result = a - b
    return "odd" if result % 2 else "even", (
        f"{a} - {b} = {result}. The last digit is {result % 10}."), {
            "a": a, "b": b}  # fmt: skip


def _share(draws: Draws) -> _Share:
    names = people(draws, 2)
    return names, draws.between(4, 15), draws.between(2, 9), draws.pick(THINGS)


def _tell_share(value: _Share) -> str:
    (one, two), n, more, things = value
    return f"{one} has {n} {things}. {two} has {more} {things} more than {one}."


SHARE = story(_share, _tell_share)


def _together(draws: Draws, value: _Share) -> Answer:
    _, n, more, things = value
    other = n + more
    return n + other, f"{n} + {more} = {other}. {n} + {other} = {n + other}.", {
        "things": things}  # fmt: skip


def _other_has(draws: Draws, value: _Share) -> Answer:
    (_, two), n, more, things = value
    return n + more, f"{n} + {more} = {n + more}.", {
        "things": things, "who": two}  # fmt: skip


def _pronoun(draws: Draws, value: _Share) -> Answer:
    (_, two), *_ = value
    return PEOPLE[two].lower(), "", {"who": two}


NUMBER_THREE = Content(
    "a list", "the list", lambda d: number_list(d)[:3], _join
)

COMPOSITION = (
    family(
        "composition",
        Content("a list", "the list", distinct_lengths, _join),
        *WORDS_OPS,
    )
    + family("composition", NUMBER_THREE, *NUMBERS_OPS)
    + family(
        "composition",
        NUMBER_THREE,
        Op("sum_parity", "the word odd or even for the sum of {it}",
           _sum_parity, chance=0.5),
        Op("sum_without_largest", "the sum of {it} without the largest number",
           _sum_minus, held_out=True),
        Op("middle", "the middle number of {it} when they are put in order",
           _sorted_middle, chance=1 / 3),
    )
    + family(
        "composition",
        None,
        Op("day_letter", "the first letter of the day {n} after {day}",
           _day_letter),
        Op("difference_parity", "the word odd or even for {a} - {b}",
           _difference_parity, chance=0.5),
    )
    + family(
        "composition",
        SHARE,
        Op("together", "how many {things} do they have together?",
           _together),
        Op("other_has", "how many {things} does {who} have?", _other_has),
        Op("pronoun", "is {who} called he or she?", _pronoun, chance=0.5),
    )
)  # fmt: skip

TASKS = COMPOSITION
