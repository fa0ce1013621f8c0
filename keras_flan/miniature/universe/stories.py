"""Short texts with questions: people, places, events and tables."""

import itertools
from collections.abc import Callable

from keras_flan.miniature.universe.families import Content, Op, family, story
from keras_flan.miniature.universe.specs import Answer, Answerer, Draws
from keras_flan.miniature.universe.words import (
    DAYS,
    PEOPLE,
    THINGS,
    listing,
    people,
    yes_no,
)

# Who went where; who had what; a floor, and moves (up or not) from it; a
# name, a direction and turns; a lamp, and who pressed; a table and its columns.
_Walks = list[tuple[str, str]]
_Passes = tuple[list[str], str]
_Moves = tuple[int, list[tuple[bool, int]]]
_Turns = tuple[str, int, list[str]]
_Lamps = tuple[bool, list[tuple[str, bool]]]
_Table = tuple[list[tuple[str, int, int]], list[str]]
_Cells = list[tuple[str, int]]
_Event = dict[str, str | int]

ROOMS = ("garden", "kitchen", "hall", "attic", "garage", "cellar")
OBJECTS = ("ball", "bell", "cup", "key", "lamp", "pen", "ring", "watch")
TURNS = ("north", "east", "south", "west")


# === Where people are ===


def _walks(draws: Draws) -> _Walks:
    """Three walks of two people: who went where, in order."""
    names = people(draws, 2)
    rooms = draws.sample(ROOMS, 3)
    who = draws.shuffled([names[0], names[1], draws.pick(names)])
    return list(zip(who, rooms, strict=True))


PLACES = story(
    _walks, lambda v: " ".join(f"{who} goes to the {room}." for who, room in v)
)


def _last(value: _Walks, who: str) -> list[str]:
    return [room for name, room in value if name == who]


def _where(pick: int) -> Answerer:
    def answer(draws: Draws, value: _Walks) -> Answer:
        who = draws.pick(value)[0]
        rooms = _last(value, who)
        return rooms[pick], f"{who}: {', '.join(rooms)}.", {"who": who}

    return answer


def _who_is_in(draws: Draws, value: _Walks) -> Answer:
    who = draws.pick(value)[0]
    rooms = _last(value, who)
    return who, f"{who}: {', '.join(rooms)}.", {"room": rooms[-1]}


def _is_in(draws: Draws, value: _Walks) -> Answer:
    who = draws.pick(value)[0]
    rooms = _last(value, who)
    asked = rooms[-1] if draws.chance() else draws.pick(
        [room for _, room in value if room != rooms[-1]])  # fmt: skip
    return (
        yes_no(asked == rooms[-1]),
        f"{who}: {', '.join(rooms)}.",
        {"who": who, "room": asked},
    )


def _visits(draws: Draws, value: _Walks) -> Answer:
    who = draws.pick(value)[0]
    rooms = _last(value, who)
    return len(rooms), f"{who}: {', '.join(rooms)}.", {"who": who}


PLACE_TASKS = family(
    "places",
    PLACES,
    Op("where", "where is {who} now?|in which room is {who} at the end?",
       _where(-1), chance=1 / 3),
    Op("where_first", "where did {who} go first?", _where(0), chance=1 / 3),
    Op("who", "who is in the {room} now?", _who_is_in, chance=0.5),
    Op("is_in", "is {who} in the {room} now?", _is_in, kind="yes_no"),
    Op("visits", "how many rooms did {who} visit?", _visits, chance=0.5),
)  # fmt: skip


# === Who has it ===


def _passes(draws: Draws) -> _Passes:
    return people(draws, draws.between(3, 4)), draws.pick(OBJECTS)


def _tell_passes(value: _Passes) -> str:
    names, thing = value
    told = [f"{names[0]} has the {thing}."]
    for giver, taker in itertools.pairwise(names):
        told.append(f"{giver} gives it to {taker}.")
    return " ".join(told)


PASSES = story(_passes, _tell_passes)


def _holder(place: Callable[[list[str]], str]) -> Answerer:
    def answer(draws: Draws, value: _Passes) -> Answer:
        names, thing = value
        return place(names), f"{', then '.join(names)}.", {"thing": thing}

    return answer


def _moves(draws: Draws) -> _Moves:
    start, steps = draws.between(3, 9), []
    at = start
    for _ in range(draws.between(2, 3)):
        up = draws.chance() or at < 4
        n = draws.between(1, 3)
        steps.append((up, n))
        at += n if up else -n
    return start, steps


def _tell_lift(value: _Moves) -> str:
    told = [f"A lift is on floor {value[0]}."]
    told += [f"It goes {'up' if up else 'down'} {n}." for up, n in value[1]]
    return " ".join(told)


def _sum_moves(draws: Draws, value: _Moves) -> Answer:
    at, told = value[0], []
    for up, n in value[1]:
        result = at + n if up else at - n
        told.append(f"{at} {'+' if up else '-'} {n} = {result}.")
        at = result
    return at, " ".join(told)


def _turns(draws: Draws) -> _Turns:
    name, _ = people(draws, 2)
    return (
        name,
        draws.below(4),
        [
            draws.pick(("left", "right", "around"))
            for _ in range(draws.between(1, 3))
        ],
    )


def _tell_turns(value: _Turns) -> str:
    name, start, turns = value
    told = " ".join(f"{PEOPLE[name]} turns {turn}." for turn in turns)
    return f"{name} looks {TURNS[start]}. {told}"


def _heading(draws: Draws, value: _Turns) -> Answer:
    name, at, turns = value
    way = []
    for turn in turns:
        at = (at + {"left": -1, "right": 1, "around": 2}[turn]) % 4
        way.append(TURNS[at])
    return way[-1], f"{', '.join(way)}.", {"who": name}


def _lamps(draws: Draws) -> _Lamps:
    names = people(draws, draws.between(2, 3))
    return draws.chance(), [(name, draws.chance(0.6)) for name in names]


def _tell_lamp(value: _Lamps) -> str:
    told = [f"The lamp is {'on' if value[0] else 'off'}."]
    for name, pressed in value[1]:
        verb = "presses" if pressed else "does not press"
        told.append(f"{name} {verb} the switch.")
    return " ".join(told)


def _lamp(draws: Draws, value: _Lamps) -> Answer:
    on, way = value[0], []
    for name, pressed in value[1]:
        on ^= pressed
        way.append(f"{name}: {'on' if on else 'off'}.")
    return yes_no(on), " ".join(way)


QUEUE = story(
    lambda d: people(d, 4),
    lambda v: f"{v[0]} is first in the queue, then come {listing(v[1:])}.",
)


def _behind(step: int) -> Answerer:
    def answer(draws: Draws, names: list[str]) -> Answer:
        at = draws.between(1, 2)
        return names[at + step], f"{', '.join(names)}.", {"who": names[at]}

    return answer


def _queue_place(draws: Draws, names: list[str]) -> Answer:
    at = draws.below(4)
    steps = ", ".join(f"{i} {n}" for i, n in enumerate(names[: at + 1], 1))
    return at + 1, f"{steps}.", {"who": names[at]}


TRACKING = (
    family(
        "tracking",
        PASSES,
        Op("holder", "who has the {thing} now?|who has the {thing} at the "
           "end?", _holder(lambda n: n[-1]), chance=0.25),
        Op("first_holder", "who had the {thing} at the start?",
           _holder(lambda n: n[0]), chance=0.25),
        Op("last_giver", "who was the last to give the {thing} away?",
           _holder(lambda n: n[-2]), chance=0.25),
    )
    + family(
        "tracking",
        story(_moves, _tell_lift),
        Op("lift", "on which floor is the lift now?", _sum_moves,
           held_out=True),
    )
    + family(
        "tracking",
        story(_turns, _tell_turns),
        Op("heading", "where does {who} look now?", _heading, chance=0.25),
    )
    + family(
        "tracking",
        story(_lamps, _tell_lamp),
        Op("lamp", "is the lamp on now?", _lamp, kind="yes_no"),
    )
    + family(
        "queues",
        QUEUE,
        Op("behind", "who is right behind {who}?", _behind(1), chance=0.25),
        Op("before", "who is right before {who}?", _behind(-1), chance=0.25),
        Op("last", "who is the last in the queue?",
           lambda d, v: (v[-1], f"{', '.join(v)}."), chance=0.25),
        Op("place", "which place has {who}?", _queue_place, chance=0.25),
    )
)  # fmt: skip


# === Tables ===


def _table(draws: Draws) -> _Table:
    names = people(draws, 3)
    return [
        (name, a, b)
        for name, a, b in zip(
            names,
            draws.sample(range(1, 16), 3),
            draws.sample(range(1, 16), 3),
            strict=True,
        )
    ], draws.sample(THINGS, 2)


def _tell_table(value: _Table) -> str:
    rows, (one, two) = value
    cells = "; ".join(f"{name} | {a} | {b}" for name, a, b in rows)
    return f"name | {one} | {two}; {cells}"


TABLE = Content("a table", "the table", _table, _tell_table)


def _cell(draws: Draws, value: _Table) -> Answer:
    rows, things = value
    name, *cells = draws.pick(rows)
    at = draws.below(2)
    steps = f"The row of {name} is {cells[0]}, {cells[1]}."
    return cells[at], steps, {"who": name, "thing": things[at]}


def _column(fold: Callable[[_Cells], tuple[object, str]]) -> Answerer:
    def answer(draws: Draws, value: _Table) -> Answer:
        rows, things = value
        at = draws.below(2)
        return (*fold([(name, cells[at]) for name, *cells in rows]), {
            "thing": things[at]})  # fmt: skip

    return answer


def _most(sign: int) -> Callable[[_Cells], tuple[str, str]]:
    def fold(cells: _Cells) -> tuple[str, str]:
        who = max(cells, key=lambda cell: sign * cell[1])[0]
        return who, ", ".join(f"{name} {n}" for name, n in cells) + "."

    return fold


def _add_up(cells: _Cells) -> tuple[int, str]:
    a, b, c = (n for _, n in cells)
    return a + b + c, f"{a} + {b} = {a + b}. {a + b} + {c} = {a + b + c}."


def _row_sum(draws: Draws, value: _Table) -> Answer:
    name, a, b = draws.pick(value[0])
    return a + b, f"{a} + {b} = {a + b}.", {"who": name}


def _whose(draws: Draws, value: _Table) -> Answer:
    rows, things = value
    at = draws.below(2)
    row = draws.pick(rows)
    return row[0], f"The row with {row[1 + at]} is that of {row[0]}.", {
        "n": row[1 + at], "thing": things[at]}  # fmt: skip


def _more_than(draws: Draws, value: _Table) -> Answer:
    rows, things = value
    at = draws.below(2)
    (one, *a), (two, *b) = draws.sample(rows, 2)
    return (
        yes_no(a[at] > b[at]),
        f"{one} has {a[at]}, {two} has {b[at]}.",
        {"one": one, "two": two, "thing": things[at]},
    )


TABLES = family(
    "tables",
    TABLE,
    Op("cell", "the number of {thing} of {who} in {it}", _cell,
       chance=1 / 6),
    Op("most", "the person with the most {thing} in {it}",
       _column(_most(1)), chance=1 / 3),
    Op("fewest", "the person with the fewest {thing} in {it}",
       _column(_most(-1)), chance=1 / 3, held_out=True),
    Op("total", "the total number of {thing} in {it}", _column(_add_up)),
    Op("row_sum", "the sum of the row of {who} in {it}", _row_sum),
    Op("whose", "the person with {n} {thing} in {it}", _whose,
       chance=1 / 3),
    Op("more", "in {it}, does {one} have more {thing} than {two}?",
       _more_than, kind="yes_no"),
    Op("second", "the name in the second row of {it}",
       lambda d, v: (v[0][1][0], ""), chance=1 / 3),
)  # fmt: skip


# === Reading ===


def _event(draws: Draws) -> _Event:
    who, friend = people(draws, 2)
    return {
        "who": who,
        "friend": friend,
        "n": draws.between(2, 20),
        "things": draws.pick(THINGS),
        "day": draws.pick(DAYS),
        "room": draws.pick(ROOMS),
        "verb": draws.pick(("brought", "showed", "sold")),
    }


EVENT = story(
    _event,
    lambda v: (
        "On {day}, {who} {verb} {n} {things} to {friend} in the "
        "{room}.".format_map(v)
    ),
)


def _read(field: str) -> Answerer:
    return lambda d, v: (v[field], "", v)


def _was(draws: Draws, value: _Event) -> Answer:
    field = draws.pick(("day", "room"))
    real = value[field]
    pool = DAYS if field == "day" else ROOMS
    asked = real if draws.chance() else draws.pick(
        [w for w in pool if w != real])  # fmt: skip
    word = "on" if field == "day" else "in the"
    return (
        yes_no(asked == real),
        f"It was {word} {real}.",
        {"when": f"{word} {asked}"},
    )


READING = family(
    "reading",
    EVENT,
    Op("who", "who {verb} something?|who {verb} the {things}?",
       _read("who"), chance=0.5),
    Op("whom", "to whom was something {verb}?", lambda d, v: (
        v["friend"], "", {"verb": {"brought": "brought", "showed": "shown",
                                   "sold": "sold"}[v["verb"]]}), chance=0.5),
    Op("what", "what did {friend} get or see?", _read("things")),
    Op("day", "on which day was it?", _read("day")),
    Op("room", "in which room was it?", _read("room")),
    Op("how_many", "how many {things} were there?", _read("n")),
    Op("was", "was it {when}?", _was, kind="yes_no"),
)  # fmt: skip


TASKS = (*PLACE_TASKS, *TRACKING, *TABLES, *READING)
