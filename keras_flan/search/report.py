"""What a search tried, as files and as a page."""

import os
from collections.abc import Mapping
from typing import Any

from keras_flan.files import write_json
from keras_flan.outputs import Kind, head_of, output_folder, replace_files
from keras_flan.pages import html as page

_SEARCH, _PAGE = "search.json", "search.html"
SEARCH = Kind(
    "a search for prompts",
    lambda folder: (
        {"winner", "trials", "luck"} <= head_of(folder / _SEARCH).keys()
    ),
)


def write_search(
    folder: str | os.PathLike,
    found: Mapping[str, Any],
    settings: Mapping[str, object],
    overwrite: bool = False,
) -> None:
    """Writes `search.html` and `search.json`.

    Args:
        folder: The folder to write.
        found: What `search_prompts` returned.
        settings: How it searched; shown as name and value.
        overwrite: Whether to write among files of other kinds.

    Raises:
        InputError: If `folder` holds something else.
    """
    lead = (
        f"{len(found['trials'])} ways to ask, {found['tokens']:,} generated "
        f"tokens in all, {found['proposing']:,} of them for proposals; "
        f"{found['shown']} questions are exemplars, and belong to neither "
        "part. The test part was asked once, at the end, by the "
        "winner and the default only."
    )
    parts = [
        page.heading("Prompts that were searched", lead),
        page.tiles(_tiles(found)),
        page.card("The winner", page.prompt(found["winner"]["prompt"])),
        page.card("The default", page.prompt(found["default"]["prompt"])),
        page.card("What was tried", _trials(found)),
        page.card("Settings", page.pairs(settings)),
    ]
    with (
        output_folder(folder, SEARCH, overwrite) as output,
        replace_files(output, _SEARCH) as made,
    ):
        page.write(made / _PAGE, "Prompts that were searched", parts)
        write_json(made / _SEARCH, {**found, "settings": dict(settings)})


def _points(share: float) -> str:
    return f"{100 * share:+.1f}"


def lines(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Returns what a reader wants to know, as names and values."""
    gain, (low, high) = found["gain"], found["gain"]["interval"]
    told = [
        (
            name,
            f"{found[name]['test']:.1%} of the test part right, "
            f"{found[name]['dev']:.1%} of the development part: "
            f"{found[name]['name']}",
        )
        for name in ("winner", "default")
    ]
    return [
        *told,
        (
            "gain",
            f"{_points(gain['difference'])} points ({_points(low)} to "
            f"{_points(high)}; p = {gain['mcnemar']:.3f}) on the test part",
        ),
        (
            "before the test",
            f"{_points(found['dev_gain'])} points on the development part, "
            f"where a search of {len(found['trials'])} gains "
            f"{_points(found['luck'])} by luck if none is better",
        ),
        ("cost", f"{found['tokens']:,} generated tokens"),
    ]


def _tiles(found: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    gain = found["gain"]
    low, high = gain["interval"]
    return [
        (
            "Gain on the test part",
            _points(gain["difference"]),
            f"points, {_points(low)} to {_points(high)}",
        ),
        (
            "Gain on the development part",
            _points(found["dev_gain"]),
            "points; what the search saw",
        ),
        (
            "Luck",
            _points(found["luck"]),
            "points that such a search gains if none is better",
        ),
    ]


def _trials(found: Mapping[str, Any]) -> str:
    rows = sorted(
        found["trials"],
        key=lambda row: (-(row["dropped"] or 99), -row["accuracy"]),
    )
    cells = [
        (
            page.text(row["name"]),
            f"{row['n']:,}",
            page.percent(row["accuracy"]),
            " to ".join(f"{100 * edge:.0f}" for edge in row["interval"]),
            f"{row['tokens']:,}",
            "" if row["dropped"] is None else f"after round {row['dropped']}",
        )
        for row in rows
    ]
    header = ("", "Questions", "Right", "95%", "Tokens", "Dropped")
    return page.wide(page.table(header, cells))
