"""The tables of what a model learns from its own answers.

python benchmarks/improvement.py MODEL runs/improvement --seeds 0 1 2 3 4
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


def filled(page: str, results: Mapping[str, Any], source: str = "page") -> str:
    """Returns a page with the tables put into its blocks.

    Args:
        page: The page; its blocks are `rationales_N`.
        results: What the benchmark wrote, by its `--rationales` N.
        source: What errors call the page.

    Raises:
        InputError: If the page names a number that was not run.
    """
    blocks = {
        f"rationales_{number}": found for number, found in results.items()
    }
    return fill_blocks(
        page,
        blocks,
        lambda name: _table(blocks[name]),
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


if __name__ == "__main__":
    fill_page(filled, *sys.argv[1:])
