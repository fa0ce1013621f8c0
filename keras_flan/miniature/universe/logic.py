"""Deductions with made-up classes, and expressions of True and False."""

from keras_flan.miniature.universe.specs import Draws, TaskSpec
from keras_flan.miniature.universe.words import NAMES

# Words without a meaning: nothing but the premises can answer.
CLASSES = (
    "blick", "dax", "fep", "gorp", "lomp", "mip", "tove", "vorn", "zim",
    "zorp",
)  # fmt: skip
SYLLOGISM_ASK = (
    "Is {name} a {asked}?",
    "Is it true that {name} is a {asked}?",
    "Does it follow that {name} is a {asked}?",
    "Can {name} be a {asked}?",
    "Is {name} one of the {asked}s?",
)

BOOLEAN = (
    "{expression} is",
    "What is {expression}?",
    "Evaluate: {expression}",
    "Is this True or False: {expression}",
    "{name} writes {expression}. Is it True or False?",
    "Work out {expression}.",
)


def syllogism(draws: Draws) -> dict[str, str]:
    """Makes a question such as "Every dax is a mip. ... Is Ann a mip?".

    There is always one premise with "every" and one with "no", so that the
    words alone do not tell the answer.
    """
    name = draws.pick(NAMES)
    first, second, third = draws.sample(CLASSES, 3)
    is_first = f"{name} is a {first}."
    every = f"Every {first} is a {second}."
    chained = draws.chance()
    no = f"No {second if chained else first} is a {third}."
    if draws.chance():
        asked, answer, steps = second, "yes", [is_first, every]
    else:
        asked, answer = third, "no"
        steps = [is_first, every, no] if chained else [is_first, no]
    premises = draws.shuffled([is_first, every, no])
    question = draws.pick(SYLLOGISM_ASK).format(name=name, asked=asked)
    return {
        "question": " ".join([*premises, question]),
        "answer": answer,
        "rationale": " ".join(steps),
        "other_rationale": " ".join(reversed(steps)),
    }


def boolean(draws: Draws) -> dict[str, str]:
    """Makes a question such as "not True and ( False or True ) is"."""
    left_text, left, steps = _operand(draws)
    if draws.chance(0.25):
        right_text, right, more = _operand(draws)
        steps += more
    else:
        a_text, a, a_steps = _operand(draws)
        b_text, b, b_steps = _operand(draws)
        inner, right, inner_steps = _join(draws, a_text, a, b_text, b)
        right_text = f"( {inner} )"
        steps += a_steps + b_steps + inner_steps
    expression, value, last = _join(draws, left_text, left, right_text, right)
    return {
        "question": draws.pick(BOOLEAN).format(
            expression=expression, name=draws.pick(NAMES)
        ),
        "answer": str(value),
        "rationale": " ".join(steps + last),
    }


def _operand(draws: Draws) -> tuple[str, bool, list[str]]:
    """Draws True or False, one in four with "not": text, value, steps."""
    value = draws.chance()
    if draws.chance(0.75):
        return str(value), value, []
    return f"not {value}", not value, [f"not {value} is {not value}."]


def _join(
    draws: Draws, left_text: str, left: bool, right_text: str, right: bool
) -> tuple[str, bool, list[str]]:
    """Joins two operands with "and" or "or": text, value, steps."""
    operator = draws.pick(("and", "or"))
    value = left and right if operator == "and" else left or right
    step = f"{left} {operator} {right} is {value}."
    return f"{left_text} {operator} {right_text}", value, [step]


TASKS = (
    TaskSpec("syllogism", "deduction", syllogism,
             summary="whether a conclusion follows, with made-up classes",
             answer_kind="yes_no", chance=0.5),
    TaskSpec("boolean", "boolean", boolean,
             summary="the value of an expression of True, False, and, or, not",
             answer_kind="text", chance=0.5),
)  # fmt: skip
