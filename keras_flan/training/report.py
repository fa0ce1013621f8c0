"""A page about trainings, and the picture of their losses."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_flan.outputs import check_output, output_folder, replace_files
from keras_flan.pages import html as page
from keras_flan.pages.plots import (
    BAD,
    COLOURS,
    MARKERS,
    curve_note,
    draw_curve,
    inline_svg,
    legend_above,
    name_axes,
    write_png,
)
from keras_flan.pages.report import REPORT
from keras_flan.pages.tables import Table
from keras_flan.storage import as_path
from keras_flan.training.finished import Curve, TrainedRun, load_trained

TRAINING_PAGE = "training.html"
PICTURE = "loss.png"
_SIZE = (5.0, 4.0)


def report_training(
    folders: Iterable[str | os.PathLike],
    output: str | os.PathLike,
    *,
    title: str = "Training",
    overwrite: bool = False,
) -> Path:
    """Writes a page about finished trainings, side by side if there are many.

    `training.html` loads nothing, from here or elsewhere: it holds the
    curves of the loss, of what was held out, of the learning rate and the
    norm of the gradients; speed; which settings differ; and all settings,
    versions and checksums. Beside it is `loss.png`.

    Args:
        folders: Outputs of `train`, or folders of such folders.
        output: The folder to write; may be that of a run.
        title: Heading of the page.
        overwrite: Whether to write among files of other kinds.

    Returns:
        The path of the page.

    Raises:
        InputError: If a folder holds no finished training, a file is broken,
            or the output holds something else.

    Example:
        >>> report_training(["runs/a", "runs/b"], "runs/compared")
        PosixPath('runs/compared/training.html')
    """
    output = as_path(output)
    check_output(output, REPORT, overwrite)
    runs = load_trained(folders)
    with (
        output_folder(output, REPORT, overwrite),
        replace_files(output, TRAINING_PAGE) as made,
    ):
        write_training(made, runs, title)
    return output / TRAINING_PAGE


def write_training(
    folder: Path, runs: Sequence[TrainedRun], title: str = "Training"
) -> None:
    """Writes page and picture of runs into a folder."""
    write_png(_losses(runs), (6.4, 4.0), folder / PICTURE)
    page.write(folder / TRAINING_PAGE, title, _parts(title, runs))


def _parts(title: str, runs: Sequence[TrainedRun]) -> list[str]:
    several = len(runs) > 1
    lead = page.text(
        "Losses are in nats per target token. "
        + (
            f"{len(runs)} runs side by side."
            if several
            else "Held out: examples that are never trained on."
        )
    )
    parts = [page.heading(title, lead)]
    if not several:
        parts.append(page.tiles(_tiles(runs[0])))
    parts.append(page.pair(*_plots(runs)))
    if several:
        table = Table.of("Runs", [_row(run) for run in runs])
        parts.append(page.card(table.title, table.html()))
        if differing := _differences(runs):
            parts.append(page.card(differing.title, differing.html()))
    settings = "".join(
        page.folded(page.text(run.name), page.pairs(run.settings), not several)
        for run in runs
    )
    facts = "".join(
        page.folded(page.text(run.name), page.pairs(_facts(run)))
        for run in runs
    )
    parts += [
        page.card("Settings", settings),
        page.card("Versions and data", facts),
    ]
    return parts


def _tiles(run: TrainedRun) -> list[tuple[str, str, str]]:
    steps, loss = run.loss
    tiles = [
        (
            "Training loss",
            f"{loss[-1]:.3f}",
            f"from {loss[0]:.3f}, in {steps[-1]:,} steps",
        )
    ]
    tiles += [
        (f"Best held-out {name}", f"{value:.3f}", f"at step {step:,}")
        for name, (step, value) in _bests(run).items()
    ]
    row = _row(run)
    tiles += [
        ("Tokens per second", row["Tokens per second"], "without padding"),
        ("Time", row["Time"], "of the training, compilation too"),
    ]
    return tiles


def _bests(run: TrainedRun) -> dict[str, tuple[int, float]]:
    """The best of each held-out curve, with its step."""
    chosen: dict[str, Callable[..., float]] = {"loss": min, "score": max}
    found = {}
    for name, choose in chosen.items():
        steps, values = run.held_out_curve(name)
        if values:
            best = choose(values)
            found[name] = (steps[values.index(best)], best)
    return found


def _row(run: TrainedRun) -> dict[str, str]:
    speed, bests = run.metrics["speed"], _bests(run)
    tokens, fill = speed.get("tokens_per_second"), speed.get("fill")
    stopped = ", stopped early" if run.held_out.get("stopped") else ""
    row = {
        "Run": run.name,
        "Steps": f"{run.metrics['steps']:,}{stopped}",
        "Loss": f"{run.loss[1][-1]:.3f}",
    }
    for name in ("loss", "score"):
        step, value = bests.get(name, (0, 0.0))
        shown = f"{value:.3f} (step {step:,})" if name in bests else "-"
        row[f"Best held-out {name}"] = shown
    return {
        **row,
        "Tokens per second": "-" if tokens is None else f"{tokens:,.0f}",
        "Rows filled": "-" if fill is None else page.percent(fill, 0),
        "Time": page.duration(run.metrics["seconds"]["fit"]),
    }


def _differences(runs: Sequence[TrainedRun]) -> Table | None:
    """The settings that are not the same in all runs."""
    settings = [run.settings for run in runs]
    keys = dict.fromkeys(key for one in settings for key in one)
    rows = [
        {
            "Setting": key,
            **{
                run.name: one.get(key, "-")
                for run, one in zip(runs, settings, strict=True)
            },
        }
        for key in keys
        if len({one.get(key) for one in settings}) > 1
    ]
    return Table.of("What differs", rows) if rows else None


def _facts(run: TrainedRun) -> dict[str, str]:
    facts = run.facts
    versions = facts.get("versions") or {}
    data: Mapping[str, Any] = facts.get("data") or {}
    return {
        **{name: str(version) for name, version in versions.items()},
        "backend": str(facts.get("backend")),
        "attention": str(run.metrics.get("attention")),
        **{f"records of {name}": str(sha) for name, sha in data.items()},
    }


# === Plots ===


def _plots(runs: Sequence[TrainedRun]) -> list[str]:
    """The curves that the runs have, each in a card."""
    note = curve_note(*(run.loss[1] for run in runs))
    cards = [_card("Loss", _losses(runs), note)]
    drawn: list[tuple[str, str, Callable[[TrainedRun], Curve]]] = [
        ("Held-out score", "score", lambda run: run.held_out_curve("score")),
        ("Learning rate", "rate", lambda run: run.curve("learning_rate")),
        ("Gradients", "norm", lambda run: run.curve("gradient_norm")),
    ]
    for title, unit, curve in drawn:
        curves = {run.name: curve(run) for run in runs if curve(run)[1]}
        if curves:
            cards.append(_card(title, _lines(curves, unit), ""))
    return cards


def _card(title: str, draw: Callable[[Any], None], note: str) -> str:
    return page.card(title, inline_svg(draw, _SIZE, title, note))


def _losses(runs: Sequence[TrainedRun]) -> Callable[[Any], None]:
    """Draws the losses; those of what was held out as points on lines."""

    def draw(axes: Any) -> None:
        lines = 0
        for number, run in enumerate(runs):
            colour = COLOURS[number % len(COLOURS)]
            several = len(runs) > 1
            name = run.name if several else "training"
            draw_curve(axes, *run.loss, colour, name)
            steps, values = run.held_out_curve("loss")
            lines += 1 + bool(values)
            if values:
                axes.plot(
                    steps,
                    values,
                    color=colour if several else BAD,
                    label=f"{name}, held out" if several else "held out",
                    linestyle="--",
                    linewidth=1.2,
                    marker=MARKERS[number % len(MARKERS)],
                    markersize=4,
                )
        name_axes(axes, "step", "loss per target token")
        if lines > 1:
            legend_above(axes)

    return draw


def _lines(curves: Mapping[str, Curve], unit: str) -> Callable[[Any], None]:
    def draw(axes: Any) -> None:
        for number, (name, curve) in enumerate(curves.items()):
            colour = COLOURS[number % len(COLOURS)]
            draw_curve(axes, *curve, colour, name)
        name_axes(axes, "step", unit)
        if len(curves) > 1:
            legend_above(axes)

    return draw
