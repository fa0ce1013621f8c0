"""How a family of tasks is written: a content, and many questions on it.

The tasks of a family share what they are asked about (a word, a list, a
table) and each adds one phrase, such as "the last letter of {it}". The ways
of asking are composed: family frames times the task's phrases, so that every
task has at least five instruction templates that read naturally.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

from keras_flan.miniature.universe.specs import Answerer, Draws, TaskSpec
from keras_flan.miniature.universe.words import people

# {inline} is the phrase with the content in it, {about} the phrase with the
# content's name ("the word"); {Inline} and {About} begin with a capital. The
# first frame has names: alone, it still makes many different questions.
_NOUN = (
    "{{name}} asks {{friend}}: what {be} {inline}?",
    "What {be} {inline}?",
    "Give {inline}.",
)
_NOUN_BARE = (
    "Work out {inline}.",
    "{{name}} needs {inline}. Help {{friend}} to find it.",
    "{{friend}} tells {{name}} {inline}. What does {{friend}} say?",
)
_NOUN_CONTENT = (
    "Here {is_} {a}: {{x}}. What {be} {about}?",
    "{{name}} shows {{friend}} {a}: {{x}}. Find {about}.",
    "Look at {it}: {{x}}. Write {about}.",
)
_CLAUSE = (
    "{{name}} asks {{friend}}: {inline}",
    "{Inline}",
    "Please answer: {inline}",
)
_CLAUSE_BARE = (
    "{{name}} does not know: {inline} Help {{friend}} to answer.",
    "A question for {{name}} and {{friend}}: {inline}",
)
_CLAUSE_CONTENT = (
    "Here {is_} {a}: {{x}}. {About}",
    "{{name}} shows {{friend}} {a}: {{x}}. {About}",
    "Look at {it}: {{x}}. {About}",
)
_STORY = (
    "{{x}} {About}",
    "Read this: {{x}} {About}",
    "{{x}} Now answer: {about}",
    "{About} {{x}}",
    "Question: {about} What is known: {{x}}",
)


@dataclasses.dataclass(frozen=True)
class Content:
    """What the tasks of a family are asked about.

    Args:
        a: A new one in a sentence, such as `"a word"`; empty for a story,
            which is told before or after the question.
        it: How a question refers to it, such as `"the word"`.
        draw: Draws a value.
        show: The value as text. A story ends with a full stop.
    """

    a: str
    it: str
    draw: Callable[[Draws], Any]
    show: Callable[[Any], str] = str


@dataclasses.dataclass(frozen=True)
class Op:
    """One task of a family.

    Args:
        name: Of the task, after the family's.
        phrases: Ways to say what is asked, split by "|": nouns ("the last
            letter of {it}"), or questions that end in "?". They may use
            what `answer` returns besides answer and rationale.
        answer: See `Answerer`.
        kind: The kind of the answer.
        chance: See `TaskSpec`.
        content: Instead of the family's.
        held_out: Whether this task alone is kept out of training.
        plural: Whether the noun is in the plural.
    """

    name: str
    phrases: str
    answer: Answerer
    kind: str = "text"
    chance: float = 0.0
    content: Content | None = None
    held_out: bool = False
    plural: bool = False


def story(draw: Callable[[Draws], Any], show: Callable[[Any], str]) -> Content:
    """Returns a content that is told before or after the question."""
    return Content("", "", draw, show)


def family(
    name: str, content: Content | None, *ops: Op, held_out: bool = False
) -> tuple[TaskSpec, ...]:
    """Returns the tasks of a family.

    Args:
        name: Of the family.
        content: What all are asked about; None if phrases hold everything.
        *ops: The tasks.
        held_out: Whether the whole family is kept out of training.

    Example:
        >>> word = Content("a word", "the word", lambda d: d.pick(WORDS))
        >>> last = Op("last", "the last letter of {it}",
        ...           lambda d, w: (w[-1], f"It is spelled {' '.join(w)}."))
        >>> family("letters", word, last)[0].templates[0]
        '{name} asks {friend}: what is the last letter of {x}?'
    """
    return tuple(_spec(name, op.content or content, op, held_out) for op in ops)


def _spec(
    family: str, content: Content | None, op: Op, held_out: bool
) -> TaskSpec:
    make = functools.partial(_make, op.answer, content)
    phrases = tuple(op.phrases.split("|"))
    return TaskSpec(
        name=f"{family}_{op.name}",
        family=family,
        make=make,
        summary=phrases[0].format_map(_Slots(it=content.it if content else "")),
        answer_kind=op.kind,
        chance=max(op.chance, 0.5 if op.kind == "yes_no" else 0.0),
        reasoning=bool(make(Draws(op.name))["rationale"]),
        held_out=held_out or op.held_out,
        templates=_templates(content, phrases, op.plural),
    )


class _Slots(dict):
    """Leaves unknown slots as they are read: `"the letter ..."`."""

    def __missing__(self, key: str) -> str:
        return "..."


def _make(
    answer: Answerer, content: Content | None, draws: Draws
) -> dict[str, str]:
    value = content.draw(draws) if content else None
    result, rationale, *slots = answer(draws, value)
    name, friend = people(draws, 2)
    made = {"name": name, "friend": friend, **(slots[0] if slots else {})}
    if content:
        made["x"] = content.show(value)
    return {**made, "answer": str(result), "rationale": rationale}


def _templates(
    content: Content | None, phrases: tuple[str, ...], plural: bool
) -> tuple[str, ...]:
    """Composes frames and phrases; the frame changes first."""
    a, it = (content.a, content.it) if content else ("", "")
    found: dict[str, None] = {}
    asks = phrases[0].endswith("?")
    frames: tuple[str, ...]
    if content and not a:
        frames = _STORY
    elif asks:
        frames = _CLAUSE + (_CLAUSE_CONTENT if content else _CLAUSE_BARE)
    else:
        frames = _NOUN + (_NOUN_CONTENT if content else _NOUN_BARE)
    for phrase in phrases:
        inline = phrase.replace("{it}", "{x}")
        about = phrase.replace("{it}", it)
        for frame in frames:
            found[
                frame.format(
                    a=a,
                    it=it,
                    is_="are" if a.startswith(("two", "three")) else "is",
                    be="are" if plural else "is",
                    inline=inline,
                    about=about,
                    Inline=_capital(inline),
                    About=_capital(about),
                )
            ] = None
    return tuple(found)


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
