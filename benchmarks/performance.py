"""All sides in turns, and the page of what was found: docs/performance.md.

    python benchmarks/performance.py DATA [--parts decoding training ranking]
        [--seconds 120] [--repeats 1] [--page]

Runs `self_consistency.py` in all shapes, `finetune_throughput.py` and
`ranking.py`, one after the other, and fills the tables of the page with what
they found, beside what this machine can do at most. Some two hours on two idle
cores; what other parts found before is kept. `--page` only fills the tables.

Libraries that are missing are left out, by name: see each script for what it
needs. DATA names a folder with `flan_cot/` and `mmlu/`.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from keras_flan.files import read_json, write_json
from keras_flan.pages.blocks import fill_blocks, fill_page
from keras_flan.pages.tables import markdown

HERE = Path(__file__).parent
RESULTS = HERE.parent / "docs" / "results" / "performance.json"
PAGE = HERE.parent / "docs" / "performance.md"
PARTS = ("decoding", "training", "ranking")
# Prompts and paths of each; one path is greedy.
SHAPES = ((1, 16), (1, 40), (8, 16), (8, 40), (8, 1))
# Weights by what passes them: a prompt's token once, each new token of a path,
# and its logits; layers and widths of queries, keys and values per layer.
WORK = {
    "t5_small": {
        "reading": 8 * (4 * 512 * 384 + 3 * 512 * 1024) + 8 * 2 * 512 * 384,
        "writing": 8 * (6 * 512 * 384 + 3 * 512 * 1024),
        "logits": 32128 * 512,
        "layers": 8,
        "queries": 384,
        "keys": 384,
    },
    "smollm2_135m": {
        "reading": 30 * (2 * 576 * 576 + 2 * 576 * 192 + 3 * 576 * 1536),
        "writing": 30 * (2 * 576 * 576 + 2 * 576 * 192 + 3 * 576 * 1536),
        "logits": 49152 * 576,
        "layers": 30,
        "queries": 576,
        "keys": 192,
    },
}
# What tells how a CPU multiplies small numbers.
UNITS = ("avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")


def machine() -> dict:
    """Measures what the machine can do, and says what it is."""
    from keras_flan.training.peak import measure_peak

    known = Path("/proc/cpuinfo").read_text()
    flags = set(re.findall(r"\w+", known))
    block = np.ones(2**27, "float32")
    best = np.inf
    for _ in range(4):
        begin = time.perf_counter()
        block.sum()
        best = min(best, time.perf_counter() - begin)
    return {
        "cpu": re.search(r"model name\s*: (.*)", known).group(1),
        "cores": os.cpu_count(),
        "units": [unit for unit in UNITS if unit in flags],
        "float32_flops": measure_peak(),
        "bytes_per_second": block.nbytes / best,
    }


def at_most(model: str, plan: Mapping, found: Mapping) -> float:
    """Returns tokens per second that float32 allows: the sum of its parts.

    A part (reading the prompts, each new token of all paths) takes the longer
    of its products at the measured peak, and its bytes at the measured speed
    of memory: weights once, and the keys and values of prompts once for all
    of their paths.
    """
    work, flops = WORK[model], found["float32_flops"]
    prompts, width = plan["prompts"], plan["input_tokens"]
    paths = prompts * plan["samples"]
    reading = 2 * work["reading"] * prompts * width
    reading += 2 * work["layers"] * work["queries"] * prompts * width**2
    seconds = reading / flops
    each = work["writing"] + work["logits"]
    for written in range(1, plan["new_tokens"]):
        seen = width + written
        products = 2 * each * paths
        products += 4 * work["layers"] * work["queries"] * paths * seen
        places = prompts * width + paths * written
        held = each + 2 * work["layers"] * work["keys"] * places
        seconds += max(products / flops, 4 * held / found["bytes_per_second"])
    return paths * plan["new_tokens"] / seconds


def filled(page: str, results: Mapping, source: str = "page") -> str:
    """Returns the page with its tables put in."""
    blocks = {
        "machine": lambda: _machine(results),
        "decoding": lambda: _decoding(results),
        "training": lambda: _training(results),
        "ranking": lambda: _ranking(results),
    }

    def content(name: str) -> str:
        return blocks[name]() if name in results else "Not measured yet.\n"

    return fill_blocks(page, blocks, content, what="table", source=source)


def _machine(results: Mapping) -> str:
    found = results["machine"]
    return (
        f"{found['cores']} cores of an {found['cpu']} "
        f"({', '.join(found['units'])}); float32 products of "
        f"{found['float32_flops'] / 1e9:.0f} GFLOP/s, memory read at "
        f"{found['bytes_per_second'] / 1e9:.0f} GB/s, both measured.\n"
    )


def _decoding(results: Mapping) -> str:
    tables = []
    for model, shapes in results["decoding"].items():
        found = [shape["sides"] for shape in shapes.values()]
        sides = list(dict.fromkeys(side for one in found for side in one))
        rows = [[s, *(_rate(one.get(s)) for one in found)] for s in sides]
        limits = [
            f"{at_most(model, shape['plan'], results['machine']):.0f}"
            for shape in shapes.values()
        ]
        rows.append(["float32 at most", *limits])
        rows += [
            [f"{own} / {side}", *_ratios(found, own, side)]
            for own in sides
            if own.startswith("keras_flan")
            for side in sides
            if not side.startswith("keras_flan")
        ]
        header = [f"`{model}`, tokens per second", *shapes]
        tables.append(markdown(header, rows, "---:"))
    return "\n".join(tables)


def _rate(found: Mapping | None) -> str:
    if found is None:
        return ""
    if "stopped" in found:
        return f"under {found['rate']:.0f}"
    return f"{found['rate']:.0f} ({found['peak_gib']:.1f} GiB)"


def _ratios(found: list[Mapping], own: str, side: str) -> list[str]:
    pairs = [(sides.get(own), sides.get(side)) for sides in found]
    return [
        ("at least " if "stopped" in b else "") + f"{a['rate'] / b['rate']:.2f}"
        if a and b and "stopped" not in a
        else ""
        for a, b in pairs
    ]


def _training(results: Mapping) -> str:
    sides = results["training"]["sides"]
    best = max(
        row["tokens_per_second"]
        for side, row in sides.items()
        if not side.startswith("keras_flan")
    )
    rows = [
        [
            side,
            f"{row['tokens_per_second']:.0f}",
            f"{row['tokens_per_second'] / best:.2f}",
            f"{row['utilisation']:.0%}" if "utilisation" in row else "",
        ]
        for side, row in sides.items()
    ]
    header = ["side", "real tokens per second", "of the best peer", "of peak"]
    return markdown(header, rows, "---:")


def _ranking(results: Mapping) -> str:
    sides = results["ranking"]["sides"]
    first = next(iter(sides.values()))
    rows = [
        [
            side,
            f"{row['seconds']:.1f}",
            f"{row['compiling']:.1f}",
            f"{row['seconds'] / first['seconds']:.2f}",
        ]
        for side, row in sides.items()
    ]
    header = ["side", "seconds", "of them compiling", "ratio"]
    return markdown(header, rows, "---:")


def run(script: str, *arguments: object, results: Path) -> dict:
    """Runs a script of this folder; returns what it found."""
    command = [sys.executable, HERE / script, *arguments, "--results", results]
    subprocess.run([str(part) for part in command], check=True)
    return json.loads(results.read_text())


def main() -> None:
    """Runs the parts and fills the page."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--page", action="store_true")
    given = parser.parse_args()
    found = read_json(RESULTS) if RESULTS.is_file() else {}
    parts = () if given.page else given.parts
    if parts and given.data is None:
        parser.error("DATA: expected the folder of public data")
    if parts:
        found["machine"] = machine()
    for part in parts:
        own = RESULTS.with_suffix(f".{part}.part")
        if part == "decoding":
            kept = found.setdefault(part, {})
            write_json(own, kept)  # Shapes that are there are not run again.
            for prompts, samples in SHAPES:
                shape = ("--prompts", prompts, "--samples", samples)
                repeats = ("--repeats", given.repeats)
                if all(
                    f"{prompts} x {samples}" in kept.get(m, {}) for m in WORK
                ):
                    continue
                found[part] = run(
                    "self_consistency.py", *shape, *repeats, results=own
                )
                write_json(RESULTS, found)
        elif part == "training":
            data = ("--data", given.data, "--seconds", given.seconds)
            found[part] = run("finetune_throughput.py", *data, results=own)
        else:
            found[part] = run("ranking.py", given.data, results=own)
        own.unlink()
        write_json(RESULTS, found)
    fill_page(filled, RESULTS, PAGE)


if __name__ == "__main__":
    main()
