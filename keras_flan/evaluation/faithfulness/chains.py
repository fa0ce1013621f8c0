"""A chain of reasoning in steps, and what can be done to it."""

import dataclasses
import re
from collections.abc import Iterator, Sequence

from keras_flan.answers import extract_answer
from keras_flan.answers.cues import segments
from keras_flan.errors import InputError

# A step ends with a sentence or a line; a decimal point ends none.
_END = re.compile(r"(?<=[.!?।。])\s+|\n+")
# What calculates: `7 - 2 = 5`.
_EQUATION = re.compile(r"(-?\d+) ([-+*/x]) (-?\d+) = (-?\d+)")
_WORDS = {"+": "plus", "-": "minus", "*": "times", "x": "times", "/": "over"}
_FILLER = "..."
# How far the other answers are that one is compared with, if it is a number.
_NEAR = (-3, -2, -1, 1, 2, 3)


@dataclasses.dataclass(frozen=True)
class Chain:
    """Reasoning that a model gave for its answer.

    Args:
        prompt: What the model read.
        steps: The steps, without the answer.
        answer: The answer that follows them.
        truth: The right steps, if they are known: those of the true program.
        phrase: What gives the answer after the steps; `{answer}` is it.
        candidates: The answers that it is compared with, its own among them.

    Raises:
        InputError: If there are no steps, or no second candidate.

    Example:
        >>> chain = Chain("...", ("7 - 2 = 5.", "5 + 3 = 8."), "8")
        >>> chain.candidates
        ('8', '5', '6', '7', '9', '10', '11', '2', '3')
    """

    prompt: str
    steps: tuple[str, ...]
    answer: str
    truth: tuple[str, ...] | None = None
    phrase: str = "The answer is {answer}."
    candidates: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.candidates:
            found = _candidates(self.answer, self.steps)
            object.__setattr__(self, "candidates", found)
        if not self.steps or len(self.candidates) < 2:
            raise InputError(
                f"the chain of the prompt {self.prompt!r:.60} has "
                f"{len(self.steps)} steps and {len(self.candidates)} candidate "
                "answers; expected at least one step and two candidates"
            )

    def with_steps(self, steps: Sequence[str]) -> str:
        """Returns steps, and where the answer begins, as a text."""
        return " ".join([*steps, ""]) if steps else ""

    def continuations(
        self, steps: Sequence[str], candidates: Sequence[str]
    ) -> list[str]:
        """Returns the reasoning with each answer behind it."""
        before = self.with_steps(steps)
        return [before + self.phrase.format(answer=c) for c in candidates]


def _candidates(answer: str, steps: Sequence[str]) -> tuple[str, ...]:
    if not re.fullmatch(r"-?\d+", answer):
        return (answer,)
    near = [str(int(answer) + step) for step in _NEAR]
    said = re.findall(r"-?\d+", " ".join(steps).replace(" - ", "  "))
    return tuple(dict.fromkeys([answer, *near, *said]))


def split_steps(text: str) -> tuple[str, ...]:
    """Returns the steps of a text: its sentences, or its lines.

    Example:
        >>> split_steps("7 - 2 = 5. 5 + 3.5 = 8.5.")
        ('7 - 2 = 5.', '5 + 3.5 = 8.5.')
    """
    return tuple(part.strip() for part in _END.split(text) if part.strip())


def chain_of(
    prompt: str,
    output: str,
    kind: str,
    *,
    options: Sequence[str] = (),
    rationale: str | None = None,
) -> Chain | None:
    """Returns the chain of an output; None if it has no steps or no answer.

    Args:
        prompt: What the model read.
        output: What it wrote.
        kind: Kind of the answer, see `extract_answer`.
        options: The answer options, which are the candidates.
        rationale: The true reasoning.

    Example:
        >>> chain = chain_of("...", "7 - 2 = 5. The answer is 5.", "number")
        >>> chain.steps, chain.answer
        (('7 - 2 = 5.',), '5')
    """
    found = extract_answer(output, kind, list(options) or None)
    if found is None:
        return None
    # The words that announce the answer are no step.
    cue = next((s for s in segments(output) if s.at <= found.start), None)
    cut = cue.at if cue is not None else found.start
    sentence = max(output.rfind(". ", 0, cut) + 1, output.rfind("\n", 0, cut))
    steps = split_steps(output[: max(sentence, 0)])
    candidates = tuple(dict.fromkeys([found.value, *options]))
    numeric = not options and re.fullmatch(r"-?\d+", found.value)
    if kind == "yes_no" and not options:
        candidates = ("yes", "no")
    if not steps or (len(candidates) < 2 and not numeric):
        return None
    return Chain(
        prompt,
        steps,
        found.value,
        truth=split_steps(rationale) if rationale else None,
        candidates=() if numeric else candidates,
    )


# === What is done to it ===


def early(chain: Chain) -> Iterator[tuple[str, ...]]:
    """Yields the chain without its last steps: none of them, one, two ..."""
    for number in range(len(chain.steps)):
        yield chain.steps[:number]


def filler(chain: Chain) -> tuple[str, ...]:
    """Returns as many words that say nothing."""
    return tuple(
        " ".join([_FILLER] * len(step.split())) for step in chain.steps
    )


def paraphrase(chain: Chain) -> tuple[str, ...]:
    """Returns the calculations in words, such as "7 minus 2 makes 5".

    A step that calculates nothing stays as it is; give `measure` a paraphrase
    of your own for such chains.
    """

    def say(match: re.Match[str]) -> str:
        a, sign, b, result = match.groups()
        return f"{a} {_WORDS[sign]} {b} makes {result}"

    return tuple(_EQUATION.sub(say, step) for step in chain.steps)


def mistaken(
    chain: Chain, place: int, by: int = 1
) -> tuple[tuple[str, ...], str] | None:
    """Puts a mistake into a step, and carries it on.

    The result of the step's calculation is changed, and later calculations
    that begin with it are done again with what it became; so the true program
    of the altered chain says which answer follows.

    Args:
        chain: The chain.
        place: The step, from 0.
        by: What is added to its result.

    Returns:
        The steps, and the answer that follows; None if the step calculates
        nothing, or the answer is not what the last calculation gave.

    Example:
        >>> chain = Chain("...", ("7 - 2 = 5.", "5 + 3 = 8."), "8")
        >>> mistaken(chain, 0)
        (('7 - 2 = 6.', '6 + 3 = 9.'), '9')
    """
    last = [m for step in chain.steps for m in _EQUATION.finditer(step)]
    if not last or last[-1][4] != chain.answer:
        return None
    if not _EQUATION.search(chain.steps[place]):
        return None
    changed: dict[str, str] = {}
    steps = list(chain.steps[:place])
    answer = chain.answer
    for number, step in enumerate(chain.steps[place:]):
        match = _EQUATION.search(step)
        if match is None:
            steps.append(step)
            continue
        a, sign, b, result = match.groups()
        start = changed.get(a, a)
        wrong = str(int(result) + by) if number == 0 else result
        if start != a:
            wrong = _calculated(int(start), sign, int(b), result)
        changed = {result: wrong} if wrong != result else {}
        answer = wrong
        equation = f"{start} {sign} {b} = {wrong}"
        steps.append(step[: match.start()] + equation + step[match.end() :])
    return (tuple(steps), answer) if answer != chain.answer else None


def _calculated(a: int, sign: str, b: int, otherwise: str) -> str:
    if sign in "/":
        return str(a // b) if b and a % b == 0 else otherwise
    return str({"+": a + b, "-": a - b, "*": a * b, "x": a * b}[sign])


def step_truth(steps: Sequence[str], truth: Sequence[str] | None) -> list:
    """Returns of each step whether it is right; None where nobody knows.

    With the true steps, a step is right if it is one of them in its place.
    Without, a calculation is right if it comes out.

    Example:
        >>> step_truth(["7 - 2 = 4.", "Hm."], None)
        [False, None]
    """
    found: list[bool | None] = []
    for place, step in enumerate(steps):
        match = _EQUATION.search(step)
        if truth is not None:
            right = place < len(truth) and truth[place].strip() == step.strip()
            found.append(right)
        elif match is None:
            found.append(None)
        else:
            a, sign, b, result = match.groups()
            found.append(_calculated(int(a), sign, int(b), "") == result)
    return found
