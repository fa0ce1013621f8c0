"""Scoring what a model wrote; no model needed."""

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from keras_flan.answers import EXTRACTOR_VERSION, rule_set
from keras_flan.answers.calibration import (
    expected_calibration_error,
    held_out_calibration,
    judged_confidence,
)
from keras_flan.answers.confidence import cross_fitted
from keras_flan.errors import InputError
from keras_flan.evaluation.benchmarks.protocols import (
    PromptProtocol,
    kept_protocol,
    load_protocol,
)
from keras_flan.evaluation.benchmarks.ways import MODES
from keras_flan.evaluation.scores.judging import Judgement, judge
from keras_flan.evaluation.scores.metrics import METRICS, ROUGES, classes
from keras_flan.evaluation.scores.paper import normalise
from keras_flan.evaluation.scores.predictions import Prediction, Verdict
from keras_flan.evaluation.scores.statistics import (
    exact_interval,
    mean_interval,
)
from keras_flan.storage import as_path

# What a task may have besides its accuracy: the mean over its examples.
_MEANS = (
    "f1",
    "rouge_l",
    "per_token",
    "single",
    "vote",
    "weighted",
    "adaptive",
    "drawn",
    "abstained",
)
# What the ROUGE of scripts without Latin letters is by, in its name.
OWN_TOKENS = "rouge-score, our own for other scripts"
# So many votes are worth fitting a calibrator on half of them.
_CALIBRATED = 50


def score(
    benchmark: str | os.PathLike | PromptProtocol,
    rows: Iterable[Mapping[str, Any] | Prediction],
    *,
    rules: str | None = None,
    source: str = "rows",
) -> dict[str, Any]:
    """Scores recorded outputs.

    Args:
        benchmark: The benchmark: its name, the path of a protocol of your
            own, `"mine.yaml"`, or its protocol.
        rows: Predictions, or dicts with `target` and `output` (a text) or
            `outputs` (texts of several paths, which vote); optionally `task`
            (default: the benchmark), `references` (all right answers),
            `options` (texts of the choices; else those that the `prompt`
            lists last), `answer_kind`, `stop` (an output ends before the
            first of these), `log_probabilities` (one per path, summed over
            its tokens), `token_counts` (one per path; then the weights are
            length-normalised) and `language` (`"de"`). A row's own
            `answer_kind` goes before the protocol's, but not in a log of the
            same protocol.
        rules: A name in `keras_flan.answers.RULE_SETS`, to read and compare
            answers as a published pipeline did.
        source: What errors call the rows, for example a file name.

    Returns:
        Fractions between 0 and 1: `accuracy`, the mean over the headline
        tasks, with its `interval` (95%, see `mean_interval`); `unparsed`,
        which counts the rows without any answer; `normalised`, the mean over
        tasks of how far each is above guessing; `tasks` (`accuracy`, `n`,
        `unparsed` and the exact `interval` of each) and `groups`; `averages`,
        all means over the headline tasks (`macro`) and over their examples
        (`micro`). Where they apply, each level also has `f1` (SQuAD),
        `rouge_l` (free text), the protocol's `metrics` (with `macro_f1` a
        task also has the figures of its `classes`), `per_token` (ranking by
        the mean log probability), and of several paths `single` (mean over
        paths), `vote`, `weighted` (vote by the sum of path probabilities),
        `adaptive` (vote that stops drawing paths when it is decided, or 95%
        sure, see `keras_flan.answers.voting.stopping_point`), `drawn` (the
        share of the paths that it draws), `abstained` (share of the paths)
        and `ece`
        (expected calibration error of the share of votes). `calibration` is
        what a calibrator that is fitted on one half does to the other, and
        `selective` has `ece`, `brier` and the `risk` at some coverages (see
        `keras_flan.answers.calibration.risk_at_coverage`) of the `share` of
        votes and, of 50 questions on, of a `fitted` confidence: each half is
        told by a `ConfidenceModel` of the other.
        Where languages are known, `languages` has the figures of each, by its
        code, over the examples of all tasks.
        `measured` says how the protocol's metrics are to be read: `share` of
        1, or `number`.
        `rouge_l_tokens` says what tokens ROUGE is by: those of the package
        rouge-score, or our own for scripts without Latin letters.

    Raises:
        InputError: If the benchmark is unknown, there are no rows, a row
            lacks a field or has one of the wrong type, or no right answer of
            a row can be read as one of its kind.

    Example:
        >>> rows = [{"target": "9", "output": "The answer is 9."}]
        >>> score("gsm8k", rows)["accuracy"]
        1.0
    """
    results = judge(benchmark, rows, rules=rules, source=source)
    return summarise(benchmark, results, rules=rules)


def way_of(run: Mapping[str, Any]) -> str:
    """Returns how a run was asked, in words.

    Args:
        run: The settings of a run of `evaluate`.

    Example:
        >>> way_of({"mode": "cot", "samples": 8})
        'CoT, 8 votes'
    """
    mode, samples = run["mode"], run.get("samples", 1)
    votes = f", {samples} votes" if samples > 1 else ""
    return MODES.get(mode, mode) + votes


def benchmark_of(rows: Sequence[Prediction], source: str) -> str:
    """Returns the benchmark that a log of `evaluate` is of.

    Raises:
        InputError: If its rows don't say.
    """
    names = {row.protocol for row in rows}
    name = names.pop() if len(names) == 1 else None
    if name is None:
        raise InputError(
            f"{source}: the rows don't name one benchmark under 'protocol'; "
            "give --benchmark"
        )
    return name


def logged_protocol(
    rows: Sequence[Prediction], path: str | os.PathLike
) -> PromptProtocol:
    """Returns the protocol of a log, of which a run keeps a copy of yours.

    Args:
        rows: The log.
        path: Its file, or the folder of the run.

    Raises:
        InputError: If the rows don't name one benchmark, or it is unknown.
    """
    path = as_path(path)
    folder = path if path.is_dir() else path.parent
    return kept_protocol(folder, benchmark_of(rows, str(path)))


def judged_rows(
    rows: Sequence[Prediction], results: Sequence[Judgement]
) -> Iterator[dict[str, Any]]:
    """Yields what was found in each row, as a JSON-able object.

    Args:
        rows: The rows.
        results: What `judge` finds in them.

    Returns:
        A dict per row: `row` (its number, from 1), `task`, `id`, `target`,
        `answer_kind`, the elected `answer`, its `confidence`, whether it is
        `correct`, and of each path the `answers`, the `rules` that found
        them, their `spans` in the output and whether they are right
        (`paths_correct`); and the `measures` that a score adds up.
    """
    for number, (row, result) in enumerate(zip(rows, results, strict=True), 1):
        yield {
            "row": number,
            "task": result.task,
            "id": row.id,
            "target": row.target,
            "answer_kind": result.answer_kind,
            "answer": result.answer,
            "confidence": result.confidence,
            "correct": result.correct,
            "answers": result.answers,
            "rules": result.rules,
            "spans": result.spans,
            "paths_correct": result.paths_correct,
            "measures": result.measures,
        }


def changes(
    rows: Sequence[Prediction], results: Sequence[Verdict]
) -> list[dict[str, Any]]:
    """Returns the rows of a log that are judged otherwise than they were.

    Args:
        rows: A log of `evaluate`, with the answers it found.
        results: What `judge` finds now.

    Returns:
        A dict per changed row: `row` (its number, from 1), `task`, `id`,
        `target`, and `answer` and `correct` `before` and `after`.
    """
    found = []
    for number, (row, now) in enumerate(zip(rows, results, strict=True), 1):
        if row.verdict is None:
            continue
        before, after = (
            {"answer": one.answer, "correct": one.correct}
            for one in (row.verdict, now)
        )
        if before != after:
            found.append(
                {
                    "row": number,
                    "task": row.task,
                    "id": row.id,
                    "target": row.target,
                    "before": before,
                    "after": after,
                }
            )
    return found


def summarise(
    benchmark: str | os.PathLike | PromptProtocol,
    results: Sequence[Judgement],
    *,
    rules: str | None = None,
) -> dict[str, Any]:
    """Sums up what `judge` returned; see `score`."""
    tasks: dict[str, list[Judgement]] = {}
    for result in results:
        tasks.setdefault(result.task, []).append(result)
    special, protocol = rule_set(rules), load_protocol(benchmark)
    several = any(len(result.answers) > 1 for result in results)
    _refuse_taken(protocol.metrics)
    summaries = {
        name: _summary(found, several, protocol.metrics)
        for name, found in tasks.items()
    }
    headline = protocol.headline_of(tasks)
    metrics = {
        "benchmark": protocol.name,
        **_level(headline, tasks, summaries, protocol.metrics),
        "n": len(results),
        "unparsed": sum(s["unparsed"] for s in summaries.values()),
        "normalised": _mean(
            normalise(
                100 * summaries[task]["accuracy"], protocol.baseline_of(task)
            )
            / 100
            for task in headline
        ),
        "rules": rules or "default",
        "rules_version": special.version if special else EXTRACTOR_VERSION,
        "averages": _averages(
            headline, tasks, summaries, several, protocol.metrics
        ),
    }
    if any(result.own_tokens for result in results):
        metrics["rouge_l_tokens"] = OWN_TOKENS
    elif not {*ROUGES}.isdisjoint(metrics):
        metrics["rouge_l_tokens"] = "rouge-score"
    if protocol.metrics:
        metrics["measured"] = {
            name: "share" if METRICS.named(name).share else "number"
            for name in protocol.metrics
        }
    if several:
        metrics["ece"] = _ece(results)
        if len(results) >= _CALIBRATED:
            metrics["calibration"] = held_out_calibration(*_votes(results))
        metrics["selective"] = _selective(results)
    languages: dict[str, list[Judgement]] = {}
    for result in results:
        if result.language:
            languages.setdefault(result.language, []).append(result)
    if languages:
        metrics["languages"] = {
            name: _summary(found, several, protocol.metrics)
            for name, found in sorted(languages.items())
        }
    groups = {
        name: _level(within, tasks, summaries, protocol.metrics)
        for name, members in protocol.groups.items()
        if (within := [task for task in members if task in tasks])
    }
    return {**metrics, "groups": groups, "tasks": summaries}


def _averages(
    names: Sequence[str],
    tasks: Mapping[str, Sequence[Judgement]],
    summaries: Mapping[str, dict[str, Any]],
    several: bool,
    metrics: Sequence[str],
) -> dict[str, dict[str, float]]:
    """Returns the means over tasks, and over the examples of all."""
    # What is of a whole task has no mean over the examples of several.
    means = [n for n in metrics if METRICS.named(n).of_example is not None]
    together = _summary(
        [r for name in names for r in tasks[name]], several, means
    )
    keys = [key for key in _keys("accuracy", *means) if key in together]
    chosen = [summaries[name] for name in names]
    return {
        "macro": {key: _mean(s[key] for s in chosen) for key in keys},
        "micro": {key: together[key] for key in keys},
    }


def _level(
    names: Sequence[str],
    tasks: Mapping[str, Sequence[Judgement]],
    summaries: Mapping[str, dict[str, Any]],
    metrics: Sequence[str],
) -> dict[str, Any]:
    """Returns the unweighted mean over tasks, and its interval."""
    chosen = [summaries[name] for name in names]
    low, high = mean_interval(
        [[r.correct for r in tasks[name]] for name in names]
    )
    level = {
        "accuracy": _mean(s["accuracy"] for s in chosen),
        "interval": [low, high],
        "n": sum(s["n"] for s in chosen),
        "unparsed": sum(s["unparsed"] for s in chosen),
    }
    for key in _keys(*metrics):
        if all(key in s for s in chosen):
            level[key] = _mean(s[key] for s in chosen)
    return level


def _summary(
    results: Sequence[Judgement], several: bool, metrics: Sequence[str]
) -> dict[str, Any]:
    right = sum(result.correct for result in results)
    summary: dict[str, Any] = {
        "accuracy": right / len(results),
        "n": len(results),
        "unparsed": sum(result.answer is None for result in results),
        "interval": list(exact_interval(right, len(results))),
    }
    keys = [*metrics, "f1", "rouge_l", "per_token"]
    if several:
        summary["vote"] = summary["accuracy"]
        summary["ece"] = _ece(results)
        keys += ["single", "weighted", "adaptive", "drawn", "abstained"]
    for key in keys:
        if all(key in result.measures for result in results):
            summary[key] = _mean(result.measures[key] for result in results)
    marked = [result.marked for result in results]
    for name in metrics:
        of_task = METRICS.named(name).of_task
        if of_task and (value := of_task(marked)) is not None:
            summary[name] = float(value)
    if "macro_f1" in summary:
        summary["classes"] = classes(marked)
    return summary


def _keys(*others: str) -> list[str]:
    """Returns the keys of what is averaged, each once."""
    return list(dict.fromkeys((*others, *_MEANS)))


def _refuse_taken(metrics: Iterable[str]) -> None:
    """Raises InputError if a metric has the name of another figure."""
    taken = {"accuracy", "n", "unparsed", "interval", "classes", "ece", *_MEANS}
    for name in metrics:
        if name in taken and METRICS.origin(name):
            raise InputError(
                f"the metric {name!r}: every score has a figure of this name; "
                "give yours another"
            )


def _ece(results: Sequence[Judgement]) -> float:
    return expected_calibration_error(*_votes(results))


def _selective(results: Sequence[Judgement]) -> dict[str, Any]:
    """Returns risk against coverage, by the votes and by a fitted model."""
    shares, right = _votes(results)
    found: dict[str, Any] = {"share": judged_confidence(shares, right)}
    rows = [result.signals for result in results]
    # Each half needs answers of both sorts.
    few = min(sum(right), len(right) - sum(right))
    if len(rows) >= _CALIBRATED and few >= _CALIBRATED // 5:
        with contextlib.suppress(InputError):
            fitted = cross_fitted(rows, right)
            found["fitted"] = judged_confidence(fitted, right)
    return found


def _votes(results: Sequence[Judgement]) -> tuple[list[float], list[bool]]:
    return (
        [result.confidence for result in results],
        [result.correct for result in results],
    )


def _mean(values: Iterable[float]) -> float:
    values = list(values)
    return sum(values) / len(values)
