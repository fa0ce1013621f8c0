"""A report on finished runs: one offline page, pictures, tables."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath

import pydantic

from keras_flan.errors import InputError
from keras_flan.evaluation.reports.examples import render_prediction
from keras_flan.evaluation.reports.figures import Plot, plots
from keras_flan.evaluation.reports.finished import (
    FinishedRun,
    load_runs,
    sureness,
    worst_examples,
)
from keras_flan.evaluation.reports.tables import (
    PAPER_TITLE,
    classes_table,
    groups_table,
    paper_table,
    scores_table,
)
from keras_flan.evaluation.scores.comparing import compare_runs
from keras_flan.files import atomic_write, read_json_object
from keras_flan.outputs import check_output, output_folder, replace_files
from keras_flan.pages import html as page
from keras_flan.pages.plots import inline_svg, write_png
from keras_flan.pages.report import LATEX_FILE, MARKDOWN_FILE, PAGE_FILE, REPORT
from keras_flan.pages.tables import Table
from keras_flan.schema import validate
from keras_flan.storage import as_path


class _Counts(pydantic.BaseModel):
    examples: int
    compared: int
    overlapping: int
    near_duplicates: int


class _Pair(pydantic.BaseModel):
    task: str
    benchmark: str
    words: str = ""  # The run of words that both have,
    text: str = ""  # or, of a near-duplicate, the text in the mixture.


class _Overlap(pydantic.BaseModel):
    """What is shown of a check of a mixture against a benchmark."""

    name: str
    against: str
    ngram: int
    benchmark: _Counts
    found: list[_Pair]


def report_runs(
    folders: Iterable[str | os.PathLike],
    output: str | os.PathLike,
    *,
    title: str = "Evaluation",
    contamination: Iterable[str | os.PathLike] = (),
    overwrite: bool = False,
) -> Path:
    """Writes a report on runs of `evaluate`.

    `report.html` loads nothing, from here or elsewhere: it holds scores
    with intervals and failures of extraction, the paper's table beside
    them, every task, chain of thought against direct answers, votes
    against accuracy, the reliability of votes, significance between the
    ways a benchmark was asked, contamination, and the worst examples.
    Beside it are the plots as `<name>.png`, and the tables as `tables.md`
    and `tables.tex`.

    Args:
        folders: Folders of runs, or folders of such folders.
        output: The folder to write.
        title: Heading of the page.
        contamination: JSON files, as `keras-flan contamination --json`
            prints them, one per benchmark.
        overwrite: Whether to write among files of other kinds.

    Returns:
        The path of the page.

    Raises:
        InputError: If a folder holds no run, a file is broken, or the output
            holds something else.

    Example:
        >>> report_runs(["runs/smollm2"], "runs/smollm2/report")
        PosixPath('runs/smollm2/report/report.html')
    """
    output = as_path(output)
    check_output(output, REPORT, overwrite)
    runs = load_runs(folders)
    overlaps = [_read_overlap(as_path(path)) for path in contamination]
    found = (
        *(scores_table(runs), paper_table(_by_model(runs))),
        *(groups_table(runs), classes_table(runs), _significance(runs)),
    )
    tables = [table for table in found if table is not None]
    drawn = plots(runs)
    parts = _parts(title, runs, tables, drawn, overlaps)
    with (
        output_folder(output, REPORT, overwrite),
        replace_files(output, PAGE_FILE) as made,
    ):
        for plot in drawn:
            write_png(plot.draw, plot.size, made / f"{plot.file}.png")
        with atomic_write(made / MARKDOWN_FILE) as f:
            f.write("\n\n".join(table.markdown() for table in tables) + "\n")
        with atomic_write(made / LATEX_FILE) as f:
            f.write("\n\n".join(table.latex() for table in tables) + "\n")
        page.write(made / PAGE_FILE, title, parts)
    return output / PAGE_FILE


def _parts(
    title: str,
    runs: Sequence[FinishedRun],
    tables: Sequence[Table],
    drawn: Sequence[Plot],
    overlaps: Sequence[_Overlap],
) -> list[str]:
    # The first two, if there is the paper's, stand above the pictures.
    above = 1 + any(table.title == PAPER_TITLE for table in tables)
    figures = [
        page.card(
            page.text(plot.title),
            inline_svg(plot.draw, plot.size, plot.title, plot.note),
        )
        for plot in drawn
    ]
    # The narrow plots stand in pairs; those of tasks take the whole width.
    narrow = [f for f, p in zip(figures, drawn, strict=True) if p.size[0] < 6]
    wide = [f for f, p in zip(figures, drawn, strict=True) if p.size[0] >= 6]
    return [
        page.heading(title, _lead(runs)),
        page.tiles(_tiles(runs)),
        *(page.card(table.title, table.html()) for table in tables[:above]),
        f'<div class="trio">{"".join(narrow)}</div>',
        *(page.card(table.title, table.html()) for table in tables[above:]),
        *wide,
        _contamination(overlaps),
        "<h2>Worst examples</h2>"
        '<p class="lead">Wrong, and the model was sure: the share of the '
        "votes, or of a single path the mean probability of its tokens.</p>",
        *(
            render_prediction(row, f"{run.name}, {sureness(row):.0%} sure")
            for run, row in worst_examples(runs)
        ),
        page.card("Settings", _settings(runs)),
    ]


def _lead(runs: Sequence[FinishedRun]) -> str:
    names = ", ".join(dict.fromkeys(run.benchmark for run in runs))
    total = sum(run.metrics["n"] for run in runs)
    models = len({run.settings["model"] for run in runs})
    return (
        page.text(
            f"{len(runs)} runs of {models} model{'s' if models > 1 else ''} on "
            f"{names}: {total:,} examples. Every number can be made again from "
            "the logs with "
        )
        + "<code>keras-flan score</code>."
    )


def _tiles(runs: Sequence[FinishedRun]) -> list[tuple[str, str, str]]:
    """The best way of up to four benchmarks."""
    best: dict[str, FinishedRun] = {}
    for run in runs:
        other = best.get(run.benchmark)
        if other is None or run.metrics["accuracy"] > other.metrics["accuracy"]:
            best[run.benchmark] = run
    return [
        (
            page.text(f"{name}, best way"),
            page.percent(run.metrics["accuracy"]),
            page.text(
                f"{run.way}; {round(100 * run.metrics['normalised']) + 0:d} "
                "normalised"
            ),
        )
        for name, run in list(best.items())[:4]
    ]


def _by_model(runs: Sequence[FinishedRun]) -> dict[str, list[FinishedRun]]:
    """Runs by a name of their model: its folder, or its hash if unclear."""
    models: dict[str, list[FinishedRun]] = {}
    for run in runs:
        models.setdefault(run.settings["model"], []).append(run)
    return {
        f"This model ({number})" if len(models) > 1 else "This model": found
        for number, found in models.items()
    }


def _significance(runs: Sequence[FinishedRun]) -> Table | None:
    """Compares the ways that a benchmark was asked, two at a time."""
    rows = []
    for number, second in enumerate(runs):
        for first in runs[:number]:
            if first.benchmark != second.benchmark:
                continue
            try:
                found = compare_runs(first.folder, second.folder)
            except InputError:
                continue  # other questions: not to be paired
            low, high = found["interval"]
            ways = f"{first.benchmark}: {first.way} → {second.way}"
            rows.append(
                {
                    "Same questions": ways,
                    "Points": f"{100 * found['difference']:+.1f}",
                    "95% interval": f"{100 * low:+.1f} to {100 * high:+.1f}",
                    "Gained": str(found["gained"]),
                    "Lost": str(found["lost"]),
                    "McNemar p": f"{found['mcnemar']:.3f}",
                }
            )
    title = "Is the difference more than chance?"
    return Table.of(title, rows) if rows else None


def _read_overlap(path: Path) -> _Overlap:
    try:
        return validate(_Overlap, read_json_object(path), f"{path}")
    except InputError as error:
        raise InputError(
            f"{error}; expected what `keras-flan contamination --json` prints"
        ) from None


def _contamination(overlaps: Sequence[_Overlap]) -> str:
    if not overlaps:
        return ""
    ngram = overlaps[0].ngram
    columns = {
        "Examples": "examples",
        f"With {ngram} words": "compared",
        "Overlapping": "overlapping",
        "Near-duplicates": "near_duplicates",
    }
    rows = [
        {
            "Benchmark": PurePath(found.against).name,
            **{
                k: f"{getattr(found.benchmark, v):,}"
                for k, v in columns.items()
            },
        }
        for found in overlaps
    ]
    shown = "".join(
        page.folded(
            page.text(f"{pair.task} ~ {pair.benchmark}"),
            f"<pre>{page.text(pair.words or pair.text)}</pre>",
        )
        for found in overlaps
        for pair in found.found[:5]
    )
    names = ", ".join(dict.fromkeys(found.name for found in overlaps))
    return page.card(
        "Contamination of the training mixture",
        Table.of("", rows).html()
        + page.note(
            f"Mixture: {page.text(names)}. Overlapping: a run of {ngram} words "
            "is in the mixture too."
        )
        + shown,
    )


def _settings(runs: Sequence[FinishedRun]) -> str:
    parts = []
    for run in runs:
        values = {
            "folder": run.folder.name,
            **{k: v for k, v in run.settings.items() if v is not None},
            "layout and data": run.protocol.source,
        }
        parts.append(page.folded(page.text(run.name), page.pairs(values)))
    return "".join(parts)
