"""Attention for packed rows.

All of it by plain functions: scores, masks and softmax in float32, keys and
values with as many heads as the model stores (never repeated per query head).
"""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_flan.models.stacking import scan_layers
from keras_flan.tensors import Tensor

# Given to the scores of masked positions; finite, so that a row without any
# visible position (padding) stays a number.
MASKED = -1e9


def same_segment(query_segments: Tensor, key_segments: Tensor) -> Tensor:
    """Which keys each query sees, bool `(batch, queries, keys)`.

    Padding is never seen. Padding that looks sees every example, as in
    keras-hub: nothing reads what it computes.

    Args:
        query_segments: int `(batch, queries)`; 0 is padding.
        key_segments: int `(batch, keys)`.
    """
    query, key = query_segments[:, :, None], key_segments[:, None, :]
    same = ops.logical_or(query == key, query == 0)
    return ops.logical_and(same, key > 0)


def block_causal(
    segment_ids: Tensor, prefix_mask: Tensor | None = None
) -> Tensor:
    """Which keys each query of a packed row sees: earlier ones of its own.

    Args:
        segment_ids: int `(batch, length)`; 0 is padding.
        prefix_mask: int or bool `(batch, length)`, 1 where a key is seen by
            its whole segment, also by what comes before it; or `None`.

    Returns:
        bool `(batch, length, length)`, queries before keys.

    Example:
        >>> block_causal(np.array([[1, 1, 2]]))[0].astype(int)
        [[1, 0, 0], [1, 1, 0], [0, 0, 1]]
    """
    place = ops.arange(ops.shape(segment_ids)[1])
    earlier = (place[:, None] >= place[None, :])[None]
    if prefix_mask is not None:
        seen = ops.cast(prefix_mask, "bool")[:, None, :]
        earlier = ops.logical_or(earlier, seen)
    return ops.logical_and(same_segment(segment_ids, segment_ids), earlier)


def within_window(
    mask: Tensor, query_places: Tensor, key_places: Tensor, window: int | None
) -> Tensor:
    """Narrows a mask to keys less than `window` places away.

    Args:
        mask: bool `(batch, queries, keys)`.
        query_places: int `(queries)` or `(batch, queries)`.
        key_places: int `(keys)` or `(batch, keys)`.
        window: `None` is no limit.
    """
    if window is None:
        return mask
    distance = query_places[..., :, None] - key_places[..., None, :]
    return ops.logical_and(mask, ops.absolute(distance) < window)


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor,
    *,
    scale: float | None = None,
    bias: Tensor | None = None,
    soft_cap: float | None = None,
    dropout: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Grouped-query attention.

    Args:
        query: `(batch, queries, heads, width)`.
        key: `(batch, keys, key_heads, width)`.
        value: `(batch, keys, key_heads, width)`.
        mask: bool `(batch, queries or 1, keys)`.
        scale: The scores are multiplied by it.
        bias: `(1, heads, queries, keys)`, added to the scores.
        soft_cap: Scores become `cap * tanh(score / cap)`.
        dropout: Applied to the attention weights `(batch, heads, queries,
            keys)`, if given; where heads share keys their axis is two,
            `(key_heads, heads / key_heads)`.

    Returns:
        `(batch, queries, heads, width)`.
    """
    batch, queries, heads, width = ops.shape(query)
    key_heads = key.shape[2]
    # An axis of one is not free: XLA's products of it are slower on CPU.
    axis, split = "", [heads]
    if heads != key_heads:
        axis, split = "g", [key_heads, heads // key_heads]
        query = ops.reshape(query, (batch, queries, *split, width))
    scores = ops.einsum(f"bqk{axis}w,bskw->bk{axis}qs", query, key)
    scores = ops.cast(scores, "float32")
    if scale is not None:
        scores = scores * scale
    if bias is not None:
        bias = ops.reshape(bias, (1, *split, *ops.shape(bias)[2:]))
        scores = scores + ops.cast(bias, "float32")
    if soft_cap is not None:
        scores = ops.tanh(scores / soft_cap) * soft_cap
    mask = ops.expand_dims(mask, [1 + n for n in range(len(split))])
    scores = ops.where(mask, scores, MASKED)
    weights = ops.cast(ops.softmax(scores, axis=-1), query.dtype)
    if dropout is not None:
        weights = dropout(weights)
    output = ops.einsum(f"bk{axis}qs,bskw->bqk{axis}w", weights, value)
    return ops.reshape(output, (batch, queries, heads, width))


def attend_by_chunks(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor,
    *,
    chunk: int | None = None,
    bias: Tensor | None = None,
    dropout: Callable[[Tensor, Any, int], Tensor] | None = None,
    **settings: float | None,
) -> Tensor:
    """Attends as `attend` does, to one source, some queries at a time.

    The scores and weights of all queries never exist together, `(batch,
    heads, queries, keys)`: those of a chunk are made again in the backward
    pass. The result is the same.

    Args:
        query: `(batch, queries, heads, width)`.
        key: `(batch, keys, key_heads, width)`.
        value: `(batch, keys, key_heads, width)`.
        mask: bool `(batch, queries or 1, keys)`.
        chunk: Queries at a time; `None` for all.
        bias: `(heads, queries + keys - 1)`, what is added to the scores of
            each distance from query to key, from `1 - queries` on.
        dropout: A function of attention weights, the number of their first
            query and the number of all queries.
        **settings: `scale` and `soft_cap`, as for `attend`.

    Returns:
        `(batch, queries, heads, width)`.
    """
    count, keys = ops.shape(query)[1], ops.shape(key)[1]
    tensors = [key, value] if bias is None else [key, value, bias]

    def some(part: Tensor, mask: Tensor, start: Any, *source: Tensor) -> Tensor:
        key, value, *rest = source
        bias = None
        if rest:
            size = ops.shape(part)[1]
            bias = spread_distances(rest[0], count, keys, start, size)

        def drop(weights: Tensor) -> Tensor:
            return dropout(weights, start, count) if dropout else weights

        return attend(
            part, key, value, mask, bias=bias, dropout=drop, **settings
        )

    if chunk is None or count <= chunk:
        return some(query, mask, 0, *tensors)
    return _by_chunks(keras.remat(some), query, mask, tensors, chunk)


def _by_chunks(
    some: Callable[..., Tensor],
    query: Tensor,
    mask: Tensor,
    tensors: list[Tensor],
    chunk: int,
) -> Tensor:
    """Calls `some` with each chunk of queries; the last may be shorter."""
    count, keys = ops.shape(query)[1], ops.shape(tensors[0])[1]
    whole = count // chunk * chunk
    mask = ops.broadcast_to(mask, (ops.shape(mask)[0], count, keys))

    def split(x: Tensor) -> Tensor:
        """`(batch, count, ...)` to `(chunks, batch, chunk, ...)`."""
        x = x[:, :whole]
        shape = (ops.shape(x)[0], whole // chunk, chunk, *ops.shape(x)[2:])
        return ops.moveaxis(ops.reshape(x, shape), 1, 0)

    _, made = scan_layers(
        lambda carry, part: (carry, some(*part, *tensors)),
        ops.zeros(()),
        (split(query), split(mask), ops.arange(0, whole, chunk)),
    )
    made = ops.moveaxis(made, 0, 1)
    made = ops.reshape(
        made, (ops.shape(query)[0], whole, *ops.shape(query)[2:])
    )
    if whole == count:
        return made
    rest = some(query[:, whole:], mask[:, whole:], whole, *tensors)
    return ops.concatenate([made, rest], axis=1)


def spread_distances(
    values: Tensor,
    queries: int,
    keys: int,
    start: Tensor | int = 0,
    size: int | None = None,
) -> Tensor:
    """Gives each pair of query and key the value of its distance.

    By copies, not by looking up: so its gradient is a sum, not a scatter.

    Args:
        values: `(heads, queries + keys - 1)`, by the distance from query to
            key, `1 - queries` first.
        queries: All queries.
        keys: All keys.
        start: The first query wanted.
        size: How many queries are wanted; default all.

    Returns:
        `(1, heads, size, keys)`.
    """
    size = queries if size is None else size
    heads, width = ops.shape(values)[0], keys + size - 1
    if size != queries:
        values = ops.slice(values, (0, queries - start - size), (heads, width))
    # Rows of `width` cut from a repetition of `width + 1` numbers are each
    # shifted by one against the row before.
    values = ops.pad(values, ((0, 0), (0, 1)))
    values = ops.reshape(ops.tile(values, (1, size)), (1, heads, -1))
    values = values[:, :, : size * width]
    values = ops.reshape(values, (1, heads, size, width))
    return values[..., size - 1 :]
