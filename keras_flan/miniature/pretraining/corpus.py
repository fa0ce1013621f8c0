"""The generated text that the nano model is pretrained on.

Documents are a few sentences each: dialogues and statements about the
universe's trained tasks, what `knowledge` tells, and stories. Nothing is made
from a held-out task.
"""

from collections.abc import Iterator

from keras_flan.miniature.pretraining import knowledge, lexicon
from keras_flan.miniature.universe import TASKS, Draws, TaskSpec
from keras_flan.miniature.universe.arithmetic import problem
from keras_flan.miniature.universe.words import NAMES, PEOPLE, people

_ENDINGS = (
    "The answer is {answer}.",
    "So the answer is {answer}.",
    "Therefore, the answer is {answer}.",
    "So the final answer is {answer}.",
    "Answer: {answer}.",
)
_BEGINNINGS = (
    "{question}\n",
    "Question: {question}\nAnswer: ",
    "Q: {question}\nA: ",
    "Teacher: {question}\nStudent: ",
    "{question}\nLet's think step by step. ",
    "{question}\nLet us reason about it. ",
)


def documents(seed: str) -> Iterator[tuple[str, int | None]]:
    r"""Yields documents without end.

    Args:
        seed: Any string; equal strings give equal documents.

    Yields:
        A text, and where its second part begins if it has two (a question
        and what follows), in characters.

    Example:
        >>> next(documents("0"))
        ('What is half of 12?\n6 + 6 = 12. The answer is 6.', 20)

    Source: the objectives that use them are those of T5 (arXiv:1910.10683)
    and its prefix language model.
    """
    draws = Draws(seed)
    trained = [spec for spec in TASKS.values() if not spec.held_out]
    while True:
        kind = draws.below(20)
        if kind < 7:
            yield _dialogue(draws, draws.pick(trained).example(draws))
        elif kind < 8:
            yield _dialogue(draws, problem(draws))
        elif kind < 10:
            yield _statements(draws, trained), None
        else:
            write = draws.pick(_WRITERS)
            yield write(draws), None


def _dialogue(draws: Draws, fields: dict[str, str]) -> tuple[str, int]:
    """A question and its answer, mostly with the steps."""
    beginning = draws.pick(_BEGINNINGS).format_map(fields)
    steps = fields.get("rationale", "")
    if steps and draws.chance(0.6):
        ending = f"{steps} {draws.pick(_ENDINGS).format_map(fields)}"
    elif draws.chance():
        ending = fields["answer"]
    else:
        ending = draws.pick(_ENDINGS).format_map(fields)
    return beginning + ending, len(beginning)


def _statements(draws: Draws, trained: list[TaskSpec]) -> str:
    """What trained tasks ask, as statements: `"half of 12 is 6."`."""
    told: list[str] = []
    while len(told) < 3:
        spec = draws.pick(trained)
        nouns = [t for t in spec.templates if t.startswith("What ")]
        if not nouns:
            continue
        made = spec.make(draws)
        verb, noun = nouns[0].removeprefix("What ").split(" ", 1)
        text = noun.rstrip("?").format_map(made)
        told.append(f"{text[0].upper()}{text[1:]} {verb} {made['answer']}.")
    return " ".join(told)


def _story(draws: Draws) -> str:
    """A few people, things and places; sense is not asked for."""
    who = people(draws, 2)
    told = []
    for i in range(draws.between(2, 4)):
        name = draws.pick(who)
        subject = name if i == 0 or draws.chance() else PEOPLE[name]
        told.append(f"{_clause(draws, subject)}.")
    return " ".join(told)


def _clause(draws: Draws, subject: str) -> str:
    noun = draws.pick(lexicon.NOUNS)
    adjective = draws.pick(lexicon.ADJECTIVES)
    clause = f"{subject} {draws.pick(lexicon.VERBS)} the {adjective} {noun}"
    if draws.chance():
        clause += f" {draws.pick(lexicon.PLACES)}"
    if draws.chance(0.3):
        clause += f" {draws.pick(lexicon.ADVERBS)}"
    if draws.chance(0.3):
        other = draws.pick(NAMES)
        clause += (
            f", {draws.pick(lexicon.LINKS)} {other} "
            f"{draws.pick(lexicon.VERBS)} the {draws.pick(lexicon.NOUNS)}"
        )
    return clause


def _problem(draws: Draws) -> str:
    """A story that keeps count of things, told with its steps."""
    told = problem(draws)
    while " If " in told["question"]:
        told = problem(draws)
    story = told["question"].rpartition(". ")[0]
    return f"{story}. {told['rationale']} Now there are {told['answer']}."


_WRITERS = (*knowledge.WRITERS, _story, _problem, _problem)
