"""Attention of many paths to one prompt and to each path's own past.

A path is a row of a fixed grid: `slots` prompts, `lanes` paths of each. The
past of all of them is a ring that one clock turns: at each step every path
writes at the same place. What lies `d` places back was written `d` steps ago,
in every path alike. So the distance of a place is the same for all paths, and
a path that starts at any time only has to know its own age: it sees no
further back.

The ring is cut into blocks, newest first. A step writes one place of the
newest block alone, and reads no block that was never written. A block is a
tensor of its own: a part of a tensor would be copied before it is multiplied.
When the newest block is full, the oldest takes its place (`turn`).
"""

from collections.abc import Callable
from typing import Any

from keras import ops

from keras_flan.models.attention import MASKED
from keras_flan.tensors import Tensor

# Keys and values.
Pair = tuple[Tensor, Tensor]
# Makes of scores `(..., places)` and distances what adds a scale or a bias.
Adjust = Callable[[Tensor, Tensor], Tensor]
# What a softmax needs of one source: maximum, sum, weighted values.
_Part = tuple[Tensor, Tensor, Tensor]

# Blocks of a ring; a short one has fewer.
_BLOCKS = 4
_SHORTEST_BLOCK = 32


def each_layer(function: Callable, *caches: Any) -> Any:
    """Calls `function` with the keys and values of each layer.

    Args:
        function: Takes as many `(keys, values)` as there are caches.
        *caches: A list of pairs, one per layer, or one pair of all layers,
            stacked.
    """
    if isinstance(caches[0], list):
        return [function(*pairs) for pairs in zip(*caches, strict=True)]
    return function(*caches)


def cache_shapes(
    memory: Any, slots: int, lanes: int, length: int
) -> dict[str, Any]:
    """Returns the shapes of all caches, from those of one prompt's memory.

    Args:
        memory: Shapes of the keys `(..., 1, heads, width, input_length)` and
            values `(..., 1, heads, input_length, width)` of one prompt, see
            `each_layer`.
        slots: Prompts that are held.
        lanes: Paths of each.
        length: Places of the ring.

    Returns:
        `{"memory": ..., "past": ...}`; the memory of the same form, of the
        past a list of such, one per block. Keys of the past are as its values:
        so a place is written in one piece.
    """
    places = block_length(length)

    def widen(pair: Any) -> Any:
        return tuple((*s[:-4], slots, *s[-3:]) for s in pair)

    def grow(pair: Any) -> Any:
        _, (*stack, _, heads, _, width) = pair
        return ((*stack, slots, lanes, heads, places, width),) * 2

    return {
        "memory": each_layer(widen, memory),
        "past": [each_layer(grow, memory)] * (length // places),
    }


def block_length(length: int) -> int:
    """How many places the blocks of a ring of `length` places have."""
    return max(min(length, _SHORTEST_BLOCK), length // _BLOCKS)


def turn(past: list[Any]) -> list[Any]:
    """Makes the oldest block the newest, to be written anew."""
    return [past[-1], *past[:-1]]


def prompt_memory(key: Tensor, value: Tensor) -> Pair:
    """Keys and values `(..., places, heads, width)` as memory holds them."""
    axes = list(range(len(key.shape) - 3))
    place, heads, width = range(len(axes), len(axes) + 3)
    return (
        ops.transpose(key, (*axes, heads, width, place)),
        ops.transpose(value, (*axes, heads, place, width)),
    )


def memory_places(key: Tensor, value: Tensor) -> Pair:
    """Memory of one layer as `prompt_memory` takes it."""
    return (
        ops.transpose(key, (0, 3, 1, 2)),
        ops.transpose(value, (0, 2, 1, 3)),
    )


def put_places(held: Pair, new: Pair, begin: Tensor) -> Pair:
    """Writes places of the memory of prompts (of one layer).

    Args:
        held: Keys and values, as `prompt_memory` returns them.
        new: Those of some places, as it takes them.
        begin: int scalar tensor, the first of these places.

    Returns:
        The new keys and values.
    """
    keys, values = prompt_memory(*new)
    return (
        ops.slice_update(held[0], [0, 0, 0, begin], keys),
        ops.slice_update(held[1], [0, 0, begin, 0], values),
    )


def write_past(block: Pair, new: Pair, clock: Tensor) -> Pair:
    """Writes one place of a block (of one layer, or stacked).

    Args:
        block: Keys and values `(..., slots, lanes, heads, places, width)`.
        new: Key and value `(..., slots, lanes, heads, width)`.
        clock: int scalar tensor.

    Returns:
        The new keys and values.
    """

    def put(held: Tensor, new: Tensor) -> Tensor:
        *grid, places, _ = held.shape
        where = [*(0 for _ in grid), ops.mod(clock, places), 0]
        return ops.slice_update(held, where, ops.expand_dims(new, -2))

    return put(block[0], new[0]), put(block[1], new[1])


def attend_paths(
    query: Tensor,
    past: list[Pair],
    ages: Tensor,
    clock: Tensor,
    *,
    adjust: Adjust,
    prompt: tuple[Tensor, Tensor, Tensor] | None = None,
    new: Pair | None = None,
) -> Tensor:
    """Grouped-query attention of one new token of each path.

    Args:
        query: `(slots, lanes, heads, width)`.
        past: Blocks, newest first: keys and values `(slots, lanes,
            key_heads, places, width)`.
        ages: int `(slots, lanes)`, tokens each path has seen before.
        clock: int scalar: the new token's place in the newest block is
            `clock % places`.
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
    key_heads = past[0][0].shape[2]
    query = ops.reshape(
        query, (slots, lanes, key_heads, heads // key_heads, width)
    )
    nearest = 0 if new is None else 1
    parts = [_past_part(query, past, ages, clock, adjust, nearest)]
    if prompt is not None:
        parts.append(_prompt_part(query, *prompt, ages, adjust))
    if new is not None:
        key, value = new
        scores = ops.sum(query * key[:, :, :, None], axis=-1, keepdims=True)
        scores = adjust(ops.cast(scores, "float32"), ops.zeros((1,), "int32"))
        value = ops.broadcast_to(value[:, :, :, None], query.shape)
        parts.append((scores, ops.ones_like(scores), value))
    return ops.reshape(_join(parts), (slots, lanes, heads, width))


def _past_part(
    query: Tensor,
    past: list[Pair],
    ages: Tensor,
    clock: Tensor,
    adjust: Adjust,
    nearest: int,
) -> _Part:
    """What the paths generated themselves, from the distance `nearest` on."""
    places = past[0][0].shape[3]
    length = places * len(past)

    def own(*blocks: Pair) -> _Part:
        """Reads some of the blocks."""
        newest = ops.mod(clock, places) - ops.arange(places)
        distance = ops.concatenate(
            [ops.mod(newest + places * n, length) for n in range(len(blocks))]
        )
        scores = [
            ops.einsum("slkgw,slktw->slkgt", query, keys) for keys, _ in blocks
        ]
        scores = ops.cast(ops.concatenate(scores, axis=-1), "float32")
        scores = adjust(scores, distance)
        seen = ops.logical_and(
            distance >= nearest, distance <= ages[..., None]
        )[:, :, None, None]
        scores = ops.where(seen, scores, MASKED)

        def product(weights: Tensor) -> Tensor:
            weights = ops.split(weights, len(blocks), axis=-1)
            return sum(map(ops.matmul, weights, [v for _, v in blocks]))

        return _summary(scores, product, query.dtype)

    # Before the ring is full for the first time, its end is not read.
    written = ops.minimum(clock // places, len(past) - 1)
    return _switch(
        written,
        [
            lambda *blocks, n=n: own(*blocks[:n])
            for n in range(1, len(past) + 1)
        ],
        *past,
    )


def _prompt_part(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    seen: Tensor,
    ages: Tensor,
    adjust: Adjust,
) -> _Part:
    place = ops.arange(keys.shape[-1])
    scores = _by_prompt(query, keys)
    now = (seen[:, None] + ages)[..., None, None, None]
    scores = adjust(ops.cast(scores, "float32"), now - place)
    mask = (place < seen[:, None])[:, None, None, None]
    scores = ops.where(mask, scores, MASKED)
    return _summary(scores, lambda w: _by_prompt(w, values), query.dtype)


def _by_prompt(x: Tensor, memory: Tensor) -> Tensor:
    """Multiplies what paths have with what their prompts have.

    All paths of a prompt are rows of one product. As an `einsum` XLA's CPU
    compiler would take the memory first, and turn all of it at each step.

    Args:
        x: `(slots, lanes, key_heads, group, inner)`.
        memory: `(slots, key_heads, inner, outer)`.

    Returns:
        `(slots, lanes, key_heads, group, outer)`.
    """
    slots, lanes, heads, group, inner = x.shape
    # The group first: it may be split over devices.
    x = ops.transpose(x, (0, 2, 3, 1, 4))
    x = ops.reshape(x, (slots, heads, group * lanes, inner))
    x = ops.reshape(ops.matmul(x, memory), (slots, heads, group, lanes, -1))
    return ops.transpose(x, (0, 3, 1, 2, 4))


def _switch(index: Tensor, branches: list[Callable], *operands: Any) -> Any:
    if len(branches) == 1:
        return branches[0](*operands)
    return ops.switch(index, branches, *operands)


def _summary(scores: Tensor, product: Callable, dtype: str) -> _Part:
    """One source's part of a softmax: its maximum, sum and weighted values."""
    top = ops.max(scores, axis=-1, keepdims=True)
    weights = ops.exp(scores - top)
    total = ops.sum(weights, axis=-1, keepdims=True)
    return top, total, product(ops.cast(weights, dtype))


def _join(parts: list[_Part]) -> Tensor:
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
