"""The plots of a report: what to draw, from finished runs."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from keras_flan.answers.calibration import (
    expected_calibration_error,
    reliability_bins,
)
from keras_flan.evaluation.reports.finished import FinishedRun, votes_curve
from keras_flan.pages.plots import (
    ACCENT,
    COLOURS,
    INK,
    LINE,
    MARKERS,
    SOFT,
    Draw,
    clean,
    legend_above,
    whiskers,
)


@dataclasses.dataclass(frozen=True)
class Plot:
    """A plot of a report.

    Args:
        file: Name of its picture file, without suffix.
        title: Its heading.
        note: What the reader has to know.
        size: Width and height in inches.
        draw: Draws it on axes.
    """

    file: str
    title: str
    note: str
    size: tuple[float, float]
    draw: Draw


def plots(runs: Sequence[FinishedRun]) -> list[Plot]:
    """Returns the plots that the runs allow."""
    benchmarks = dict.fromkeys(run.benchmark for run in runs)
    found = []
    by_name = {b: [r for r in runs if r.benchmark == b] for b in benchmarks}
    if (pairs := _pairs(by_name)) and sum(map(len, pairs.values())) > 1:
        found.append(_cot_against_direct(pairs))
    voting = [run for run in runs if run.samples > 1]
    if voting:
        found += [_votes(voting), _reliability(voting)]
    for name, of_benchmark in by_name.items():
        found.append(_tasks(name, of_benchmark))
    return found


def _tasks(name: str, runs: Sequence[FinishedRun]) -> Plot:
    """Bars of every task, a colour per way, with exact intervals."""
    tasks = list(dict.fromkeys(t for run in runs for t in run.metrics["tasks"]))
    protocol = runs[0].protocol
    order = [task for group in protocol.groups.values() for task in group]
    tasks.sort(key=lambda t: order.index(t) if t in order else len(order))
    height = 0.8 / len(runs)

    def draw(axes: Any) -> None:
        for number, run in enumerate(runs):
            shown = [t for t in tasks if t in run.metrics["tasks"]]
            places = [
                tasks.index(t) + (number - (len(runs) - 1) / 2) * height
                for t in shown
            ]
            found = [run.metrics["tasks"][t] for t in shown]
            values = [100 * f["accuracy"] for f in found]
            edges = [[100 * edge for edge in f["interval"]] for f in found]
            axes.barh(
                places,
                values,
                height=0.92 * height,
                color=COLOURS[number % len(COLOURS)],
                label=run.way,
                xerr=whiskers(values, edges),
                error_kw={"ecolor": SOFT, "elinewidth": 0.8},
            )
        for place, task in enumerate(tasks):
            guess = protocol.baseline_of(task)
            if guess:
                axes.plot(
                    [guess, guess],
                    [place - 0.45, place + 0.45],
                    color=INK,
                    linewidth=1.2,
                    linestyle=":",
                )
        axes.set_yticks(
            range(len(tasks)),
            [task.replace("_", " ") for task in tasks],
            parse_math=False,
        )
        axes.set_ylim(len(tasks) - 0.4, -0.6)
        axes.set_xlim(0, 100)
        axes.set_xlabel("accuracy, %")
        clean(axes, "x")
        legend_above(axes)

    note = (
        "Whiskers: exact 95% interval (Clopper-Pearson). Dotted: guessing."
        if protocol.baseline or protocol.baselines
        else "Whiskers: exact 95% interval (Clopper-Pearson)."
    )
    size = (10.0, 1.0 + len(tasks) * max(0.3, 0.14 * len(runs)))
    return Plot(f"{name}-tasks", f"{name}: every task", note, size, draw)


def _pairs(
    by_name: Mapping[str, Sequence[FinishedRun]],
) -> dict[str, list[tuple[float, float]]]:
    """Returns, by benchmark, (direct, CoT) of the tasks that have both."""
    pairs = {}
    for name, runs in by_name.items():
        ways = {run.settings["mode"]: run for run in runs if run.samples == 1}
        if not {"direct", "cot"} <= set(ways):
            continue
        direct = ways["direct"].metrics["tasks"]
        cot = ways["cot"].metrics["tasks"]
        pairs[name] = [
            (100 * direct[t]["accuracy"], 100 * cot[t]["accuracy"])
            for t in direct
            if t in cot
        ]
    return pairs


def _cot_against_direct(
    pairs: Mapping[str, Sequence[tuple[float, float]]],
) -> Plot:
    def draw(axes: Any) -> None:
        axes.plot([0, 100], [0, 100], color=LINE, linewidth=1.2)
        for number, (name, points) in enumerate(pairs.items()):
            counts = {p: points.count(p) for p in dict.fromkeys(points)}
            axes.scatter(
                [x for x, _ in counts],
                [y for _, y in counts],
                s=[24 * n for n in counts.values()],
                color=COLOURS[number % len(COLOURS)],
                marker=MARKERS[number % len(MARKERS)],
                alpha=0.7,
                label=name,
                linewidths=0,
            )
        axes.set_xlim(-4, 104)
        axes.set_ylim(-4, 104)
        axes.set_xlabel("direct, %")
        axes.set_ylabel("chain of thought, %")
        axes.set_aspect("equal")
        clean(axes, "both")
        for handle in legend_above(axes).legend_handles:
            handle.set_sizes([36])

    return Plot(
        "cot-against-direct",
        "Chain of thought against direct",
        "A mark is a task, larger where several coincide. Above the line, "
        "reasoning first is better.",
        (5.0, 5.0),
        draw,
    )


def _votes(runs: Sequence[FinishedRun]) -> Plot:
    curves = [(run.benchmark, votes_curve(run)) for run in runs]

    def draw(axes: Any) -> None:
        for number, (name, curve) in enumerate(curves):
            axes.plot(
                [n for n, _ in curve],
                [100 * share for _, share in curve],
                color=COLOURS[number % len(COLOURS)],
                marker=MARKERS[number % len(MARKERS)],
                linewidth=2,
                label=name,
            )
        numbers = sorted({n for _, curve in curves for n, _ in curve})
        axes.set_xscale("log", base=2)
        axes.set_xticks(numbers, [str(n) for n in numbers])
        axes.minorticks_off()
        axes.set_ylim(bottom=0)
        axes.set_xlabel("paths that vote")
        axes.set_ylabel("right examples, %")
        clean(axes)
        legend_above(axes)

    return Plot(
        "votes",
        "Votes against accuracy",
        "The vote over the first paths only, of all examples together.",
        (5.0, 5.0),
        draw,
    )


def _reliability(runs: Sequence[FinishedRun]) -> Plot:
    judged = [found for run in runs for found in run.judged]
    confidence = [found.confidence for found in judged]
    correct = [found.correct for found in judged]
    bins = reliability_bins(confidence, correct)
    error = expected_calibration_error(confidence, correct)

    def draw(axes: Any) -> None:
        axes.plot([0, 100], [0, 100], color=LINE, linewidth=1.2)
        axes.bar(
            [50 * (b["low"] + b["high"]) for b in bins],
            [100 * b["accuracy"] for b in bins],
            width=9,
            color=ACCENT,
        )
        for b in bins:
            axes.annotate(
                f"{b['n']}",
                (50 * (b["low"] + b["high"]), 100 * b["accuracy"]),
                xytext=(0, 3),
                textcoords="offset points",
                ha="center",
                fontsize=9,
                color=SOFT,
            )
        axes.set_xlim(0, 100)
        axes.set_ylim(0, 106)
        axes.set_xlabel("share of the votes, %")
        axes.set_ylabel("right, %")
        clean(axes)

    return Plot(
        "reliability",
        "Reliability of the votes",
        f"Over each bar its number of examples; on the line, the share of the "
        f"votes is what it promises. Expected calibration error {error:.3f}, "
        f"all voting runs together.",
        (5.0, 4.6),
        draw,
    )
