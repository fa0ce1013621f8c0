"""Two runs on the same questions: is their difference more than chance?"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from keras_flan.errors import InputError
from keras_flan.evaluation.benchmarks.protocols import load_protocol
from keras_flan.evaluation.scores.predictions import (
    Prediction,
    read_predictions,
)
from keras_flan.evaluation.scores.scoring import benchmark_of
from keras_flan.evaluation.scores.statistics import paired_difference


def compare_runs(
    first: str | os.PathLike, second: str | os.PathLike
) -> dict[str, Any]:
    """Compares the logs of two runs of `evaluate`.

    Args:
        first: The folder of a run.
        second: That of another run on the same questions, asked in any way
            by any model.

    Returns:
        What `paired_difference` says of the headline tasks, `benchmark`, and
        the `accuracy` of both.

    Raises:
        InputError: If the questions are not the same.

    Example:
        >>> compare_runs("runs/bbh-direct", "runs/bbh-cot")["mcnemar"]
        0.0072
    """
    rows = [read_predictions(path) for path in (first, second)]
    names = {
        benchmark_of(r, str(p))
        for r, p in zip(rows, (first, second), strict=True)
    }
    if len(names) > 1:
        raise InputError(
            f"{first} and {second}: runs of {' and '.join(sorted(names))}; "
            "compare runs of one benchmark"
        )
    benchmark = names.pop()
    a, b = (_by_task(benchmark, r) for r in rows)
    if {t: list(r) for t, r in a.items()} != {t: list(r) for t, r in b.items()}:
        raise InputError(
            f"{first} and {second}: they hold different questions; compare "
            "runs with the same --tasks, --split and --limit"
        )
    right = [
        {task: [float(v) for v in found.values()] for task, found in r.items()}
        for r in (a, b)
    ]
    return {
        "benchmark": benchmark,
        "first": str(first),
        "second": str(second),
        "accuracy": [_mean_over_tasks(r) for r in right],
        **paired_difference(right[0], right[1]),
    }


def _by_task(
    benchmark: str, rows: Sequence[Prediction]
) -> dict[str, dict[str, bool]]:
    """Returns, by headline task and question, whether it was right."""
    tasks: dict[str, dict[str, bool]] = {}
    for number, row in enumerate(rows):
        found = tasks.setdefault(row.task or benchmark, {})
        key = row.id if row.id and row.id not in found else f"#{number}"
        found[key] = row.logged.correct
    headline = load_protocol(benchmark).headline_of(tasks)
    return {task: tasks[task] for task in headline}


def _mean_over_tasks(tasks: Mapping[str, Sequence[float]]) -> float:
    return sum(sum(v) / len(v) for v in tasks.values()) / len(tasks)
