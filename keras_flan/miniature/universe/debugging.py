"""Programs with a bug: find the fault, explain it, repair the program.

A program is what a sentence asks for, a line per step; each task puts a bug
of one kind into it. All programs are run in the sandbox when records are
made: the repaired one must give what the sentence asks for, and the broken one
something else.
"""

import dataclasses
import functools
import re
from collections.abc import Callable, Sequence

from keras_flan.answers.programs import run_programs
from keras_flan.data.records.example import Example
from keras_flan.miniature.universe.specs import Draws, TaskSpec
from keras_flan.miniature.universe.words import people

FAMILY = "debugging"
_NAMES = "abcd"
_WORDS = {"+": "add {}", "-": "take away {}", "*": "multiply by {}"}
_TEMPLATES = (
    "{spec} The program is: {code} It gives {given}. Find the bug and repair "
    "the program.",
    "{spec} Program of {name}: {code} It gives {given}, not {expected}. What "
    "is the right program?",
    "Repair this program, which gives {given}: {code} It should do this: "
    "{spec}",
    "Task: {spec} Code: {code} The result {given} is wrong. Correct the code.",
    "{name} asks {friend} to debug: {code} Wanted: {spec} Result: {given}",
)
# A program in a text, from its first line on.
_PROGRAM = re.compile(r"a = -?\d+(?:; [b-d] = [a-d\d]+(?: [-+*] [a-d\d]+)?)+")
# Where else a repaired program must do as the right one does.
_STARTS = (3, 11)
# Programs that are run in one.
_AT_ONCE = 100


@dataclasses.dataclass(frozen=True)
class Program:
    """A number, and what is done to it.

    Args:
        start: The number.
        steps: Sign and number of each step.

    Example:
        >>> Program(7, (("-", 2), ("*", 3))).code
        'a = 7; b = a - 2; c = b * 3'
    """

    start: int
    steps: tuple[tuple[str, int], ...]

    @property
    def lines(self) -> list[str]:
        """The lines of its code."""
        return [
            f"a = {self.start}",
            *(
                f"{_NAMES[i + 1]} = {_NAMES[i]} {sign} {number}"
                for i, (sign, number) in enumerate(self.steps)
            ),
        ]

    @property
    def code(self) -> str:
        """The program."""
        return "; ".join(self.lines)

    @property
    def words(self) -> list[str]:
        """What each line does."""
        own = [_WORDS[sign].format(n) for sign, n in self.steps]
        return [f"take {self.start}", *own]

    @property
    def result(self) -> int:
        """What it comes to."""
        value = self.start
        for sign, number in self.steps:
            value = {
                "+": value + number,
                "-": value - number,
                "*": value * number,
            }[sign]
        return value


# === The bugs: the lines of a program with one in it ===


def _sign(draws: Draws, program: Program) -> list[str]:
    """Adds in place of taking away, or the other way round."""
    return _changed(program, draws, "+-", lambda s, n: ("+-"[s == "+"], n))


def _times(draws: Draws, program: Program) -> list[str]:
    """Adds in place of multiplying."""
    return _changed(program, draws, "*", lambda s, n: ("+", n))


def _number(draws: Draws, program: Program) -> list[str]:
    """Has another number in a step."""
    off = draws.pick((1, 2, 3))
    return _changed(program, draws, "+-*", lambda s, n: (s, n + off))


def _start(draws: Draws, program: Program) -> list[str]:
    """Begins with another number."""
    other = program.start + draws.pick((1, 2, 3))
    return [f"a = {other}", *program.lines[1:]]


def _variable(draws: Draws, program: Program) -> list[str]:
    """Goes on with the number before the last one."""
    place = draws.between(2, len(program.steps))
    right, old, wrong = program.lines, _NAMES[place - 1], _NAMES[place - 2]
    line = right[place].replace(f"= {old} ", f"= {wrong} ")
    return [*right[:place], line, *right[place + 1 :]]


def _swapped(draws: Draws, program: Program) -> list[str]:
    """Takes the result away from the number."""
    lines = program.lines
    places = [i for i, (s, _) in enumerate(program.steps, 1) if s == "-"]
    if not places:
        return lines
    place = draws.pick(places)
    number = program.steps[place - 1][1]
    name, old = _NAMES[place], _NAMES[place - 1]
    return [*lines[:place], f"{name} = {number} - {old}", *lines[place + 1 :]]


def _order(draws: Draws, program: Program) -> list[str]:
    """Does two steps in the other order."""
    place = draws.below(len(program.steps) - 1)
    steps = list(program.steps)
    steps[place : place + 2] = reversed(steps[place : place + 2])
    return dataclasses.replace(program, steps=tuple(steps)).lines


def _lost(draws: Draws, program: Program) -> list[str]:
    """Leaves out what a step does."""
    place = draws.between(1, len(program.steps))
    lines = program.lines
    lines[place] = f"{_NAMES[place]} = {_NAMES[place - 1]}"
    return lines


def _changed(
    program: Program,
    draws: Draws,
    signs: str,
    change: Callable[[str, int], tuple[str, int]],
) -> list[str]:
    places = [i for i, (s, _) in enumerate(program.steps) if s in signs]
    if not places:
        return program.lines
    place = draws.pick(places)
    steps = list(program.steps)
    steps[place] = change(*steps[place])
    return dataclasses.replace(program, steps=tuple(steps)).lines


# === Tasks ===


def _drawn(draws: Draws) -> Program:
    number = draws.between(2, 3)
    signs = draws.sample("+-*", number)
    return Program(
        draws.between(2, 12),
        tuple((s, draws.between(2, 4 if s == "*" else 9)) for s in signs),
    )


def _make(
    bug: Callable[[Draws, Program], list[str]], draws: Draws
) -> dict[str, str]:
    while True:
        program = _drawn(draws)
        lines = bug(draws, program)
        given = _value(lines)
        # A bug that changes nothing is none.
        if given != program.result:
            break
    first, *others = program.words
    spec = f"{first.capitalize()}, {', then '.join(others)}."
    faults = [
        f"It says {wrong}, but {what} is {right}."
        for wrong, what, right in zip(
            lines, program.words, program.lines, strict=True
        )
        if wrong != right
    ]
    name, friend = people(draws, 2)
    return {
        "name": name,
        "friend": friend,
        "spec": spec,
        "code": f"{'; '.join(lines)}.",
        "given": str(given),
        "expected": str(program.result),
        "answer": program.code,
        "rationale": " ".join(faults),
    }


def _value(lines: Sequence[str]) -> int:
    """Returns what lines come to: a second way beside the sandbox."""
    values: dict[str, int] = {}
    for line in lines:
        name, _, right = line.partition(" = ")
        left, *rest = right.split(" ")

        def read(text: str) -> int:
            return values[text] if text in values else int(text)

        values[name] = read(left)
        if rest:
            sign, number = rest[0], read(rest[1])
            values[name] = {
                "+": values[name] + number,
                "-": values[name] - number,
                "*": values[name] * number,
            }[sign]
    return values[name]


# === In the sandbox ===


def check_programs(examples: Sequence[Example]) -> None:
    """Runs the programs of examples: the repaired and the broken ones.

    Args:
        examples: With `answer`, `code`, `given` and `expected`.

    Raises:
        AssertionError: If a repaired program doesn't give what is expected,
            or a broken one does, or gives something else than is said.
    """
    fields = [example.fields for example in examples]
    repaired = _results([one["answer"] for one in fields])
    broken = _results([one["code"][:-1] for one in fields])
    for one, right, wrong in zip(fields, repaired, broken, strict=True):
        if (
            right != one["expected"]
            or wrong != one["given"]
            or one["given"] == one["expected"]
        ):
            raise AssertionError(
                f"{one['question']}: the repaired program gives {right}, the "
                f"broken one {wrong}"
            )


def _results(codes: Sequence[str]) -> list[str]:
    """Returns what programs come to, run many in one."""
    found: list[str] = []
    parts = [codes[i : i + _AT_ONCE] for i in range(0, len(codes), _AT_ONCE)]
    programs = [
        "\n".join(
            [
                "found = []",
                *(f"{code}\nfound.append(str({_last(code)}))" for code in part),
                "answer = ', '.join(found)",
            ]
        )
        for part in parts
    ]
    for part, made in zip(parts, run_programs(programs), strict=True):
        results = (made.answer or "").split(", ")
        if len(results) != len(part):
            raise AssertionError(f"programs such as {part[0]}: {made.reason}")
        found += results
    return found


def repaired(outputs: Sequence[str], targets: Sequence[str]) -> list[bool]:
    """Returns which outputs hold a program that does what the target does.

    The last program in a text counts. It is run with its own first number and
    with others in its place, so that a result that is written down repairs
    nothing.

    Args:
        outputs: What a model wrote.
        targets: The right programs.

    Example:
        >>> repaired(["The answer is a = 7; b = a + 2."], ["a = 7; b = a + 2"])
        [True]
    """
    pairs = []
    for output, target in zip(outputs, targets, strict=True):
        found = _PROGRAM.findall(output)
        own = found[-1] if found else ""
        pairs.append((own, target))
        pairs += [(_begun(own, n), _begun(target, n)) for n in _STARTS]
    codes = [_finished(code) for pair in pairs for code in pair]
    answers = [result.answer for result in run_programs(codes)]
    same = [
        own is not None and own == right
        for own, right in zip(answers[::2], answers[1::2], strict=True)
    ]
    width = 1 + len(_STARTS)
    return [all(same[i : i + width]) for i in range(0, len(same), width)]


def _begun(code: str, number: int) -> str:
    return re.sub(r"^a = -?\d+", f"a = {number}", code)


def _finished(code: str) -> str:
    """Returns a program whose answer is what its last line sets."""
    return f"{code}\nanswer = {_last(code)}"


def _last(code: str) -> str:
    return code.rpartition("; ")[2].partition(" ")[0]


def _task(
    name: str, bug: Callable[[Draws, Program], list[str]], held_out: bool
) -> TaskSpec:
    return TaskSpec(
        name=f"{FAMILY}_{name}",
        family=FAMILY,
        make=functools.partial(_make, bug),
        summary=f"A program to be repaired, which {_of(bug)}",
        answer_kind="text",
        chance=0.0,
        held_out=held_out,
        templates=_TEMPLATES,
        kept=("code", "given", "expected"),
        check=check_programs,
    )


def _of(bug: Callable[[Draws, Program], list[str]]) -> str:
    text = (bug.__doc__ or "").rstrip(".")
    return text[:1].lower() + text[1:]


TASKS = (
    *(
        _task(name, bug, held_out=False)
        for name, bug in (
            ("sign", _sign),
            ("times", _times),
            ("number", _number),
            ("start", _start),
            ("variable", _variable),
        )
    ),
    # Kinds of bugs that no training shows.
    *(
        _task(name, bug, held_out=True)
        for name, bug in (
            ("swapped", _swapped),
            ("order", _order),
            ("lost", _lost),
        )
    ),
)
