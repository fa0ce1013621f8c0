"""Results as Markdown, in the blocks of a page.

python -m keras_flan.real_flan.markdown RESULTS.json PAGE.md
"""

import sys
from collections.abc import Mapping
from typing import Any

from keras_flan.pages.blocks import fill_blocks, fill_page
from keras_flan.pages.tables import Table, markdown
from keras_flan.real_flan import text


def filled(page: str, results: Mapping[str, Any], source: str = "page") -> str:
    """Returns a page with the tables of the results put in.

    Args:
        page: The page; its blocks are `headline`, `tasks`, `arms`, `claims`,
            `data` and `shown`.
        results: What `collect_results` returns.
        source: What errors call the page.

    Raises:
        InputError: If it names another block.
    """
    first = next(iter(results["views"]))
    blocks = {
        "headline": lambda: _table(text.headline(results)),
        "tasks": lambda: _table(text.by_task(results, first)),
        "arms": lambda: _table(text.arms(results)),
        "claims": lambda: _table(text.claims(results)),
        "data": lambda: _data(results),
        "shown": lambda: _shown(results),
    }
    return fill_blocks(
        page, blocks, lambda name: blocks[name](), what="table", source=source
    )


def _table(table: Table) -> str:
    note = f"\n{table.note}\n" if table.note else ""
    return markdown(table.header, table.rows, "---:") + note


def _data(results: Mapping[str, Any]) -> str:
    seconds = results["seconds"]
    lines = {
        **text.data_lines(results["data"]),
        "steps": f"{results['steps']:,}",
        "minutes": f"{sum(seconds.values()) / 60:.1f} in all: "
        + ", ".join(
            f"{name.replace('_', ' ')} {value / 60:.1f}"
            for name, value in seconds.items()
        ),
    }
    return markdown(("what", "found"), list(lines.items()))


def _shown(results: Mapping[str, Any]) -> str:
    rows = [
        [
            _cell(shown[key])
            for key in ("task", "prompt", "target", "before", "after")
        ]
        for shown in results["shown"]
    ]
    return markdown(("task", "asked", "right", "before", "after"), rows)


def _cell(value: str) -> str:
    return " ".join(value.split()).replace("|", "/").replace("<", "&lt;")


if __name__ == "__main__":
    fill_page(filled, *sys.argv[1:])
