"""A small T5's train step on CPU, with and without `keras_flan.xla`'s flag.

    python benchmarks/cpu_flags.py [--steps 60]

The model is a T5 of a million parameters; the tokens are random. Each side is
a process of its own; they take turns twice.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time

SIDES = ("XLA's default", "keras_flan")
MODEL = {
    "vocabulary_size": 768,
    "num_layers": 2,
    "num_heads": 4,
    "hidden_dim": 128,
    "intermediate_dim": 256,
    "dropout": 0.0,
}
BATCH_SIZE = 4
LENGTHS = {"encoder": 160, "decoder": 64}


def measure(side: str, steps: int) -> float:
    """Returns the seconds of a step."""
    flags = os.environ.get("XLA_FLAGS")
    import keras_flan  # sets the flag

    if side != "keras_flan":
        os.environ.pop("XLA_FLAGS")
        if flags is not None:
            os.environ["XLA_FLAGS"] = flags

    import numpy as np

    model = keras_flan.models.T5.from_config_values(**MODEL)
    model.compile(
        keras_flan.training.Adafactor(0.01),
        keras_flan.training.TokenCrossentropy(),
    )
    rng = np.random.default_rng(0)
    x = {}
    for part, length in LENGTHS.items():
        shape = (BATCH_SIZE, length)
        x[f"{part}_token_ids"] = rng.integers(2, 700, shape)
        x[f"{part}_padding_mask"] = np.ones(shape, "int32")
    y = x["decoder_token_ids"]
    for step in range(steps + 3):
        if step == 3:
            begin = time.perf_counter()
        model.train_on_batch(x, y)
    return (time.perf_counter() - begin) / steps


def main() -> None:
    """Prints both sides and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        print(measure(args.side, args.steps))
        return
    found = {side: [] for side in SIDES}
    for _ in range(2):
        for side in SIDES:
            made = subprocess.run(
                [sys.executable, __file__, *sys.argv[1:], "--side", side],
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
    medians = [statistics.median(seconds) for seconds in found.values()]
    for side, seconds in found.items():
        print(f"{side:14}", *(f"{s * 1e3:7.1f} ms" for s in seconds))
    print(f"XLA's default takes {medians[0] / medians[1]:.2f} times as long")


if __name__ == "__main__":
    main()
