"""How sure a score is: intervals, and the difference of two runs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

# Resamples of a bootstrap: the third digit of an interval is then stable.
_RESAMPLES = 2000
# Fewer examples of a task don't show its spread.
_FEWEST = 10


def exact_interval(
    right: int, number: int, confidence: float = 0.95
) -> tuple[float, float]:
    """Returns the Clopper-Pearson interval of a share.

    It covers the true share with at least this confidence, whatever it is.

    Args:
        right: How many were right.
        number: Out of how many, at least 1.
        confidence: Between 0 and 1.

    Example:
        >>> [round(edge, 3) for edge in exact_interval(8, 10)]
        [0.444, 0.975]

    Source: Clopper and Pearson, Biometrika 26 (1934).
    """
    from scipy.special import betaincinv

    tail = (1 - confidence) / 2
    low = betaincinv(right, number - right + 1, tail) if right else 0.0
    high = (
        betaincinv(right + 1, number - right, 1 - tail)
        if right < number
        else 1.0
    )
    return float(low), float(high)


def bootstrap_interval(
    values: Sequence[Sequence[float]], confidence: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Returns a percentile interval of the mean over tasks.

    The examples of each task are drawn again, with replacement; the tasks
    stay the same, as a benchmark is its tasks. The interval of a task with
    one example has no width, so that of few examples is too narrow: see
    `mean_interval`.

    Args:
        values: The scores of the examples, task by task.
        confidence: Between 0 and 1.
        seed: Seed of the resampling.

    Example:
        >>> low, high = bootstrap_interval([[0, 1] * 50, [1] * 100])
        >>> round(low, 2), round(high, 2)
        (0.7, 0.8)

    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993).
    """
    means = _resampled(values, seed)
    tail = 50 * (1 - confidence)
    low, high = np.percentile(means, [tail, 100 - tail])
    return float(low), float(high)


def mean_interval(
    values: Sequence[Sequence[float]], seed: int = 0
) -> tuple[float, float]:
    """Returns a 95% interval of the mean over tasks of shares.

    Of one task, or where all examples have the same score, it is the exact
    interval. Where a task has fewer than ten examples, resampling within it
    would say next to nothing of its chance: then the examples of all tasks
    are resampled together, which errs on the wide side. Else see
    `bootstrap_interval`.

    Args:
        values: The scores of the examples, 0 or 1, task by task.
        seed: Seed of the resampling.

    Example:
        >>> [round(edge, 2) for edge in mean_interval([[1], [0], [1], [1]])]
        [0.25, 1.0]
    """
    flat = [float(x) for scores in values for x in scores]
    if set(flat) <= {0.0, 1.0} and (len(values) == 1 or len(set(flat)) == 1):
        return exact_interval(int(sum(flat)), len(flat))
    return bootstrap_interval(_strata(values), seed=seed)


def _strata(values: Sequence[Sequence[float]]) -> list[list[float]]:
    """Returns what is resampled together; the mean stays the same."""
    if min(map(len, values)) >= _FEWEST:
        return [list(scores) for scores in values]
    total = sum(map(len, values))
    weights = [total / (len(values) * len(scores)) for scores in values]
    return [
        [
            weight * float(x)
            for weight, scores in zip(weights, values, strict=True)
            for x in scores
        ]
    ]


def mcnemar(first: Sequence[bool], second: Sequence[bool]) -> float:
    """Returns the exact p-value that two runs are equally often right.

    Only the examples count that one of them got right and the other did not.

    Args:
        first: Whether each example was right in the first run.
        second: The same of the second run, in the same order.

    Example:
        >>> mcnemar([True] * 6 + [False], [False] * 6 + [True])
        0.125

    Source: McNemar, Psychometrika 12 (1947), in its exact form.
    """
    from scipy.special import bdtr

    pairs = list(zip(first, second, strict=True))
    gained = sum(b and not a for a, b in pairs)
    lost = sum(a and not b for a, b in pairs)
    if not gained + lost:
        return 1.0
    tail = float(bdtr(min(gained, lost), gained + lost, 0.5))
    return min(1.0, 2 * tail)


def paired_difference(
    first: Mapping[str, Sequence[float]],
    second: Mapping[str, Sequence[float]],
    seed: int = 0,
) -> dict[str, Any]:
    """Compares two runs on the same examples.

    Args:
        first: The scores of the examples by task.
        second: The same examples in the same order.
        seed: Seed of the resampling.

    Returns:
        A dict: `difference` of the mean over tasks, second minus first, its
        paired bootstrap `interval` (95%), over the examples within tasks,
        the same over the tasks, `tasks_interval` (what other tasks of this
        kind would show; none of a single task), `gained` and `lost` examples
        and the exact p-value `mcnemar`.

    Example:
        >>> found = paired_difference({"t": [0, 0, 1]}, {"t": [1, 1, 1]})
        >>> round(found["difference"], 3), found["gained"], found["lost"]
        (0.667, 2, 0)
    """
    if first.keys() != second.keys():
        raise ValueError("the two runs must have the same tasks")
    changes = [
        np.subtract(second[task], first[task], dtype=float) for task in first
    ]
    a = [x for task in first for x in first[task]]
    b = [x for task in first for x in second[task]]
    strata = _strata([change.tolist() for change in changes])
    low, high = bootstrap_interval(strata, seed=seed)
    return {
        "difference": float(np.mean([change.mean() for change in changes])),
        "interval": [low, high],
        "tasks_interval": _over_tasks(changes, seed),
        "gained": sum(y > x for x, y in zip(a, b, strict=True)),
        "lost": sum(y < x for x, y in zip(a, b, strict=True)),
        "mcnemar": mcnemar([x >= 1 for x in a], [y >= 1 for y in b]),
    }


def _over_tasks(changes: Sequence[np.ndarray], seed: int) -> list[float] | None:
    """Returns the interval of the mean when tasks are drawn again."""
    if len(changes) < 2:
        return None
    means = [float(change.mean()) for change in changes]
    return list(bootstrap_interval([means], seed=seed))


def _resampled(values: Sequence[Sequence[float]], seed: int) -> np.ndarray:
    """Returns the mean over tasks of each resample."""
    generator = np.random.default_rng(seed)
    total = np.zeros(_RESAMPLES)
    for scores in values:
        # How often each distinct score is drawn is all that matters.
        distinct, counts = np.unique(
            np.asarray(scores, float), return_counts=True
        )
        drawn = generator.multinomial(
            counts.sum(), counts / counts.sum(), size=_RESAMPLES
        )
        total += drawn @ distinct / counts.sum()
    return total / len(values)
