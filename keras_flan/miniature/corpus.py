"""The generated text that the nano model is pretrained on.

Documents are a few sentences each: facts of the universe's trained tasks in
the words of statements and of dialogues, small arithmetic, spelled words,
relations of words, and stories. Nothing is made from a held-out task.
"""

from collections.abc import Iterator

from keras_flan.data.universe import TASKS, Draws, TaskSpec
from keras_flan.data.universe.language import (
    ADJECTIVES,
    MADE_OF,
    MONTHS,
    NOUNS,
    PLACES,
    SOUNDS,
    VERBS,
)
from keras_flan.data.universe.meaning import MOODS, OPPOSITES
from keras_flan.data.universe.words import (
    DAYS,
    KIND_OF,
    KINDS,
    NAMES,
    PEOPLE,
    THINGS,
    WORDS,
    listing,
    people,
    with_article,
)
from keras_flan.miniature import lexicon

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
        if kind < 9:
            yield _dialogue(draws, draws.pick(trained))
        elif kind < 12:
            yield _statements(draws, trained), None
        elif kind < 20:
            write = _WRITERS[kind - 12]
            yield write(draws), None


def _dialogue(draws: Draws, spec: TaskSpec) -> tuple[str, int]:
    """A question of a trained task and its answer, mostly with the steps."""
    fields = spec.example(draws)
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


def _sums(draws: Draws) -> str:
    told = []
    for _ in range(5):
        a, b = draws.between(1, 40), draws.between(1, 30)
        told.append(
            draws.pick(
                (
                    f"{a} + {b} = {a + b}.",
                    f"{a + b} - {b} = {a}.",
                    f"{a} and {b} make {a + b}.",
                    f"{a + b} is {b} more than {a}.",
                )
            )
        )
    return " ".join(told)


def _numbers(draws: Draws) -> str:
    n, step = draws.between(1, 40), draws.pick((1, 1, 2, 3, 5, 10))
    count = ", ".join(str(n + i * step) for i in range(6))
    a, b = draws.sample(range(1, 50), 2)
    larger = "larger" if a > b else "smaller"
    parity = "odd" if a % 2 else "even"
    return f"{count}. {a} is {larger} than {b}. {a} is {parity}."


def _spelled(draws: Draws) -> str:
    told = []
    for word in draws.sample((*WORDS, *lexicon.NOUNS), 2):
        told.append(
            draws.pick(
                (
                    f"The word {word} is spelled {' '.join(word)}.",
                    f"{word} has {len(word)} letters: {' '.join(word)}.",
                    f"{word} begins with {word[0]} and ends with {word[-1]}.",
                )
            )
        )
    return " ".join(told)


def _kinds(draws: Draws) -> str:
    kind = draws.pick(tuple(KINDS))
    members = draws.sample(KINDS[kind], 3)
    one = draws.pick(WORDS)
    told = [
        f"{listing(members)} are {kind}s.",
        f"{_a(one)} is {with_article(KIND_OF[one])}."
        if KIND_OF[one] != "colour"
        else f"{one} is a colour.",
    ]
    return " ".join(draws.shuffled(told))


def _relations(draws: Draws) -> str:
    one, two = draws.pick(OPPOSITES)
    plural = draws.pick(tuple(NOUNS.items()))
    verb, adjective = draws.pick(VERBS), draws.pick(ADJECTIVES)
    animal, sound = draws.pick(tuple(SOUNDS.items()))
    thing, stuff = draws.pick(tuple(MADE_OF.items()))
    worker, place = draws.pick(tuple(PLACES.items()))
    mood = draws.pick(tuple(MOODS))
    told = (
        f"{one} is the opposite of {two}.",
        f"One {plural[0]}, two {plural[1]}.",
        f"Today I {verb[0]}, she {verb[1]}, yesterday I {verb[2]}.",
        f"{adjective[0]}, {adjective[1]}, {adjective[2]}.",
        f"{_a(animal)} {sound}.",
        f"{thing} is made of {stuff}.",
        f"{_a(worker)} works in the {place}.",
        f"{draws.pick(MOODS[mood])} is a {mood} word.",
    )
    return " ".join(draws.sample(told, 4))


def _a(word: str) -> str:
    """Returns the word at the beginning of a sentence."""
    return with_article(word).capitalize()


def _days(draws: Draws) -> str:
    names = draws.pick((DAYS, MONTHS))
    at = draws.below(len(names))
    way = [names[(at + i) % len(names)] for i in range(4)]
    return (
        f"{', '.join(way)}. After {way[0]} comes {way[1]}. Before {way[3]} "
        f"comes {way[2]}."
    )


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


def _owning(draws: Draws) -> str:
    """A story that keeps count of things."""
    (one, two), things = people(draws, 2), draws.pick(THINGS)
    n, told = draws.between(3, 12), []
    told.append(f"{one} has {n} {things}.")
    for _ in range(draws.between(1, 3)):
        m = draws.between(2, 6)
        if n > m and draws.chance():
            n -= m
            told.append(
                draws.pick(
                    (
                        f"{one} gives {m} to {two}.",
                        f"{m} of them are used.",
                        f"{PEOPLE[one]} loses {m}.",
                    )
                )
                + f" {n + m} - {m} = {n}, so {n} {things} are left."
            )
        else:
            n += m
            told.append(
                draws.pick(
                    (
                        f"{two} brings {m} more.",
                        f"{PEOPLE[one]} buys {m} more.",
                        f"{PEOPLE[one]} finds {m}.",
                    )
                )
                + f" {n - m} + {m} = {n}, so now there are {n} {things}."
            )
    return " ".join(told)


_WRITERS = (
    _sums,
    _numbers,
    _spelled,
    _kinds,
    _relations,
    _days,
    _story,
    _owning,
)
