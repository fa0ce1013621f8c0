"""One offline HTML page that shows what a run learned."""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

from keras_flan.errors import InputError
from keras_flan.evaluation.benchmarks.ways import WRITTEN
from keras_flan.evaluation.reports.examples import render_prediction
from keras_flan.evaluation.scores.predictions import Prediction
from keras_flan.pages import html as page
from keras_flan.pages.plots import curve_note, draw_curve, inline_svg, name_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Exact match by time ("before", "after"), group and mode.
_Scores: TypeAlias = Mapping[str, Mapping[str, Mapping[str, float]]]
GROUPS = {"trained": "Trained tasks", "held_out": "Held-out tasks"}
MODES = {way.name: way.label[:1].upper() + way.label[1:] for way in WRITTEN}


def write_report(
    path: str | os.PathLike,
    *,
    title: str,
    loss: Sequence[float],
    table: _Scores,
    predictions: Sequence[Prediction],
    settings: Mapping[str, object],
    seconds: Mapping[str, float],
    loss_steps: Sequence[int] | None = None,
) -> None:
    """Writes a self-contained page: no scripts, no fonts, no network.

    Args:
        path: The `.html` file to write, atomically.
        title: Heading of the page.
        loss: Points of the training loss, in nats per target token.
        table: Exact match between 0 and 1, as
            `table["before" | "after"]["trained" | "held_out"][mode]`, for
            all `MODES`.
        predictions: The examples to show, in this order.
        settings: What the run was; shown as name and value.
        seconds: Wall-clock time of each stage.
        loss_steps: The step of each point; default: every step has one.

    Raises:
        InputError: If `table` lacks a number, naming its place.

    Example:
        >>> scores = {"direct": 0.1, "cot": 0.2, "cot_vote": 0.3}
        >>> group = {"trained": scores, "held_out": scores}
        >>> table = {"before": group, "after": group}
        >>> write_report("report.html", title="Quickstart", loss=[5.2, 1.9],
        ...              table=table, predictions=[], settings={"seed": 0},
        ...              seconds={"train": 12.0})
    """
    _check(table)
    steps = list(loss_steps or range(1, len(loss) + 1))
    lead = (
        "Exact match on unseen examples, before and after finetuning: on the "
        "tasks in the training mixture, and on tasks kept out of it."
    )
    parts = [
        page.heading(title, lead),
        _tiles(loss, steps, table, seconds),
        page.pair(
            page.card("Training loss", _loss_plot(loss, steps)),
            page.card("Exact match, before and after", _score_table(table)),
        ),
        *(render_prediction(row) for row in predictions),
        page.pair(
            page.card("Settings", page.pairs(settings)),
            page.card("Time", _durations(seconds)),
        ),
    ]
    page.write(path, title, parts)


def _check(table: _Scores) -> None:
    """Raises InputError for the first number that is not there."""
    for when in ("before", "after"):
        for group in GROUPS:
            for mode in MODES:
                try:
                    value = table[when][group][mode]
                except KeyError as error:
                    raise InputError(
                        f"report: table[{when!r}][{group!r}][{mode!r}] lacks "
                        f"{error}; give exact match for every group and mode"
                    ) from None
                if not 0 <= value <= 1:
                    raise InputError(
                        f"report: table[{when!r}][{group!r}][{mode!r}] is "
                        f"{value}; expected a fraction between 0 and 1"
                    )


# === Pieces of the page ===


def _tiles(
    loss: Sequence[float],
    steps: Sequence[int],
    table: _Scores,
    seconds: Mapping[str, float],
) -> str:
    """Four headline numbers: two scores, the loss, the time."""
    tiles = []
    for group, label in GROUPS.items():
        before, after = (
            sum(table[when][group].values()) / len(table[when][group])
            for when in ("before", "after")
        )
        tiles.append(
            (
                label,
                page.percent(after),
                f"from {page.percent(before)}, mean of modes",
            )
        )
    if loss:
        tiles.append(
            (
                "Training loss",
                f"{loss[-1]:.3f}",
                f"from {loss[0]:.3f} in {steps[-1]:,} steps",
            )
        )
    total = seconds.get("total", sum(seconds.values()))
    tiles.append(("Time", page.duration(total), "wall clock, whole run"))
    return page.tiles(tiles)


def _score_table(table: _Scores) -> str:
    rows = []
    for group, label in GROUPS.items():
        rows.append(
            f'<tr class="group"><th colspan="4" scope="rowgroup">{label}</th>'
            "</tr>"
        )
        for mode, name in MODES.items():
            before = table["before"][group][mode]
            after = table["after"][group][mode]
            rows.append(
                f'<tr><th scope="row">{name}</th>'
                f'<td class="score">{page.percent(before)}'
                f"{page.bar(before, 'before')}</td>"
                f'<td class="score"><b>{page.percent(after)}</b>'
                f"{page.bar(after)}</td>"
                f'<td class="change">{100 * (after - before):+.1f}</td></tr>'
            )
    return (
        '<table><thead><tr><th></th><th scope="col">Before</th>'
        '<th scope="col">After</th><th scope="col" class="change">Points</th>'
        "</tr></thead><tbody>\n" + "\n".join(rows) + "\n</tbody></table>"
    ) + page.note(
        "CoT: the model reasons step by step before it answers (chain of "
        "thought). Vote: the most frequent answer of several sampled paths. "
        "Bars run from 0 to 100%."
    )


def _durations(seconds: Mapping[str, float]) -> str:
    longest = max(seconds.values(), default=0) or 1
    return page.cells(
        {
            name: page.duration(value) + page.bar(value / longest, "quiet")
            for name, value in seconds.items()
        }
    )


# === Training loss ===


def _loss_plot(loss: Sequence[float], steps: Sequence[int]) -> str:
    """Returns the loss curve as inline SVG in the page's colours."""
    if not loss:
        return "<p>No training step was recorded.</p>"

    def draw(axes: "Axes") -> None:
        draw_curve(axes, steps, loss)
        name_axes(axes, "step", "loss per target token")
        axes.set_ylim(bottom=0)

    label = (
        f"Training loss from {loss[0]:.3f} to {loss[-1]:.3f} over "
        f"{steps[-1]} steps"
    )
    return inline_svg(draw, (5.0, 4.0), label, curve_note(loss))
