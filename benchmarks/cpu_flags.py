"""Train steps on CPU: whose products they are, and in which precision.

    python benchmarks/cpu_flags.py [--steps 60] [--model nano small]

Two T5s with random weights, on random tokens: `nano` has a million
parameters, `small` the size of T5 v1.1 Small. XLA's default leaves matrix
products and other sums to YNNPACK, keras_flan the products alone; the third
side leaves it nothing. Two more multiply in bfloat16: what `products:
bfloat16` does, and Keras's `mixed_bfloat16`. Each side is a process of its
own; they take turns twice.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time

FLAG = "--xla_cpu_experimental_ynn_fusion_type"
# What is added to the user's flags; `None` is what keras_flan adds.
SIDES = {
    "keras_flan": None,
    "XLA's default": "",
    "no YNNPACK": f"{FLAG}=",
    "bfloat16 products": None,
    "mixed_bfloat16": None,
}
# Vocabulary, layers, heads, width, width inside the feed-forward block; rows
# of a batch, and the lengths of inputs and targets.
MODELS = {
    "nano": ((768, 2, 4, 128, 256), (4, 160, 64)),
    "small": ((32128, 8, 6, 512, 1024), (2, 512, 128)),
}


def measure(side: str, name: str, steps: int) -> float:
    """Returns the seconds of a step."""
    flags = os.environ.get("XLA_FLAGS", "")
    if SIDES[side] is not None:
        os.environ["XLA_FLAGS"] = f"{flags} {SIDES[side]}".strip()

    import keras
    import numpy as np

    import keras_flan
    from keras_flan.runtime.products import products_in

    if side == "mixed_bfloat16":
        keras.config.set_dtype_policy(side)
    (vocabulary, layers, heads, width, inner), (rows, *lengths) = MODELS[name]
    model = keras_flan.models.T5.from_config_values(
        vocabulary_size=vocabulary,
        num_layers=layers,
        num_heads=heads,
        hidden_dim=width,
        intermediate_dim=inner,
        dropout=0.0,
    )
    model.compile(
        keras_flan.training.Adafactor(0.01),
        keras_flan.training.TokenCrossentropy(),
    )
    rng = np.random.default_rng(0)
    x = {}
    for part, length in zip(("encoder", "decoder"), lengths, strict=True):
        x[f"{part}_token_ids"] = rng.integers(2, 700, (rows, length))
        x[f"{part}_padding_mask"] = np.ones((rows, length), "int32")
    y = x["decoder_token_ids"]
    with products_in("bfloat16" if side.startswith("bf") else "float32"):
        for step in range(steps + 3):
            if step == 3:
                begin = time.perf_counter()
            model.train_on_batch(x, y)
    return (time.perf_counter() - begin) / steps


def main() -> None:
    """Prints all sides and how much longer the others take."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, help="default: 60 of nano, 3")
    parser.add_argument("--model", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        print(measure(args.side, args.model[0], args.steps))
        return
    for name in args.model:
        steps = str(args.steps or (60 if name == "nano" else 3))
        found = {side: [] for side in SIDES}
        for side in [*SIDES] * 2:
            plan = ["--model", name, "--steps", steps, "--side", side]
            made = subprocess.run(
                [sys.executable, __file__, *plan],
                env={
                    **os.environ,
                    "KERAS_BACKEND": "jax",
                    "JAX_PLATFORMS": "cpu",
                },
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            found[side].append(float(made.stdout.splitlines()[-1]))
        ours = statistics.median(found["keras_flan"])
        for side, seconds in found.items():
            each = " ".join(f"{s * 1e3:7.1f} ms" for s in seconds)
            ratio = statistics.median(seconds) / ours
            print(
                f"{name:5} {side:14} {each}: takes {ratio:.2f} times as long",
                flush=True,
            )


if __name__ == "__main__":
    main()
