"""Rotary positions, turned in one pass."""

from typing import Any

from keras import ops

from keras_flan.tensors import Tensor


def rotate(layer: Any, x: Tensor, positions: Tensor) -> Tensor:
    """Turns the heads of queries or keys as keras-hub's layer does, to the bit.

    Each half of a head is finished before the two are laid side by side.
    keras-hub stacks the halves before they are turned, for which the TPU's
    compiler writes all queries several times in float32, in other layouts.

    Args:
        layer: A `keras_hub.layers.RotaryEmbedding`.
        x: `(batch, length, heads, width)`.
        positions: int `(batch or 1, length)`.

    Returns:
        As `x`, also in its dtype.

    Source: arXiv:2104.09864.
    """
    wide = ops.cast(x, layer.compute_dtype)
    # Both halves of these are the same.
    cos, sin = (
        ops.split(each, 2, axis=-1)[0]
        for each in layer._compute_cos_sin_embedding(wide, 0, positions)
    )
    return _turned(wide, cos, sin, x.dtype)


def turn(x: Tensor, angles: Tensor) -> Tensor:
    """Turns the heads of queries or keys, as keras-hub's SmolLM3 does.

    Args:
        x: `(batch, length, heads, width)`.
        angles: float32 `(batch or 1, length, width / 2)`.

    Returns:
        As `x`, also in its dtype.
    """
    cos, sin = (
        ops.cast(each(angles)[:, :, None], x.dtype)
        for each in (ops.cos, ops.sin)
    )
    return _turned(x, cos, sin, x.dtype)


def _turned(wide: Tensor, cos: Tensor, sin: Tensor, dtype: Any) -> Tensor:
    first, second = ops.split(wide, 2, axis=-1)
    turned = first * cos - second * sin, second * cos + first * sin
    return ops.concatenate([ops.cast(half, dtype) for half in turned], -1)
