"""Planning: what fits on which TPU or GPU, and how long it takes.

Purpose: Ask before renting: bytes, hours, and what to change so that it fits.
Time: Seconds, on any machine.
Accelerator: None; with the extra [tpu] the TPU's own compiler confirms it.
"""

import os
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")

from keras_flan.planning.planner import plan
from keras_flan.training import TrainConfig

"""
## A job of the paper

Flan-PaLM 540B as the paper trained it, on 512 chips of v4. The paper's table 2
has its FLOPs.
"""

made = plan("flan_palm_540b", "v4:8x8x8", "batch=32,model=16")
print(f"fits: {made.fits}, {made.total_flops:.2g} FLOPs, ", end="")
print(f"{made.memory.total / 2**30:.1f} of {made.limit / 2**30:.1f} GiB")

"""
## Your own run

The YAML of a training is a plan's input, as it is. This one finetunes T5 XL;
nothing is downloaded, as the sizes of the paper's models are known.
"""

folder = Path("runs/guide_planning")
folder.mkdir(parents=True, exist_ok=True)
(folder / "train.yaml").write_text(
    """
output: run
mixture: mixture.yaml
steps: 1000
precision: mixed_bfloat16
model: {init: "hf://google/t5-xl-lm-adapt"}
data: {input_length: 1024, target_length: 256, batch_size: 64}
optimizer: {name: adafactor, learning_rate: 0.0005}
"""
)
config = TrainConfig.from_yaml(folder / "train.yaml")
for topology in ("v5litepod-8", "v5litepod-16"):
    made = plan(config, topology)
    print(f"{topology}: {made.problem or 'fits'}")
    for one in made.advice:
        print("  ", one.text)

"""
`keras-flan plan train.yaml --suggest` prints a table of slices, best first, and
`--write fits.yaml` writes the settings that fit.
"""
