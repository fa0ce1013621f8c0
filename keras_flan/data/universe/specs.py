"""What a task of the universe is: a generator and its facts."""

import dataclasses
import random
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


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

    def __init__(self, seed: str):
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
        for i in range(k):
            j = i + self.below(len(pool) - i)
            pool[i], pool[j] = pool[j], pool[i]
        return pool[:k]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """Returns the items in random order."""
        return self.sample(items, len(items))


@dataclasses.dataclass(frozen=True)
class TaskSpec:
    """One task of the universe.

    Attributes:
        name: The task's name, unique in the universe.
        family: The family it belongs to; tasks of one family share a skill.
        make: Draws one example: a dict with `question`, `answer` and, where
            the task has them, `rationale` (the steps, without the answer
            phrase, which templates add) and `options` (one a line).
        summary: One line on what is asked.
        answer_kind: `"number"`, `"option"`, `"yes_no"` or `"text"`.
        random_baseline: Exact match, between 0 and 1, of a guesser who
            knows the question's form and what may be answered to it.
        reasoning: Whether the examples have rationales.
        held_out: Whether the task is kept out of training; it then has a
            test split only.
    """

    name: str
    family: str
    make: Callable[[Draws], dict[str, str]]
    summary: str
    answer_kind: str
    random_baseline: float
    reasoning: bool = True
    held_out: bool = False

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that are written."""
        return ("test",) if self.held_out else ("train", "test")
