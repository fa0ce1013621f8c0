"""cuDNN's flash attention over packed rows, for decoder-only models on GPUs."""

from typing import Literal

import jax
import jax.numpy as jnp

from keras_flan.models.kernels.placing import Place, placed


def cudnn_attention(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    segment_ids: jax.Array,
    *,
    scale: float = 1.0,
    window: int | None = None,
    soft_cap: None = None,
    implementation: Literal["cudnn", "xla"] = "cudnn",
) -> jax.Array:
    """Causal attention within segments that does not write its scores.

    The segments are a mask `(rows, 1, length, length)` in the dtype of the
    queries: it is written once for all heads.

    Args:
        query: `(rows, length, heads, width)`, half precision.
        key: `(rows, length, key_heads, width)`.
        value: `(rows, length, key_heads, width)`.
        segment_ids: int `(rows, length)`; 0 is padding.
        scale: The scores are multiplied by it.
        window: Keys less than so many places back are seen; `None` for all.
        soft_cap: Not supported.
        implementation: `"xla"` computes the same anywhere, for tests.

    Returns:
        `(rows, length, heads, width)`.
    """

    def local(_: Place, *tensors: jax.Array) -> jax.Array:
        query, key, value, segments = tensors
        mask = segments[:, None, :, None] == segments[:, None, None, :]
        return jax.nn.dot_product_attention(
            query,
            key,
            value,
            mask=mask,
            scale=scale,
            is_causal=True,
            local_window_size=None if window is None else (window - 1, 0),
            implementation=implementation,
        )

    del soft_cap
    segments = jnp.asarray(segment_ids)
    return placed(local, (query, key, value), (segments,))
