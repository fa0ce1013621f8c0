"""Packing: which examples share a row.

It is decided with NumPy on their lengths alone, without Python per example;
`feature_converters` then moves the tokens there.
"""

from collections.abc import Sequence

import numpy as np

# In how many groups of rows to pack, in order of trial. Many groups suit rows
# of few examples, few groups suit rows that both lengths use up alike.
_GROUPS = (4, 16, 1)
# The trials end when this share of rows, or less, is more than tokens need.
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
    most = np.asarray(capacity, np.int64)
    if (lengths < 1).any() or (lengths > most).any():
        raise ValueError(
            f"expected lengths from 1 to {most.tolist()}, found "
            f"{lengths.min(axis=0).tolist()} to {lengths.max(axis=0).tolist()}"
        )
    if not len(lengths):
        return np.zeros(0, np.int32)
    demand = lengths.sum(axis=0) / most
    trials: list[np.ndarray] = []
    for groups in _GROUPS:
        least = max(1, len(lengths) // _MOST_ROUNDS)
        at_once = max(least, int(demand.max()) // groups)
        trials.append(_pack(lengths, most, demand, at_once))
        if trials[-1].max() + 1 <= np.ceil(demand.max() * (1 + _GOOD)):
            break
    return min(trials, key=np.max)


def _pack(lengths, capacity, demand, at_once: int) -> np.ndarray:
    """Packs `at_once` rows side by side; returns the row of each example."""
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
        _top_up(lengths, capacity, spare, seeds, by_length, rows)
        num_rows += len(seeds)
        by_size = by_size[rows[by_size] < 0]
    return rows


def _top_up(lengths, capacity, spare, seeds, by_length, rows) -> None:
    """Adds to the rows that `seeds` have opened; updates `rows`."""
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
    """Returns for each room the longest item that fits, no item twice.

    Lengths and room ascend. An item is given by its place in `lengths`; a
    negative number is none.

    Example:
        >>> _match(np.array([2, 3, 7]), np.array([1, 4, 5]))
        array([-1,  0,  1])
    """
    rank = np.arange(len(room))
    longest = np.searchsorted(lengths, room, side="right") - 1
    # A room may take the place below that of the next larger room at most.
    return np.minimum.accumulate((longest - rank)[::-1])[::-1] + rank
