"""Successive halving over ways to ask, with an untouched split at the end."""

import dataclasses
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from keras_flan.answers import extract_answer, infer_kind, is_correct
from keras_flan.answers.kinds import normalise_answer
from keras_flan.errors import InputError
from keras_flan.evaluation.scores.statistics import (
    exact_interval,
    mcnemar,
    paired_difference,
)
from keras_flan.generation.language_model_like import as_language_model
from keras_flan.search.candidates import Candidate, recombined
from keras_flan.search.proposing import Propose

# A candidate this surely worse than the leader is dropped at once.
_WORSE = 0.05
# Survivors whose parts are put together.
_COMBINED = 3
_FLIPS = 2000


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
            "prompt": self.candidate.render("{question}"),
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
    default are asked the test part once, which nothing has looked at.

    Args:
        model: A model with a vocabulary, or what answers in its stead.
        questions: Dicts of `question` and `answer`; repeated ones are left
            out, so that no test question is a development question.
        candidates: The ways to ask, the default first.
        kind: Kind of the answers; default: what the answers look like.
        test: How many questions are kept for the end.
        first: How many the first round asks.
        propose: Called after the first round for further candidates, such as
            a `Reflection`; they are asked what the others were.
        max_new_tokens: Longest output.
        seed: Seed of the split.
        on_round: Called with the number and the trials of each round.

    Returns:
        `winner` and `default` (name, prompt, `test` accuracy and interval);
        `gain`, what `paired_difference` says of the test part; `dev_gain`, the
        difference there; `luck`, what the best of as many candidates gains by
        chance if none is better than the default; `trials`, of each candidate
        what it cost and where it was dropped; `tokens` in all.

    Raises:
        InputError: If there are too few questions or candidates.

    Source: successive halving, Jamieson and Talwalkar (arXiv:1502.07943).
    """
    dev, held = _split(questions, test, seed)
    if len(candidates) < 2 or len(dev) < 2:
        raise InputError(
            f"search: {len(candidates)} candidates and {len(dev)} development "
            f"questions beside {len(held)} of the test; give at least two of "
            "each"
        )
    kind = kind or infer_kind(questions[0]["answer"])
    asker = _Asker(model, kind, max_new_tokens)
    trials = [Trial(candidate) for candidate in candidates]
    alive, number, reach = list(trials), 0, min(first, len(dev))
    while True:
        number += 1
        for trial in alive:
            asker.ask(trial, dev[len(trial.right) : reach])
        if number == 1 and propose is not None:
            new = [Trial(c) for c in propose(*_told(alive, dev))]
            for trial in new:
                asker.ask(trial, dev[:reach])
            trials, alive = trials + new, alive + new
        if on_round is not None:
            on_round(number, alive)
        if len(alive) <= 2 or reach == len(dev):
            break
        alive = _halved(alive, trials[0], number)
        if len(alive) <= _COMBINED + 1:
            known = {trial.candidate.name for trial in trials}
            mixed = recombined([trial.candidate for trial in alive])
            new = [Trial(c) for c in mixed if c.name not in known]
            trials, alive = trials + new, alive + new
        reach = min(2 * reach, len(dev))
    for trial in alive:
        asker.ask(trial, dev[len(trial.right) :])
    default = trials[0]
    # Of equals the default, and then the first.
    winner = max(alive, key=lambda t: (t.accuracy, t is default))
    return _report(asker, trials, winner, default, held)


def _split(
    questions: Sequence[Mapping[str, str]], test: int, seed: int
) -> tuple[list[Mapping[str, str]], list[Mapping[str, str]]]:
    """Returns development and test questions; each question once."""
    once: dict[str, Mapping[str, str]] = {}
    for number, one in enumerate(questions, 1):
        for name in ("question", "answer"):
            if not isinstance(one.get(name), str) or not one[name].strip():
                raise InputError(
                    f"question {number}: expected a text under {name!r}, "
                    f"found the keys {sorted(one)}"
                )
        once.setdefault(" ".join(one["question"].lower().split()), one)
    order = list(once.values())
    random.Random(f"search/{seed}").shuffle(order)
    return order[test:], order[:test]


class _Asker:
    """Asks questions and judges the answers; counts what that costs."""

    def __init__(self, model: Any, kind: str, max_new_tokens: int):
        self._asked = as_language_model(model)
        self._kind = kind
        self._settings: dict[str, Any] = {
            "samples": 1,
            "temperature": 0.0,
            "max_new_tokens": max_new_tokens,
        }

    def ask(self, trial: Trial, questions: Sequence[Mapping[str, str]]) -> None:
        """Asks further questions of a trial."""
        if not questions:
            return
        prompts = [trial.candidate.render(q["question"]) for q in questions]
        made = self._asked.generate(prompts, **self._settings)
        for one, [path] in zip(questions, made, strict=True):
            found = extract_answer(path.text, self._kind)
            target = normalise_answer(one["answer"], self._kind)
            trial.right.append(
                found is not None
                and target is not None
                and is_correct(found.value, target)
            )
            trial.outputs.append(path.text)
            # Of what stands in for a model only the text is known.
            trial.tokens += len(path.token_ids) or len(path.text.split())


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
    order = sorted(range(len(alive)), key=lambda i: (-alive[i].accuracy, i))
    leader = alive[order[0]]
    kept = set(order[: max(2, (len(alive) + 1) // 2)])
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


def luck_of_the_best(
    default: Sequence[bool], others: Sequence[Sequence[bool]], seed: int = 0
) -> float:
    """Returns what the best of some candidates gains by chance alone.

    If a candidate is as good as the default, it is as often right where that
    is wrong as the other way round: so the sign of the difference of each
    question may be turned, in all candidates at once. This is the mean of the
    largest gain when it is, at least 0, as the default is a choice too.

    Args:
        default: Whether the default was right, by question.
        others: The same of each candidate, of as many or fewer questions.
        seed: Seed of the turns.

    Example:
        >>> luck_of_the_best([True, False] * 20, [[False, True] * 20])
        0.06...
    """
    if not others:
        return 0.0
    rng = np.random.default_rng(seed)
    signs = rng.choice([-1.0, 1.0], (_FLIPS, len(default)))
    gains = [np.zeros(_FLIPS)]
    for right in others:
        n = len(right)
        change = np.array(right, float) - np.array(default[:n], float)
        gains.append(signs[:, :n] @ change / n)
    return float(np.max(gains, axis=0).mean())


def _report(
    asker: _Asker,
    trials: Sequence[Trial],
    winner: Trial,
    default: Trial,
    held: Sequence[Mapping[str, str]],
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
            "prompt": trial.candidate.render("{question}"),
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
        "luck": luck_of_the_best(default.right, others),
        "trials": [trial.to_dict() for trial in trials],
        "tokens": sum(t.tokens for t in (*trials, *ends.values())),
    }
