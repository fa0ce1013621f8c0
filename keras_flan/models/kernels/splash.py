"""JAX's splash attention over packed rows, for decoder-only models on TPUs."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.pallas.ops.tpu import splash_attention as splash

from keras_flan.models.kernels.choice import interprets
from keras_flan.models.kernels.cost import block_size, padded
from keras_flan.models.kernels.placing import Place, head_parts, placed


def splash_attention(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    segment_ids: jax.Array,
    *,
    scale: float = 1.0,
    window: int | None = None,
    soft_cap: float | None = None,
) -> jax.Array:
    """Causal attention within segments that does not write its scores.

    As `keras_flan.models.attention.attend` with the mask of `block_causal`,
    but for the rows of padding, which see earlier padding here.

    Args:
        query: `(rows, length, heads, width)`.
        key: `(rows, length, key_heads, width)`.
        value: `(rows, length, key_heads, width)`.
        segment_ids: int `(rows, length)`; 0 is padding.
        scale: The scores are multiplied by it.
        window: Keys less than so many places back are seen; `None` for all.
        soft_cap: Scores become `cap * tanh(score / cap)`.

    Returns:
        `(rows, length, heads, width)`.
    """
    length, heads = query.shape[1:3]
    block = block_size(length)
    more = padded(length, block) - length
    query = (query.astype("float32") * scale).astype(query.dtype)
    query, key, value = (
        jnp.pad(x, ((0, 0), (0, more), (0, 0), (0, 0)))
        for x in (query, key, value)
    )
    segment_ids = jnp.pad(segment_ids.astype("int32"), ((0, 0), (0, more)))
    query, key, value = _divisible(query, key, value)

    def local(_: Place, *tensors: jax.Array) -> jax.Array:
        query, key, value = (jnp.swapaxes(x, 1, 2) for x in tensors[:3])
        segments = splash.SegmentIds(q=tensors[3], kv=tensors[3])
        one_key = key.shape[1] == 1
        if one_key:
            key, value = key[:, 0], value[:, 0]
        kernel = _kernel(
            query.shape[1:], one_key, window, soft_cap, interprets()
        )
        out = jax.vmap(kernel)(query, key, value, segments)
        return jnp.swapaxes(out, 1, 2)

    out = placed(local, (query, key, value), (segment_ids,))
    return out[:, :length, :heads]


def _divisible(
    query: jax.Array, key: jax.Array, value: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Makes heads that the devices can divide as the distribution would."""
    parts = head_parts()
    heads, own = query.shape[2], key.shape[2]
    if own == 1:
        # Of as many heads as there are devices, some may have nothing to do.
        more = -heads % parts
        query = jnp.pad(query, ((0, 0), (0, 0), (0, more), (0, 0)))
    elif heads % parts == 0 and own % parts:
        # Each device gets the heads of keys that its queries share.
        times = np.lcm(own, parts) // own
        key, value = (jnp.repeat(x, times, axis=2) for x in (key, value))
    return query, key, value


@functools.lru_cache(maxsize=32)
def _kernel(
    row: tuple[int, int, int],
    one_key: bool,
    window: int | None,
    soft_cap: float | None,
    interpret: bool,
) -> Any:
    """Returns the kernel for queries `(heads, length, width)`."""
    heads, length, width = row
    shape, block = (length, length), block_size(length)
    mask: splash.Mask = splash.CausalMask(shape)
    if window is not None:
        mask = splash.LocalMask(shape, (window - 1, 0), 0)
    make = (
        splash.make_splash_mqa_single_device
        if one_key
        else splash.make_splash_mha_single_device
    )
    # A narrow head would waste lanes as the last axis.
    layout = splash.QKVLayout.HEAD_DIM_MINOR
    if width % 128:
        layout = splash.QKVLayout.SEQ_MINOR
    sizes = splash.BlockSizes(
        *(block,) * 8, q_layout=layout, k_layout=layout, v_layout=layout
    )
    # What is kept must not belong to the program that is traced now.
    with jax.ensure_compile_time_eval():
        return make(
            splash.MultiHeadMask([mask] * heads),
            block_sizes=sizes,
            attn_logits_soft_cap=soft_cap,
            interpret=interpret,
        )
