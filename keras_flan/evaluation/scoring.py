"""Scoring what a model wrote; no model needed."""

import math
import os
from collections.abc import Iterable
from typing import Any

from keras_flan.errors import InputError, did_you_mean
from keras_flan.files import read_jsonl
from keras_flan.generation.answers import (
    EXTRACTOR_VERSION,
    KINDS,
    answer_kind,
    extract_answer,
    is_correct,
    normalise_answer,
    protocol,
    rule_set,
)
from keras_flan.generation.calibration import expected_calibration_error
from keras_flan.generation.voting import path_weights, vote

_VOTE_KEYS = ("single", "vote", "weighted", "abstained", "ece")


def score(
    benchmark: str,
    rows: Iterable[dict],
    *,
    rules: str | None = None,
    source: str = "rows",
) -> dict:
    """Scores recorded outputs.

    Args:
        benchmark: A name in `keras_flan.generation.answers.BENCHMARKS`.
        rows: Dicts with `target` and `output` (a text) or `outputs` (texts
            of several paths, which vote); optionally `task` (default: the
            benchmark), `options` (texts of the choices), `answer_kind`,
            `log_probabilities` (one a path, summed over its tokens) and
            `token_counts` (one a path; then the weights are
            length-normalised).
        rules: A name in `keras_flan.generation.answers.RULE_SETS`, to read
            and compare answers as a published pipeline did.
        source: What errors call the rows, for example a file name.

    Returns:
        `{"accuracy", "tasks": {name: {"accuracy", "n", "unparsed"}}, ...}`,
        fractions between 0 and 1; the first is the mean over tasks, and
        `unparsed` counts the rows without any answer. Where rows have
        several paths, each level also has `single` (mean over paths),
        `vote`, `weighted` (vote by the sum of path probabilities, where they
        are given), `abstained` (share of the paths) and `ece` (expected
        calibration error of the share of votes).

    Raises:
        InputError: If the benchmark is unknown, there are no rows, or a row
            lacks a field or has one of the wrong type.

    Example:
        >>> rows = [{"target": "9", "output": "The answer is 9."}]
        >>> score("gsm8k", rows)["accuracy"]
        1.0
    """
    protocol(benchmark)
    rows = [
        _checked(row, benchmark, f"{source}:{number}")
        for number, row in enumerate(rows, 1)
    ]
    if not rows:
        raise InputError(f"{source}: no rows to score")
    kinds = _kinds(benchmark, rows)
    tasks: dict[str, list[dict]] = {}
    for row in rows:
        kind = row["answer_kind"] or kinds[row["task"]]
        tasks.setdefault(row["task"], []).append(
            _score_row(row, kind, protocol(benchmark).letters, rules)
        )
    several = any(row["several"] for row in rows)
    weighted = all(row["log_probabilities"] is not None for row in rows)
    summaries = {
        task: _summary(results, several, several and weighted)
        for task, results in tasks.items()
    }
    everything = [result for results in tasks.values() for result in results]
    special = rule_set(rules)
    metrics = {
        "benchmark": benchmark,
        "accuracy": _mean(s["accuracy"] for s in summaries.values()),
        "n": len(rows),
        "unparsed": sum(s["unparsed"] for s in summaries.values()),
        "rules": rules or "default",
        "rules_version": special.version if special else EXTRACTOR_VERSION,
    }
    if several:
        for key in _VOTE_KEYS:
            if key != "ece" and all(key in s for s in summaries.values()):
                metrics[key] = _mean(s[key] for s in summaries.values())
        metrics["ece"] = _ece(everything)
    return {**metrics, "tasks": summaries}


def score_file(
    benchmark: str, path: str | os.PathLike, *, rules: str | None = None
) -> dict:
    """Scores a JSON Lines file of recorded outputs; see `score`."""
    return score(benchmark, read_jsonl(path), rules=rules, source=str(path))


def print_metrics(metrics: dict) -> None:
    """Prints a table of metrics, with the unparsed share at each accuracy."""
    from rich.console import Console
    from rich.table import Table

    extra = [key for key in _VOTE_KEYS if key in metrics]
    table = Table(title=metrics.get("benchmark"))
    table.add_column("task")
    for name in ("n", "accuracy", "unparsed", *extra):
        table.add_column(name, justify="right")
    for name, task in metrics["tasks"].items():
        table.add_row(name, *_cells(task, extra))
    if len(metrics["tasks"]) > 1:
        table.add_section()
        table.add_row("mean", *_cells(metrics, extra))
    Console().print(table)


def _cells(row: dict, extra: list[str]) -> list[str]:
    shares = [row["accuracy"], row["unparsed"] / row["n"]]
    shares += [row[key] for key in extra if key != "ece"]
    cells = [str(row["n"]), *(f"{share:.1%}" for share in shares)]
    return cells + ([f"{row['ece']:.3f}"] if "ece" in extra else [])


def _score_row(
    row: dict, kind: str, letters: str | None, rules: str | None
) -> dict:
    found = [
        extract_answer(text, kind, row["options"] or letters, rules)
        for text in row["outputs"]
    ]
    answers = [answer and answer.value for answer in found]
    target = normalise_answer(row["target"], kind, rules)
    elected = vote(answers)
    result = {
        "correct": is_correct(elected.winner, target, rules),
        "unparsed": elected.winner is None,
        "confidence": elected.confidence,
        "single": _mean(is_correct(a, target, rules) for a in answers),
        "abstained": elected.abstained / len(answers),
    }
    if row["log_probabilities"] is not None:
        weights = path_weights(row["log_probabilities"], row["token_counts"])
        winner = vote(answers, weights, "sum").winner
        result["weighted"] = is_correct(winner, target, rules)
    return result


def _summary(results: list[dict], several: bool, weighted: bool) -> dict:
    accuracy = _mean(result["correct"] for result in results)
    summary = {
        "accuracy": accuracy,
        "n": len(results),
        "unparsed": sum(result["unparsed"] for result in results),
    }
    if several:
        summary["single"] = _mean(result["single"] for result in results)
        summary["vote"] = accuracy
        if weighted:
            summary["weighted"] = _mean(r["weighted"] for r in results)
        summary["abstained"] = _mean(r["abstained"] for r in results)
        summary["ece"] = _ece(results)
    return summary


def _ece(results: list[dict]) -> float:
    return expected_calibration_error(
        [result["confidence"] for result in results],
        [result["correct"] for result in results],
    )


def _mean(values: Iterable[float]) -> float:
    values = list(values)
    return sum(values) / len(values)


def _kinds(benchmark: str, rows: list[dict]) -> dict[str, str]:
    """Returns one kind a task: text if its targets look different."""
    seen: dict[str, set[str]] = {}
    for row in rows:
        kind = answer_kind(benchmark, row["task"], row["target"])
        seen.setdefault(row["task"], set()).add(kind)
    return {
        task: kinds.pop() if len(kinds) == 1 else "text"
        for task, kinds in seen.items()
    }


def _checked(row: dict, benchmark: str, place: str) -> dict[str, Any]:
    """Returns the fields of a row in one form, or says what is wrong."""
    target = row.get("target")
    if isinstance(target, bool) or not isinstance(target, str | int | float):
        raise InputError(
            f"{place}: expected a text or number under 'target', found "
            f"{target!r:.60}"
            + ("" if "target" in row else did_you_mean("target", row))
        )
    several = "outputs" in row
    if several == ("output" in row):
        raise InputError(
            f"{place}: expected either 'output' or 'outputs', found the keys "
            f"{sorted(row)}"
        )
    outputs = row["outputs"] if several else [row["output"]]
    if (
        not isinstance(outputs, list)
        or not outputs
        or not all(isinstance(text, str) for text in outputs)
    ):
        expected = "a list of texts" if several else "a text"
        raise InputError(
            f"{place}: expected {expected} under "
            f"{'outputs' if several else 'output'!r}, found {outputs!r:.60}"
        )
    kind = row.get("answer_kind")
    if kind is not None and kind not in KINDS:
        raise InputError(
            f"{place}: no answer kind {kind!r}." + did_you_mean(kind, KINDS)
        )
    return {
        "task": str(row.get("task", benchmark)),
        "target": target if isinstance(target, str) else repr(target),
        "outputs": outputs,
        "several": several,
        "answer_kind": kind,
        "options": _options(row.get("options")),
        "log_probabilities": _numbers(row, "log_probabilities", place),
        "token_counts": _numbers(row, "token_counts", place),
    }


def _options(options: Any) -> list[str] | None:
    if isinstance(options, str):
        options = options.split("\n")
    return [str(option) for option in options] if options else None


def _numbers(row: dict, key: str, place: str) -> list[float] | None:
    values = row.get(key)
    if values is None:
        return None
    n = len(row["outputs"]) if "outputs" in row else 1
    values = values if isinstance(values, list) else [values]
    if len(values) != n or not all(
        isinstance(value, int | float) and math.isfinite(value)
        for value in values
    ):
        raise InputError(
            f"{place}: expected {n} finite numbers under {key!r}, found "
            f"{values!r:.60}"
        )
    return values
