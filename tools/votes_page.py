"""The page of a small model's votes, from the results of its example.

python examples/vote_smollm2.py DATA --output runs/votes
cp runs/votes/votes.json docs/results/votes.json
python tools/votes_page.py docs/results/votes.json docs/votes.md
"""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from keras_flan.pages.blocks import fill_blocks, fill_page
from keras_flan.pages.tables import markdown

NAMES = {
    "multiarith": "MultiArith",
    "svamp": "SVAMP",
    "coin_flip": "coin flip",
    "last_letters": "last letters",
    "gsm8k": "GSM8K",
}


def filled(page: str, results: Mapping[str, Any], source: str = "page") -> str:
    """Returns a page with the tables put into its blocks.

    Args:
        page: The page; its blocks are `votes` and `certainty`.
        results: What the example wrote.
        source: What errors call the page.
    """
    blocks = {"votes": _votes, "certainty": _certainty}
    return fill_blocks(
        page,
        blocks,
        lambda name: blocks[name](results),
        what="table",
        source=source,
    )


def _rows(results: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [(NAMES[name], results[name]) for name in NAMES if name in results]


def _votes(results: Mapping[str, Any]) -> str:
    _, first = _rows(results)[0]
    numbers = list(first["votes"])
    header = ["set", "questions", "one path"]
    header += [f"vote of {way}" for way in numbers[1:]]
    header.append(f"{numbers[-1]} against one")
    rows = []
    for name, found in _rows(results):
        ways = [found["votes"][way] for way in numbers]
        cells = [
            f"{_percent(way['right'])} ({_interval(way['interval'])})"
            for way in ways
        ]
        gain = found["gain"]
        told = f"{100 * gain['difference']:+.1f}"
        told += f" ({_interval(gain['interval'], '+.1f')})"
        rows.append([name, str(found["questions"]), *cells, told])
    return markdown(header, rows, "---:")


def _certainty(results: Mapping[str, Any]) -> str:
    header = ["set", "paths taken", "right by then", "error of the share"]
    rows = [
        [
            name,
            f"{found['drawn']:.1f}",
            _percent(found["adaptive"]),
            f"{found['ece']:.3f}",
        ]
        for name, found in _rows(results)
    ]
    return markdown(header, rows, "---:")


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _interval(edges: Sequence[float], form: str = ".0f") -> str:
    low, high = (100 * edge for edge in edges)
    return f"{low:{form}} to {high:{form}}"


if __name__ == "__main__":
    fill_page(filled, *sys.argv[1:])
