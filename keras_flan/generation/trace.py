"""Answers to keep: JSON Lines, an offline page, and a picture."""

import os
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_flan.errors import InputError
from keras_flan.files import atomic_write, write_jsonl
from keras_flan.generation.printing import tally
from keras_flan.generation.prompting import Answered
from keras_flan.outputs import Kind, head_of, output_folder, replace_files
from keras_flan.pages import html as page
from keras_flan.pages.plots import ACCENT, BEFORE, PRINTED, SOFT
from keras_flan.storage import as_path

ANSWERS_FILE = "answers.jsonl"
TRACE_FILE = "trace.html"

_PICTURE_FORMATS = (".png", ".svg", ".pdf")
# A picture is for one question or a handful.
_MOST_PICTURED = 20
_MOST_BARS = 8
_WINNER, _OTHER, _SOFT = PRINTED[ACCENT], PRINTED[BEFORE], PRINTED[SOFT]


def write_trace(
    folder: str | os.PathLike,
    results: Sequence[Answered],
    settings: Mapping[str, object],
    rows: Sequence[Mapping] | None = None,
    overwrite: bool = False,
) -> None:
    """Writes `answers.jsonl` and `trace.html`, both or neither.

    The page shows each prompt, its paths side by side with the extracted
    answer marked, the votes and their confidence. It needs no network.

    Args:
        folder: The folder to write.
        results: What `ask` returned.
        settings: How it was asked; shown as name and value.
        rows: Further fields for each line of `answers.jsonl`.
        overwrite: Whether to write among files of other kinds.

    Raises:
        InputError: If `folder` holds something else, or another process
            writes there.

    Example:
        >>> results = ask(model, ["What is 2 + 3?"], cot=True, samples=8)
        >>> write_trace("runs/sums", results, {"samples": 8})
    """
    rows = [{}] * len(results) if rows is None else rows
    number = len(results)
    lead = (
        "Each prompt with its sampled paths. The answer found in a path is "
        "marked; the answer with the most votes wins."
    )
    parts = [
        page.heading("Sampled answers", lead),
        *(
            render_answered(result, f"Prompt {i} of {number}")
            for i, result in enumerate(results, 1)
        ),
        page.card("Settings", page.pairs(settings)),
    ]
    with (
        output_folder(folder, ANSWERS, overwrite) as output,
        replace_files(output, TRACE_FILE) as made,
    ):
        write_jsonl(
            made / ANSWERS_FILE,
            (
                {**row, **result.to_dict()}
                for row, result in zip(rows, results, strict=True)
            ),
        )
        page.write(made / TRACE_FILE, "Sampled answers", parts)


def _is_answers(folder: Path) -> bool:
    row = head_of(folder / ANSWERS_FILE)
    return {"prompt", "confidence", "paths"} <= row.keys()


# What takes up a folder of answers.
ANSWERS = Kind("answers", _is_answers)


def render_answered(result: Answered, title: str) -> str:
    """Returns a result as HTML, complete or not."""
    elected, drawn = result.vote, len(result.paths)
    answer = elected.winner
    given = result.answer
    if answer is None:
        given = "no answer found"
    elif given is None:
        given = f"none: {answer} is too unsure"
    sure = {}
    if result.model is not None:
        sure["Fitted confidence"] = f"{result.confidence:.0%}"
    shown = page.facts(
        {
            "Answer": given,
            **sure,
            "Confidence": f"{elected.confidence:.0%} of {drawn} "
            + ("path" if drawn == 1 else "paths"),
        }
    )
    return page.example(
        f'<span class="task">{page.text(title)}</span>',
        result.prompt,
        shown + page.votes(elected.counts, answer, drawn),
        (
            page.path(
                number + 1,
                path.text,
                (found.start, found.end) if found else None,
                found.rule if found else None,
            )
            for number, path, found in zip(
                result.numbers, result.paths, result.found, strict=True
            )
        ),
    )


def check_picture(path: str | os.PathLike, prompts: int) -> None:
    """Raises InputError if `draw_votes` could not draw the votes."""
    if as_path(path).suffix.lower() not in _PICTURE_FORMATS:
        raise InputError(
            f"{path}: a picture ends in {', '.join(_PICTURE_FORMATS)}"
        )
    if prompts > _MOST_PICTURED:
        raise InputError(
            f"{path}: a picture shows up to {_MOST_PICTURED} prompts, found "
            f"{prompts}; use --output for a page of all"
        )


def draw_votes(path: str | os.PathLike, results: Sequence[Answered]) -> None:
    """Writes a picture of the votes, one chart per prompt.

    Args:
        path: A `.png`, `.svg` or `.pdf` file to write, atomically.
        results: What `ask` returned, at most 20.

    Raises:
        InputError: If the name ends otherwise, or there are more prompts.
    """
    check_picture(path, len(results))
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    titles = [
        textwrap.wrap(r.prompt, 76, max_lines=4, placeholder=" ...")
        for r in results
    ]
    lines = [_bars(result) for result in results]
    # In units of a line of text, so that bars are as wide in every chart.
    heights = [
        2.2 + len(title) + 1.6 * len(bars)
        for title, bars in zip(titles, lines, strict=True)
    ]
    with rc_context({"svg.hashsalt": "keras_flan", "font.size": 10}):
        figure = Figure(
            figsize=(7.2, 0.22 * sum(heights)), layout="constrained"
        )
        charts = figure.subplots(
            len(results), 1, height_ratios=heights, squeeze=False
        )[:, 0]
        for axes, result, title, bars in zip(
            charts, results, titles, lines, strict=True
        ):
            _draw(axes, result, "\n".join(title), bars)
        kind = as_path(path).suffix.lower().removeprefix(".")
        with atomic_write(path, "wb") as f:
            # No date: the same votes give the same bytes.
            undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
            figure.savefig(f, format=kind, dpi=160, metadata=undated.get(kind))


def _bars(result: Answered) -> list[tuple[str, int, bool]]:
    """Returns (name, votes, whether it won), the long tail as one bar."""
    lines = [
        ("no answer" if answer is None else answer, count, answer)
        for answer, count in tally(result.vote)
    ]
    shown, rest = lines[: _MOST_BARS - 1], lines[_MOST_BARS - 1 :]
    if len(rest) > 1:
        more = sum(count for _, count, _ in rest)
        rest = [(f"{len(rest)} others", more, None)]
    return [
        (
            textwrap.shorten(name, 24, placeholder="..."),
            count,
            answer is not None and answer == result.vote.winner,
        )
        for name, count, answer in shown + rest
    ]


def _draw(
    axes: Any, result: Answered, title: str, bars: list[tuple[str, int, bool]]
) -> None:
    places = range(len(bars))
    drawn = axes.barh(
        places,
        [count for _, count, _ in bars],
        color=[_WINNER if won else _OTHER for _, _, won in bars],
        height=0.72,
    )
    axes.bar_label(drawn, padding=4, color=_SOFT)
    # A model may write a dollar sign, which starts a formula.
    axes.set_yticks(places, [name for name, _, _ in bars], parse_math=False)
    axes.invert_yaxis()
    axes.set_xlim(0, len(result.paths) * 1.06)
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.spines["left"].set_color(_OTHER)
    axes.set_title(title, loc="left", fontsize=10, parse_math=False)
    winner = result.vote.winner
    axes.set_xlabel(
        f"{result.vote.confidence:.0%} of {len(result.paths)} paths"
        + ("" if winner is None else f" say {winner}"),
        color=_SOFT,
        loc="left",
        parse_math=False,
    )
