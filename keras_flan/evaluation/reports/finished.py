"""Finished runs, read back from their folders."""

import dataclasses
import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from keras_flan.answers.voting import vote
from keras_flan.errors import InputError
from keras_flan.evaluation.benchmarks.protocols import (
    PromptProtocol,
    kept_protocol,
)
from keras_flan.evaluation.benchmarks.ways import MODES
from keras_flan.evaluation.runs.run import METRICS_FILE
from keras_flan.evaluation.scores.judging import Judgement, judge
from keras_flan.evaluation.scores.paper import normalised_average
from keras_flan.evaluation.scores.predictions import (
    PREDICTIONS_FILE,
    Prediction,
    read_predictions,
)
from keras_flan.evaluation.scores.scoring import summarise, way_of
from keras_flan.files import read_json
from keras_flan.outputs import settle
from keras_flan.storage import as_path

_FIRST = ("mmlu", "bbh", "tydiqa", "mgsm", "gsm8k")


@dataclasses.dataclass(frozen=True)
class FinishedRun:
    """A run of `evaluate`.

    Args:
        folder: Where it is.
        metrics: What `score` makes of the log, and `run`, the settings.
        rows: Its `predictions.jsonl`.
        judged: What `judge` says of the rows.
        protocol: How it was asked, read and scored.
    """

    folder: Path
    metrics: dict[str, Any]
    rows: list[Prediction]
    judged: list[Judgement]
    protocol: PromptProtocol

    @property
    def benchmark(self) -> str:
        """The benchmark's name."""
        return self.metrics["benchmark"]

    @property
    def settings(self) -> dict[str, Any]:
        """How it was asked."""
        return self.metrics["run"]

    @property
    def samples(self) -> int:
        """Paths per example."""
        return self.settings.get("samples", 1)

    @property
    def way(self) -> str:
        """How it was asked, in words: "direct", "CoT", "CoT, 8 votes"."""
        return way_of(self.settings)

    @property
    def name(self) -> str:
        """Benchmark and way."""
        return f"{self.benchmark} {self.way}"


def load_runs(folders: Iterable[str | os.PathLike]) -> list[FinishedRun]:
    """Reads runs; a folder of runs stands for all that are finished.

    Args:
        folders: Folders that `evaluate` wrote, or folders of such folders.

    Raises:
        InputError: If there is no run in one of them.
    """
    runs: list[FinishedRun] = []
    for folder in map(as_path, folders):
        found = find_runs(folder)
        if not found:
            raise InputError(
                f"{folder}: expected {METRICS_FILE} and {PREDICTIONS_FILE} in "
                "it or in a folder of it, found none; give the --output of "
                "`keras-flan evaluate` (or, for its page, that of `keras-flan "
                "train`)"
            )
        runs += map(_read, found)
    once = {run.folder.resolve(): run for run in runs}
    return sorted(once.values(), key=_place)


def find_runs(folder: Path) -> list[Path]:
    """Returns which of a folder and those in it are finished runs."""
    inner = (place for place in folder.glob("*/") if place.name[0] != ".")
    places = [folder, *sorted(inner)]
    for place in places:
        settle(place)
    return [
        place
        for place in places
        if (place / METRICS_FILE).is_file()
        and (place / PREDICTIONS_FILE).is_file()
    ]


def _place(run: FinishedRun) -> tuple:
    """Where a run stands: the paper's order, then ours."""
    name, mode = run.benchmark, run.settings["mode"]
    return (
        _FIRST.index(name) if name in _FIRST else len(_FIRST),
        name,
        list(MODES).index(mode),
        run.samples,
    )


def _read(folder: Path) -> FinishedRun:
    path = folder / METRICS_FILE
    metrics = read_json(path, allow_nan=True)
    if not isinstance(metrics, dict) or not {"run", "benchmark"} <= set(
        metrics
    ):
        raise InputError(
            f"{path}: expected the metrics of a run ('benchmark', 'run', "
            "'tasks'); give the --output of `keras-flan evaluate`"
        )
    rows = read_predictions(folder)
    # From the log, so that runs of any age are summed up alike.
    settings = metrics["run"]
    protocol = kept_protocol(
        folder, metrics["benchmark"], settings.get("metrics", ())
    )
    judged = judge(protocol, rows, source=str(folder))
    summary = summarise(protocol, judged)
    found = {**summary, "run": settings}
    return FinishedRun(folder, found, rows, judged, protocol)


def paper_row(runs: Sequence[FinishedRun]) -> dict[str, dict[str, Any]]:
    """Returns the columns of the paper's table that a model's runs fill.

    Args:
        runs: Runs of one model. Votes and rankings are left out, as the
            table has neither, and so are runs without any headline task.

    Returns:
        Column to `score` (in percent), `interval`, `n` and `differs` (how
        it was asked otherwise than the paper's); `average` only if the six
        others are there and BBH is whole.
    """
    cells: dict[str, dict[str, Any]] = {}
    chosen: dict[str, FinishedRun] = {}
    for run in runs:
        mode, name = run.settings["mode"], run.benchmark
        column = f"{name}_{mode}" if name in ("mmlu", "bbh") else name
        wanted = {"mmlu": mode, "bbh": mode, "tydiqa": "direct", "mgsm": "cot"}
        headline = run.protocol.headline
        if (
            name not in wanted
            or mode != wanted[name]
            or mode == "rank"
            or run.samples > 1
            or (headline and not set(headline) & set(run.metrics["tasks"]))
        ):
            continue
        cells[column] = {
            "score": 100 * run.metrics["accuracy"],
            "interval": [100 * edge for edge in run.metrics["interval"]],
            "n": run.metrics["n"],
            "differs": _departures(run),
        }
        chosen[column] = run
    if (average := _average(cells, chosen)) is not None:
        cells["average"] = {
            "score": average,
            "interval": None,
            "n": None,
            "differs": [],
        }
    return cells


def _departures(run: FinishedRun) -> list[str]:
    """Says where a run departs from the paper's protocol."""
    protocol = run.protocol
    settings, tasks = run.settings, run.metrics["tasks"]
    paper = protocol.headline or [
        t for g in protocol.groups.values() for t in g
    ]
    found = [] if protocol.shipped else ["a protocol of your own"]
    if len(asked := [t for t in paper if t in tasks]) < len(paper):
        found.append(f"{len(asked)} of {len(paper)} tasks")
    if limit := settings.get("limit"):
        found.append(f"at most {limit} example{'s' * (limit > 1)} of each")
    if (shots := settings.get("shots", 0)) != protocol.shots:
        found.append(f"{shots or 'no'} exemplar{'s' * (shots != 1)}")
    if run.benchmark == "mmlu" and settings.get("split") != "val":
        found.append(f"{settings.get('split') or 'unknown'} split")
    return found


def _average(cells: dict, chosen: dict[str, FinishedRun]) -> float | None:
    columns = ("mmlu_direct", "mmlu_cot", "tydiqa", "mgsm")
    subtasks = {
        column: {
            task: 100 * found["accuracy"]
            for task, found in chosen[column].metrics["tasks"].items()
        }
        for column in ("bbh_direct", "bbh_cot")
        if column in chosen
    }
    if not set(columns) <= set(cells) or len(subtasks) < 2:
        return None
    if any(len(scores) < 27 for scores in subtasks.values()):
        return None
    return normalised_average(
        mmlu_direct=cells["mmlu_direct"]["score"],
        mmlu_cot=cells["mmlu_cot"]["score"],
        tydiqa=cells["tydiqa"]["score"],
        mgsm=cells["mgsm"]["score"],
        **subtasks,
    )


def votes_curve(run: FinishedRun) -> list[tuple[int, float]]:
    """Returns (paths, share of right examples) for the first 1, 2, 4, ...

    The vote over the first m of the sampled paths, as a run with m samples
    would have had it.
    """
    numbers = [1]
    while numbers[-1] * 2 <= run.samples:
        numbers.append(numbers[-1] * 2)
    if numbers[-1] != run.samples:
        numbers.append(run.samples)
    curve = []
    for number in numbers:
        right = 0
        for judged in run.judged:
            answers = judged.answers[:number]
            winner = vote(answers).winner
            if winner is not None:
                right += judged.paths_correct[answers.index(winner)]
        curve.append((number, right / len(run.judged)))
    return curve


def sureness(row: Prediction) -> float:
    """Returns how sure a model was of its answer, from 0 to 1.

    The share of the votes; of a single path, the mean (geometric) probability
    of its tokens.
    """
    if len(row.outputs) > 1:
        return row.logged.confidence
    if not row.log_probabilities:
        return 0.0
    number = sum(row.token_counts or [1])
    return math.exp(sum(row.log_probabilities) / max(number, 1))


def worst_examples(
    runs: Sequence[FinishedRun], most: int = 8
) -> list[tuple[FinishedRun, Prediction]]:
    """Returns the wrong rows that the model was surest of, with their runs.

    A question stands for all the ways it was asked, and a run gives at most
    two.
    """
    found = []
    for run in runs:
        wrong = [
            (run, row)
            for row in run.rows
            if not row.logged.correct and row.logged.answer is not None
        ]
        found += sorted(wrong, key=lambda pair: -sureness(pair[1]))[:2]
    found.sort(key=lambda pair: -sureness(pair[1]))
    once: dict[tuple, tuple[FinishedRun, Prediction]] = {}
    for run, row in found:
        place = (run.settings["model"], run.benchmark, row.task, row.id)
        once.setdefault(place, (run, row))
    return list(once.values())[:most]
