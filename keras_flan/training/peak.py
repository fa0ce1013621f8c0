"""What a model's training step needs, and what the devices can do at most."""

import functools
import math
import time

import jax
import keras
import numpy as np
from keras import ops

from keras_flan.distribution.chips import chips
from keras_flan.models.compression.places import in_few_bits
from keras_flan.models.experts import upcycling
from keras_flan.models.language_model import LanguageModel

_SIDE = 1536
# Weights that may have two axes, and take part in no matrix product: T5's
# distances, norms of stacked layers, and biases.
_NO_KERNELS = ("self_attention/embeddings", "norm/weight", "/scale", "/bias")


def model_flops(model: LanguageModel, inputs: float, targets: float) -> float:
    """Returns the operations of training a model on tokens.

    Two per token for each weight of a matrix product in the forward pass,
    two in the backward pass, and two more for weights that are trained;
    attention's own products are left out.

    Args:
        model: A `keras_flan.models.T5` or `DecoderOnly`.
        inputs: Real input tokens.
        targets: Real target tokens.
    """
    encoder, decoder = _weights(model)
    if model.decoder_only:
        return sum(decoder) * (inputs + targets)
    return sum(encoder) * inputs + sum(decoder) * targets


def _weights(model: LanguageModel) -> tuple[list[float], list[float]]:
    """Operations per token of each kernel, of encoder and decoder."""
    encoder: list[float] = []
    decoder: list[float] = []
    small = in_few_bits(model.backbone)
    routing = upcycling.record_of(model.backbone)
    for variable in model.variables:
        shape = tuple(variable.shape)
        if (kernel := small.get(id(variable))) is not None:
            # Codes stand for the kernel, two to a byte; scales are no kernel.
            shape = kernel.shape if variable is kernel.codes else ()
        if len(shape) < 2 or variable.path.endswith(_NO_KERNELS):
            continue
        is_embedding = "embedding" in variable.path
        # A T5Gemma's encoder has an embedding of its own.
        is_head = "reverse" in variable.path or (
            is_embedding
            and _tied(model.backbone)
            and "encoder_token" not in variable.path
        )
        if is_embedding and not is_head:
            continue
        cost = math.prod(shape) * (6.0 if variable.trainable else 4.0)
        if routing and "/experts/" in variable.path and len(shape) == 3:
            # Places that are filled: a token passes a few.
            cost *= routing["top_k"] / routing["experts"]
        # The name of the layers, one by one or stacked.
        inside = "encoder_layer" in variable.path
        (encoder if inside else decoder).append(cost)
    return encoder, decoder


def _tied(backbone: keras.Model) -> bool:
    for name in ("tie_embedding_weights", "tie_word_embeddings"):
        if hasattr(backbone, name):
            return getattr(backbone, name)
    return True


@functools.cache
def peak_flops(dtype: str = "float32") -> float:
    """Returns the FLOP/s of all devices: known for a TPU, else measured."""
    if keras.backend.backend() == "jax":
        devices = jax.devices()
        for chip in chips().values():
            if chip.kind == devices[0].device_kind:
                return chip.flops * len(devices)
        return measure_peak(dtype) * jax.process_count()
    return measure_peak(dtype)


def measure_peak(dtype: str = "float32", side: int = _SIDE) -> float:
    """Measures the FLOP/s of a large matrix product, the best of four."""
    rng = np.random.default_rng(0)
    x = ops.cast(rng.normal(size=(side, side)).astype("float32"), dtype)
    best = np.inf
    for _ in range(5):  # The first one compiles.
        begin = time.perf_counter()
        float(ops.cast(ops.matmul(x, x), "float32")[0, 0])
        best = min(best, time.perf_counter() - begin)
    return 2 * side**3 / best
