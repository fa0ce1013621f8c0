"""The results as one HTML page."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from keras_flan.pages import html as page
from keras_flan.pages.plots import (
    ACCENT,
    BEFORE,
    clean,
    curve_note,
    draw_curve,
    inline_svg,
    legend_above,
    name_axes,
)
from keras_flan.real_flan import text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLE = "Flan on public data"


def write_page(path: str | os.PathLike, results: Mapping[str, Any]) -> None:
    """Writes the page.

    Args:
        path: The `.html` file, written atomically.
        results: What `collect_results` returns.
    """
    first = next(iter(results["arms"].values()))
    lead = (
        f"{page.text(results['model']['init'])}, before and after instruction "
        "finetuning. Every question is of a kind of task that was held out as "
        "a whole: the model was never trained on it, nor on a text that "
        "shares a run of words with one that is asked."
    )
    training = first["trainings"][0]
    parts = [
        page.heading(TITLE, lead),
        page.tiles(_tiles(results)),
        _card(text.headline(results)),
    ]
    if len(results["arms"]) > 1:
        parts.append(_card(text.arms(results)))
    if results["claims"]:
        parts.append(_card(text.claims(results)))
    parts += [
        page.pair(
            page.card("Training loss", _loss(training)),
            page.card("What was trained and asked", page.pairs(_run(results))),
        ),
        page.card(f"{_first_metric(first)} by task", _bars(first["views"])),
        *map(_example, results["shown"]),
        *(
            page.card(table.title, page.folded("Every task", table.html()))
            for table in (text.by_task(results, v) for v in results["views"])
        ),
        page.card("Time", page.pairs(_times(results["seconds"]))),
    ]
    page.write(path, TITLE, parts)


def _card(table: text.Table) -> str:
    return page.card(page.text(table.title), table.html())


def _tiles(results: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Returns the headline numbers."""
    first = next(iter(results["arms"].values()))
    metrics = next(iter(first["views"].values()))
    tiles = [
        (
            page.text(_capital(text.METRICS[metric])),
            f"{found['tuned']:.1f}%",
            f"from {found['base']:.1f}%, {len(found['by_task'])} tasks",
        )
        for metric, found in metrics.items()
    ]
    total = sum(results["seconds"].values())
    steps = f"{results['steps']:,} steps per arm"
    return [*tiles, ("Time", page.duration(total), steps)]


def _loss(training: Mapping[str, Any]) -> str:
    steps, loss = training["loss_steps"], training["loss"]
    if not loss:
        return "<p>No training step was recorded.</p>"

    def draw(axes: "Axes") -> None:
        draw_curve(axes, steps, loss)
        name_axes(axes, "step", "loss per target token")

    label = f"Training loss from {loss[0]:.2f} to {loss[-1]:.2f}"
    return inline_svg(draw, (5.0, 4.0), label, curve_note(loss))


def _run(results: Mapping[str, Any]) -> dict[str, str]:
    train = results["train"]
    data, optimizer = train.get("data", {}), train.get("optimizer", {})
    return {
        "model": results["model"]["init"],
        "licence of the model": results["licence"],
        **text.data_lines(results["data"]),
        "steps": f"{results['steps']:,}",
        "rows per step": str(data.get("batch_size", "")),
        "tokens per row": f"{data.get('input_length', '')} + "
        f"{data.get('target_length', '')}",
        "optimizer": f"{optimizer.get('name', 'adafactor')}, rate "
        f"{optimizer.get('learning_rate', '')}",
        "asked for": f"{results['minutes']:g} minutes, "
        f"{results['machine']['cores']} cores",
    }


def _first_metric(arm: Mapping[str, Any]) -> str:
    """Returns the headline metric of the first view, in words."""
    metrics = next(iter(arm["views"].values()))
    return page.text(_capital(text.METRICS[next(iter(metrics))]))


def _bars(views: Mapping[str, Mapping[str, Any]]) -> str:
    """Returns bars of every task of the first view, before and after."""
    found = next(iter(next(iter(views.values())).values()))["by_task"]
    names = sorted(found, key=lambda n: found[n]["tuned"] - found[n]["base"])

    def draw(axes: "Axes") -> None:
        places = range(len(names))
        for shift, side, color, label in (
            (0.2, "base", BEFORE, "before"),
            (-0.2, "tuned", ACCENT, "after"),
        ):
            axes.barh(
                [place - shift for place in places],
                [found[name][side] for name in names],
                0.38,
                color=color,
                label=label,
            )
        axes.set_yticks(places, [_short(name) for name in names])
        axes.set_xlabel("percent")
        axes.set_xlim(left=0)
        axes.margins(y=0.01)
        legend_above(axes)
        clean(axes, "x")

    height = 1.2 + 0.32 * len(names)
    return inline_svg(draw, (9, height), "Scores of every task")


def _capital(name: str) -> str:
    return name[:1].upper() + name[1:]


def _short(name: str) -> str:
    number, _, rest = name.partition("_")
    words = rest if number.startswith("task") and rest else name
    return words.replace("_", " ")[:44]


def _example(shown: Mapping[str, str]) -> str:
    facts = {
        "right answer": shown["target"],
        "before": _first_line(shown["before"]),
        "after": _first_line(shown["after"]),
    }
    return page.example(
        f"<b>{page.text(shown['task'])}</b>",
        shown["prompt"],
        page.pairs(facts),
        (),
    )


def _first_line(output: str) -> str:
    return output.strip().partition("\n")[0] or "(nothing)"


def _times(seconds: Mapping[str, float]) -> dict[str, str]:
    times = {name: page.duration(value) for name, value in seconds.items()}
    return {**times, "total": page.duration(sum(seconds.values()))}
