"""How sure an elected answer is: a small model of what its paths show.

The share of the votes says how sure an answer is only roughly: it is too high
or too low by model and task. A logistic model of some signals, fitted on
questions whose answers are known, says it better, and can be told to abstain.
"""

import dataclasses
import itertools
import math
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from keras_flan.answers.voting import vote
from keras_flan.errors import InputError
from keras_flan.files import read_json_object, write_json

# What a model of confidence may be fitted on, see `signals`.
SIGNALS = (
    "share",
    "margin",
    "entropy",
    "distinct",
    "abstained",
    "log_probability",
    "log_probability_gap",
    "agreement",
)
_KIND = "keras_flan confidence"
# Paths whose steps are compared, two by two.
_COMPARED = 10
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
# Signals stand at most so many deviations from their mean: a question unlike
# all others must not be certain.
_FAR = 4.0
_ROUNDS = 50
# Fewer questions don't make a model.
_FEWEST = 10


def signals(
    answers: Sequence[str | None],
    texts: Sequence[str] | None = None,
    log_probabilities: Sequence[float] | None = None,
    token_counts: Sequence[float] | None = None,
) -> dict[str, float]:
    """Returns what the paths of a question show of the elected answer.

    Args:
        answers: The answer of each path, None where it has none.
        texts: What each path says.
        log_probabilities: Of each path, summed over its tokens.
        token_counts: Of each path; without them log-probabilities, which
            longer paths have less of, show nothing.

    Returns:
        `share` of the paths that gave the winner; `margin`, how much larger
        it is than the second's; `entropy` of the answers, 1 if all differ;
        `distinct` answers, and paths that `abstained`, as shares of the paths.
        With texts `agreement`: of two paths to the winner, the share of the
        numbers of their steps (of their words, if they have none) that both
        have. With log-probabilities `log_probability`, the mean per token of
        the winner's paths, and `log_probability_gap`, how much higher it is
        than the others'.

    Example:
        >>> found = signals(["9", "9", "7", None])
        >>> found["share"], found["margin"], found["distinct"]
        (0.5, 0.25, 0.5)
    """
    number = len(answers)
    if not number:
        raise InputError("signals: found no answers, expected one per path")
    elected = vote(answers)
    counts = [*sorted(elected.counts.values(), reverse=True), 0, 0]
    each = [n for n in (*elected.counts.values(), elected.abstained) if n]
    entropy = -sum(n / number * math.log(n / number) for n in each)
    found = {
        "share": counts[0] / number,
        "margin": (counts[0] - counts[1]) / number,
        "entropy": entropy / math.log(number) if number > 1 else 0.0,
        "distinct": len(elected.counts) / number,
        "abstained": elected.abstained / number,
    }
    winner = elected.winner
    own = [i for i, answer in enumerate(answers) if answer == winner]
    if texts is not None:
        found["agreement"] = _agreement([texts[i] for i in own[:_COMPARED]])
    if log_probabilities is not None and token_counts is not None:
        pairs = zip(log_probabilities, token_counts, strict=True)
        means = [p / max(length, 1) for p, length in pairs]
        others = [means[i] for i in range(number) if answers[i] != winner]
        mean = sum(means[i] for i in own) / len(own)
        found["log_probability"] = mean
        gap = mean - sum(others) / len(others) if others else 0.0
        found["log_probability_gap"] = gap
    return found


def _agreement(texts: Sequence[str]) -> float:
    steps = [set(_NUMBER.findall(text)) for text in texts]
    if not all(steps):
        steps = [set(text.lower().split()) for text in texts]
    pairs = list(itertools.combinations(steps, 2))
    shares = [len(a & b) / len(a | b) if a | b else 1.0 for a, b in pairs]
    return sum(shares) / len(shares) if shares else 0.0


@dataclasses.dataclass(frozen=True)
class ConfidenceModel:
    """A logistic model of whether an elected answer is right.

    Args:
        names: The signals that it knows, of `SIGNALS`.
        means: Of each on the calibration questions.
        scales: The standard deviation of each.
        weights: Of each signal, in deviations from its mean.
        bias: What is added.
        questions: How many questions it was fitted on.

    Example:
        >>> model = ConfidenceModel.fit(rows, correct)
        >>> model(signals(["9", "9", "9", "7"]))
        0.81

    Source: logistic regression as in Platt (1999), on signals of a vote.
    """

    names: tuple[str, ...]
    means: tuple[float, ...]
    scales: tuple[float, ...]
    weights: tuple[float, ...]
    bias: float
    questions: int

    @classmethod
    def fit(
        cls,
        rows: Sequence[Mapping[str, float]],
        correct: ArrayLike,
        penalty: float = 1.0,
    ) -> "ConfidenceModel":
        """Fits the model on questions whose answers are known.

        Args:
            rows: What `signals` returned of each; what all have is used.
            correct: bool [n], whether the elected answer was right.
            penalty: What the squares of the weights cost, so that few
                questions don't make a signal important.

        Raises:
            InputError: If there are fewer than ten questions, or all answers
                are right, or all wrong, or a signal is no finite number.
        """
        right = np.asarray(correct, float)
        if len(rows) != len(right) or len(rows) < _FEWEST:
            raise InputError(
                f"a confidence model: {len(rows)} questions and {len(right)} "
                f"judgements; give at least {_FEWEST}, of each the same number"
            )
        if right.min() == right.max():
            raise InputError(
                f"a confidence model: all of the {len(rows)} answers are "
                f"{'right' if right[0] else 'wrong'}; give questions of both"
            )
        names = tuple(n for n in SIGNALS if all(n in row for row in rows))
        values = np.array([[row[n] for n in names] for row in rows], float)
        if len(bad := np.argwhere(~np.isfinite(values))):
            row, column = bad[0]
            raise InputError(
                f"a confidence model: the signal {names[column]!r} of question "
                f"{row + 1} is {values[row, column]}; expected a finite number"
            )
        means, scales = values.mean(axis=0), values.std(axis=0)
        # A signal that never differs says nothing, whatever it is later.
        scales = np.where(scales < 1e-9, np.inf, scales)
        weights = _logistic(_standard(values, means, scales), right, penalty)
        return cls(
            names,
            tuple(means.tolist()),
            tuple(np.where(np.isinf(scales), 0.0, scales).tolist()),
            tuple(weights[1:].tolist()),
            float(weights[0]),
            len(rows),
        )

    def __call__(self, row: Mapping[str, float]) -> float:
        """Returns how probable it is that the answer is right.

        Args:
            row: What `signals` returned.

        Raises:
            InputError: If a signal is missing that the model knows.
        """
        if missing := [name for name in self.names if name not in row]:
            raise InputError(
                f"the confidence model was fitted on {', '.join(missing)}, "
                "which these paths don't have; fit it on outputs of the same "
                "form"
            )
        scales = np.array(self.scales)
        standard = _standard(
            np.array([[row[name] for name in self.names]], float),
            np.array(self.means),
            np.where(scales == 0, np.inf, scales),
        )
        return float(_share(standard @ np.array(self.weights) + self.bias)[0])

    def save(self, path: str | os.PathLike) -> None:
        """Writes the model as JSON, atomically."""
        write_json(path, {"kind": _KIND, **dataclasses.asdict(self)})

    @classmethod
    def load(cls, path: str | os.PathLike) -> "ConfidenceModel":
        """Reads what `save` wrote.

        Raises:
            InputError: If the file holds something else.
        """
        value: dict[str, Any] = read_json_object(path)
        fields = {field.name for field in dataclasses.fields(cls)}
        if (
            value.pop("kind", None) != _KIND
            or value.keys() != fields
            or not _is_whole(value)
        ):
            raise InputError(
                f"{path}: no confidence model; make one with `keras-flan "
                "fit-confidence`"
            )
        parts: dict[str, Any] = {
            name: tuple(one) if isinstance(one, list) else one
            for name, one in value.items()
        }
        return cls(**parts)


def _is_whole(value: Mapping[str, Any]) -> bool:
    """Whether a file's values are those of a model."""
    names = value["names"]
    return (
        isinstance(names, list)
        and all(name in SIGNALS for name in names)
        and all(
            isinstance(value[key], list)
            and len(value[key]) == len(names)
            and all(map(_is_number, value[key]))
            for key in ("means", "scales", "weights")
        )
        and min(value["scales"], default=0) >= 0
        and all(map(_is_number, (value["bias"], value["questions"])))
    )


def _is_number(value: object) -> bool:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
    )


def cross_fitted(
    rows: Sequence[Mapping[str, float]],
    correct: ArrayLike,
    folds: int = 2,
    seed: int = 0,
) -> np.ndarray:
    """Returns confidences, each of a model that did not see the question.

    Args:
        rows: As for `ConfidenceModel.fit`.
        correct: As for `ConfidenceModel.fit`.
        folds: Into so many parts the questions are split; each is told by a
            model of the others.
        seed: Seed of the split.

    Returns:
        float [n].

    Raises:
        InputError: If a part has too few questions for a model, or only right
            or only wrong answers.
    """
    right = np.asarray(correct, bool)
    few = min(right.sum(), len(right) - right.sum())
    others = len(rows) - math.ceil(len(rows) / folds)
    if others < _FEWEST or few < folds:
        raise InputError(
            f"a confidence model: {len(rows)} questions, {right.sum()} of them "
            f"right; each of {folds} parts is told by a model of the others, "
            f"which takes {_FEWEST} questions, right and wrong ones"
        )
    order = np.random.default_rng(seed).permutation(len(rows))
    # Right and wrong ones are dealt in turns, so that each part has both.
    order = np.concatenate([order[right[order]], order[~right[order]]])
    found = np.zeros(len(rows))
    for part in (order[first::folds] for first in range(folds)):
        rest = np.setdiff1d(order, part)
        model = ConfidenceModel.fit([rows[i] for i in rest], right[rest])
        found[part] = [model(rows[i]) for i in part]
    return found


def _standard(
    values: np.ndarray, means: np.ndarray, scales: np.ndarray
) -> np.ndarray:
    return np.clip((values - means) / scales, -_FAR, _FAR)


def _share(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits))


def _logistic(
    values: np.ndarray, right: np.ndarray, penalty: float
) -> np.ndarray:
    """Returns bias and weights, by Newton's method."""
    values = np.column_stack([np.ones(len(values)), values])
    costs = np.full(values.shape[1], penalty)
    costs[0] = 1e-6  # The bias is free.
    weights = np.zeros(values.shape[1])
    for _ in range(_ROUNDS):
        shares = _share(values @ weights)
        slope = values.T @ (shares - right) + costs * weights
        curve = (values.T * (shares * (1 - shares))) @ values + np.diag(costs)
        step = np.linalg.solve(curve, slope)
        weights = weights - step
        if np.abs(step).max() < 1e-9:
            break
    return weights
