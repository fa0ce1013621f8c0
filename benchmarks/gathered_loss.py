"""A step of Gemma 3 270M, with logits of all positions and of targets alone.

    python benchmarks/gathered_loss.py [--batch 2] [--gather 512]
        [--train all_but_embedding] [--precision float32] [--products auto]
        [--ways whole gather]

Rows have 512 input and 128 target tokens, and are full; a quarter of their
tokens are targets (`--share`). The weights are drawn, which changes no time:
shapes are those of Gemma 3 270M, whose vocabulary has 262,144 tokens. Products
are rounded to bfloat16 where the CPU has units for it, as `keras-flan flan` has
them; `--products float32` rounds none. Each way runs in a process of its own on
JAX, with AdamW. Printed are medians of the steps after the first, which
compiles: seconds, and processor seconds of all cores, which other programs on
the machine change less; tokens (of inputs and targets) per second; and the peak
of the resident memory.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time

LENGTHS = (512, 128)
SIZES = {
    **{"vocabulary_size": 262_144, "image_size": None, "num_layers": 18},
    **{"num_query_heads": 4, "num_key_value_heads": 1, "head_dim": 256},
    **{"hidden_dim": 640, "intermediate_dim": 2048},
    **{"use_post_ffw_norm": True, "use_post_attention_norm": True},
    **{"use_sliding_window_attention": True, "sliding_window_size": 512},
    "query_head_dim_normalize": True,
}
WAYS = ("whole", "gather")


def measure(args) -> dict:
    """Takes steps; returns seconds, losses and bytes."""
    from keras_flan.runtime import prepare_process

    prepare_process()
    import keras
    import keras_hub
    import numpy as np

    from keras_flan.models import DecoderOnly, add_lora
    from keras_flan.runtime.products import products_in
    from keras_flan.training import AdamW, TokenCrossentropy
    from keras_flan.training.start import freeze_embedding

    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(args.precision)
    backbone = keras_hub.models.Gemma3Backbone(
        **{**SIZES, "num_layers": args.layers}
    )
    model = DecoderOnly(backbone, remat=args.remat)
    if args.train == "lora":
        add_lora(model, rank=8)
    elif args.train == "all_but_embedding":
        freeze_embedding(model)
    loss = TokenCrossentropy(
        gather=args.gather if args.way == WAYS[1] else None
    )
    model.compile(AdamW(1e-4), loss)
    shape = (args.batch, sum(LENGTHS))
    rng = np.random.default_rng(0)
    ids = rng.integers(4, SIZES["vocabulary_size"], shape)
    x = {"token_ids": ids, "segment_ids": np.ones(shape, "int32")}
    weight = (np.arange(shape[1]) >= (1 - args.share) * shape[1]) * 1.0
    weight = np.broadcast_to(weight, shape).astype("float32")
    seconds, processor, losses = [], [], []
    for _ in range(args.steps + 1):
        begin, used = time.perf_counter(), time.process_time()
        with products_in(args.products):
            loss = model.train_on_batch(x, np.roll(ids, -1, 1), weight)
        losses.append(float(loss))
        seconds.append(time.perf_counter() - begin)
        processor.append(time.process_time() - used)
    return {
        "first": seconds[0],
        "processor": statistics.median(processor[1:]),
        "seconds": statistics.median(seconds[1:]),
        "losses": losses,
        "bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def main() -> None:
    """Prints each way and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--gather", type=int, default=512)
    parser.add_argument("--share", type=float, default=0.25)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--layers", type=int, default=SIZES["num_layers"])
    parser.add_argument("--remat", action="store_true")
    parser.add_argument(
        "--train",
        choices=("all", "all_but_embedding", "lora"),
        default="all_but_embedding",
    )
    parser.add_argument("--precision", default="float32")
    parser.add_argument(
        "--products", choices=("float32", "bfloat16", "auto"), default="auto"
    )
    parser.add_argument("--ways", choices=WAYS, nargs="+", default=WAYS)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.way:
        print(json.dumps(measure(args)))
        return
    found = {}
    tokens = args.batch * sum(LENGTHS)
    for way in args.ways:
        made = subprocess.run(
            [sys.executable, __file__, *sys.argv[1:], "--way", way],
            env={**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        found[way] = row = json.loads(made.stdout.splitlines()[-1])
        print(
            f"{way:7} {row['seconds']:7.2f} s per step "
            f"({row['processor']:.1f} of processors), "
            f"{tokens / row['seconds']:6.0f} tokens per second, first step "
            f"{row['first']:.0f} s, peak {row['bytes'] / 2**30:.1f} GiB, "
            f"losses {', '.join(f'{loss:.5f}' for loss in row['losses'])}",
            flush=True,
        )
    if len(found) == len(WAYS):
        whole, gather = (found[way] for way in WAYS)
        for name in ("seconds", "processor"):
            print(f"{name}: {whole[name] / gather[name]:.2f} times as fast")


if __name__ == "__main__":
    main()
