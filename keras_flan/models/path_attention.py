"""Attention of many paths to one prompt and to each path's own past.

A path is a row of a fixed grid: `slots` prompts, `lanes` paths of each. The
past of all of them is a ring that one clock turns: at each step every path
writes at place `clock % length`. What lies `d` places back was written `d`
steps ago, in every path alike. So a step writes one slice of each cache, the
distance of a place is the same for all paths, and a path that starts at any
time only has to know its own age: it sees no further back.
"""

from keras import ops

from keras_flan.models.attention import MASKED

# Long caches are read up to one of so many ends, short ones whole.
_WINDOWS = 4
_SHORTEST_WINDOW = 32


def each_layer(function, *caches):
    """Calls `function` with the keys and values of each layer.

    Args:
        function: Takes as many `(keys, values)` as there are caches.
        *caches: A list of pairs, one a layer, or one pair of all layers,
            stacked.
    """
    if isinstance(caches[0], list):
        return [function(*pairs) for pairs in zip(*caches, strict=True)]
    return function(*caches)


def cache_shapes(memory, slots, lanes, length):
    """Returns the shapes of all caches, from those of one prompt's memory.

    Args:
        memory: Shapes of the keys `(..., 1, heads, width, input_length)` and
            values `(..., 1, heads, input_length, width)` of one prompt, see
            `each_layer`.
        slots: int. Prompts that are held.
        lanes: int. Paths of each.
        length: int. Places of the ring.

    Returns:
        `{"memory": ..., "past": ...}` of the same form. The place is the
        last axis of keys and the last but one of values: so both products
        of attention read memory in order.
    """

    def widen(pair):
        return tuple((*s[:-4], slots, *s[-3:]) for s in pair)

    def grow(pair):
        (*stack, _, heads, width, _), _ = pair
        grid = (*stack, slots, lanes, heads)
        return (*grid, width, length), (*grid, length, width)

    return {
        "memory": each_layer(widen, memory),
        "past": each_layer(grow, memory),
    }


def prompt_memory(key, value):
    """Keys and values `(..., places, heads, width)` as memory holds them."""
    axes = list(range(len(key.shape) - 3))
    place, heads, width = range(len(axes), len(axes) + 3)
    return (
        ops.transpose(key, (*axes, heads, width, place)),
        ops.transpose(value, (*axes, heads, place, width)),
    )


def write_past(past, key, value, place):
    """Writes one place of a layer's caches (of one layer, or stacked).

    Args:
        past: Keys `(..., slots, lanes, heads, width, length)` and values
            `(..., slots, lanes, heads, length, width)`.
        key: `(..., slots, lanes, heads, width)`.
        value: As `key`.
        place: int scalar tensor.

    Returns:
        The new keys and values.
    """
    keys, values = past
    where = [0] * len(keys.shape)
    return (
        ops.slice_update(keys, [*where[:-1], place], key[..., None]),
        ops.slice_update(
            values, [*where[:-2], place, 0], ops.expand_dims(value, -2)
        ),
    )


def attend_paths(query, past, ages, clock, *, adjust, prompt=None, new=None):
    """Grouped-query attention of one new token of each path.

    Args:
        query: `(slots, lanes, heads, width)`.
        past: Keys `(slots, lanes, key_heads, width, length)` and values
            `(slots, lanes, key_heads, length, width)`.
        ages: int `(slots, lanes)`, tokens each path has seen before.
        clock: int scalar tensor: the new token's place is
            `clock % length`.
        adjust: A function of float32 scores `(slots, lanes, key_heads,
            group, places)`, and int distances `(places)` or `(slots, lanes,
            1, 1, places)`, to scores: adds a scale, a bias, a window.
        prompt: `None`, or keys `(slots, key_heads, width, places)`, values
            `(slots, key_heads, places, width)`, and how many of the places
            are seen, int `(slots)`: the path begins behind those.
        new: `None` if the new key and value are in `past` already, else the
            two, `(slots, lanes, key_heads, width)`.

    Returns:
        `(slots, lanes, heads, width)`.
    """
    slots, lanes, heads, width = query.shape
    key_heads, length = past[0].shape[2], past[0].shape[-1]
    group = heads // key_heads
    query = ops.reshape(query, (slots, lanes, key_heads, group, width))
    nearest = 0 if new is None else 1

    def own(keys, values, places):
        """Reads the first `places` of the ring."""
        distance = ops.mod(clock - ops.arange(places), length)
        scores = ops.matmul(query, keys[..., :places])
        scores = adjust(ops.cast(scores, "float32"), distance)
        seen = ops.logical_and(
            distance >= nearest, distance <= ages[..., None]
        )[:, :, None, None]
        scores = ops.where(seen, scores, MASKED)
        return _summary(scores, values[..., :places, :], ops.matmul)

    windows = _windows(length)
    if len(windows) == 1:
        parts = [own(*past, length)]
    else:
        # Before the ring is full for the first time, its end is not read.
        filled = ops.where(clock < length, clock, length - 1)
        parts = [
            ops.switch(
                filled // windows[0],
                [
                    lambda keys, values, places=places: own(
                        keys, values, places
                    )
                    for places in windows
                ],
                *past,
            )
        ]
    if prompt is not None:
        keys, values, seen = prompt
        place = ops.arange(keys.shape[-1])
        # All paths of a prompt are queries of one product.
        scores = ops.einsum("slkgw,skwt->slkgt", query, keys)
        now = (seen[:, None] + ages)[..., None, None, None]
        scores = adjust(ops.cast(scores, "float32"), now - place)
        mask = (place < seen[:, None])[:, None, None, None]
        scores = ops.where(mask, scores, MASKED)
        parts.append(
            _summary(
                scores,
                values,
                lambda w, v: ops.einsum("slkgt,sktw->slkgw", w, v),
            )
        )
    if new is not None:
        key, value = new
        scores = ops.sum(query * key[:, :, :, None], axis=-1, keepdims=True)
        scores = adjust(ops.cast(scores, "float32"), ops.zeros((1,), "int32"))
        value = ops.broadcast_to(value[:, :, :, None], query.shape)
        parts.append((scores, ops.ones_like(scores), value))
    return ops.reshape(_join(parts), (slots, lanes, heads, width))


def _windows(length):
    """How much of a ring may be read: equal steps up to all of it."""
    step = max(_SHORTEST_WINDOW, length // _WINDOWS)
    return [*range(step, length, step), length]


def _summary(scores, values, product):
    """One source's part of a softmax: its maximum, sum and weighted values."""
    top = ops.max(scores, axis=-1, keepdims=True)
    weights = ops.exp(scores - top)
    total = ops.sum(weights, axis=-1, keepdims=True)
    return top, total, product(ops.cast(weights, values.dtype), values)


def _join(parts):
    """Joins sources as if their keys were one after the other."""
    if len(parts) == 1:
        [(_, total, weighted)] = parts
        return weighted / ops.cast(total, weighted.dtype)
    top = parts[0][0]
    for other, _, _ in parts[1:]:
        top = ops.maximum(top, other)
    total, output = 0.0, 0.0
    for own_top, own_total, weighted in parts:
        share = ops.exp(own_top - top)
        total = total + share * own_total
        output = output + share * ops.cast(weighted, "float32")
    return ops.cast(output / total, parts[0][2].dtype)
