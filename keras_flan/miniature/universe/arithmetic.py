"""Word problems on small whole numbers, of one to three steps, and change."""

import dataclasses

from keras_flan.miniature.universe.specs import Draws, TaskSpec
from keras_flan.miniature.universe.words import DAYS, PEOPLE, THINGS, people


@dataclasses.dataclass(frozen=True)
class Story:
    """A phrasing and the sign of each of its steps.

    Attributes:
        text: The question; {a} is the start and {b}, {c}, {d} are the
            amounts of the steps. All are 2 or more, so that plurals fit.
        signs: One "+" or "-" per step.
    """

    text: str
    signs: str


ONE_STEP = (
    Story("{name} has {a} {things}. {she} buys {b} more. How many {things} "
          "does {name} have?", "+"),
    Story("{name} finds {a} {things} and {friend} finds {b}. How many "
          "{things} do they find in all?", "+"),
    Story("There are {a} {things} on a table. {name} puts {b} more on it. "
          "How many {things} are there?", "+"),
    Story("A shop sold {a} {things} on {day} and {b} on {next_day}. How "
          "many {things} did it sell?", "+"),
    Story("{name} has {a} {things} and gives {b} to {friend}. How many "
          "{things} does {name} have left?", "-"),
    Story("There are {a} {things} in a box. {name} takes {b} of them. How "
          "many {things} stay in the box?", "-"),
    Story("{name} had {a} {things}. {she} lost {b} on {day}. How many "
          "{things} does {name} have now?", "-"),
    Story("A shop had {a} {things} and sold {b} of them. How many {things} "
          "does the shop have left?", "-"),
)  # fmt: skip

TWO_STEPS = (
    Story("The cafeteria had {a} {things}. They used {b} for lunch and "
          "bought {c} more. How many {things} do they have?", "-+"),
    Story("{name} has {a} {things}. {she} gives {b} to {friend} and gets "
          "{c} more. How many {things} does {name} have?", "-+"),
    Story("{name} had {a} {things}. {she} bought {b} more and lost {c}. "
          "How many {things} does {name} have now?", "+-"),
    Story("A box holds {a} {things}. {name} adds {b} and {friend} takes "
          "{c}. How many {things} are in the box?", "+-"),
    Story("{name} has {a} {things}. {friend} brings {b} and then {c} more. "
          "How many {things} are there in all?", "++"),
    Story("A shop sold {a} {things} on {day}, {b} on {next_day} and {c} "
          "later. How many {things} did it sell?", "++"),
    Story("There were {a} {things}. {name} took {b} and {friend} took {c}. "
          "How many {things} are left?", "--"),
)  # fmt: skip

THREE_STEPS = (
    Story("{name} had {a} {things}. {she} bought {b}, found {c} and lost "
          "{d}. How many {things} does {name} have?", "++-"),
    Story("A shop had {a} {things}. It sold {b}, bought {c} and sold {d}. "
          "How many {things} does it have?", "-+-"),
    Story("There are {a} {things} in a box. {name} takes {b}, adds {c} and "
          "adds {d}. How many {things} are there?", "-++"),
    Story("{name} has {a} {things}. {friend} brings {b}. They use {c} and "
          "buy {d}. How many {things} are there?", "+-+"),
    Story("{name} had {a} {things}. {she} gave {b} to {friend}, lost {c} "
          "and found {d}. How many {things} are left?", "--+"),
    Story("The cafeteria had {a} {things}. They bought {b}, used {c} and "
          "used {d}. How many {things} are left?", "+--"),
)  # fmt: skip

CHANGE = (
    "{name} buys a book for {b} dollars and pays with {a} dollars. How many "
    "dollars does {name} get back?",
    "A hat costs {b} dollars. {name} gives the shop {a} dollars. How much "
    "change does {name} get?",
    "{name} has {a} dollars and spends {b} dollars. How many dollars are left?",
    "{name} pays for a {b} dollar lunch with {a} dollars. What is the change "
    "in dollars?",
    "The price is {b} dollars. {name} pays {a} dollars on {day}. How many "
    "dollars come back?",
)

# The paper's example: the amounts of the cafeteria's apples. Nothing is made
# of them, so that a model that is asked it has not seen it.
RESERVED = [23, 20, 6]
# Share of the stories that are told as a condition: "If they used 2, ...".
_CONDITIONS = 0.3


def _tell(draws: Draws, story: Story, numbers: list[int]) -> dict[str, str]:
    """Returns the example of a story with its start and amounts."""
    name, friend = people(draws, 2)
    day = draws.below(len(DAYS))
    steps, total = [], numbers[0]
    for sign, amount in zip(story.signs, numbers[1:], strict=True):
        result = total + amount if sign == "+" else total - amount
        steps.append(f"{total} {sign} {amount} = {result}.")
        total = result
    text = story.text
    if text.count(". ") == 2 and draws.chance(_CONDITIONS):
        text = _as_condition(text)
    question = text.format(
        name=name,
        friend=friend,
        she=PEOPLE[name],
        they=PEOPLE[name].lower(),
        things=draws.pick(THINGS),
        day=DAYS[day],
        next_day=DAYS[(day + 1) % len(DAYS)],
        **dict(zip("abcd", numbers, strict=False)),
    )
    return {
        "question": question,
        "answer": str(total),
        "rationale": " ".join(steps),
    }


def _as_condition(text: str) -> str:
    """Joins the last two sentences: `"... If she used 2, how many ...?"`."""
    begin, told, asked = text.split(". ")
    told = told.replace("{she}", "{they}")
    for word in ("They", "It"):
        told = told.replace(word, word.lower())
    return f"{begin}. If {told}, {asked[0].lower()}{asked[1:]}"


def _amounts(
    draws: Draws, signs: str, start: tuple[int, int], largest: int
) -> list[int]:
    """Draws a start and an amount per step; at least 1 is always left."""
    total = draws.between(*start)
    numbers = [total]
    for i, sign in enumerate(signs):
        # Leave room for this step and 2 for each later one that takes.
        spare = total - 1 - 2 * signs[i + 1 :].count("-")
        most = largest if sign == "+" else min(largest, spare)
        amount = draws.between(2, most)
        numbers.append(amount)
        total += amount if sign == "+" else -amount
    if numbers == RESERVED:
        return _amounts(draws, signs, start, largest)
    return numbers


def one_step(draws: Draws) -> dict[str, str]:
    """Makes a question such as "Ann has 7 pens. She buys 2 more. ..."."""
    story = draws.pick(ONE_STEP)
    return _tell(draws, story, _amounts(draws, story.signs, (4, 10), 9))


def two_steps(draws: Draws) -> dict[str, str]:
    """Makes a question of two steps; one in five has larger numbers."""
    story = draws.pick(TWO_STEPS)
    start, largest = ((6, 12), 6) if draws.chance(0.8) else ((13, 26), 20)
    if story.signs == "++":
        largest = min(largest, 12)
    return _tell(draws, story, _amounts(draws, story.signs, start, largest))


def three_steps(draws: Draws) -> dict[str, str]:
    """Makes a question of three steps."""
    story = draws.pick(THREE_STEPS)
    return _tell(draws, story, _amounts(draws, story.signs, (8, 12), 5))


def problem(draws: Draws) -> dict[str, str]:
    """Makes a question of any of the stories, with larger numbers too."""
    story = draws.pick((*ONE_STEP, *TWO_STEPS, *TWO_STEPS, *THREE_STEPS))
    start, largest = draws.pick((((8, 12), 6), ((13, 30), 20)))
    if "-" not in story.signs:
        largest = min(largest, 12)
    return _tell(draws, story, _amounts(draws, story.signs, start, largest))


def change(draws: Draws) -> dict[str, str]:
    """Makes a question about the change of a payment."""
    paid = draws.between(6, 20)
    story = Story(draws.pick(CHANGE), "-")
    return _tell(draws, story, [paid, draws.between(2, paid - 1)])


TASKS = (
    TaskSpec("one_step_arithmetic", "arithmetic", one_step,
             summary="word problems with one addition or subtraction",
             answer_kind="number", chance=0.12),
    TaskSpec("two_step_arithmetic", "arithmetic", two_steps,
             summary="word problems with two additions or subtractions",
             answer_kind="number", chance=0.07),
    TaskSpec("three_step_arithmetic", "arithmetic", three_steps,
             summary="word problems with three additions or subtractions",
             answer_kind="number", chance=0.09),
    TaskSpec("money_change", "money", change,
             summary="change of a payment in whole dollars",
             answer_kind="number", chance=0.12, held_out=True),
)  # fmt: skip
