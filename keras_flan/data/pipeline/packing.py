"""Packing: many examples a row, kept apart by segment ids.

`pack` decides which examples share a row, with NumPy on their lengths alone;
`fill_rows` moves the tokens there, with TensorFlow inside the input pipeline.
Neither runs Python per example.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from keras_flan.runtime.tensorflow import tf

# In how many groups of rows to pack, in order of trial. Many groups suit rows
# of few examples, few groups suit rows that both lengths fill alike.
_GROUPS = (4, 16, 1)
# So few rows beyond what the tokens need, as a share, end the trials.
_GOOD = 0.01
# A group has at least 1/256 of the examples as rows, however many groups
# there should be; that bounds the number of rounds.
_MOST_ROUNDS = 256


def pack(lengths: np.ndarray, capacity: Sequence[int]) -> np.ndarray:
    """Assigns examples to rows so that few tokens of padding remain.

    Rows are opened in groups, each row with one of the largest examples
    left. Then, in rounds, every row of the group takes the largest example
    that fits into what it has left, by inputs or by targets, whichever lies
    further behind its fair share; each round is a handful of array
    operations. This is best-fit decreasing for many rows at once. The best
    of up to three group sizes is kept. The result depends on the arguments
    only.

    Args:
        lengths: Integers of shape `[n, 2]`: input and target tokens of each
            example, from 1 up to the capacity.
        capacity: Input and target tokens of a row.

    Returns:
        The row of each example, int32 of shape `[n]`; rows count from 0.

    Raises:
        ValueError: If a length is below 1 or above the capacity.

    Example:
        >>> pack(np.array([[6, 1], [5, 2], [4, 1], [5, 1]]), (10, 4))
        array([1, 0, 1, 0], dtype=int32)
    """
    lengths = np.asarray(lengths, np.int64).reshape(-1, 2)
    capacity = np.asarray(capacity, np.int64)
    if (lengths < 1).any() or (lengths > capacity).any():
        raise ValueError(
            f"expected lengths from 1 to {capacity.tolist()}, found "
            f"{lengths.min(axis=0).tolist()} to {lengths.max(axis=0).tolist()}"
        )
    if not len(lengths):
        return np.zeros(0, np.int32)
    demand = lengths.sum(axis=0) / capacity
    trials = []
    for groups in _GROUPS:
        at_once = max(
            1, int(demand.max()) // groups, len(lengths) // _MOST_ROUNDS
        )
        trials.append(_pack(lengths, capacity, demand, at_once))
        if trials[-1].max() + 1 <= np.ceil(demand.max() * (1 + _GOOD)):
            break
    return min(trials, key=np.max)


def _pack(lengths, capacity, demand, at_once: int) -> np.ndarray:
    """Packs, filling `at_once` rows side by side; returns the rows."""
    rows = np.full(len(lengths), -1, np.int32)
    weight = demand / demand.max() / capacity
    size = lengths[:, 0] * weight[0] + lengths[:, 1] * weight[1]
    # The examples that are left, from small to large in three senses.
    by_size = np.argsort(size, kind="stable")
    by_length = [np.argsort(lengths[:, d], kind="stable") for d in (0, 1)]
    num_rows = 0
    while len(by_size):
        demand = lengths[by_size].sum(axis=0) / capacity
        seeds = by_size[-min(at_once, max(1, int(demand.max()))) :]
        rows[seeds] = num_rows + np.arange(len(seeds))
        # What a full row will have left of the dimension that binds less.
        spare = capacity * (1 - demand / demand.max())
        _fill_group(lengths, capacity, spare, seeds, by_length, rows)
        num_rows += len(seeds)
        by_size = by_size[rows[by_size] < 0]
    return rows


def _fill_group(lengths, capacity, spare, seeds, by_length, rows) -> None:
    """Fills up the rows that `seeds` have opened; updates `rows`."""
    group = rows[seeds]
    free = capacity - lengths[seeds]
    dimension, misses = int(spare[0] > 0), 0
    # Two misses for each dimension: once for the rows that lag behind in it,
    # once for all rows.
    while misses < 4:
        queue = by_length[dimension]
        queue = by_length[dimension] = queue[rows[queue] < 0]
        if not len(queue):
            return
        can = (free > 0).all(axis=1)
        if misses < 2:
            lag = (free - spare) / capacity
            can &= lag[:, dimension] >= lag[:, 1 - dimension]
        open_rows = np.flatnonzero(can)
        room = free[open_rows, dimension]
        order = np.argsort(room, kind="stable")
        place = _match(lengths[queue, dimension], room[order])
        taker = open_rows[order][place >= 0]
        taken = queue[place[place >= 0]]
        fits = (lengths[taken] <= free[taker]).all(axis=1)
        taker, taken = taker[fits], taken[fits]
        rows[taken] = group[taker]
        free[taker] -= lengths[taken]
        dimension = 1 - dimension
        misses = 0 if len(taken) else misses + 1


def _match(lengths: np.ndarray, room: np.ndarray) -> np.ndarray:
    """Gives each room the longest item that fits, no item twice.

    Args:
        lengths: Ascending lengths of the items.
        room: Ascending room.

    Returns:
        The place in `lengths` of each room's item, or a negative number.

    Example:
        >>> _match(np.array([2, 3, 7]), np.array([1, 4, 5]))
        array([-1,  0,  1])
    """
    rank = np.arange(len(room))
    longest = np.searchsorted(lengths, room, side="right") - 1
    # A room may take the place below that of the next larger room at most.
    return np.minimum.accumulate((longest - rank)[::-1])[::-1] + rank


def packed_lengths(tokens, limit: int):
    """Returns the lengths after trimming and adding the end-of-text id.

    Args:
        tokens: `tf.RaggedTensor` `[n, (tokens)]`.
        limit: The longest allowed, with the end-of-text id.

    Returns:
        int32 of shape `[n]`.
    """
    lengths = tf().cast(tokens.row_lengths(), "int32")
    return tf().minimum(lengths, limit - 1) + 1


def fill_rows(
    inputs, targets, rows, *, input_length: int, target_length: int, eos_id: int
):
    """Lays examples out in rows of fixed length.

    Texts are trimmed to leave place for the end-of-text id, which is added.
    Segments number the examples of a row from 1; padding has segment 0. The
    decoder reads the targets shifted right by one within each segment, which
    begins with the padding id 0.

    Args:
        inputs: int32 `tf.RaggedTensor` `[n, (tokens)]` without end-of-text.
        targets: The same for the targets.
        rows: The row of each example, int32 of shape `[n]`, as from `pack`;
            each row from 0 to the last must have an example.
        input_length: Tokens of a row for the inputs.
        target_length: Tokens of a row for the targets.
        eos_id: The end-of-text id.

    Returns:
        `(x, y, sample_weight)` with `x` a dict of int32 tensors
        `encoder_token_ids` and `encoder_segment_ids` `[R, input_length]`,
        `decoder_token_ids` and `decoder_segment_ids` `[R, target_length]`,
        `y` int32 `[R, target_length]` and `sample_weight` float32
        `[R, target_length]`: 1 on every target token, 0 on padding.

    Source: arXiv:2210.11416, section 2.2.
    """
    tf_ = tf()
    order = tf_.argsort(rows, stable=True)
    rows = tf_.gather(rows, order)
    num_rows = tf_.reduce_max(tf_.concat([rows, [-1]], 0)) + 1
    args = (order, rows, num_rows)
    encoder, encoder_segments, _ = lay_out(inputs, *args, input_length, eos_id)
    y, segments, begins = lay_out(targets, *args, target_length, eos_id)
    shifted = tf_.pad(y[:, :-1], [[0, 0], [1, 0]])
    decoder = tf_.where((begins > 0) | (segments == 0), 0, shifted)
    x = {
        "encoder_token_ids": encoder,
        "encoder_segment_ids": encoder_segments,
        "decoder_token_ids": decoder,
        "decoder_segment_ids": segments,
    }
    return x, y, tf_.cast(segments > 0, tf_.float32)


def lay_out(tokens, order, rows, num_rows, length: int, eos_id: int):
    """Lays texts out in rows, each with an end-of-text id.

    Args:
        tokens: int32 `tf.RaggedTensor` `[n, (tokens)]`; longer ones than
            `length - 1` are trimmed.
        order: The examples in the order of the rows.
        rows: The row of each example in that order.
        num_rows: R.
        length: Tokens of a row.
        eos_id: The end-of-text id.

    Returns:
        int32 token ids, segment ids (from 1, 0 is padding) and 1 where a
        segment begins, each `[R, length]`.
    """
    tf_ = tf()
    sizes = tf_.gather(packed_lengths(tokens, length), order)
    # One token more than each text has: its place takes the end-of-text id.
    starts = tf_.gather(tf_.cast(tokens.row_starts(), tf_.int32), order)
    source = tf_.ragged.range(starts, starts + sizes).values
    flat = tf_.gather(tf_.pad(tokens.values, [[0, 1]]), source)
    ends = tf_.cumsum(sizes)
    flat = tf_.tensor_scatter_nd_update(
        flat, (ends - 1)[:, None], tf_.fill(tf_.shape(ends), eos_id)
    )
    row_sizes = tf_.math.unsorted_segment_sum(sizes, rows, num_rows)
    packed = tf_.RaggedTensor.from_row_lengths(flat, row_sizes, validate=False)
    token_ids = packed.to_tensor(shape=[None, length])

    row_starts = tf_.cumsum(row_sizes, exclusive=True)
    first = ends - sizes - tf_.gather(row_starts, rows)
    begins = tf_.scatter_nd(
        tf_.stack([rows, first], axis=1),
        tf_.ones_like(rows),
        tf_.stack([num_rows, length]),
    )
    used = tf_.sequence_mask(row_sizes, length, tf_.int32)
    return token_ids, tf_.cumsum(begins, axis=1) * used, begins


def fill(batches: Iterable) -> dict[str, float]:
    """Measures how well batches are packed.

    Args:
        batches: Batches of `build_dataset`, for instance `dataset.take(8)`.

    Returns:
        The shares of places that hold a token, under `inputs` and `targets`;
        the larger of the two is what packing can raise to 1.

    Example:
        >>> fill(build_dataset(mixture, vocabulary, ...).take(8))
        {'inputs': 0.991..., 'targets': 0.532...}
    """
    used, total = np.zeros(2), np.zeros(2)
    for x, *_ in batches:
        for i, side in enumerate(("encoder", "decoder")):
            segments = np.asarray(x[f"{side}_segment_ids"])
            used[i] += np.count_nonzero(segments)
            total[i] += segments.size
    inputs, targets = (used / total).tolist()
    return {"inputs": inputs, "targets": targets}
