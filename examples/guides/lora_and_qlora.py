"""LoRA and QLoRA: a few trained weights on a frozen model.

Purpose: Train an adapter, on whole and on 4-bit weights; save, load, merge it.
Time: Two minutes on two CPU cores.
Accelerator: None; the same lines finetune a large model on one chip.
"""

import math
import os
import random

os.environ.setdefault("KERAS_BACKEND", "jax")

from keras_flan.data import (
    Example,
    Mixture,
    MixtureGroup,
    Task,
    build_dataset,
    write_records,
)
from keras_flan.models import (
    add_lora,
    load,
    load_adapter,
    merge_adapter,
    save_adapter,
)
from keras_flan.training import AdamW, TokenCrossentropy, held_out_loss

"""
## Something to learn

A secret rule: the code of a word is its letters in reverse, with dashes.
"""


def rows(count, seed):
    """Words of three letters, and their codes."""
    rng = random.Random(seed)
    for i in range(count):
        word = "".join(rng.choices("abcdefghij", k=3))
        answer = "-".join(reversed(word))
        fields = {"question": f"The code of {word}?", "answer": answer}
        yield Example(fields, "codes", f"codes:{seed}:{i}")


def batches(split, count, seed, **settings):
    """Packed rows of a split."""
    folder = f"runs/guide_lora/{split}"
    write_records(
        rows(count, seed),
        folder,
        name="codes",
        split=split,
        templates="generic",
        replace=True,
    )
    task = Task.from_directory(folder)
    group = MixtureGroup("codes", [task], formats={"zero_shot_direct": 1})
    return build_dataset(
        Mixture("codes", [group]),
        model.vocabulary,
        input_length=128,
        target_length=64,
        batch_size=8,
        **settings,
    )


"""
## LoRA

`add_lora` freezes the model, and puts two thin matrices beside each chosen
kernel. Optimizer state is the adapter's alone.
"""

model = load("flan_nano")
train = batches("train", 800, 0)
unseen = batches("test", 60, 1, repeat=False)


def trained(model):
    """Trains the adapter; returns the held-out loss before and after."""
    model.compile(AdamW(0.005), TokenCrossentropy())
    before = held_out_loss(model, unseen)
    model.fit(train, steps_per_epoch=20, shuffle=False, verbose=0)
    return before, held_out_loss(model, unseen)


add_lora(model, rank=8, alpha=16)
count = sum(math.prod(v.shape) for v in model.trainable_variables)
print(f"{count:,} of {model.count_params():,} weights are trained")
before, after = trained(model)
print(f"LoRA: {before:.3f} before, {after:.3f} after")

"""
The file has the adapter alone. It goes onto a fresh base, and can be merged
into its weights; then nothing of it is left to compute.
"""

save_adapter(model, "runs/guide_lora/adapter.safetensors", base="flan_nano")
print(f"{os.path.getsize('runs/guide_lora/adapter.safetensors'):,} bytes")
fresh = load("flan_nano")
load_adapter(fresh, "runs/guide_lora/adapter.safetensors")
merge_adapter(fresh)
fresh.compile(loss=TokenCrossentropy())
print(f"merged into a fresh base: {held_out_loss(fresh, unseen):.3f}")

"""
## QLoRA

The same on a base whose weights take 4 bits each: a product makes the numbers
of its kernel anew, in the backward pass too.
"""

small = load("flan_nano")
small.quantize("int4")
add_lora(small, rank=8, alpha=16)
before, after = trained(small)
print(f"QLoRA: {before:.3f} before, {after:.3f} after")
