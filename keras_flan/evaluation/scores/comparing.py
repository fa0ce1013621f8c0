"""Two runs on the same questions: is their difference more than chance?"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from keras_flan.errors import InputError
from keras_flan.evaluation.benchmarks.protocols import (
    PromptProtocol,
    kept_protocol,
)
from keras_flan.evaluation.scores.judging import judge
from keras_flan.evaluation.scores.metrics import METRICS
from keras_flan.evaluation.scores.predictions import (
    Prediction,
    read_predictions,
)
from keras_flan.evaluation.scores.scoring import benchmark_of
from keras_flan.evaluation.scores.statistics import paired_difference


def compare_runs(
    first: str | os.PathLike,
    second: str | os.PathLike,
    metric: str | None = None,
) -> dict[str, Any]:
    """Compares the logs of two runs of `evaluate`.

    Args:
        first: The folder of a run.
        second: That of another run on the same questions, asked in any way
            by any model.
        metric: What to compare instead of accuracy: a metric that has a
            score for each example, such as `"rouge_l"`.

    Returns:
        What `paired_difference` says of the headline tasks, `benchmark`, and
        the `accuracy` of both; of a metric, its name under `metric` and its
        means under `scores`.

    Raises:
        InputError: If the questions are not the same, or the metric is of
            whole tasks.

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
    protocol = kept_protocol(first, names.pop())
    a, b = (_by_task(protocol, r, _scores(protocol, r, metric)) for r in rows)
    if {t: list(r) for t, r in a.items()} != {t: list(r) for t, r in b.items()}:
        raise InputError(
            f"{first} and {second}: they hold different questions; compare "
            "runs with the same --tasks, --split and --limit"
        )
    found = [{task: list(r[task].values()) for task in r} for r in (a, b)]
    means = [_mean_over_tasks(r) for r in found]
    return {
        "benchmark": protocol.name,
        "first": str(first),
        "second": str(second),
        **(
            {"metric": metric, "scores": means}
            if metric
            else {"accuracy": means}
        ),
        **paired_difference(found[0], found[1]),
    }


def example_scores(
    run: str | os.PathLike, metric: str | None = None
) -> dict[str, dict[str, float]]:
    """Returns the scores of the examples of a run of `evaluate`.

    Args:
        run: Its folder.
        metric: What is scored instead of accuracy, as in `compare_runs`.

    Returns:
        By headline task and question, in the order of the log.

    Example:
        >>> example_scores("runs/gsm8k", "rouge_l")["gsm8k"]["test.jsonl:1"]
        0.25
    """
    rows = read_predictions(run)
    protocol = kept_protocol(run, benchmark_of(rows, str(run)))
    return _by_task(protocol, rows, _scores(protocol, rows, metric))


def _scores(
    protocol: PromptProtocol, rows: Sequence[Prediction], metric: str | None
) -> list[float]:
    """Returns the score of each row: whether it was right, or of a metric."""
    if metric is None:
        return [float(row.logged.correct) for row in rows]
    if METRICS.named(metric).of_example is None:
        raise InputError(
            f"the metric {metric!r} is of a whole task; compare by one that "
            "every example has"
        )
    judged = judge(protocol.with_metrics([metric]), rows)
    return [one.measures[metric] for one in judged]


def _by_task(
    protocol: PromptProtocol,
    rows: Sequence[Prediction],
    scores: Sequence[float],
) -> dict[str, dict[str, float]]:
    """Returns scores by headline task and question."""
    tasks: dict[str, dict[str, float]] = {}
    for number, (row, score) in enumerate(zip(rows, scores, strict=True)):
        found = tasks.setdefault(row.task or protocol.name, {})
        key = row.id if row.id and row.id not in found else f"#{number}"
        found[key] = score
    return {task: tasks[task] for task in protocol.headline_of(tasks)}


def _mean_over_tasks(tasks: Mapping[str, Sequence[float]]) -> float:
    return sum(sum(v) / len(v) for v in tasks.values()) / len(tasks)
