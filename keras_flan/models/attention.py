"""Attention for packed rows.

All of it by plain functions: scores, masks and softmax in float32, keys and
values with as many heads as the model stores (never repeated per query head).
"""

import keras
from keras import ops

from keras_flan.models.stacking import scan_layers

# Given to the scores of masked positions; finite, so that a row without any
# visible position (padding) stays a number.
MASKED = -1e9


def same_segment(query_segments, key_segments):
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


def block_causal(segment_ids, prefix_mask=None):
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


def within_window(mask, query_places, key_places, window):
    """Narrows a mask to keys less than `window` places away.

    Args:
        mask: bool `(batch, queries, keys)`.
        query_places: int `(queries)` or `(batch, queries)`.
        key_places: int `(keys)` or `(batch, keys)`.
        window: int, or `None` for no limit.
    """
    if window is None:
        return mask
    distance = query_places[..., :, None] - key_places[..., None, :]
    return ops.logical_and(mask, ops.absolute(distance) < window)


def attend(
    query,
    key,
    value,
    mask,
    *,
    scale=None,
    bias=None,
    soft_cap=None,
    dropout=None,
):
    """Grouped-query attention.

    Args:
        query: `(batch, queries, heads, width)`.
        key: `(batch, keys, key_heads, width)`.
        value: `(batch, keys, key_heads, width)`.
        mask: bool `(batch, queries or 1, keys)`.
        scale: float or `None`. The scores are multiplied by it.
        bias: `(1, heads, queries, keys)`, added to the scores, or `None`.
        soft_cap: float or `None`. Scores become `cap * tanh(score / cap)`.
        dropout: Applied to the attention weights `(batch, heads, queries,
            keys)`, if given; where heads share keys their axis is two,
            `(key_heads, heads / key_heads)`.

    Returns:
        `(batch, queries, heads, width)`.
    """
    batch, queries, heads, width = ops.shape(query)
    key_heads = key.shape[2]
    # An axis of one is not free: XLA's products of it are slower on CPU.
    axis, split = "", (heads,)
    if heads != key_heads:
        axis, split = "g", (key_heads, heads // key_heads)
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
    query, key, value, mask, *, chunk=None, bias=None, dropout=None, **settings
):
    """Attends as `attend` does, to one source, some queries at a time.

    The scores and weights of all queries never exist together, `(batch,
    heads, queries, keys)`: those of a chunk are made again in the backward
    pass. The result is the same.

    Args:
        query: `(batch, queries, heads, width)`.
        key: `(batch, keys, key_heads, width)`.
        value: `(batch, keys, key_heads, width)`.
        mask: bool `(batch, queries or 1, keys)`.
        chunk: int. Queries at a time; `None` for all.
        bias: `(heads, queries + keys - 1)`, what is added to the scores of
            each distance from query to key, from `1 - queries` on; or
            `None`.
        dropout: A function of attention weights, the number of their first
            query and the number of all queries; or `None`.
        **settings: `scale` and `soft_cap`, as for `attend`.

    Returns:
        `(batch, queries, heads, width)`.
    """
    count, keys = ops.shape(query)[1], ops.shape(key)[1]
    tensors = [key, value] if bias is None else [key, value, bias]

    def some(part, mask, start, key, value, *bias):
        size = ops.shape(part)[1]
        added = None
        if bias:
            added = spread_distances(*bias, count, keys, start, size)
        return attend(
            part,
            key,
            value,
            mask,
            bias=added,
            dropout=dropout and (lambda w: dropout(w, start, count)),
            **settings,
        )

    if chunk is None or count <= chunk:
        return some(query, mask, 0, *tensors)
    some = keras.remat(some)
    whole = count // chunk * chunk
    mask = ops.broadcast_to(mask, (ops.shape(mask)[0], count, keys))

    def split(x):
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


def spread_distances(values, queries, keys, start=0, size=None):
    """Gives each pair of query and key the value of its distance.

    By copies, not by looking up: so its gradient is a sum, not a scatter.

    Args:
        values: `(heads, queries + keys - 1)`, by the distance from query to
            key, `1 - queries` first.
        queries: int. All queries.
        keys: int. All keys.
        start: int or int tensor, the first query wanted.
        size: int. How many queries are wanted; default all.

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
