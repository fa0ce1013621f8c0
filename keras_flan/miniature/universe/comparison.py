"""Odd or even, which is larger, and who is tallest."""

import itertools

from keras_flan.miniature.universe.specs import Draws, TaskSpec
from keras_flan.miniature.universe.words import NAMES, THINGS, listing, people

# "larger" or "smaller" names the number that is asked for.
NUMBERS = (
    ("Which number is larger, {a} or {b}?", "larger"),
    ("Which is the larger of {a} and {b}?", "larger"),
    ("{name} has {a} {things} and {friend} has {b}. What is the larger "
     "number of {things}?", "larger"),
    ("{name} says {a} and {friend} says {b}. Which number is larger?",
     "larger"),
    ("Which number is smaller, {a} or {b}?", "smaller"),
    ("Which is the smaller of {a} and {b}?", "smaller"),
    ("{name} has {a} {things} and {friend} has {b}. What is the smaller "
     "number of {things}?", "smaller"),
    ("{name} says {a} and {friend} says {b}. Which number is smaller?",
     "smaller"),
)  # fmt: skip

PARITY = (
    "Is {n} odd or even?",
    "{name} says {n}. Is this number odd or even?",
    "{name} has {n} {things}. Is that an odd or an even number?",
    "Odd or even: {n} {things}?",
    "{name} counts {n} {things}. Is the number odd or even?",
)

# Each measure: its comparatives and superlatives, greater one first.
MEASURES = (
    ("taller", "shorter", "tallest", "shortest"),
    ("older", "younger", "oldest", "youngest"),
    ("faster", "slower", "fastest", "slowest"),
)


def compare_numbers(draws: Draws) -> dict[str, str]:
    """Makes a question such as "Which number is larger, 12 or 7?"."""
    text, asked = draws.pick(NUMBERS)
    a, b = draws.sample(range(1, 21), 2)
    name, friend = people(draws, 2)
    high, low = max(a, b), min(a, b)
    answer, other = (high, low) if asked == "larger" else (low, high)
    return {
        "question": text.format(
            a=a, b=b, name=name, friend=friend, things=draws.pick(THINGS)
        ),
        "answer": str(answer),
        "rationale": f"{answer} is {asked} than {other}.",
        "other_rationale": f"{other} is not {asked} than {answer}.",
    }


def parity(draws: Draws) -> dict[str, str]:
    """Makes a question such as "Is 17 odd or even?"."""
    n = draws.between(2, 49)
    return {
        "question": draws.pick(PARITY).format(
            n=n, name=draws.pick(NAMES), things=draws.pick(THINGS)
        ),
        "answer": "odd" if n % 2 else "even",
        "rationale": f"The last digit is {n % 10}.",
    }


def ordering(draws: Draws) -> dict[str, str]:
    """Makes a question such as "Ann is taller than Ben. ... tallest?"."""
    ranked = people(draws, 3)
    more, less, most, least = draws.pick(MEASURES)
    premises = [
        f"{high} is {more} than {low}."
        if draws.chance()
        else f"{low} is {less} than {high}."
        for high, low in itertools.pairwise(ranked)
    ]
    first, second = draws.shuffled(premises)
    asked, answer = draws.pick(((most, ranked[0]), (least, ranked[2])))
    ask = draws.pick(
        (
            f"Who is the {asked}?",
            f"Who is the {asked} of the three?",
            f"Which of the three is the {asked}?",
            f"Say who is the {asked}.",
            f"Of {listing(draws.shuffled(ranked))}, who is the {asked}?",
        )
    )
    return {
        "question": f"{first} {second} {ask}",
        "answer": answer,
        "rationale": f"From {most} to {least}: {', '.join(ranked)}.",
    }


TASKS = (
    TaskSpec("compare_numbers", "comparison", compare_numbers,
             summary="the larger or the smaller of two numbers",
             answer_kind="number", chance=0.5),
    TaskSpec("parity", "parity", parity,
             summary="whether a number is odd or even", answer_kind="text",
             chance=0.5),
    TaskSpec("ordering", "ordering", ordering,
             summary="who is tallest (oldest, fastest ...) of three, from "
             "two comparisons", answer_kind="text", chance=1 / 3,
             held_out=True),
)  # fmt: skip
