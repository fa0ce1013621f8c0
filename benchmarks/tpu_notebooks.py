"""Compiles what the notebooks run, with the TPU's own compiler.

    python benchmarks/tpu_notebooks.py
    python benchmarks/tpu_notebooks.py colab_tpu_flan_t5 --topology v5e:1x1

The notebooks' own cells write their `train.yaml`, as on a machine with the
slice's devices; that is planned and compiled as `keras-flan plan --compile`
does, with the pretrained models in their real size and without weights. For
each: the training step of `fit`, and the round of decoding that `ask` runs.
The table goes to `docs/tpu_notebooks.md`. Needs the extra [tpu].
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from keras_flan.files import atomic_write, write_json

ROOT = Path(__file__).parents[1]
NAMES = ("colab_tpu_flan_t5", "colab_tpu_gemma_lora")
# What Colab and Kaggle give, and a host of a v4 slice; chips of each.
TOPOLOGIES = {"v5e:1x1": 1, "v5e:2x4": 8, "v4:2x2x1": 4}
# Of `ask` in the last cells: 4 questions of up to so many tokens, 16 paths,
# 96 new tokens, which take 128 places.
ASKED = {
    "side": "decode",
    "paths": 16,
    "data": {"batch_size": 4, "input_length": 128, "target_length": 128},
}
GIB = 2**30
HEAD = """# The notebooks, compiled for TPUs

What a TPU would run of the notebooks in `examples/`, compiled by its own
compiler, beside what `keras-flan plan` says of the same `train.yaml`: GiB per
device (a v5e chip has 16, a v4 chip 32), and how long compiling took on two
cores. Made by

```bash
python benchmarks/tpu_notebooks.py
```

| notebook | slice | program | fits | GiB | GiB planned | seconds to compile |
|---|---|---|---|---|---|---|
"""


def t5_base(folder):
    """Writes the config of google/flan-t5-base, as its repository has it."""
    write_json(
        folder / "config.json",
        {
            "model_type": "t5",
            "architectures": ["T5ForConditionalGeneration"],
            "vocab_size": 32128,
            "d_model": 768,
            "d_kv": 64,
            "d_ff": 2048,
            "num_layers": 12,
            "num_decoder_layers": 12,
            "num_heads": 12,
            "dropout_rate": 0.1,
            "feed_forward_proj": "gated-gelu",
            "tie_word_embeddings": False,
            "relative_attention_num_buckets": 32,
            "relative_attention_max_distance": 128,
            "layer_norm_epsilon": 1e-6,
        },
    )


def gemma_2b(folder):
    """Writes the config of gemma_2b_en, as keras-hub has it."""
    import keras
    import keras_hub

    with keras.StatelessScope(initialize_variables=False):
        backbone = keras_hub.models.GemmaBackbone(
            vocabulary_size=256000,
            num_layers=18,
            num_query_heads=8,
            num_key_value_heads=1,
            hidden_dim=2048,
            intermediate_dim=32768,
            head_dim=256,
        )
    write_json(
        folder / "config.json", keras.saving.serialize_keras_object(backbone)
    )


def cells(name):
    """Returns the code of a notebook's cells."""
    text = (ROOT / "examples" / f"{name}.ipynb").read_text("utf-8")
    return [
        "".join(cell["source"])
        for cell in json.loads(text)["cells"]
        if cell["cell_type"] == "code"
    ]


def config(name, folder):
    """Returns the `TrainConfig` that a notebook trains, by its own cells."""
    base = folder / "pretrained"
    base.mkdir()
    {"colab_tpu_flan_t5": t5_base, "colab_tpu_gemma_lora": gemma_2b}[name](base)
    (folder / "mixture.yaml").touch()
    os.environ["KERAS_FLAN_FOLDER"] = str(folder)
    code = cells(name)
    space: dict = {}
    for said in ("DEVICES =", "BASE ="):
        [cell] = [c for c in code if said in c]
        exec(cell, space)
    # Its config alone, from here instead of from the internet.
    space["BASE"] = base
    [cell] = [c for c in code if "train.yaml" in c and "plan(" in c]
    exec(cell, space)
    return space["config"]


def compiled(name, topology):
    """Yields a row of the table for each program of a notebook."""
    from keras_flan.planning.compiler import compile_job
    from keras_flan.planning.planner import plan

    with tempfile.TemporaryDirectory() as folder:
        trained = config(name, Path(folder))
        for kind, settings in (("train", {}), ("decode", ASKED)):
            made = plan(trained, topology, **settings)
            said = compile_job(made.job, count=False)
            why = "yes" if said["fits"] else "no: " + said["message"][:300]
            held = said["bytes_per_device"]["total"] or 0
            yield (
                f"| {name} | {topology} | {kind} | {why} | {held / GIB:.2f} | "
                f"{made.memory.total / GIB:.2f} | {said['seconds']:.0f} |"
            )


def main():
    """Compiles, prints and writes; fails if something doesn't fit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=list(NAMES))
    parser.add_argument("--topology", action="append", choices=TOPOLOGIES)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    topologies = options.topology or list(TOPOLOGIES)
    if options.one:
        for row in compiled(options.names[0], topologies[0]):
            print(row, flush=True)
        return
    rows = []
    for name in options.names:
        for topology in topologies:
            at, count = ["--topology", topology], TOPOLOGIES[topology]
            # Each in a process of its own: devices are settled at the start.
            done = subprocess.run(
                [sys.executable, __file__, name, "--one", *at],
                env={
                    **os.environ,
                    "JAX_PLATFORMS": "cpu",
                    "XLA_FLAGS": "--xla_force_host_platform_device_count="
                    f"{count}",
                },
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            new = [r for r in done.stdout.splitlines() if r.startswith("|")]
            print("\n".join(new), flush=True)
            rows += new
    if options.names == list(NAMES) and topologies == list(TOPOLOGIES):
        with atomic_write(ROOT / "docs" / "tpu_notebooks.md") as file:
            file.write(HEAD + "\n".join(rows) + "\n")
    refused = [row for row in rows if "| yes |" not in row]
    if refused:
        sys.exit("\n".join(refused))


if __name__ == "__main__":
    main()
