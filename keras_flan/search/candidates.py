"""Ways to ask that a search chooses from, and sets of exemplars."""

import dataclasses
import functools
import math
import os
import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from keras_flan.data.templates.library import load_family
from keras_flan.errors import InputError
from keras_flan.files import read_jsonl
from keras_flan.generation.styles import PromptStyle

# A solved question: `question`, `answer` and perhaps `rationale`.
Solved = Mapping[str, str]
# Where exemplars are taken for each question anew.
SIMILAR = "similar"
_ROUNDS = 20


@dataclasses.dataclass(frozen=True)
class Candidate:
    r"""A way to ask.

    Args:
        name: What reports call it.
        style: How a question becomes a prompt.
        pattern: In its place a text with `{question}`.
        similar: Of these, the most like a question are its exemplars.
        shots: How many of them.

    Raises:
        InputError: If the pattern lacks the question.

    Example:
        >>> Candidate("mine", pattern="{question}\nSlowly:").render("1 + 1?")
        '1 + 1?\nSlowly:'
    """

    name: str
    style: PromptStyle = dataclasses.field(default_factory=PromptStyle)
    pattern: str | None = None
    similar: tuple[Solved, ...] = ()
    shots: int = 0

    def __post_init__(self) -> None:
        if self.pattern is not None and "{question}" not in self.pattern:
            raise InputError(
                f"the candidate {self.name!r}: expected {{question}} in its "
                f"prompt, found {self.pattern!r:.60}"
            )

    def render(self, question: str) -> str:
        """Returns the prompt of a question."""
        if self.pattern is not None:
            return self.pattern.replace("{question}", question)
        if not self.similar:
            return self.style.render(question)
        chosen = most_similar(question, self.similar, self.shots)
        return dataclasses.replace(self.style, exemplars=chosen).render(
            question
        )

    @property
    def prompt(self) -> str:
        """What reports show; `{question}` stands for the question."""
        if not self.similar:
            return self.render("{question}")
        return (
            f"(Exemplars: of {len(self.similar)} the {self.shots} most like "
            "the question, such as one here.)\n\n"
        ) + self.style.render("{question}")

    def shows(self, question: str) -> bool:
        r"""Whether a question stands in the prompts of others, as an exemplar.

        Example:
            >>> Candidate("x", pattern="2 + 2? 4.\n{question}").shows("2 + 2?")
            True
        """
        question = plain_words(question)
        if self.pattern is not None:
            shown = plain_words(self.pattern.replace("{question}", "\0"))
            whole = rf"(?<!\w){re.escape(question)}(?!\w)"
            return re.search(whole, shown) is not None
        return question in self._exemplars

    @functools.cached_property
    def _exemplars(self) -> frozenset[str]:
        solved = (*self.style.exemplars, *self.similar)
        return frozenset(plain_words(one["question"]) for one in solved)


def plain_words(text: str) -> str:
    """Returns a text as questions are compared: lower case, single blanks."""
    return " ".join(text.lower().split())


def library_candidates(
    solved: Sequence[Solved] = (),
    *,
    families: Sequence[str] = ("generic",),
    cot: bool = True,
    shots: int = 3,
    seed: int = 0,
) -> list[Candidate]:
    """Returns the templates of families, with and without exemplars.

    Args:
        solved: Solved questions that exemplars are taken from; without any,
            all candidates are zero-shot.
        families: The template families.
        cot: Whether to ask for the reasoning.
        shots: Exemplars of a prompt.
        seed: Seeds the sets of exemplars.

    Returns:
        The first is the default: the first family's first template, zero-shot.

    Raises:
        InputError: If the first family has none for this way of asking, or
            there are too few solved questions.

    Example:
        >>> [c.name for c in library_candidates()][:2]
        ['generic 0', 'generic 1']
    """
    way = "cot" if cot else "direct"
    if not load_family(families[0]).templates(f"zero_shot_{way}"):
        raise InputError(
            f"the family {families[0]} has no templates for zero_shot_{way}, "
            "of which the first is the default; give another family first"
        )
    found = []
    sets = dict(exemplar_sets(solved, shots, seed, cot)) if solved else {}
    for name in families:
        family = load_family(name)
        for i in range(len(family.templates(f"zero_shot_{way}"))):
            style = PromptStyle(cot, (), name, i)
            found.append(Candidate(f"{name} {i}", style))
        few = range(len(family.templates(f"few_shot_{way}")) if sets else 0)
        for i in few:
            for what, exemplars in sets.items():
                style = PromptStyle(cot, exemplars, name, i)
                found.append(Candidate(f"{name} {i}, {what}", style))
        usable = _usable(solved, cot)
        if usable and few:
            style = PromptStyle(cot, usable[:1], name, 0)
            found.append(
                Candidate(f"{name} 0, {SIMILAR}", style, None, usable, shots)
            )
    return found


def exemplar_sets(
    solved: Sequence[Solved], shots: int, seed: int = 0, cot: bool = True
) -> Iterator[tuple[str, tuple[Solved, ...]]]:
    """Yields sets of exemplars by name: three ways to choose them.

    `random` draws them; `clusters` takes the one nearest the middle of each
    of as many groups of like questions (Auto-CoT); `complex` those with the
    most steps.

    Args:
        solved: Solved questions.
        shots: Exemplars of a set.
        seed: Seed of the draws and of the clusters.
        cot: Whether they must have a rationale.

    Raises:
        InputError: If there are too few.

    Source: Auto-CoT (arXiv:2210.03493); complexity (arXiv:2210.00720).
    """
    usable = _usable(solved, cot)
    if len(usable) < shots:
        raise InputError(
            f"exemplars: {len(usable)} of {len(solved)} solved questions have "
            f"question, answer{' and rationale' * cot}; give at least {shots}"
        )
    rng = random.Random(f"exemplars/{seed}")
    yield "random", tuple(rng.sample(usable, shots))
    yield "clusters", _central(usable, shots, rng)
    steps = [
        len(re.findall(r"[.!?\n]", one.get("rationale", ""))) for one in usable
    ]
    order = sorted(range(len(usable)), key=lambda i: -steps[i])
    yield "complex", tuple(usable[i] for i in order[:shots])


def _usable(solved: Sequence[Solved], cot: bool) -> tuple[Solved, ...]:
    needed = ("question", "answer", *(("rationale",) if cot else ()))
    return tuple(
        {
            name: one[name]
            for name in ("question", "answer", "rationale")
            if name in one
        }
        for one in solved
        if all(isinstance(one.get(name), str) and one[name] for name in needed)
    )


def most_similar(
    question: str, solved: Sequence[Solved], shots: int
) -> tuple[Solved, ...]:
    """Returns the solved questions most like one, the likest last.

    By the cosine of their words; the question itself is none of them.
    """
    own = _words(question)
    scored = [
        (_cosine(own, _words(one["question"])), i)
        for i, one in enumerate(solved)
        if plain_words(one["question"]) != plain_words(question)
    ]
    best = sorted(scored, key=lambda pair: (-pair[0], pair[1]))[:shots]
    return tuple(solved[i] for _, i in reversed(best))


def _words(text: str) -> Counter[str]:
    return Counter(re.findall(r"[^\W\d_]+", text.lower()))


def _cosine(a: Mapping[str, float], b: Mapping[str, float]) -> float:
    product = sum(value * b.get(word, 0) for word, value in a.items())
    norms = [math.sqrt(sum(v * v for v in one.values())) for one in (a, b)]
    return product / (norms[0] * norms[1]) if all(norms) else 0.0


def _central(
    usable: Sequence[Solved], number: int, rng: random.Random
) -> tuple[Solved, ...]:
    """Returns the question nearest the middle of each cluster (k-means)."""
    rows = [_words(one["question"]) for one in usable]
    middles: list[Mapping[str, float]] = [
        rows[i] for i in rng.sample(range(len(rows)), number)
    ]
    groups: list[list[int]] = []
    for _ in range(_ROUNDS):
        before, groups = groups, [[] for _ in middles]
        for i, row in enumerate(rows):
            near = [_cosine(row, middle) for middle in middles]
            groups[near.index(max(near))].append(i)
        if groups == before:
            break
        for place, group in enumerate(groups):
            total: Counter[str] = Counter()
            for i in group:
                total.update(rows[i])
            if group:
                middles[place] = total
    chosen: dict[int, None] = {}
    for middle, group in zip(middles, groups, strict=True):
        left = [i for i in group if i not in chosen]
        if left:
            alike = [_cosine(rows[i], middle) for i in left]
            chosen[left[alike.index(max(alike))]] = None
    # Questions of the same words leave clusters empty.
    for i in range(len(rows)):
        if len(chosen) == number:
            break
        chosen.setdefault(i)
    return tuple(usable[i] for i in chosen)


def recombined(best: Sequence[Candidate]) -> list[Candidate]:
    """Returns the templates of some candidates with exemplars of others."""
    made = []
    for one in best:
        for other in best:
            parts = (one.pattern, other.pattern, one.similar, other.similar)
            if any(parts) or not other.style.exemplars or one is other:
                continue
            if not one.style.exemplars:
                continue  # Its template is of the zero-shot list.
            style = dataclasses.replace(
                one.style, exemplars=other.style.exemplars
            )
            made.append(Candidate(f"{one.name} + {other.name}", style))
    return made


def read_candidates(path: str | os.PathLike) -> list[Candidate]:
    """Reads candidates from JSON Lines: `name`, and `prompt` with `{question}`.

    Raises:
        InputError: If a line has another form; it names the line.
    """
    found = []
    for number, row in enumerate(read_jsonl(path), 1):
        prompt, name = row.get("prompt"), row.get("name", f"{path}:{number}")
        if not isinstance(prompt, str) or "{question}" not in prompt:
            raise InputError(
                f"{path}:{number}: expected a text with {{question}} under "
                f"'prompt', found {prompt!r:.60}; the keys are {sorted(row)}"
            )
        if not isinstance(name, str):
            raise InputError(
                f"{path}:{number}: expected a text under 'name', found "
                f"{name!r:.60}"
            )
        found.append(Candidate(name, pattern=prompt))
    return found
