"""Successive halving over ways to ask, with an untouched split at the end."""

import dataclasses
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from keras_flan.errors import InputError
from keras_flan.evaluation.benchmarks.protocols import load_protocol
from keras_flan.evaluation.scores.judging import judge
from keras_flan.evaluation.scores.statistics import (
    exact_interval,
    mcnemar,
    paired_difference,
)
from keras_flan.generation.language_model_like import as_language_model
from keras_flan.search.candidates import Candidate, plain_words, recombined
from keras_flan.search.luck import better_half, luck_of_the_best, rounds
from keras_flan.search.proposing import Propose, generated

# A candidate this surely worse than the leader is dropped at once.
_WORSE = 0.05
# Survivors whose parts are put together.
_COMBINED = 3


@dataclasses.dataclass
class Trial:
    """A candidate, and how it did.

    Args:
        candidate: The candidate.
        right: Of the development questions that it was asked, in their order,
            whether it was right.
        outputs: What was written.
        tokens: How many tokens were generated for it.
        dropped: The round after which it was dropped; None if it never was.
    """

    candidate: Candidate
    right: list[bool] = dataclasses.field(default_factory=list)
    outputs: list[str] = dataclasses.field(default_factory=list)
    tokens: int = 0
    dropped: int | None = None

    @property
    def accuracy(self) -> float:
        """The share of its questions that it got right."""
        return sum(self.right) / max(len(self.right), 1)

    def to_dict(self) -> dict[str, Any]:
        """Returns what a report says of it."""
        return {
            "name": self.candidate.name,
            "prompt": self.candidate.prompt,
            "n": len(self.right),
            "accuracy": self.accuracy,
            "interval": list(exact_interval(sum(self.right), len(self.right))),
            "tokens": self.tokens,
            "dropped": self.dropped,
        }


def search_prompts(
    model: Any,
    questions: Sequence[Mapping[str, str]],
    candidates: Sequence[Candidate],
    *,
    kind: str | None = None,
    test: int = 100,
    first: int = 16,
    propose: Propose | None = None,
    max_new_tokens: int = 128,
    seed: int = 0,
    on_round: Callable[[int, Sequence[Trial]], None] | None = None,
) -> dict[str, Any]:
    """Finds a way to ask that a model answers well.

    The questions are split by chance. On the development part all candidates
    are asked the first few questions, the better half twice as many, and so
    on; one that a paired test finds worse than the leader is dropped at once.
    The first candidate, the default, stays to the end. The winner and the
    default are asked the test part once, which nothing has looked at: a
    question that a candidate shows, as an exemplar, belongs to neither part.

    Args:
        model: A model with a vocabulary, or what answers in its stead.
        questions: Dicts of `question` and `answer`, and where `judge` needs
            them `options` and `language`; repeated ones are left out, so that
            no test question is a development question.
        candidates: The ways to ask, the default first.
        kind: Kind of the answers; default: what all answers look like.
        test: How many questions are kept for the end.
        first: How many the first round asks.
        propose: Called after the first round for further candidates, such as
            a `Reflection`; they are asked what the others were, unless they
            show a question of the test part. Its `tokens` count, if it has
            any.
        max_new_tokens: Longest output.
        seed: Seed of the split.
        on_round: Called with the number and the trials of each round.

    Returns:
        `winner` and `default` (name, prompt, `test` accuracy and interval);
        `gain`, what `paired_difference` says of the test part; `dev_gain`, the
        difference there; `luck`, what the search gains there by chance if no
        candidate is better than the default (see `luck_of_the_best`);
        `trials`, of each candidate what it cost and where it was dropped;
        `tokens` that were generated in all, `proposing` of them for
        proposals; `shown`, how many questions were left out as exemplars.

    Raises:
        InputError: If there are too few questions or candidates, two have the
            same name, or an answer is not of the kind; it names the question.

    Example:

    ```python
    found = search_prompts(model, questions, library_candidates("generic"))
    print(found.winner.name)
    ```

    Source: successive halving, Jamieson and Talwalkar (arXiv:1502.07943).
    """
    once = _once(questions)
    left = [
        one
        for one in once
        if not any(c.shows(one["question"]) for c in candidates)
    ]
    shown = len(once) - len(left)
    dev, held = _split(left, test, seed)
    if len(candidates) < 2 or len(dev) < 2 or len(held) < 2 or first < 1:
        raise InputError(
            f"search: {len(candidates)} candidates, {len(dev)} development "
            f"questions and {len(held)} of the test ({shown} more stand "
            f"in prompts, as exemplars), {first} in the first round; give at "
            "least two of each, and one in the round"
        )
    names = [candidate.name for candidate in candidates]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(
            f"search: several candidates are called {twice[0]!r}; give each "
            "a name of its own"
        )
    asker = _Asker(model, questions, kind, max_new_tokens)
    trials = [Trial(candidate) for candidate in candidates]
    alive = list(trials)
    for number, reach in enumerate(rounds(first, len(dev)), 1):
        for trial in alive:
            asker.ask(trial, dev[len(trial.right) : reach])
        if number == 1 and propose is not None:
            told = propose(*_told(alive, dev))
            new = [Trial(c) for c in _new(told, trials, held)]
            for trial in new:
                asker.ask(trial, dev[:reach])
            trials, alive = trials + new, alive + new
        if on_round is not None:
            on_round(number, alive)
        if len(alive) <= 2 or reach == len(dev):
            break
        alive = _halved(alive, trials[0], number)
        if len(alive) <= _COMBINED + 1:
            mixed = recombined([trial.candidate for trial in alive])
            new = [Trial(c) for c in _new(mixed, trials, held)]
            trials, alive = trials + new, alive + new
    for trial in alive:
        asker.ask(trial, dev[len(trial.right) :])
    default = trials[0]
    # Of equals the default, and then the first.
    winner = max(alive, key=lambda t: (t.accuracy, t is default))
    found = _report(asker, trials, winner, default, held, first)
    proposing = getattr(propose, "tokens", 0)
    return {
        **found,
        "tokens": found["tokens"] + proposing,
        "proposing": proposing,
        "shown": shown,
    }


def _new(
    candidates: Sequence[Candidate],
    trials: Sequence[Trial],
    held: Sequence[Mapping[str, str]],
) -> list[Candidate]:
    """Returns those that are not known, and show nothing of the test part."""
    known = {trial.candidate.name for trial in trials}
    named = {c.name: c for c in candidates if c.name not in known}
    return [
        candidate
        for candidate in named.values()
        if not any(candidate.shows(one["question"]) for one in held)
    ]


def _once(questions: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
    """Returns each question once, the first of those that are the same."""
    once: dict[str, Mapping[str, str]] = {}
    for number, one in enumerate(questions, 1):
        for name in ("question", "answer"):
            if not isinstance(one.get(name), str) or not one[name].strip():
                raise InputError(
                    f"question {number}: expected a text under {name!r}, "
                    f"found the keys {sorted(one)}"
                )
        once.setdefault(plain_words(one["question"]), one)
    return list(once.values())


def _split(
    questions: Sequence[Mapping[str, str]], test: int, seed: int
) -> tuple[list[Mapping[str, str]], list[Mapping[str, str]]]:
    """Returns development and test questions."""
    order = list(questions)
    random.Random(f"search/{seed}").shuffle(order)
    return order[test:], order[:test]


class _Asker:
    """Asks questions and judges the answers; counts what that costs."""

    def __init__(
        self,
        model: Any,
        questions: Sequence[Mapping[str, str]],
        kind: str | None,
        max_new_tokens: int,
    ):
        self._asked = as_language_model(model)
        self._protocol = load_protocol("records")
        answers = (one["answer"] for one in questions)
        self._kind = kind or self._protocol.kind_of("questions", answers)
        self._settings: dict[str, Any] = {
            "samples": 1,
            "temperature": 0.0,
            "max_new_tokens": max_new_tokens,
        }
        self._judged(questions, [("", "")] * len(questions))

    def ask(self, trial: Trial, questions: Sequence[Mapping[str, str]]) -> None:
        """Asks further questions of a trial."""
        if not questions:
            return
        prompts = [trial.candidate.render(q["question"]) for q in questions]
        paths = [p for [p] in self._asked.generate(prompts, **self._settings)]
        texts = [path.text for path in paths]
        pairs = list(zip(prompts, texts, strict=True))
        trial.right += self._judged(questions, pairs)
        trial.outputs += texts
        trial.tokens += sum(map(generated, paths))

    def _judged(
        self,
        questions: Sequence[Mapping[str, str]],
        pairs: Sequence[tuple[str, str]],
    ) -> list[bool]:
        """Returns whether outputs, each with its prompt, are right."""
        rows = [
            {
                **{k: one[k] for k in ("options", "language") if k in one},
                "target": one["answer"],
                "prompt": prompt,
                "output": output,
                "answer_kind": self._kind,
            }
            for one, (prompt, output) in zip(questions, pairs, strict=True)
        ]
        results = judge(self._protocol, rows, source="questions")
        return [result.correct for result in results]


def _told(
    alive: Sequence[Trial], dev: Sequence[Mapping[str, str]]
) -> tuple[list[tuple[Candidate, float]], list[dict[str, str]]]:
    """Returns what a proposer is told."""
    order = sorted(alive, key=lambda trial: -trial.accuracy)
    best = order[0]
    failures = [
        {"question": q["question"], "output": text, "answer": q["answer"]}
        for q, text, right in zip(dev, best.outputs, best.right, strict=False)
        if not right
    ]
    return [(trial.candidate, trial.accuracy) for trial in order], failures


def _halved(alive: Sequence[Trial], default: Trial, number: int) -> list[Trial]:
    """Returns the better half, without what is surely worse, in order."""
    kept = better_half([trial.accuracy for trial in alive])
    leader = alive[kept[0]]
    left = []
    for i, trial in enumerate(alive):
        together = min(len(trial.right), len(leader.right))
        pair = leader.right[:together], trial.right[:together]
        worse = sum(pair[0]) > sum(pair[1]) and mcnemar(*pair) < _WORSE
        if trial is default or (i in kept and not worse):
            left.append(trial)
        else:
            trial.dropped = number
    return left


def _report(
    asker: _Asker,
    trials: Sequence[Trial],
    winner: Trial,
    default: Trial,
    held: Sequence[Mapping[str, str]],
    first: int,
) -> dict[str, Any]:
    """Asks the test part once, and sums up."""
    ends = {id(t): Trial(t.candidate) for t in (winner, default)}
    for trial in ends.values():
        asker.ask(trial, held)
    told: dict[str, Any] = {}
    for name, trial in (("winner", winner), ("default", default)):
        end = ends[id(trial)]
        told[name] = {
            "name": trial.candidate.name,
            "prompt": trial.candidate.prompt,
            "dev": trial.accuracy,
            "test": end.accuracy,
            "interval": list(exact_interval(sum(end.right), len(end.right))),
        }
    before, after = ({"test": ends[id(t)].right} for t in (default, winner))
    others = [t.right for t in trials if t is not default and t.right]
    return {
        **told,
        "gain": paired_difference(before, after),
        "dev_gain": winner.accuracy - default.accuracy,
        "luck": luck_of_the_best(default.right, others, first),
        "trials": [trial.to_dict() for trial in trials],
        "tokens": sum(t.tokens for t in (*trials, *ends.values())),
    }
