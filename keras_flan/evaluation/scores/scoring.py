"""Scoring what a model wrote; no model needed."""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from keras_flan.answers import EXTRACTOR_VERSION, rule_set
from keras_flan.answers.calibration import (
    expected_calibration_error,
    held_out_calibration,
)
from keras_flan.errors import InputError
from keras_flan.evaluation.benchmarks.protocols import load_protocol
from keras_flan.evaluation.scores.judging import judge
from keras_flan.evaluation.scores.paper import normalise
from keras_flan.evaluation.scores.statistics import (
    exact_interval,
    mean_interval,
)
from keras_flan.files import read_jsonl

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
# Columns of the table, which has to fit a terminal ("vote" is the accuracy).
_EXTRAS = (
    *(m for m in _MEANS if m not in ("vote", "adaptive", "drawn")),
    "ece",
)
# So many votes are worth fitting a calibrator on half of them.
_CALIBRATED = 50


def score(
    benchmark: str,
    rows: Iterable[dict],
    *,
    rules: str | None = None,
    source: str = "rows",
) -> dict:
    """Scores recorded outputs.

    Args:
        benchmark: A name in `keras_flan.answers.BENCHMARKS`.
        rows: Dicts with `target` and `output` (a text) or `outputs` (texts
            of several paths, which vote); optionally `task` (default: the
            benchmark), `references` (all right answers), `options` (texts
            of the choices), `answer_kind`, `stop` (an output ends before
            the first of these), `log_probabilities` (one a path, summed
            over its tokens) and `token_counts` (one a path; then the
            weights are length-normalised).
        rules: A name in `keras_flan.answers.RULE_SETS`, to read
            and compare answers as a published pipeline did.
        source: What errors call the rows, for example a file name.

    Returns:
        Fractions between 0 and 1: `accuracy`, the mean over the headline
        tasks, with its `interval` (95%, see `mean_interval`);
        `unparsed`, which counts
        the rows without any answer; `normalised`, the mean over tasks of how
        far each is above guessing; `tasks` (`accuracy`, `n`, `unparsed` and
        the exact `interval` of each) and `groups`. Where they apply, each
        level also has `f1` (SQuAD), `rouge_l` (free text), `per_token`
        (ranking by the mean log probability), and of several paths
        `single` (mean over paths),
        `vote`, `weighted` (vote by the sum of path probabilities),
        `adaptive` (vote that stops drawing paths when it is decided, or 95%
        sure, see `keras_flan.answers.voting.stopping_point`), `drawn`
        (the share of the paths that it draws), `abstained` (share of the
        paths) and `ece` (expected calibration error of the share of votes).
        `calibration` is what a calibrator that is fitted on one half does
        to the other.

    Raises:
        InputError: If the benchmark is unknown, there are no rows, or a row
            lacks a field or has one of the wrong type.

    Example:
        >>> rows = [{"target": "9", "output": "The answer is 9."}]
        >>> score("gsm8k", rows)["accuracy"]
        1.0
    """
    results = judge(benchmark, rows, rules=rules, source=source)
    return summarise(benchmark, results, rules=rules)


def score_file(
    benchmark: str, path: str | os.PathLike, *, rules: str | None = None
) -> dict:
    """Scores a JSON Lines file of recorded outputs; see `score`."""
    return score(benchmark, read_jsonl(path), rules=rules, source=str(path))


def way_of(run: Mapping[str, Any]) -> str:
    """Returns how a run was asked, in words.

    Args:
        run: The settings of a run of `evaluate`.

    Example:
        >>> way_of({"mode": "cot", "samples": 8})
        'CoT, 8 votes'
    """
    mode, samples = run["mode"], run.get("samples", 1)
    name = {"cot": "CoT", "rank": "ranking"}.get(mode, mode)
    return name + (f", {samples} votes" if samples > 1 else "")


def benchmark_of(rows: Sequence[dict], source: str) -> str:
    """Returns the benchmark that a log of `evaluate` is of.

    Raises:
        InputError: If its rows don't say.
    """
    names = {row.get("protocol") for row in rows}
    if len(names) != 1 or None in names:
        raise InputError(
            f"{source}: the rows don't name one benchmark under 'protocol'; "
            "give --benchmark"
        )
    return names.pop()


def changes(rows: Sequence[dict], results: Sequence[dict]) -> list[dict]:
    """Returns the rows of a log that are judged otherwise than they were.

    Args:
        rows: A log of `evaluate`, with the answers it found.
        results: What `judge` finds now.

    Returns:
        A dict a changed row: `row` (its number, from 1), `task`, `id`,
        `target`, and `answer` and `correct` `before` and `after`.
    """
    found = []
    for number, (row, now) in enumerate(zip(rows, results, strict=True), 1):
        if "answer" not in row or "correct" not in row:
            continue
        before = {key: row[key] for key in ("answer", "correct")}
        after = {key: now[key] for key in ("answer", "correct")}
        if before != after:
            found.append(
                {
                    "row": number,
                    **{key: row.get(key) for key in ("task", "id", "target")},
                    "before": before,
                    "after": after,
                }
            )
    return found


def summarise(
    benchmark: str, results: Sequence[dict], *, rules: str | None = None
) -> dict:
    """Sums up what `judge` returned; see `score`."""
    tasks: dict[str, list[dict]] = {}
    for result in results:
        tasks.setdefault(result["task"], []).append(result)
    special, protocol = rule_set(rules), load_protocol(benchmark)
    several = any(len(result["answers"]) > 1 for result in results)
    summaries = {
        name: _summary(found, several) for name, found in tasks.items()
    }
    headline = [t for t in protocol.headline if t in tasks] or list(tasks)
    metrics = {
        "benchmark": benchmark,
        **_level(headline, tasks, summaries),
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
    }
    if several:
        metrics["ece"] = _ece(results)
        if len(results) >= _CALIBRATED:
            metrics["calibration"] = held_out_calibration(*_votes(results))
    groups = {
        name: _level(within, tasks, summaries)
        for name, members in protocol.groups.items()
        if (within := [task for task in members if task in tasks])
    }
    return {**metrics, "groups": groups, "tasks": summaries}


def print_metrics(metrics: dict) -> None:
    """Prints a table of metrics, with the unparsed share at each accuracy."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    extra = [key for key in _EXTRAS if key in metrics]
    way = f" {way_of(metrics['run'])}" if "run" in metrics else ""
    table = Table(
        title=f"{metrics['benchmark']}{way}",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("task", overflow="fold", min_width=8)
    for name in ("n", "accuracy", "95%", "unparsed", *extra):
        table.add_column(name, justify="right", no_wrap=True)
    for name, task in metrics["tasks"].items():
        table.add_row(name, *_cells(task, extra))
    levels = {**metrics.get("groups", {}), "mean": metrics}
    if len(metrics["tasks"]) > 1:
        table.add_section()
        for name, level in levels.items():
            table.add_row(name, *_cells(level, extra))
    console = Console()
    if not console.is_terminal:  # A file need not be as narrow as one.
        wide = console.options.update_width(1000)
        widest = console.measure(table, options=wide).maximum
        console.width = max(console.width, widest)
    console.print(table)
    if metrics.get("normalised") is not None:
        console.print(
            f"normalised (0 is guessing): {metrics['normalised']:.1%}",
            highlight=False,
        )
    if "adaptive" in metrics:
        console.print(
            f"adaptive vote: {metrics['adaptive']:.1%} with "
            f"{metrics['drawn']:.0%} of the paths",
            highlight=False,
        )
    if "calibration" in metrics:
        console.print(
            "calibration on {n} held-out votes: ECE {ece_before:.3f} -> "
            "{ece_after:.3f}, Brier {brier_before:.3f} -> "
            "{brier_after:.3f}".format(**metrics["calibration"]),
            highlight=False,
        )


def print_changes(found: Sequence[dict], number: int, most: int = 20) -> None:
    """Prints what `changes` returned.

    Args:
        found: The changes.
        number: Of how many rows.
        most: Show so many.
    """
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    gained = sum(
        row["after"]["correct"] and not row["before"]["correct"]
        for row in found
    )
    lost = sum(
        row["before"]["correct"] and not row["after"]["correct"]
        for row in found
    )
    console.print(
        f"{len(found):,} of {number:,} answers changed: {gained:,} are right "
        f"now and were wrong, {lost:,} are wrong now and were right"
    )
    for row in found[:most]:
        before, after = row["before"], row["after"]
        console.print(
            Text(
                f"  line {row['row']} ({row['task']}): {before['answer']!r} -> "
                f"{after['answer']!r}, target {row['target']!r}"
            )
        )
    if len(found) > most:
        console.print(f"  ... {len(found) - most:,} more")


def _cells(row: dict, extra: list[str]) -> list[str]:
    low, high = row["interval"]
    cells = [
        str(row["n"]),
        f"{row['accuracy']:.1%}",
        f"{100 * low:.1f}-{100 * high:.1f}",
        f"{row['unparsed'] / row['n']:.1%}",
    ]
    for key in extra:
        value = row.get(key)
        form = ".3f" if key == "ece" else ".1%"
        cells.append("" if value is None else f"{value:{form}}")
    return cells


def _level(
    names: Sequence[str],
    tasks: dict[str, list[dict]],
    summaries: dict[str, dict],
) -> dict:
    """Returns the unweighted mean over tasks, and its interval."""
    chosen = [summaries[name] for name in names]
    low, high = mean_interval(
        [[r["correct"] for r in tasks[name]] for name in names]
    )
    level = {
        "accuracy": _mean(s["accuracy"] for s in chosen),
        "interval": [low, high],
        "n": sum(s["n"] for s in chosen),
        "unparsed": sum(s["unparsed"] for s in chosen),
    }
    for key in _MEANS:
        if all(key in s for s in chosen):
            level[key] = _mean(s[key] for s in chosen)
    return level


def _summary(results: list[dict], several: bool) -> dict:
    right = sum(result["correct"] for result in results)
    summary = {
        "accuracy": right / len(results),
        "n": len(results),
        "unparsed": sum(result["unparsed"] for result in results),
        "interval": list(exact_interval(right, len(results))),
    }
    keys = ["f1", "rouge_l", "per_token"]
    if several:
        summary["vote"] = summary["accuracy"]
        summary["ece"] = _ece(results)
        keys += ["single", "weighted", "adaptive", "drawn", "abstained"]
    for key in keys:
        if all(key in result for result in results):
            summary[key] = _mean(result[key] for result in results)
    return summary


def _ece(results: Sequence[dict]) -> float:
    return expected_calibration_error(*_votes(results))


def _votes(results: Sequence[dict]) -> tuple[list[float], list[bool]]:
    return (
        [result["confidence"] for result in results],
        [result["correct"] for result in results],
    )


def _mean(values: Iterable[float]) -> float:
    values = list(values)
    return sum(values) / len(values)
