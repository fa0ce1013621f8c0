"""The tables of a report on finished runs."""

from collections.abc import Mapping, Sequence
from typing import Any

from keras_flan.evaluation.reports.finished import FinishedRun, paper_row
from keras_flan.evaluation.scores.paper import COLUMNS, published_results
from keras_flan.pages.tables import Table

_HEADINGS = {
    "average": "Norm. avg.",
    "mmlu_direct": "MMLU direct",
    "mmlu_cot": "MMLU CoT",
    "bbh_direct": "BBH direct",
    "bbh_cot": "BBH CoT",
    "tydiqa": "TyDiQA",
    "mgsm": "MGSM",
}
PAPER_TITLE = "Against the published results"
_SCORES_NOTE = (
    "Accuracy is the unweighted mean over tasks, its interval a bootstrap over "
    "examples (exact for a single task, and over all examples together where "
    "tasks have fewer than ten). No answer: outputs in which no answer was "
    "found; they count as wrong. Normalised: 0 is guessing, 100 all right."
)
_METRIC_HEADINGS = {
    "f1": "F1",
    "exact_match": "Exact match",
    "macro_f1": "Macro F1",
    "rouge_1": "ROUGE-1",
    "rouge_2": "ROUGE-2",
    "rouge_l": "ROUGE-L",
}
_CLASSES_NOTE = (
    "Examples: those whose right answer is the class; found: those for which "
    "the model gave it."
)
_PUBLISHED_NOTE = (
    "The others: Chung et al., arXiv:2210.11416, table 5. MMLU: validation "
    "split, 5 exemplars; BBH: 27 subtasks, 3 exemplars; TyDiQA: exact match, "
    "8 languages, 1 exemplar; MGSM: chain of thought, 10 languages, 8 "
    "exemplars. Norm. avg.: the mean of the six, each as its share of the way "
    "from guessing to 100. Flan: finetuned on 1,836 tasks; cont-PaLM and "
    "U-PaLM: PaLM pretrained further."
)


def scores_table(runs: Sequence[FinishedRun]) -> Table:
    """Returns a row per run: accuracy, interval, failures, above guessing."""
    shown = dict.fromkeys(n for run in runs for n in shown_metrics(run.metrics))
    rows = []
    for run in runs:
        row = {
            "Benchmark": run.benchmark,
            "Way": run.way,
            "Shots": str(run.settings.get("shots", 0)),
            "Tasks": str(len(run.metrics["tasks"])),
            **_level(run.metrics),
            "Normalised %": _signed(100 * run.metrics["normalised"]),
        }
        own = shown_metrics(run.metrics)
        for name in shown:
            row[_METRIC_HEADINGS.get(name, name)] = own.get(name, "")
        rows.append(row)
    return Table.of("Scores", rows, _SCORES_NOTE)


def shown_metrics(found: Mapping[str, Any]) -> dict[str, str]:
    """Returns what a run measured beside accuracy, as it is printed."""
    measured = {"f1": "share", "rouge_l": "share", **found.get("measured", {})}
    return {
        name: f"{100 * found[name]:.1f}%"
        if form == "share"
        else f"{found[name]:.4g}"
        for name, form in measured.items()
        if name in found
    }


def classes_table(runs: Sequence[FinishedRun], most: int = 40) -> Table | None:
    """Returns the figures of each class of the tasks that have classes.

    Args:
        runs: Finished runs.
        most: How many rows there may be.
    """
    rows = [
        {
            "Task": f"{run.benchmark}: {task}",
            "Way": run.way,
            "Class": name,
            "Examples": f"{figures['n']:,}",
            "Found": f"{figures['found']:,}",
            **{
                f"{key.capitalize()} %": f"{100 * figures[key]:.1f}"
                for key in ("precision", "recall", "f1")
            },
        }
        for run in runs
        for task, found in run.metrics["tasks"].items()
        for name, figures in found.get("classes", {}).items()
    ]
    note = _CLASSES_NOTE
    if len(rows) > most:
        note += f" The first {most} of {len(rows)}; metrics.json has all."
    return Table.of("Classes", rows[:most], note) if rows else None


def _level(found: Mapping[str, Any]) -> dict[str, str]:
    """What is said of a run, and of a group of its tasks."""
    low, high = found["interval"]
    return {
        "Examples": f"{found['n']:,}",
        "Accuracy %": f"{100 * found['accuracy']:.1f}",
        "95% interval": f"{100 * low:.1f}\u2013{100 * high:.1f}",
        "No answer %": f"{100 * found['unparsed'] / found['n']:.1f}",
    }


def _signed(value: float) -> str:
    """One digit; what rounds to zero has no sign."""
    return f"{round(value, 1) + 0.0:.1f}"


def paper_table(models: Mapping[str, Sequence[FinishedRun]]) -> Table | None:
    """Returns the paper's table of models, with ours on top; None if empty.

    Args:
        models: Runs by name of the model.
    """
    rows: list[Sequence[str]] = []
    ours: list[int] = []
    notes: list[str] = []
    for name, runs in models.items():
        cells = paper_row(runs)
        if not cells:
            continue
        ours.append(len(rows))
        notes += _departures(name, cells)
        texts = []
        for column in COLUMNS:
            cell = cells.get(column)
            if cell is None:
                texts.append("")
            elif cell["interval"] is None:
                texts.append(f"{cell['score']:.1f}")
            else:
                half = (cell["interval"][1] - cell["interval"][0]) / 2
                texts.append(f"{cell['score']:.1f} ±{half:.1f}")
        rows.append((name, *texts))
    if not ours:
        return None
    for name, values in published_results().models.items():
        rows.append((name, *(f"{value:.1f}" for value in values)))
    header = ("Model", *(_HEADINGS[column] for column in COLUMNS))
    bold = (
        "In bold: ours, ± half the 95% interval; the average needs all columns."
    )
    return Table(
        PAPER_TITLE,
        header,
        rows,
        frozenset(ours),
        " ".join([bold, *notes, _PUBLISHED_NOTE]),
    )


def _departures(name: str, cells: Mapping[str, Mapping]) -> list[str]:
    """Says how a model was asked otherwise; columns that agree together."""
    together: dict[str, list[str]] = {}
    for column, cell in cells.items():
        if cell["differs"]:
            words = ", ".join(cell["differs"])
            together.setdefault(words, []).append(_HEADINGS[column])
    return [
        f"{name}, {', '.join(columns)}: {words}."
        for words, columns in together.items()
    ]


def groups_table(runs: Sequence[FinishedRun]) -> Table | None:
    """Returns the groups of the benchmarks that have some."""
    rows = [
        {"Group": f"{run.benchmark}: {group}", "Way": run.way, **_level(found)}
        for run in runs
        for group, found in run.metrics.get("groups", {}).items()
    ]
    return Table.of("Groups of tasks", rows) if rows else None
