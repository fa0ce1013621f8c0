"""One offline page of all experiments, made from `results.json` alone."""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from keras_flan.miniature.experiments.markdown import spread_text
from keras_flan.pages import html as page
from keras_flan.pages.plots import (
    ACCENT,
    BEFORE,
    COLOURS,
    SOFT,
    clean,
    inline_svg,
    legend_above,
    whiskers,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_GROUPS = {
    "trained": "trained tasks",
    "held_out_tasks": "held-out tasks",
    "held_out_families": "held-out families",
    "held_out": "all held out",
    # Where an experiment asks them.
    "debugging": "new kinds of bugs",
}
_MARKS = {"agrees": "✓", "disagrees": "✗", "undecided": "?"}


def write_page(path: str | os.PathLike, results: Mapping) -> None:
    """Writes the report.

    Args:
        path: The `.html` file, written atomically.
        results: What `collect_results` returns.
    """
    experiments = results["experiments"]
    checks = [c for e in experiments.values() for c in e["checks"]]
    count = {
        verdict: sum(check["verdict"] == verdict for check in checks)
        for verdict in _MARKS
    }
    lead = (
        "Scores are normalised averages in percent: 0 is guessing, 100 is all "
        "right. Intervals are 95%, over the seeds (Student's t)."
    )
    parts = [
        page.heading("The paper in miniature", lead),
        page.tiles(
            (verdict.capitalize(), str(number), "claims of the paper")
            for verdict, number in count.items()
        ),
        *(_experiment(name, one) for name, one in experiments.items()),
        page.card("Pretraining", _pretraining(results)),
        page.card("Settings of all runs", page.pairs(results["defaults"])),
    ]
    page.write(path, "The paper in miniature", parts)


def _experiment(name: str, one: Mapping) -> str:
    about = f"{one['paper']} Here: {len(one['seeds'])} seeds."
    parts = [f"<p>{page.text(about)}</p>", _table(one["arms"])]
    if one["x"]:
        parts += [_lines(one, view) for view in _views(one)]
    else:
        parts.append(_bars(one))
    for arm, found in one["arms"].items():
        for view, scores in found["views"].items():
            if "by_paths" in scores:
                parts.append(_paths(f"{arm}, {view}", scores["by_paths"]))
                parts.append(_calibration(arm, scores["calibration"]))
    if one["checks"]:
        parts.append(_checks(one["checks"]))
    title = f"{page.text(name)}: {page.text(one['title'])}"
    return page.card(title, "\n".join(parts))


def _views(one: Mapping) -> list[str]:
    return list(next(iter(one["arms"].values()))["views"])


def _table(arms: Mapping[str, dict]) -> str:
    """A row per arm and view, a column per group of tasks."""
    views = [view for arm in arms.values() for view in arm["views"].values()]
    shown = {
        group: name
        for group, name in _GROUPS.items()
        if group != "debugging"
        or any(group in view["groups"] for view in views)
    }
    rows = []
    for arm, found in arms.items():
        for view, scores in found["views"].items():
            groups = scores["groups"]
            rows.append(
                (
                    f"{page.text(arm)}, {page.text(view)}",
                    *(
                        spread_text(groups[group]["normalised"])
                        if group in groups
                        else ""
                        for group in shown
                    ),
                )
            )
    return page.wide(page.table(["arm, asked", *shown.values()], rows))


def _checks(checks: Iterable[Mapping]) -> str:
    rows = [
        (
            page.text(check["claim"]),
            page.text(f"{check['more']} against {check['less']}"),
            page.text(_asked(check)),
            spread_text(check["difference"]),
            f"{_MARKS[check['verdict']]} {check['verdict']}",
        )
        for check in checks
    ]
    header = ["claim", "arms", "asked", "difference", "verdict"]
    return page.wide(page.table(header, rows))


def _asked(check: Mapping) -> str:
    """How the two arms of a check were asked, and what."""
    other = "one path" if check["one_path"] else check["less_view"]
    views = check["view"] + (f" against {other}" if other else "")
    return f"{views}, {_GROUPS.get(check['group'], 'all tasks')}"


def _lines(one: Mapping, view: str) -> str:
    """Held-out scores against the setting on the axis; a line per series."""
    x = one["x"]
    series: dict[str, list[tuple[str, dict]]] = {}
    for found in one["arms"].values():
        changes = found["changes"]
        rest = ", ".join(str(v) for k, v in changes.items() if k != x)
        value = "all" if changes[x] is None else str(changes[x])
        score = found["views"][view]["groups"]["held_out"]["normalised"]
        series.setdefault(rest, []).append((value, score))

    def draw(axes: "Axes") -> None:
        for colour, (label, points) in zip(
            COLOURS * 9, series.items(), strict=False
        ):
            places = range(len(points))
            axes.errorbar(
                places,
                [p["mean"] for _, p in points],
                yerr=_errors([p for _, p in points]),
                color=colour,
                marker="o",
                capsize=3,
                label=label or None,
            )
        names = [value for value, _ in next(iter(series.values()))]
        axes.set_xticks(range(len(names)), names)
        axes.set_xlabel(x)
        axes.set_ylabel("normalised, all held out")
        if any(series):
            legend_above(axes)
        clean(axes)

    label = f"{view}: held-out score against {x}"
    return f"<h3>{page.text(view)}</h3>" + inline_svg(draw, (9, 3.6), label)


def _bars(one: Mapping) -> str:
    """A group of bars per view, a bar per arm: all held-out tasks."""
    arms, views = one["arms"], _views(one)

    def draw(axes: "Axes") -> None:
        width = 0.8 / len(arms)
        for number, (arm, found) in enumerate(arms.items()):
            spreads = [
                found["views"][view]["groups"]["held_out"]["normalised"]
                for view in views
            ]
            axes.bar(
                [place + number * width for place in range(len(views))],
                [spread["mean"] for spread in spreads],
                width * 0.9,
                yerr=_errors(spreads),
                color=COLOURS[number % len(COLOURS)],
                ecolor=SOFT,
                label=arm,
            )
        middle = 0.4 - width / 2
        axes.set_xticks([place + middle for place in range(len(views))], views)
        axes.set_ylabel("normalised, all held out")
        legend_above(axes)
        clean(axes)

    return inline_svg(draw, (9, 3.6), f"{one['title']}: held-out scores")


def _paths(title: str, by_paths: Mapping[str, dict]) -> str:
    def draw(axes: "Axes") -> None:
        places = [int(k) for k in by_paths]
        spreads = list(by_paths.values())
        axes.errorbar(
            places,
            [spread["mean"] for spread in spreads],
            yerr=_errors(spreads),
            color=ACCENT,
            marker="o",
            capsize=3,
        )
        axes.set_xlabel("paths in the vote")
        axes.set_ylabel("exact match, all tasks")
        clean(axes)

    heading = f"<h3>{page.text(title)}: accuracy against paths</h3>"
    return heading + inline_svg(draw, (9, 3.2), "accuracy against paths")


def _calibration(arm: str, by_seed: Sequence[list[dict]]) -> str:
    def draw(axes: "Axes") -> None:
        axes.plot([0, 1], [0, 1], color=BEFORE, linewidth=1)
        for colour, bins in zip(COLOURS * 9, by_seed, strict=False):
            axes.plot(
                [one["confidence"] for one in bins],
                [one["accuracy"] for one in bins],
                color=colour,
                marker="o",
            )
        axes.set_xlabel("share of the votes")
        axes.set_ylabel("accuracy")
        clean(axes)

    heading = f"<h3>{page.text(arm)}: confidence, a line per seed</h3>"
    return heading + inline_svg(draw, (9, 3.2), "accuracy against confidence")


def _errors(spreads: Sequence[Mapping]) -> list[list[float]] | None:
    """Distances of an interval's ends from the mean; none for one seed."""
    if any(spread["low"] is None for spread in spreads):
        return None
    return whiskers(
        [spread["mean"] for spread in spreads],
        [(spread["low"], spread["high"]) for spread in spreads],
    )


def _pretraining(results: Mapping) -> str:
    """What finetuning takes, as a share of pretraining, in tokens."""
    defaults = results["defaults"]
    row = defaults["input_length"] + defaults["target_length"]
    tokens = defaults["steps"] * defaults["batch_size"] * row
    rows = [
        (
            page.text(base),
            f"{found['steps']:,}",
            f"{found['tokens']:,}",
            page.percent(tokens / found["tokens"]),
        )
        for base, found in results["pretraining"].items()
    ]
    return page.table(["model", "steps", "tokens", "one finetuning run"], rows)
