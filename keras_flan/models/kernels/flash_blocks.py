"""The blocks of `flash`: what runs on the chip, forward and backward.

Heads are the slowest axis of the grid, since what all rows share of a head,
its bias, is made once for it: 128 rows of the bias by distance, each shifted
by one against the row before. The bias of 128 keys is then a slice of it at a
multiple of 128, which costs no more than a load, and its gradient is added up
likewise.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from keras_flan.models.dropout import is_kept, wrapped
from keras_flan.models.kernels.cost import padded

_LANES, _SUBLANES = 128, 8
_HIDDEN = -0.7 * float(jnp.finfo("float32").max)
# Contractions of `(a, b)`: of the first axes, of the last ones, of both.
_FIRST = (((0,), (0,)), ((), ()))
_LAST = (((1,), (1,)), ((), ()))
_PLAIN = (((1,), (0,)), ((), ()))


class How(NamedTuple):
    """What is known when a kernel is compiled.

    Attributes:
        heads: Heads of all devices together.
        queries: Places of a row that attend.
        keys: Places that are attended to.
        query_block: Queries at a time.
        key_block: Keys at a time.
        causal: Whether keys behind their query are hidden.
        biased: Whether there is a bias.
        rate: Of dropout.
        interpret: Whether the kernel is only imitated, see
            `keras_flan.models.kernels.choice.interpreted`.
    """

    heads: int
    queries: int
    keys: int
    query_block: int
    key_block: int
    causal: bool
    biased: bool
    rate: float
    interpret: bool

    @property
    def padded_queries(self) -> int:
        return padded(self.queries, self.query_block)

    @property
    def padded_keys(self) -> int:
        return padded(self.keys, self.key_block)

    @property
    def distances(self) -> int:
        """Places of the bias by distance; that of 0 is `padded_keys`."""
        return self.padded_queries + self.padded_keys


class Inputs(NamedTuple):
    """What both kernels read.

    Attributes:
        query: `(rows, heads, width, padded_queries)`.
        key: `(rows, heads, width, padded_keys)`.
        value: As the keys.
        bank: `(heads, 8, distances)`, or `None`.
        query_segments: int32 `(rows, 1, padded_queries)`; -1 is padding.
        key_segments: int32 `(rows, 1, padded_keys)`; 0 is padding.
        places: int32 `(4,)`: the key of dropout, the first row, the first
            head of this device.
    """

    query: jax.Array
    key: jax.Array
    value: jax.Array
    bank: jax.Array | None
    query_segments: jax.Array
    key_segments: jax.Array
    places: jax.Array


def forward(
    how: How, inputs: Inputs, first: jax.Array, last: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Returns the output, and the logarithm of what weights are divided by.

    Args:
        how: See there.
        inputs: See there.
        first: int32 `(rows, query_blocks)`, the first block of keys.
        last: The last one.

    Returns:
        `(rows, heads, width, padded_queries)`, float32 `(rows, heads, 1,
        padded_queries)`.
    """
    query, key, value, bank, query_segments, key_segments, places = inputs
    rows, heads, width, length = query.shape
    block, keys = how.query_block, key.shape[-1]

    def of_block(size: int) -> pl.BlockSpec:
        return pl.BlockSpec(
            (None, None, size, block), lambda h, b, i, *_: (b, h, 0, i)
        )

    whole = pl.BlockSpec(
        (None, None, width, keys), lambda h, b, i, *_: (b, h, 0, 0)
    )
    call = pl.pallas_call(
        functools.partial(_forward_kernel, how),
        grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=3,
            grid=(heads, rows, length // block),
            in_specs=[
                of_block(width),
                whole,
                whole,
                pl.BlockSpec((None, 1, block), lambda h, b, i, *_: (b, 0, i)),
                pl.BlockSpec((None, 1, keys), lambda h, b, i, *_: (b, 0, 0)),
                *_bank_specs(how),
            ],
            out_specs=[of_block(width), of_block(1)],
            scratch_shapes=_bank_scratch(how),
        ),
        out_shape=[
            jax.ShapeDtypeStruct(query.shape, query.dtype),
            jax.ShapeDtypeStruct((rows, heads, 1, length), "float32"),
        ],
        **_settings(how, "keras_flan_flash_forward"),
    )
    banks = [bank] if how.biased else []
    segments = query_segments, key_segments
    return call(places, first, last, query, key, value, *segments, *banks)


def backward(
    how: How,
    inputs: Inputs,
    outer: tuple[jax.Array, jax.Array, jax.Array],
    first: jax.Array,
    last: jax.Array,
) -> list[jax.Array]:
    """Returns the gradients of queries, keys, values and, if any, the bank.

    Args:
        how: See there.
        inputs: See there.
        outer: The gradient of the output; float32 `(rows, heads, 1,
            padded_queries)`, the logarithm that `forward` returned and the
            products of output and gradient, added over the width.
        first: int32 `(rows, key_blocks)`, the first block of queries.
        last: The last one.
    """
    query, key, value, bank, query_segments, key_segments, places = inputs
    rows, heads, width, queries = query.shape
    block, keys = how.key_block, key.shape[-1]

    def whole(size: int) -> pl.BlockSpec:
        return pl.BlockSpec(
            (None, None, size, queries), lambda h, b, j, *_: (b, h, 0, 0)
        )

    of_block = pl.BlockSpec(
        (None, None, width, block), lambda h, b, j, *_: (b, h, 0, j)
    )
    call = pl.pallas_call(
        functools.partial(_backward_kernel, how),
        grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=3,
            grid=(heads, rows, keys // block),
            in_specs=[
                whole(width),
                of_block,
                of_block,
                pl.BlockSpec((None, 1, queries), lambda h, b, j, *_: (b, 0, 0)),
                pl.BlockSpec((None, 1, block), lambda h, b, j, *_: (b, 0, j)),
                whole(width),
                whole(1),
                whole(1),
                *_bank_specs(how),
            ],
            out_specs=[whole(width), of_block, of_block, *_bank_specs(how)],
            scratch_shapes=[
                pltpu.VMEM((width, queries), jnp.float32),
                *_bank_scratch(how),
                *_bank_scratch(how),
            ],
        ),
        out_shape=[
            jax.ShapeDtypeStruct(x.shape, x.dtype)
            for x in (query, key, value, bank)
            if x is not None
        ],
        **_settings(how, "keras_flan_flash_backward"),
    )
    banks = [bank] if how.biased else []
    segments = query_segments, key_segments
    own = query, key, value, *segments
    return call(places, first, last, *own, *outer, *banks)


def _forward_kernel(
    how: How, places: Any, first: Any, last: Any, *refs: Any
) -> None:
    query_ref, key_ref, value_ref, seen_by, segments, *rest = refs
    row, i = pl.program_id(1), pl.program_id(2)
    bank = None
    if how.biased:
        lines, out_ref, normalizer_ref, bank = rest
        _fill_bank(bank, lines, (row == 0) & (i == 0))
    else:
        out_ref, normalizer_ref = rest
    query, block = query_ref[...], how.key_block
    seen_by, start = seen_by[...], _start(how, places)

    def step(j: Any, carry: tuple) -> tuple:
        top, total, out = carry
        where = pl.ds(pl.multiple_of(j * block, block), block)
        scores = _scores(
            how, query, key_ref[:, where], seen_by, segments[:, where], bank,
            i, j,
        )  # fmt: skip
        higher = jnp.maximum(top, jnp.max(scores, axis=0, keepdims=True))
        weights = jnp.exp(scores - higher)
        shrink = jnp.exp(top - higher)
        total = total * shrink + jnp.sum(weights, axis=0, keepdims=True)
        if how.rate:
            weights = weights * _gain(how, places, start, i, j)
        weights = weights.astype(value_ref.dtype)
        added = _product(value_ref[:, where], weights, _PLAIN)
        return higher, total, out * shrink + added

    line = (1, how.query_block)
    top, total, out = lax.fori_loop(
        first[row, i],
        last[row, i] + 1,
        step,
        (
            jnp.full(line, _HIDDEN, jnp.float32),
            jnp.zeros(line, jnp.float32),
            jnp.zeros(query.shape, jnp.float32),
        ),
    )
    # Who sees nothing has weighed what is hidden.
    seeing = top > _HIDDEN
    total = jnp.where(seeing, total, 1.0)
    out_ref[...] = jnp.where(seeing, out / total, 0.0).astype(out_ref.dtype)
    normalizer_ref[...] = jnp.where(seeing, top + jnp.log(total), -_HIDDEN)


def _backward_kernel(
    how: How, places: Any, first: Any, last: Any, *refs: Any
) -> None:
    (
        query_ref, key_ref, value_ref, seen_by, segments, slope_ref,
        normalizer, inner, *rest,
    ) = refs  # fmt: skip
    row, j = pl.program_id(1), pl.program_id(2)
    begins = (row == 0) & (j == 0)
    bank = slopes = None
    if how.biased:
        lines, *outs, of_lines, query_sum, bank, slopes = rest
        _fill_bank(bank, lines, begins)
        pl.when(begins)(lambda: _clear(slopes))
    else:
        *outs, query_sum = rest
    query_out, key_out, value_out = outs
    pl.when(j == 0)(lambda: _clear(query_sum))
    key, value, segments = key_ref[...], value_ref[...], segments[...]
    block, start = how.query_block, _start(how, places)

    def step(i: Any, carry: tuple) -> tuple:
        of_key, of_value = carry
        where = pl.ds(pl.multiple_of(i * block, block), block)
        query, slope = query_ref[:, where], slope_ref[:, where]
        scores = _scores(
            how, query, key, seen_by[:, where], segments, bank, i, j
        )
        weights = jnp.exp(scores - normalizer[:, where])
        of_weights = _product(value, slope, _FIRST)
        dropped = weights
        if how.rate:
            gain = _gain(how, places, start, i, j)
            dropped, of_weights = weights * gain, of_weights * gain
        of_value += _product(slope, dropped.astype(slope.dtype), _LAST)
        of_scores = weights * (of_weights - inner[:, where])
        if slopes is not None:
            _add_slopes(how, slopes, of_scores, i, j)
        of_scores = of_scores.astype(query.dtype)
        of_key += _product(query, of_scores, _LAST)
        query_sum[:, where] += _product(key, of_scores, _PLAIN)
        return of_key, of_value

    nothing = jnp.zeros(key.shape, jnp.float32)
    of_key, of_value = lax.fori_loop(
        first[row, j], last[row, j] + 1, step, (nothing, nothing)
    )
    key_out[...] = of_key.astype(key_out.dtype)
    value_out[...] = of_value.astype(value_out.dtype)
    ends = j == pl.num_programs(2) - 1

    @pl.when(ends)
    def _() -> None:
        query_out[...] = query_sum[...].astype(query_out.dtype)

    if slopes is not None:

        @pl.when(ends & (row == pl.num_programs(1) - 1))
        def _() -> None:
            of_lines[...] = _gathered_slopes(slopes)


def _scores(
    how: How,
    query: jax.Array,
    key: jax.Array,
    seen_by: jax.Array,
    segments: jax.Array,
    bank: Any,
    i: Any,
    j: Any,
) -> jax.Array:
    """The scores of a block, float32 `(key_block, query_block)`."""
    scores = _product(key, query, _FIRST)
    if bank is not None:
        scores += jnp.concatenate(
            [bank[:, where] for where in _slices(how, i, j)], axis=0
        )
    # A row of ints as a column, as wide as the queries.
    column = jnp.broadcast_to(segments, (_LANES, how.key_block)).T
    column = jnp.tile(column, (1, how.query_block // _LANES))
    seen = column == seen_by
    if how.causal:
        keys, queries = _indices(how, i, j)
        seen &= keys <= queries
    return jnp.where(seen, scores, _HIDDEN)


def _indices(how: How, i: Any, j: Any) -> tuple[jax.Array, jax.Array]:
    """The places of a block's keys and queries in their rows."""
    shape = how.key_block, how.query_block
    keys = lax.broadcasted_iota(jnp.int32, shape, 0) + j * how.key_block
    queries = lax.broadcasted_iota(jnp.int32, shape, 1) + i * how.query_block
    return keys, queries


def _start(how: How, places: Any) -> jax.Array:
    """Where the weights of this row and head begin among all, int32."""
    row, head = pl.program_id(1) + places[2], pl.program_id(0) + places[3]
    size = how.queries * how.keys
    return row * wrapped(size * how.heads) + head * wrapped(size)


def _gain(how: How, places: Any, start: Any, i: Any, j: Any) -> jax.Array:
    """What dropout multiplies a block of weights by."""
    keys, queries = _indices(how, i, j)
    place = start + queries * how.keys + keys
    kept = is_kept(place, (places[0], places[1]), how.rate)
    return jnp.where(kept, 1.0 / (1.0 - how.rate), 0.0)


def _slices(how: How, i: Any, j: Any) -> list[Any]:
    """Where in the bank the bias of each 128 keys of a block lies."""
    start = how.padded_keys + i * how.query_block - j * how.key_block
    return [
        pl.ds(pl.multiple_of(start - n, _LANES), how.query_block)
        for n in range(0, how.key_block, _LANES)
    ]


def _fill_bank(bank: Any, lines: Any, begins: Any) -> None:
    """Makes 128 shifted rows of 8."""

    @pl.when(begins)
    def _() -> None:
        rows = lines[...]

        def shift(n: Any, _: None) -> None:
            bank[_eight(n), :] = pltpu.roll(rows, n * _SUBLANES, 1)

        lax.fori_loop(0, _LANES // _SUBLANES, shift, None)


def _add_slopes(how: How, slopes: Any, of_scores: Any, i: Any, j: Any) -> None:
    for n, where in enumerate(_slices(how, i, j)):
        slopes[:, where] += of_scores[n * _LANES : (n + 1) * _LANES]


def _gathered_slopes(slopes: Any) -> jax.Array:
    """The gradient of `_fill_bank`."""
    width = slopes.shape[1]

    def add(n: Any, total: jax.Array) -> jax.Array:
        rows = slopes[_eight(n), :]
        return total + pltpu.roll(rows, width - n * _SUBLANES, 1)

    nothing = jnp.zeros((_SUBLANES, width), jnp.float32)
    return lax.fori_loop(0, _LANES // _SUBLANES, add, nothing)


def _eight(n: Any) -> Any:
    """The n-th 8 rows."""
    return pl.ds(pl.multiple_of(n * _SUBLANES, _SUBLANES), _SUBLANES)


def _clear(ref: Any) -> None:
    ref[...] = jnp.zeros_like(ref)


def _product(a: jax.Array, b: jax.Array, axes: Any) -> jax.Array:
    return lax.dot_general(a, b, axes, preferred_element_type=jnp.float32)


def _bank_specs(how: How) -> list[pl.BlockSpec]:
    if not how.biased:
        return []
    shape = (None, _SUBLANES, how.distances)
    return [pl.BlockSpec(shape, lambda h, b, i, *_: (h, 0, 0))]


def _bank_scratch(how: How) -> list[Any]:
    if not how.biased:
        return []
    return [pltpu.VMEM((_LANES, how.distances), jnp.float32)]


def _settings(how: How, name: str) -> dict[str, Any]:
    order = ("parallel", "arbitrary", "arbitrary")
    return {
        "name": name,
        "interpret": how.interpret,
        "compiler_params": pltpu.CompilerParams(dimension_semantics=order),
    }
