"""Plots in the page's own colours, as inline SVG and as PNG files."""

import contextlib
import io
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from keras_flan.files import atomic_write
from keras_flan.pages import html as page

# Colours that no theme uses: they mark what follows the page's own palette.
INK, SOFT, LINE, ACCENT, BEFORE = (
    "#010101",
    "#020202",
    "#030303",
    "#040404",
    "#050505",
)
GOOD, BAD = "#060606", "#070707"
_PALETTE = {
    INK: "var(--ink)",
    SOFT: "var(--soft)",
    LINE: "var(--line)",
    ACCENT: "var(--accent)",
    BEFORE: "var(--before)",
    GOOD: "var(--good)",
    BAD: "var(--bad)",
}
# The same in a picture file, which has no theme.
PRINTED = {
    INK: "#1a1f29",
    SOFT: "#5b6472",
    LINE: "#e2e5ea",
    ACCENT: "#2459c9",
    BEFORE: "#a9b1bd",
    GOOD: "#17703c",
    BAD: "#b3261e",
}
# Text stays text (it follows the page's font), and ids are stable, so that
# the same run gives the same page.
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "keras_flan",
    "font.size": 11,
    "text.color": SOFT,
    "axes.labelcolor": SOFT,
    "axes.edgecolor": LINE,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": SOFT,
    "ytick.labelcolor": SOFT,
    "axes.titlecolor": INK,
}
# What tells the series of a plot apart.
COLOURS = (ACCENT, BAD, GOOD, BEFORE, INK)
MARKERS = ("o", "s", "D", "^", "v")
# From how many points on a curve is drawn with its moving average.
_MANY = 60
# Draws on matplotlib axes, in colours of this module.
Draw = Callable[[Any], None]


def inline_svg(
    draw: Draw, size: tuple[float, float], label: str, note: str = ""
) -> str:
    """Returns a plot as SVG that follows the page: its width, font, colours.

    Args:
        draw: Called with the axes.
        size: Width and height in inches; the page keeps the proportions.
        label: What a screen reader says, as plain text.
        note: What stands below it, as plain text.
    """
    buffer = io.StringIO()
    with _figure(draw, size) as figure:
        figure.savefig(
            buffer, format="svg", transparent=True, metadata={"Date": None}
        )
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    # The viewBox keeps the proportions; the page sets the size.
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r" ?font-family: [^;\"]*;?", "", svg)
    for colour, variable in _PALETTE.items():
        svg = svg.replace(colour, variable)
    spoken = f'<svg role="img" aria-label="{page.text(label)}"'
    svg = svg.replace("<svg", spoken, 1)
    return f'<div class="plot">{svg}</div>' + (
        page.note(page.text(note)) if note else ""
    )


def write_png(
    draw: Draw, size: tuple[float, float], path: str | os.PathLike
) -> None:
    """Writes a plot as a PNG file, atomically."""
    with _figure(draw, size) as figure, atomic_write(path, "wb") as f:
        _recolour(figure)
        figure.savefig(f, format="png", dpi=160, metadata={"Software": None})


def whiskers(
    values: Sequence[float], intervals: Iterable[Sequence[float]]
) -> list[list[float]]:
    """Returns how far values are from the ends of their intervals.

    Example:
        >>> whiskers([2.0, 5.0], [(1.5, 2.5), (4.0, 7.0)])
        [[0.5, 1.0], [0.5, 2.0]]
    """
    low, high = zip(*intervals, strict=True)
    return [
        [value - end for value, end in zip(values, low, strict=True)],
        [end - value for value, end in zip(values, high, strict=True)],
    ]


def draw_curve(
    axes: Any,
    steps: Sequence[int],
    values: Sequence[float],
    color: str = ACCENT,
    label: str | None = None,
) -> None:
    """Draws a curve of a training; a long one with its moving average."""
    if len(values) >= _MANY:
        axes.plot(steps, values, color=color, alpha=0.3, linewidth=1)
    axes.plot(
        steps,
        _smooth(values, reach=len(values) // _MANY),
        color=color,
        label=label,
        linewidth=2,
        marker="o" if len(values) == 1 else None,
    )


def curve_note(*curves: Sequence[float]) -> str:
    """Returns what to say about curves of `draw_curve`."""
    if max(map(len, curves), default=0) < _MANY:
        return ""
    return "Thin: as measured. Bold: moving average."


def _smooth(values: Sequence[float], reach: int) -> list[float]:
    """Returns at each place the mean of the values at most `reach` away."""
    windows = (
        values[max(0, i - reach) : i + reach + 1] for i in range(len(values))
    )
    return [sum(window) / len(window) for window in windows]


def name_axes(axes: Any, x: str, y: str) -> None:
    """Names the axes of curves by steps, and cleans them."""
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.margins(x=0.02)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    clean(axes)


def clean(axes: Any, grid: str = "y") -> None:
    """Takes away what is no data: frame, ticks; leaves a light grid."""
    axes.grid(axis=grid, color=LINE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(length=0)


@contextlib.contextmanager
def _figure(draw: Draw, size: tuple[float, float]) -> Iterator[Any]:
    """Yields a figure; it has to be saved within the style."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure.add_subplot())
        yield figure


def _recolour(figure: Any) -> None:
    """Gives every artist the printed colour for its marker colour."""
    from matplotlib.colors import to_hex

    figure.set_facecolor("white")
    for artist in figure.findobj():
        for kind in ("color", "edgecolor", "facecolor"):
            get = getattr(artist, f"get_{kind}", None)
            put = getattr(artist, f"set_{kind}", None)
            if get is None or put is None:
                continue
            value = get()
            try:
                found = to_hex(value)
            except (ValueError, TypeError):
                try:  # of a collection, a row per member
                    found = to_hex(value[0])
                except (ValueError, TypeError, IndexError):
                    continue
            if found in PRINTED:
                put(PRINTED[found])


def legend_above(axes: Any) -> Any:
    """Puts the legend above the axes, within their width; returns it."""
    number = len(axes.get_legend_handles_labels()[1])
    return axes.legend(
        frameon=False,
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=2 if number == 4 else 3,
    )
