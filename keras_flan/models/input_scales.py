"""Factors of the embeddings that a decoder reads, to differentiate by.

The derivative by a factor that is 1 is the gradient at the embedding times
the embedding itself, for every place at once.
"""

import contextlib
import contextvars
from collections.abc import Iterator

from keras import ops

from keras_flan.tensors import Tensor

_scales: contextvars.ContextVar[Tensor | None] = contextvars.ContextVar(
    "input_scales", default=None
)


@contextlib.contextmanager
def input_scales(scales: Tensor | None) -> Iterator[None]:
    """Has decoders read embeddings times these, in a forward pass within.

    Args:
        scales: float `(batch, length)`, of what the decoder reads; None
            leaves all as it is.
    """
    token = _scales.set(scales)
    try:
        yield
    finally:
        _scales.reset(token)


def scaled(x: Tensor) -> Tensor:
    """Returns embeddings `(batch, length, width)` times their factors."""
    scales = _scales.get()
    return x if scales is None else x * ops.cast(scales, x.dtype)[..., None]
