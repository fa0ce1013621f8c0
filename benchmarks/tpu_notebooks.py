"""Compiles what the notebooks run, with the TPU's own compiler.

    python benchmarks/tpu_notebooks.py
    python benchmarks/tpu_notebooks.py colab_tpu_flan_t5 --topology v4:2x2x1

The settings and the adapter are the notebooks' own cells, run as they stand;
the pretrained models are built in their real size without weights. For each:
the training step of `fit`, and the round of decoding that `ask` runs. The
table goes to `docs/tpu_notebooks.md`. Needs the extra [tpu].
"""

import argparse
import ast
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from keras_flan.files import atomic_write
from keras_flan.planning.programs import (
    SETTINGS,
    decode_program,
    packed_rows,
    topology_mesh,
    train_program,
    verdict,
)

ROOT = Path(__file__).parents[1]
NAMES = ("colab_tpu_flan_t5", "colab_tpu_gemma_lora")
# What Colab and Kaggle give, and a host of a v4 slice.
TOPOLOGIES = ("v5e:2x4", "v4:2x2x1")
# Of `ask` in the last cells: 4 questions of up to so many tokens, 16 paths,
# 96 new tokens, which take 128 places.
ASKED = (4, 16, 128, 128)
GIB = 2**30
HEAD = """# The notebooks, compiled for TPUs

What a TPU would run of the notebooks in `examples/`, compiled by its own
compiler: GiB per device (a v5e chip has 16, and so has each of the two
cores of a v4 chip), and how long compiling took on two cores. Made by

```bash
python benchmarks/tpu_notebooks.py
```

| notebook | slice | program | fits | GiB | seconds to compile |
|---|---|---|---|---|---|
"""


def cells(name):
    """Returns the code of a notebook's cells."""
    text = (ROOT / "examples" / f"{name}.ipynb").read_text("utf-8")
    return [
        "".join(cell["source"])
        for cell in json.loads(text)["cells"]
        if cell["cell_type"] == "code"
    ]


def only(code, *calls):
    """Returns the statements of a cell that import, or call one of `calls`."""
    body = [
        statement
        for statement in ast.parse(code).body
        if isinstance(statement, ast.Import | ast.ImportFrom)
        or any(
            isinstance(node, ast.Call) and ast.unparse(node.func) in calls
            for node in ast.walk(statement)
            if isinstance(statement, ast.Expr)
        )
    ]
    return compile(ast.Module(body, []), "notebook", "exec")


def pretrained(name):
    """Returns the model that a notebook loads; it must be in its real size."""
    import keras
    import keras_hub

    from keras_flan.models import T5, DecoderOnly

    if name == "colab_tpu_flan_t5":
        # google/flan-t5-base
        return T5.from_config_values(
            vocabulary_size=32128,
            num_layers=12,
            num_heads=12,
            hidden_dim=768,
            intermediate_dim=2048,
            dropout=0.1,
        )
    keras.config.set_dtype_policy("bfloat16")  # As in its cell.
    # gemma_2b_en
    backbone = keras_hub.models.GemmaBackbone(
        vocabulary_size=256000,
        num_layers=18,
        num_query_heads=8,
        num_key_value_heads=1,
        hidden_dim=2048,
        intermediate_dim=32768,
        head_dim=256,
    )
    return DecoderOnly(backbone)


def programs(name, topology):
    """Yields the programs of a notebook."""
    import keras

    from keras_flan.distribution import Layouts, ModelParallel

    code = cells(name)
    space: dict = {}
    [settings] = [c for c in code if "MESH, PRESET =" in c]
    [adapter] = [c for c in code if "add_lora(" in c]
    with tempfile.TemporaryDirectory() as folder:
        os.environ["KERAS_FLAN_FOLDER"] = folder
        exec(settings, space)
    with keras.StatelessScope(initialize_variables=False):
        space["model"] = model = pretrained(name)
        exec(only(adapter, "add_lora"), space)
    exec(only(adapter, "model.compile"), space)
    model.jit_compile = False  # Compiled here.
    mesh = topology_mesh(topology, space["MESH"])
    distribution = ModelParallel(Layouts(mesh, space["PRESET"]).check(model))
    shape = space["BATCH_SIZE"], space["INPUT_LENGTH"], space["TARGET_LENGTH"]
    batch = packed_rows(model, shape, distribution)
    yield "train", train_program(model, batch, distribution)
    yield "decode", decode_program(model, ASKED, distribution)


def main():
    """Compiles, prints and writes; fails if something doesn't fit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=list(NAMES))
    parser.add_argument("--topology", action="append")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    topologies = options.topology or list(TOPOLOGIES)
    if options.one:
        [name], [topology] = options.names, topologies
        for kind, program in programs(name, topology):
            said = verdict(kind, *program)
            held = said["bytes_per_device"]["total"]
            print(
                f"| {name} | {topology} | {kind} | "
                f"{'yes' if said['fits'] else 'no: ' + said['message'][:300]} "
                f"| {held / GIB:.2f} | {said['seconds']:.0f} |",
                flush=True,
            )
        return
    rows = []
    for name in options.names:
        for topology in topologies:
            at = ["--topology", topology]
            # Each in a process of its own: devices are settled at the start.
            done = subprocess.run(
                [sys.executable, __file__, name, "--one", *at],
                env={**os.environ, **SETTINGS},
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            rows += [r for r in done.stdout.splitlines() if r.startswith("|")]
            print(done.stdout, end="", flush=True)
    if options.names == list(NAMES) and topologies == list(TOPOLOGIES):
        with atomic_write(ROOT / "docs" / "tpu_notebooks.md") as file:
            file.write(HEAD + "\n".join(rows) + "\n")
    refused = [row for row in rows if "| yes |" not in row]
    if refused:
        sys.exit("\n".join(refused))


if __name__ == "__main__":
    main()
