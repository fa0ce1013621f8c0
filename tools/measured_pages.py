"""The tables of pages, from what benchmarks wrote.

python benchmarks/debugging.py runs/debugging
cp runs/debugging/debugging.json docs/results/debugging.json
python tools/measured_pages.py

fills the blocks of `PAGES` that are named in `BLOCKS`.
"""

import importlib
import sys
from pathlib import Path

from keras_flan.files import atomic_write, read_json, read_text
from keras_flan.pages.blocks import fill_blocks

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"
PAGES = ("reasons.md", "small_models.md")
# A block's results are RESULTS/BLOCK.json, and its table is what `table` of the
# benchmark makes of them.
BLOCKS = {
    "confidence_recorded": "confidence",
    "confidence_smollm2": "confidence",
    "search_nano": "prompts_and_reasons",
    "search_smollm2": "prompts_and_reasons",
    "faithfulness_nano": "prompts_and_reasons",
    "faithfulness_smollm2": "prompts_and_reasons",
    "debugging": "debugging",
    "languages": "languages",
    "experts": "experts",
    "answers_nano": "compression",
    "answers_smollm2": "compression",
    "qlora_smollm2": "compression",
    "pruning_smollm2": "compression",
}


def filled(page: str, source: str = "page") -> str:
    """Returns a page with the tables put into its blocks.

    Args:
        page: The page.
        source: What errors call it.

    Raises:
        InputError: If the page names what was not measured.
    """
    measured = [name for name in BLOCKS if (RESULTS / f"{name}.json").is_file()]
    return fill_blocks(page, measured, _table, what="table", source=source)


def _table(name: str) -> str:
    folder = str(ROOT / "benchmarks")
    sys.path.insert(0, folder)
    try:
        benchmark = importlib.import_module(BLOCKS[name])
    finally:
        sys.path.remove(folder)
    return benchmark.table(read_json(RESULTS / f"{name}.json"))


if __name__ == "__main__":
    for name in PAGES:
        path = ROOT / "docs" / name
        text = filled(read_text(path), name)
        with atomic_write(path) as file:
            file.write(text)
