"""The memory of optimizer states for Flan-T5-XL: ours beside Keras's.

    python benchmarks/adafactor_memory.py

The model is built without its weights, so it needs seconds and little memory,
and the bytes are exact: the variables that `fit` would make.
"""

import argparse
import collections
import functools
import json
import math
import os

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
import numpy as np

from keras_flan.distribution.abstract import build_abstract
from keras_flan.models import T5
from keras_flan.runtime.tensorflow import tf
from keras_flan.training import Adafactor

# Flan-T5, by https://huggingface.co/google/flan-t5-xl (config.json).
SIZES = {
    "small": (8, 6, 512, 1024),
    "base": (12, 12, 768, 2048),
    "large": (24, 16, 1024, 2816),
    "xl": (24, 32, 2048, 5120),
    "xxl": (24, 64, 4096, 10240),
}


def numel(variables):
    """The numbers in all variables."""
    return sum(math.prod(v.shape) for v in variables)


def states(size):
    """Numbers of the parameters and of each optimizer's slots."""
    layers, heads, width, inner = SIZES[size]

    model = build_abstract(
        lambda: T5.from_config_values(
            vocabulary_size=32128,
            num_layers=layers,
            num_heads=heads,
            hidden_dim=width,
            intermediate_dim=inner,
            key_value_dim=64,
        )
    )
    variables = model.trainable_variables
    ours = {
        "keras_flan Adafactor": Adafactor(5e-4),
        "keras_flan Adafactor, momentum": Adafactor(5e-4, momentum=0.9),
    }
    for optimizer in ours.values():
        build_abstract(functools.partial(optimizer.build, variables))
    slots = {name: numel(o.variables) for name, o in ours.items()}
    # Keras's Adafactor can't be built without values: a weight of each shape
    # at a time.
    shapes = collections.Counter(tuple(v.shape) for v in variables)
    slots["keras Adafactor"] = sum(
        keras_slots(shape) * count for shape, count in shapes.items()
    )
    return numel(variables), slots


def keras_slots(shape):
    """Numbers that Keras's Adafactor keeps for one weight."""
    optimizer = keras.optimizers.Adafactor(5e-4)
    alone = numel(optimizer.variables)
    optimizer.build([keras.Variable(np.zeros(shape, "float32"))])
    return numel(optimizer.variables) - alone


def main():
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", choices=SIZES, default="xl")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    tf()  # first, so that it starts quietly
    parameters, slots = states(args.size)
    if args.json:
        print(json.dumps({"parameters": parameters, "states": slots}))
        return
    print(
        f"Flan-T5-{args.size}: {parameters:,} parameters, "
        f"{parameters * 4 / 2**30:.2f} GiB in float32"
    )
    for name, count in slots.items():
        print(
            f"{name:32} {count * 4 / 2**30:8.3f} GiB "
            f"{count / parameters:8.2%} of the parameters"
        )


if __name__ == "__main__":
    main()
