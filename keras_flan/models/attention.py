"""Attention for packed rows and for prompts that many paths share.

All of it by plain functions: scores, masks and softmax in float32, keys and
values with as many heads as the model stores (never repeated per query head).
"""

from keras import ops

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


def attend(query, sources, *, scale, soft_cap=None, dropout=None):
    """Grouped-query attention over one or several sources at once.

    Several sources share one softmax, as if their keys were one after the
    other. So the keys of a prompt are stored once for all its paths.

    Args:
        query: `(batch, queries, heads, width)`.
        sources: A list of `(key, value, mask)`. Keys and values have the
            shape `(batch, keys, key_heads, width)`, seen by all queries, or
            `(batch, queries, keys, key_heads, width)`, each query's own;
            masks are bool `(batch, queries or 1, keys)`.
        scale: float. The scores are multiplied by it.
        soft_cap: float or `None`. Scores become `cap * tanh(score / cap)`.
        dropout: Applied to the attention weights, if given.

    Returns:
        `(batch, queries, heads, width)`.
    """
    batch, queries, heads, width = ops.shape(query)
    key_heads = sources[0][0].shape[-2]
    query = ops.reshape(
        query, (batch, queries, key_heads, heads // key_heads, width)
    )
    scores = []
    for key, _, mask in sources:
        product = ops.einsum(f"bqkgw,{_axes(key)}->bkgqs", query, key)
        product = ops.cast(product, "float32") * scale
        if soft_cap is not None:
            product = ops.tanh(product / soft_cap) * soft_cap
        scores.append(ops.where(mask[:, None, None], product, MASKED))
    weights = ops.softmax(ops.concatenate(scores, axis=-1), axis=-1)
    weights = ops.cast(weights, query.dtype)
    if dropout is not None:
        weights = dropout(weights)
    output, start = 0.0, 0
    for key, value, _ in sources:
        stop = start + ops.shape(key)[-3]
        output = output + ops.einsum(
            f"bkgqs,{_axes(value)}->bqkgw", weights[..., start:stop], value
        )
        start = stop
    return ops.reshape(output, (batch, queries, heads, width))


def _axes(key):
    return "bskw" if len(key.shape) == 4 else "bqskw"
