"""Learning from its own answers, with rewards that can be checked.

Purpose: Let a model sample, judge its paths, and train on what was right.
Time: Three minutes on two CPU cores.
Accelerator: None.
"""

import os
import random
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")

from keras_flan.data import Example, write_records
from keras_flan.improvement import ImproveConfig, improve

"""
## Questions with answers, without reasoning

The labels judge; how to get there is the model's own. `answer_kind` says how an
answer is found in a text.
"""


def rows(count, seed):
    """Sums of two numbers in words that the model knows."""
    rng = random.Random(seed)
    for i in range(count):
        a, b = rng.randint(2, 9), rng.randint(2, 9)
        question = f"Ann has {a} pens and buys {b} more. How many pens now?"
        fields = {"question": question, "answer": f"{a + b}"}
        yield Example(fields, "pens", f"pens:{seed}:{i}")


folder = Path("runs/guide_improve")
for split, count, seed in (("train", 300, 0), ("test", 40, 1)):
    write_records(
        rows(count, seed),
        folder / "records" / "pens" / split,
        name="pens",
        split=split,
        templates="generic",
        answer_kind="number",
        replace=True,
    )
(folder / "mixture.yaml").write_text(
    """
name: pens
records: records
groups:
  all: {tasks: [pens], formats: {zero_shot_direct: 1}}
"""
)

"""
## The loop

Each round samples eight paths per question with the weights as they are, judges
them, and trains on the right ones by `model.fit` (rejection sampling, or RFT).
`method: advantage` would weigh all paths by how much better than their group
they are (GRPO). `guard` asks questions that are never trained on.
"""

(folder / "improve.yaml").write_text(
    """
output: runs/guide_improve/run
mixture: mixture.yaml
model: {init: flan_nano}
method: right
rounds: 3
prompts: 16
formats: {zero_shot_cot: 1}
sampling: {paths: 8}
data: {input_length: 64, target_length: 48, batch_size: 8}
optimizer: {name: adafactor, learning_rate: 0.001}
guard: {every: 1, examples: 40, patience: 4}
"""
)
found = improve(ImproveConfig.from_yaml(folder / "improve.yaml"))

"""
## What to look at

The share of right paths in each round, and the guard's. `paths.jsonl` has every
path with its reward and weight, and `improvement.html` shows them, both in
`runs/guide_improve/run`.
"""

for number, one in enumerate(found["rounds"], 1):
    print(number, {k: one[k] for k in ("reward", "right", "kept")})
print("guard:", found["guard"])
print("rounds of decoding that were compiled:", found["compilations"])
