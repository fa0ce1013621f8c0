"""From states to logits."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
from keras import ops

from keras_flan.runtime.products import bfloat16_operands
from keras_flan.tensors import Tensor


def project(embedding: Any, x: Tensor) -> Tensor:
    """Projects states to float32 logits by an embedding in reverse.

    Of weights in bfloat16 the products are those of bfloat16 numbers, but
    their sums are not rounded: of logits near 20, bfloat16 tells apart
    eighths.

    Args:
        embedding: A `keras.layers.ReversibleEmbedding`.
        x: `(..., hidden_dim)`.

    Returns:
        float32 `(..., vocabulary_size)`.
    """
    dtype = keras.backend.standardize_dtype(embedding.variable_dtype)
    if dtype != "bfloat16":
        return ops.cast(embedding(x, reverse=True), "float32")
    with _summed_in_float32(embedding), bfloat16_operands():
        return ops.cast(embedding(x, reverse=True), "float32")


@contextlib.contextmanager
def _summed_in_float32(embedding: Any) -> Iterator[None]:
    before = embedding.reverse_dtype
    embedding.reverse_dtype = "float32"
    try:
        yield
    finally:
        embedding.reverse_dtype = before
