"""The page of an improvement: its curves, and paths with their rewards."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_flan.improvement.config import ImproveConfig
from keras_flan.improvement.journal import Group, Journal
from keras_flan.pages import html as page
from keras_flan.pages.plots import COLOURS, draw_curve, inline_svg, name_axes

PAGE_FILE = "improvement.html"
_CURVES = {
    "reward": "Reward of all paths",
    "kept": "Paths that are trained on",
    "length": "Tokens per path",
    "toxicity": "Toxicity of all paths, by the lexicon",
    "entropy": "Entropy, nats per token",
    "kl": "Divergence from the start, nats per token",
}


def write_page(
    path: Path,
    config: ImproveConfig,
    metrics: Mapping[str, Any],
    journal: Journal,
) -> None:
    """Writes the page of a finished run."""
    rows, guard = metrics["rounds"], metrics["guard"]
    name = f"Improvement of {config.output.name}"
    lead = page.text(f"Method: {config.method}; {len(rows)} rounds.")
    curves = {
        title: [(row["round"], row[name]) for row in rows if name in row]
        for name, title in _CURVES.items()
    }
    held_out = zip(guard["rounds"], guard["reward"], strict=True)
    curves["Reward of what is held out"] = list(held_out)
    cards = []
    for title, points in curves.items():
        if points:
            draw = functools.partial(_draw, points)
            svg = inline_svg(draw, (5.0, 3.2), title)
            cards.append(page.card(title, svg))
    total = metrics["seconds"]["total"]
    shares = {
        name: f"{page.duration(seconds)} ({page.percent(seconds / total, 0)})"
        for name, seconds in metrics["seconds"].items()
    }
    shown = []
    for number in dict.fromkeys((0, len(rows) - 1)):
        groups = journal.groups(number) or []
        shown.append(f"<h2>Round {number + 1}</h2>")
        shown += [_group(group) for group in groups[:5]]
    settings = config.model_dump(mode="json", exclude_defaults=True)
    page.write(
        path,
        name,
        [
            page.heading(name, lead),
            page.pair(*cards),
            page.card("Time", page.pairs(shares)),
            *shown,
            page.card("Settings", page.pairs(settings)),
        ],
    )


def _draw(points: Sequence[tuple[int, float]], axes: Any) -> None:
    steps, values = zip(*points, strict=True)
    draw_curve(axes, steps, values, COLOURS[0], "")
    name_axes(axes, "round", "")


def _group(group: Group) -> str:
    paths = []
    for number, path in enumerate(group.paths, 1):
        reward = "no reward" if path.reward is None else f"{path.reward:.3g}"
        rule = f"reward {reward}, weight {path.weight:.3g}"
        paths.append(page.path(number, path.text, None, rule))
    asked = group.question
    found = page.facts({"target": asked.target or "-", "kind": asked.kind})
    return page.example(page.text(asked.name), asked.prompt, found, paths)
