"""Flash attention for packed rows, with a bias by distance and dropout.

T5's attention as a Pallas kernel for TPUs, forward and backward. Scores,
weights and bias exist for a block of keys and queries at a time, never as
`(rows, heads, queries, keys)`. All tensors are `(rows, heads, width, length)`
here, so that a width of 64 wastes no lanes, and a block of scores is
`(keys, queries)`, so that the statistics of queries are rows.

Source: arXiv:2205.14135 and arXiv:2307.08691 (flash attention);
arXiv:1910.10683, section 2.1 (the bias).
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from keras_flan.errors import InputError
from keras_flan.models.dropout import Drop
from keras_flan.models.kernels.choice import interprets
from keras_flan.models.kernels.cost import flash_blocks, padded
from keras_flan.models.kernels.flash_blocks import (
    How,
    Inputs,
    backward,
    forward,
)
from keras_flan.models.kernels.placing import Place, placed

_SUBLANES = 8


def flash_attention(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    query_segments: jax.Array,
    key_segments: jax.Array,
    *,
    causal: bool = False,
    bias: jax.Array | None = None,
    drop: Drop | None = None,
) -> jax.Array:
    """Attends as `keras_flan.models.attention.attend` does, without scale.

    Where a query is padding, or sees no key, the result is 0.

    Args:
        query: `(rows, queries, heads, width)`.
        key: `(rows, keys, heads, width)`.
        value: `(rows, keys, heads, width)`.
        query_segments: int `(rows, queries)`; 0 is padding.
        key_segments: int `(rows, keys)`.
        causal: Whether keys behind their query are hidden.
        bias: `(heads, queries + keys - 1)`, what is added to the scores of
            each distance from query to key, from `1 - queries` on.
        drop: Drops what `keras_flan.models.dropout.Dropout` drops of weights
            `(rows, heads, queries, keys)`; `None` for nothing.

    Returns:
        `(rows, queries, heads, width)`.

    Raises:
        InputError: If a row is too long, see `flash_blocks`.
    """
    blocks = flash_blocks(
        query.shape[1],
        key.shape[1],
        query.shape[3],
        bytes_per_number=query.dtype.itemsize,
        biased=bias is not None,
    )
    if blocks is None:
        raise InputError(
            f"attention: rows of {query.shape[1]} and {key.shape[1]} places "
            "are too long for the kernel; set model.attention to einsum"
        )
    how = How(
        heads=query.shape[2],
        queries=query.shape[1],
        keys=key.shape[1],
        query_block=blocks[0],
        key_block=blocks[1],
        causal=causal,
        biased=bias is not None,
        rate=drop.rate if drop else 0.0,
        interpret=interprets(),
    )
    seed = drop.key if drop else jnp.zeros((2,), "int32")

    def local(place: Place, *tensors: Any) -> jax.Array:
        query, key, value, query_segments, key_segments, seed, *rest = tensors
        first = jnp.stack([place.first_row, place.first_head])
        places = jnp.concatenate([seed, first.astype("int32")])
        bank = _shifted_rows(how, rest[0]) if rest else None
        # Padding among the queries is no segment of the keys.
        query_segments = jnp.where(query_segments > 0, query_segments, -1)
        inputs = Inputs(
            _by_length(query, how.query_block),
            _by_length(key, how.key_block),
            _by_length(value, how.key_block),
            bank,
            _row(query_segments, how.query_block, -1),
            _row(key_segments, how.key_block, 0),
            places,
        )
        out = _attend(how, inputs)
        return jnp.transpose(out[..., : how.queries], (0, 3, 1, 2))

    segments = query_segments, key_segments
    biases = () if bias is None else (bias.astype("float32"),)
    return placed(local, (query, key, value), (*segments,), (seed,), biases)


def _by_length(x: jax.Array, block: int) -> jax.Array:
    """`(rows, length, heads, width)` as the kernels take it."""
    x = jnp.transpose(x, (0, 2, 3, 1))
    more = padded(x.shape[-1], block) - x.shape[-1]
    return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, more)))


def _row(segments: jax.Array, block: int, fill: int) -> jax.Array:
    more = padded(segments.shape[1], block) - segments.shape[1]
    segments = segments.astype("int32")
    segments = jnp.pad(segments, ((0, 0), (0, more)), constant_values=fill)
    return segments[:, None]


def _shifted_rows(how: How, bias: jax.Array) -> jax.Array:
    """The bias by distance from key to query, `(heads, 8, how.distances)`.

    Each of the 8 rows is shifted right by one against the row before; the
    kernels make 128 of them, in which every block's bias is a slice.
    """
    before = how.padded_keys - how.keys + 1
    after = how.padded_queries - how.queries
    line = jnp.pad(bias[:, ::-1], ((0, 0), (before, after)))
    rows = [jnp.roll(line, n, axis=1) for n in range(_SUBLANES)]
    return jnp.stack(rows, axis=1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(how: How, inputs: Inputs) -> jax.Array:
    return _forward(how, inputs)[0]


def _forward(how: How, inputs: Inputs) -> tuple[jax.Array, tuple]:
    near = _near(how, inputs.query_segments, inputs.key_segments)
    out, normalizer = forward(how, inputs, *_ends(near))
    return out, (inputs, out, normalizer)


def _backward(how: How, kept: tuple, slope: jax.Array) -> tuple[Inputs]:
    inputs, out, normalizer = kept
    near = _near(how, inputs.query_segments, inputs.key_segments)
    wide = slope.astype("float32") * out.astype("float32")
    inner = jnp.sum(wide, axis=2, keepdims=True)
    slopes = backward(
        how,
        inputs,
        (slope, normalizer, inner),
        *_ends(jnp.swapaxes(near, 1, 2)),
    )
    query, key, value, *bank = slopes
    nothing: Any = None
    return (
        Inputs(
            query, key, value, bank[0] if bank else None,
            query_segments=nothing, key_segments=nothing, places=nothing,
        ),
    )  # fmt: skip


_attend.defvjp(_forward, _backward)


def _near(how: How, queries: jax.Array, keys: jax.Array) -> jax.Array:
    """Which blocks may see each other, `(rows, query_blocks, key_blocks)`."""

    def ends(segments: jax.Array, block: int) -> tuple[jax.Array, jax.Array]:
        blocks = segments.reshape(segments.shape[0], -1, block)
        real = blocks > 0
        low = jnp.where(real, blocks, jnp.iinfo("int32").max).min(axis=-1)
        return low, jnp.where(real, blocks, 0).max(axis=-1)

    low, high = ends(queries, how.query_block)
    key_low, key_high = ends(keys, how.key_block)
    near = low[:, :, None] <= key_high[:, None]
    near &= key_low[:, None] <= high[:, :, None]
    if how.causal:
        last = (jnp.arange(low.shape[1]) + 1) * how.query_block - 1
        start = jnp.arange(key_low.shape[1]) * how.key_block
        near &= last[:, None] >= start[None]
    return near


def _ends(near: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The first and last of the blocks on the last axis; 0 and -1 if none."""
    count = near.shape[-1]
    any_near = near.any(axis=-1)
    first = jnp.where(any_near, jnp.argmax(near, axis=-1), 0)
    last = count - 1 - jnp.argmax(near[..., ::-1], axis=-1)
    last = jnp.where(any_near, last, -1)
    return first.astype("int32"), last.astype("int32")
