"""The tables of what a model learns from its own answers.

python benchmarks/improvement.py MODEL runs/improvement --seeds 0 1 2 3 4
python benchmarks/improvement_smollm2.py DATA runs/improvement
cp runs/improvement/results.json docs/results/improvement.json
python tools/improvement_page.py docs/results/improvement.json \
    docs/improvement.md
"""

import sys
from collections.abc import Mapping
from typing import Any

from keras_flan.pages.blocks import fill_blocks, fill_page
from keras_flan.pages.tables import markdown

VIEWS = {
    "trained sampled": "one sampled path",
    "trained greedy": "greedy",
    "trained vote": "vote of 8",
    "held_out sampled": "tasks not seen, one sampled path",
}
REAL_VIEWS = {
    "single": "one sampled path is right",
    "answered": "one sampled path has an answer",
    "vote": "the vote of 8 is right",
}


def filled(page: str, results: Mapping[str, Any], source: str = "page") -> str:
    """Returns a page with the tables put into its blocks.

    Args:
        page: The page; its blocks are `rationales_N` and `smollm2_TASK`.
        results: What the benchmarks wrote, by `--rationales` N, and by
            `smollm2_TASK`.
        source: What errors call the page.

    Raises:
        InputError: If the page names what was not run.
    """
    tables = {
        **{f"rationales_{n}": _table for n in results if n.isdigit()},
        **{name: _real for name in results if not name.isdigit()},
    }
    return fill_blocks(
        page,
        tables,
        lambda name: tables[name](results[name.removeprefix("rationales_")]),
        what="table",
        source=source,
    )


def _table(results: Mapping[str, Any]) -> str:
    header = ["method", "seeds", "asked", "start", "then"]
    header += ["to start", "to supervised", "to answers too"]
    rows = []
    for method, found in results["methods"].items():
        for view, name in VIEWS.items():
            told = found["views"][view]
            shares = [f"{100 * told[side]:.1f}" for side in ("start", method)]
            ways = ("to start", "to supervised", "to answers")
            points = [told.get(way, "") for way in ways]
            seeds = str(found["seeds"])
            rows.append([f"`{method}`", seeds, name, *shares, *points])
    return markdown(header, rows, "---:")


def _real(results: Mapping[str, Any]) -> str:
    header = ["method", "share of which", "before", "after", "seeds", "points"]
    rows = []
    for method, found in results["methods"].items():
        for view, name in REAL_VIEWS.items():
            told = found["views"][view]
            low, high = (100 * x for x in told["interval"])
            each = ", ".join(f"{100 * share:.1f}" for share in told["seeds"])
            shares = [f"{100 * told[side]:.1f}" for side in ("before", "after")]
            points = (
                f"{100 * told['difference']:+.1f} ({low:+.1f} to {high:+.1f})"
            )
            rows.append([f"`{method}`", name, *shares, each, points])
    return markdown(header, rows, "---:")


if __name__ == "__main__":
    fill_page(filled, *sys.argv[1:])
