"""What a task of the universe is: a generator and its facts."""

import collections
import dataclasses
import functools
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from keras_flan.data.records.example import Example

T = TypeVar("T")

_BASELINE_DRAWS = 500
# About two standard deviations of a share of these draws.
_NOISE = 0.05


class Draws:
    """Seeded random choices that are the same in every Python version.

    Python promises a stable sequence for `random.Random.random` only, so
    all the choices here are made from it.

    Args:
        seed: Any string; equal strings give equal draws.

    Example:
        >>> draws = Draws("calendar/train")
        >>> draws.pick(["Monday", "Tuesday"]), draws.between(1, 6)
    """

    def __init__(self, seed: str) -> None:
        self._uniform = random.Random(seed).random

    def below(self, n: int) -> int:
        """Returns one of 0 .. n - 1."""
        return int(self._uniform() * n)

    def between(self, low: int, high: int) -> int:
        """Returns one of low .. high, both included."""
        return low + self.below(high - low + 1)

    def chance(self, probability: float = 0.5) -> bool:
        """Returns True with the given probability."""
        return self._uniform() < probability

    def pick(self, items: Sequence[T]) -> T:
        """Returns one of the items."""
        return items[self.below(len(items))]

    def sample(self, items: Sequence[T], k: int) -> list[T]:
        """Returns k different items, in random order."""
        pool = list(items)
        size, uniform = len(pool), self._uniform
        for i in range(k):
            j = i + int(uniform() * (size - i))
            pool[i], pool[j] = pool[j], pool[i]
        return pool[:k]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """Returns the items in random order."""
        return self.sample(items, len(items))


# Answer, rationale (empty: none) and, if phrases have more slots, those.
Answer = tuple[object, str] | tuple[object, str, Mapping[str, Any]]
# From the draws and the content of a task's family.
Answerer = Callable[[Draws, Any], Answer]


@dataclasses.dataclass(frozen=True)
class TaskSpec:
    """One task of the universe.

    Attributes:
        name: The task's name, unique in the universe.
        family: The family it belongs to; tasks of one family share a skill.
        make: Draws one example: a dict with `question`, `answer` and, where
            the task has them, `rationale` (the steps, without the answer
            phrase, which templates add), `other_rationale` (another way to
            the same answer) and `options` (one per line). With
            `templates`, a dict of what these show instead of `question`.
        summary: One line on what is asked.
        answer_kind: `"number"`, `"option"`, `"yes_no"` or `"text"`.
        chance: Exact match, between 0 and 1, of a guesser who knows the
            question's form and what may be answered to it.
        reasoning: Whether the examples have rationales.
        held_out: Whether the task is kept out of training; it then has a
            test split only.
        templates: The task's ways of asking, as format strings; empty if
            `make` words the question itself.
        kept: What `make` draws for templates and records keep too.
        check: Raises AssertionError for a wrong example, where that takes
            more than looking; called when records are made.
    """

    name: str
    family: str
    make: Callable[[Draws], dict[str, str]]
    summary: str
    answer_kind: str
    chance: float
    reasoning: bool = True
    held_out: bool = False
    templates: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    check: Callable[[Sequence[Example]], None] | None = None

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that are written."""
        return ("test",) if self.held_out else ("train", "test")

    @functools.cached_property
    def random_baseline(self) -> float:
        """`chance`, or the share of the commonest answer if that is higher."""
        draws = Draws(f"{self.name}/baseline")
        answers = collections.Counter(
            self.make(draws)["answer"] for _ in range(_BASELINE_DRAWS)
        )
        share = max(answers.values()) / _BASELINE_DRAWS
        return share if share > self.chance + _NOISE else self.chance

    def example(
        self,
        draws: Draws,
        templates: int | None = None,
        other_ways: bool = False,
    ) -> dict[str, str]:
        """Draws the fields of one example.

        Args:
            draws: The source of chance.
            templates: How many of `templates` are used; None is all.
            other_ways: Whether every other example has the task's other way
                of reasoning, if there is one. The questions are the same.
        """
        made = self.make(draws)
        other = made.pop("other_rationale", None)
        fields = self._asked(draws, made, templates) if self.templates else made
        if other_ways and other:
            # Decided by the question: `draws` goes on as without it.
            by_question = Draws(f"{self.name}/ways/{fields['question']}")
            fields["rationale"] = by_question.pick((fields["rationale"], other))
        return fields

    def _asked(
        self, draws: Draws, made: dict[str, str], templates: int | None
    ) -> dict[str, str]:
        """Returns the fields of an example that a template words."""
        template = draws.pick(self.templates[:templates])
        question = template.format_map(made)
        fields = {
            "question": question[0].upper() + question[1:],
            "answer": made["answer"],
        }
        if self.reasoning:
            fields["rationale"] = made["rationale"]
        return fields | {name: made[name] for name in self.kept}
