"""A T5's train step: memory and time to the first step, beside keras-hub's.

    python benchmarks/train_step.py [--size base] [--batch 8]
        [--lengths 512 128]

Both sides take `train_on_batch` of `keras.Model` on the same random tokens
on JAX, each in a process of its own. keras-hub's is its `T5Seq2SeqLM` with
its own loss, as a user would compile it, with AdamW. Ours is `T5` with scanned
layers that keep the results of products with weights, and Adafactor. Chunks of
attention and loss are for longer rows: here they take two seconds of compiling
and save 5% of memory.

Memory is the high-water mark of the process's resident memory, minus what it
held before the model was made. The time to the first step is that of the
first call, which traces and compiles. The second run of each side finds its
programs in JAX's persistent compilation cache, new at the start.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time

# T5 v1.1: layers, heads, width, width inside the feed-forward block.
SIZES = {
    "test": (2, 4, 64, 128),
    "small": (8, 6, 512, 1024),
    "base": (12, 12, 768, 2048),
}
VOCABULARY = 32128
SIDES = ("keras-hub", "keras_flan")


def stock(sizes):
    """keras-hub's task, compiled as in its own examples."""
    import keras
    import keras_hub

    backbone = keras_hub.models.T5Backbone(
        **sizes, activation="gelu", tie_embedding_weights=False
    )
    model = keras_hub.models.T5Seq2SeqLM(backbone)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.AdamW(1e-4), loss)
    return model


def ours(sizes):
    """This package's model, with its lean switches on."""
    from keras_flan.models import T5
    from keras_flan.training import Adafactor, TokenCrossentropy

    model = T5.from_config_values(**sizes, scan=True, remat="products")
    model.compile(Adafactor(1e-3), TokenCrossentropy())
    return model


def measure(args) -> dict:
    """Takes two steps; returns seconds and bytes."""
    import jax
    import numpy as np

    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    layers, heads, width, inner = SIZES[args.size]
    sizes = {
        "vocabulary_size": VOCABULARY,
        "num_layers": layers,
        "num_heads": heads,
        "hidden_dim": width,
        "intermediate_dim": inner,
        "key_value_dim": 64,
        "dropout": 0.05,
    }
    rng = np.random.default_rng(0)
    x = {}
    for side, length in zip(("encoder", "decoder"), args.lengths, strict=True):
        shape = (args.batch, length)
        x[f"{side}_token_ids"] = rng.integers(2, VOCABULARY, shape)
        x[f"{side}_padding_mask"] = np.ones(shape, "int32")
    y, weight = x["decoder_token_ids"], np.ones(shape, "float32")
    before = resident()
    model = (ours if args.side == "keras_flan" else stock)(sizes)
    seconds = []
    for _ in range(2):
        begin = time.perf_counter()
        # keras-hub's task also returns metrics.
        np.ravel(model.train_on_batch(x, y, weight))
        seconds.append(time.perf_counter() - begin)
    return {
        "first": seconds[0],
        "next": seconds[1],
        "bytes": resident() - before,
    }


def resident() -> int:
    """The most memory that this process has held so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    """Prints both sides and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", choices=SIZES, default="base")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--lengths", type=int, nargs=2, default=(512, 128))
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        print(json.dumps(measure(args)))
        return
    found = {}
    print(f"{'':24} {'first step':>11} {'next step':>10} {'memory':>10}")
    with tempfile.TemporaryDirectory() as cache:
        for run in ("cold", "cached"):
            for side in SIDES:
                made = subprocess.run(
                    [sys.executable, __file__, *sys.argv[1:], "--side", side],
                    env={
                        **os.environ,
                        "KERAS_BACKEND": "jax",
                        "JAX_PLATFORMS": "cpu",
                        "JAX_COMPILATION_CACHE_DIR": cache,
                    },
                    stdout=subprocess.PIPE,
                    text=True,
                    check=True,
                )
                row = json.loads(made.stdout.splitlines()[-1])
                found[run, side] = row
                print(
                    f"{side + ', ' + run:24} {row['first']:9.1f} s "
                    f"{row['next']:8.2f} s {row['bytes'] / 2**20:6.0f} MiB"
                )
    stock_cold, cold = (found["cold", side] for side in SIDES)
    cached = found["cached", "keras_flan"]
    print(
        f"ours / keras-hub: memory {cold['bytes'] / stock_cold['bytes']:.2f}, "
        f"first step {cold['first'] / stock_cold['first']:.2f}, from the "
        f"cache {cached['first'] / stock_cold['first']:.2f}"
    )
    # What a first step takes beyond the next is tracing and compiling.
    waits = [row["first"] - row["next"] for row in (stock_cold, cold, cached)]
    print(
        f"the same without the step itself: first step "
        f"{waits[1] / waits[0]:.2f}, from the cache {waits[2] / waits[0]:.2f}"
    )


if __name__ == "__main__":
    main()
