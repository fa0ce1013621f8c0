# ruff: noqa: RUF001 (sentences do end with these)
"""A chain of reasoning in steps, and what can be done to it."""

import dataclasses
import re
from collections.abc import Iterator, Sequence

from keras_flan.answers import extract_answer
from keras_flan.answers.cues import segments
from keras_flan.answers.option_texts import listed_options, option_names
from keras_flan.errors import InputError
from keras_flan.evaluation.faithfulness.equations import (
    Carrying,
    comes_out,
    equations,
    in_words,
    masked,
)

# A step ends with a sentence or a line; a decimal point ends none.
_END = re.compile(r"(?<=[.!?।])\s+|(?<=[。！？])\s*|\n+")
# What only counts or marks a step: `1.`, `2)`, `-`.
_MARK = re.compile(r"(?:\d{1,2}[.)]|[-*•])")
# What a sentence says before its cue, without reasoning: `So the final`.
_OPENING = re.compile(r"\s*(?:[^\W\d]+,? ?){0,3}")
_FILLER = "..."
# How far the other answers are that one is compared with, if it is a number.
_NEAR = (-3, -2, -1, 1, 2, 3)
_NUMBER = r"-?\d+(?:\.\d+)?"


@dataclasses.dataclass(frozen=True)
class Chain:
    """Reasoning that a model gave for its answer.

    Args:
        prompt: What the model read.
        steps: The steps, without the answer.
        answer: The answer that follows them.
        truth: The right steps, if they are known: those of the true program.
        phrase: What gives the answer after the steps; `{answer}` is it.
        lead: What stands between the prompt and the first step.
        between: What stands between steps, and before the phrase.
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
    lead: str = ""
    between: str = " "

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
        return self.lead + self.between.join([*steps, ""] if steps else [])

    def continuations(
        self, steps: Sequence[str], candidates: Sequence[str], end: str = "\n"
    ) -> list[str]:
        """Returns the reasoning with each answer behind it.

        Args:
            steps: The steps.
            candidates: The answers.
            end: What ends an answer, if nothing in the phrase does: without,
                one that others begin with, as `1` of `12`, is always likelier.
        """
        phrase, before = self.phrase, self.with_steps(steps)
        phrase += end * phrase.endswith("{answer}")
        return [before + phrase.replace("{answer}", c) for c in candidates]


def _candidates(answer: str, steps: Sequence[str]) -> tuple[str, ...]:
    if not re.fullmatch(_NUMBER, answer):
        return (answer,)
    places = len(answer.partition(".")[2])
    near = [f"{float(answer) + step:.{places}f}" for step in _NEAR]
    said = re.findall(_NUMBER, " ".join(steps).replace(" - ", "  "))
    return tuple(dict.fromkeys([answer, *near, *said]))


def split_steps(text: str) -> tuple[str, ...]:
    r"""Returns the steps of a text: its sentences, or its lines.

    Example:
        >>> split_steps("7 - 2 = 5. 5 + 3.5 = 8.5.")
        ('7 - 2 = 5.', '5 + 3.5 = 8.5.')
        >>> split_steps("1. First.\\n2. Then.")
        ('1. First.', '2. Then.')
    """
    found: list[str] = []
    mark = ""
    for part in filter(None, map(str.strip, _END.split(text))):
        if _MARK.fullmatch(part):
            mark = f"{part} "
            continue
        found.append(mark + part)
        mark = ""
    return tuple(found)


def chain_of(
    prompt: str,
    output: str,
    kind: str,
    *,
    options: Sequence[str] = (),
    rationale: str | None = None,
    language: str | None = None,
) -> Chain | None:
    """Returns the chain of an output; None if it has no steps or no answer.

    The words that announce the answer are its own.

    Args:
        prompt: What the model read.
        output: What it wrote.
        kind: Kind of the answer, see `extract_answer`.
        options: The answer options, by default those that the prompt lists:
            they, or their letters if it answers so, are the candidates.
        rationale: The true reasoning.
        language: The code of its language, where numbers need it.

    Example:
        >>> chain = chain_of("...", "7 - 2 = 5. The answer is 5.", "number")
        >>> chain.steps, chain.answer
        (('7 - 2 = 5.',), '5')
    """
    if kind == "option" and not options:
        options = listed_options(prompt)
    found = extract_answer(
        output, kind, list(options) or None, language=language
    )
    if found is None:
        return None
    # The words that announce the answer are no step.
    cue = next((s for s in segments(output) if s.at <= found.start), None)
    cut = cue.at if cue is not None else found.start
    ends = [end.end() for end in _END.finditer(output[:cut])]
    steps = split_steps(output[: max(ends, default=0)])
    written = output[found.start : found.end]
    answer, candidates = found.value, tuple(options)
    if kind == "option" and options:
        names = option_names(len(options))
        if written.strip() in names:
            candidates = tuple(names)
        elif answer in names:
            answer = options[names.index(answer)]
    elif kind == "yes_no":
        candidates = ("yes", "no")
    numeric = not candidates and re.fullmatch(_NUMBER, answer)
    candidates = () if numeric else tuple(dict.fromkeys([answer, *candidates]))
    if not steps or (len(candidates) < 2 and not numeric):
        return None
    phrase = Chain.phrase
    if cue is not None and written == answer:
        begin = max(ends, default=0)
        if not _OPENING.fullmatch(output[begin : cue.at]):
            begin = cue.at
        close = re.match(r"[^\s\w]*", output[found.end :])
        phrase = output[begin : found.start] + "{answer}"
        phrase += close[0] if close else ""
    lead = output[: len(output) - len(output.lstrip())]
    body = output[: max(ends)].strip()
    return Chain(
        prompt,
        steps,
        answer,
        truth=split_steps(rationale) if rationale else None,
        phrase=phrase,
        candidates=candidates,
        lead=lead or " " * (not prompt[-1:].isspace()),
        between="\n" if body.count("\n") >= len(steps) - 1 > 0 else " ",
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
    return tuple(map(in_words, chain.steps))


def mistaken(
    chain: Chain, place: int, by: int = 1
) -> tuple[tuple[str, ...], str] | None:
    """Puts a mistake into a step, and carries it on.

    The result of the step's first calculation is changed, and what is
    calculated from it is done again with what it became (see `Carrying`); so
    the true program of the altered chain says which answer follows.

    Args:
        chain: The chain.
        place: The step, from 0.
        by: What is added to its result.

    Returns:
        The steps, and the answer that follows; None if the step calculates
        nothing, a later division leaves a rest, or the answer is not what the
        last calculation gave, or stays.

    Example:
        >>> chain = Chain("...", ("7 - 2 = 5.", "5 + 3 = 8."), "8")
        >>> mistaken(chain, 0)
        (('7 - 2 = 6.', '6 + 3 = 9.'), '9')
    """
    if not equations(chain.steps[place]):
        return None
    last = [one for step in chain.steps for one in equations(step)][-1]
    if last[-1] != chain.answer:
        return None
    carrying = Carrying(chain.prompt, by)
    later = [carrying.through(step) for step in chain.steps[place:]]
    if not carrying.whole or carrying.answer in (None, chain.answer):
        return None
    return (*chain.steps[:place], *later), str(carrying.answer)


def step_truth(
    steps: Sequence[str], truth: Sequence[str] | None
) -> list[bool | None]:
    """Returns of each step whether it is right; None where nobody knows.

    A step that miscalculates is wrong. With the true steps, one is right if
    it is that of its place, and wrong if it says the same with other numbers;
    of what is worded otherwise nobody knows. Without them, a step is right if
    its calculations come out.

    Example:
        >>> step_truth(["7 - 2 = 4.", "Hm."], None)
        [False, None]
        >>> step_truth(["7 - 3 = 4."], ["7 - 2 = 5."])
        [False]
    """
    found: list[bool | None] = []
    for place, step in enumerate(steps):
        calculations = equations(step)
        true = truth[place].strip() if truth and place < len(truth) else None
        if not all(map(comes_out, calculations)):
            found.append(False)
        elif truth is None:
            found.append(True if calculations else None)
        elif true == step.strip():
            found.append(True)
        else:
            same = true is not None and masked(true) == masked(step)
            found.append(False if same else None)
    return found
