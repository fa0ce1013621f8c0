"""Following a state through a few events: coins, swaps, days and hours."""

from keras_flan.miniature.universe.specs import Draws, TaskSpec
from keras_flan.miniature.universe.words import (
    DAYS,
    NAMES,
    listing,
    numbered,
    people,
    yes_no,
)

COIN_START = ("A coin is heads up.", "A coin lies heads up.")
COIN_ASK = (
    "Is the coin still heads up?",
    "Is the coin heads up now?",
    "Is it heads up at the end?",
)

THINGS_HELD = ("ball", "bell", "book", "cup", "key", "lamp", "pen", "ring")
SWAP_TELL = ("{x} and {y} swap.", "{x} and {y} trade.", "{x} swaps with {y}.")
SWAP_ASK = (
    "What does {who} have?",
    "What does {who} have now?",
    "What does {who} hold at the end?",
)

CALENDAR = (
    "Today is {day}. What day is it in {n}?",
    "What day comes {n} after {day}?",
    "It is {day} and {name} comes in {n}. On which day does {name} come?",
    "{name} left on {day} and came back {n} later. What day was that?",
    "On {day}, {name} says: see you in {n}. Which day is meant?",
    "{name} bakes a cake {n} after {day}. On which day does {name} bake?",
    "{name} has a party {n} after {day}. Which day is that?",
    "{name} sends a letter on {day}. It comes {n} later. What day is that?",
)

CLOCK = (
    "The clock shows {hour}. Which hour does it show {n} later?",
    "It is {hour} o'clock. Which hour is it in {n}?",
    "{name} starts at {hour} o'clock and works for {n}. At which hour does "
    "{name} stop?",
    "A train leaves at {hour} o'clock and takes {n}. At which hour does it "
    "arrive?",
    "{name} sleeps at {hour} o'clock and wakes {n} later. Which hour is it?",
)


def _several(n: int, unit: str) -> str:
    return f"{n} {unit}" if n == 1 else f"{n} {unit}s"


def coin_flip(draws: Draws) -> dict[str, str]:
    """Makes a question such as "A coin is heads up. Ann flips it. ..."."""
    heads, told, steps = True, [], []
    for name in people(draws, draws.between(1, 3)):
        flips = draws.chance()
        heads ^= flips
        verb = "flips" if flips else "does not flip"
        told.append(f"{name} {verb} it.")
        steps.append(f"{name}: {'heads' if heads else 'tails'}.")
    return {
        "question": " ".join(
            [draws.pick(COIN_START), *told, draws.pick(COIN_ASK)]
        ),
        "answer": yes_no(heads),
        "rationale": " ".join(steps),
    }


def swaps(draws: Draws) -> dict[str, str]:
    """Makes a question on who has what after one or two swaps."""
    names = people(draws, 3)
    held = dict(zip(names, draws.sample(THINGS_HELD, 3), strict=True))
    first, *others = names
    start = listing(
        [f"{first} has the {held[first]}"]
        + [f"{name} the {held[name]}" for name in others]
    )
    told, states = [f"{start}."], []
    tell = draws.pick(SWAP_TELL)
    pair: list[str] = []
    for _ in range(draws.between(1, 2)):
        # A swap undone at once would leave nothing to follow.
        previous = set(pair)
        while set(pair) == previous:
            pair = draws.sample(names, 2)
        x, y = pair
        held[x], held[y] = held[y], held[x]
        told.append(tell.format(x=x, y=y))
        states.append(", ".join(f"{n} {held[n]}" for n in names) + ".")
    who = draws.pick(names)
    return {
        "question": " ".join([*told, draws.pick(SWAP_ASK).format(who=who)]),
        "answer": held[who],
        "rationale": " ".join(states),
    }


def calendar(draws: Draws) -> dict[str, str]:
    """Makes a question such as "Today is Monday. What day is it in ...?"."""
    start, n = draws.below(7), draws.between(1, 5)
    passed = [DAYS[(start + i) % 7] for i in range(1, n + 1)]
    return {
        "question": draws.pick(CALENDAR).format(
            day=DAYS[start], n=_several(n, "day"), name=draws.pick(NAMES)
        ),
        "answer": passed[-1],
        "rationale": ", ".join(passed) + ".",
        "other_rationale": numbered(passed),
    }


def clock(draws: Draws) -> dict[str, str]:
    """Makes a question such as "It is 9 o'clock. Which hour ...?"."""
    hour, n = draws.between(1, 12), draws.between(1, 6)
    passed = [str((hour + i - 1) % 12 + 1) for i in range(1, n + 1)]
    return {
        "question": draws.pick(CLOCK).format(
            hour=hour, n=_several(n, "hour"), name=draws.pick(NAMES)
        ),
        "answer": passed[-1],
        "rationale": ", ".join(passed) + ".",
    }


TASKS = (
    TaskSpec("coin_flip", "coins", coin_flip,
             summary="whether a coin is heads up after one to three people",
             answer_kind="yes_no", chance=0.5),
    TaskSpec("swaps", "tracking", swaps,
             summary="what one of three people holds after one or two swaps",
             answer_kind="text", chance=1 / 3),
    TaskSpec("calendar", "calendar", calendar,
             summary="the day of the week 1 to 5 days later",
             answer_kind="text", chance=1 / 7),
    TaskSpec("clock", "clock", clock,
             summary="the hour on a clock 1 to 6 hours later",
             answer_kind="number", chance=1 / 12, held_out=True),
)  # fmt: skip
