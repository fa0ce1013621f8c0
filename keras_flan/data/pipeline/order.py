"""Which example each draw of a mixture is, whatever was drawn before.

Every pass over a task has an order of its own, which no file's order shows
through: a permutation of all its examples, which is computed place by place,
so that it is neither stored nor made again to go on in the middle. All is
done for a chunk of draws at once, by NumPy.
"""

import hashlib

import numpy as np

from keras_flan.data.mixtures.mixture import Mixture
from keras_flan.data.pipeline.settings import PipelineSettings
from keras_flan.data.templates.draws import mix

_ROUNDS = 12
# The parts of a file of which each gives one of so many examples.
STRATA = 64
# Draws that are counted at once to go on in the middle.
_COUNTED = 1 << 18
_UNIT = 2.0**-53  # Of the fractions that 64 random bits make.


def stable_seed(*parts: int | str) -> int:
    """Returns a seed in [0, 2**62) that depends on the parts alone."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 2


def permuted(
    places: np.ndarray, sizes: np.ndarray, keys: np.ndarray
) -> np.ndarray:
    """Returns where permutations put places.

    A key gives a permutation of `range(size)`, of which each place is
    computed alone: by a Feistel network over the least power of two that
    holds the size, again and again until the result is below the size.

    Args:
        places: Integers `[n]`, each in `range(size)`.
        sizes: The sizes, integers `[n]` below 2**62.
        keys: uint64 `[n]`.

    Returns:
        int64 of shape `[n]`.

    Example:
        >>> sizes, keys = np.full(5, 5), np.full(5, 7, np.uint64)
        >>> sorted(permuted(np.arange(5), sizes, keys).tolist())
        [0, 1, 2, 3, 4]

    Source: Black and Rogaway, "Ciphers with arbitrary finite domains"
    (CT-RSA 2002), the generalised Feistel cipher and cycle walking.
    """
    result = np.asarray(places, np.uint64)
    sizes = np.asarray(sizes, np.uint64)
    # The bits of `size - 1`, which float64 would round up for large sizes.
    bits = np.zeros(len(sizes), np.uint64)
    rest = sizes - np.uint64(1)
    while rest.any():
        bits += rest > 0
        rest = rest >> np.uint64(1)
    todo = np.arange(len(result))
    result = result.copy()
    while len(todo):
        result[todo] = _feistel(result[todo], bits[todo], keys[todo])
        todo = todo[result[todo] >= sizes[todo]]
    return result.astype(np.int64)


def _feistel(
    values: np.ndarray, bits: np.ndarray, keys: np.ndarray
) -> np.ndarray:
    """Permutes the numbers of so many bits."""
    one, low = np.uint64(1), bits // np.uint64(2)
    low_mask, high_mask = (one << low) - one, (one << (bits - low)) - one
    left, right = values >> low, values & low_mask
    for number in range(0, _ROUNDS, 2):
        left = left ^ (mix(number, keys, right) & high_mask)
        right = right ^ (mix(number + 1, keys, left) & low_mask)
    return (left << low) | right


def spread(
    places: np.ndarray, sizes: np.ndarray, keys: np.ndarray
) -> np.ndarray:
    """Returns where permutations put places, the neighbours far apart.

    As `permuted`, but of any `STRATA` places that follow each other from a
    multiple of it on, each goes to another of as many equal parts of the
    range: what stands together in a sorted file is spread more evenly than
    by chance alone.

    Example:
        >>> places, sizes = np.arange(64), np.full(64, 6400)
        >>> found = spread(places, sizes, np.full(64, 7, np.uint64))
        >>> sorted((found // 100).tolist()) == list(range(64))
        True
    """
    whole, rest = np.divmod(sizes, STRATA)
    blocks, places = np.divmod(places, STRATA)
    # The first `rest` parts have one place more: those of the last block.
    number = np.where(blocks < whole, STRATA, rest)
    parts = permuted(places, number, mix(keys, 0, blocks))
    inside = permuted(blocks, whole + (parts < rest), mix(keys, 1, parts))
    return parts * whole + np.minimum(parts, rest) + inside


class Order:
    """The examples of a mixture in the order in which they are drawn.

    Tasks are drawn at the mixture's rates, and each goes through its examples
    pass by pass. If `settings.repeat` is off, every example comes once, all
    tasks mixed.

    Args:
        mixture: The mixture.
        settings: The settings.
        sizes: How many examples of each task there are, integers; default:
            all that are usable.

    Attributes:
        draws: How many there are; `None` for no end.

    Example:
        >>> order = Order(mixture, settings)
        >>> counts = order.counts(8192)
        >>> counts, tasks, positions = order.chunk(1, counts)
    """

    def __init__(
        self,
        mixture: Mixture,
        settings: PipelineSettings,
        sizes: np.ndarray | None = None,
    ):
        parts = mixture.tasks
        self._size = settings.chunk
        if sizes is None:
            sizes = np.array([p.task.num_usable for p in parts], np.int64)
        self._sizes = sizes
        self._ends = np.cumsum(self._sizes)
        self.draws = None if settings.repeat else int(self._ends[-1])
        bounds = np.cumsum([part.rate for part in parts])
        # The last bound is exactly 1, also for a last rate of 0.
        self._bounds = bounds / bounds[-1]
        seed = settings.seed
        self._choice = stable_seed("choice", seed)
        seeds = [stable_seed("order", seed, part.task.name) for part in parts]
        self._seeds = np.array(seeds, np.uint64)

    def counts(self, draws: int) -> np.ndarray:
        """Returns how often each task is among the first draws; int64."""
        counts = np.zeros(len(self._sizes), np.int64)
        for first in range(0, draws if self.draws is None else 0, _COUNTED):
            tasks = self._tasks(np.arange(first, min(first + _COUNTED, draws)))
            counts += np.bincount(tasks, minlength=len(counts))
        return counts

    def chunk(
        self, number: int, counts: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns the draws of a chunk, given the counts before it.

        Returns:
            The counts after it; the number of each draw's task, int64 `[n]`,
            and the example's position in the task, int64 `[n]`.
        """
        first = number * self._size
        if self.draws is not None:
            places = np.arange(first, min(first + self._size, self.draws))
            size = np.full(len(places), self.draws)
            key = np.full(len(places), self._choice, np.uint64)
            places = spread(places, size, key)
            tasks = np.searchsorted(self._ends, places, side="right")
            return counts, tasks, places - (self._ends - self._sizes)[tasks]
        tasks = self._tasks(np.arange(first, first + self._size))
        passes, places = np.divmod(
            counts[tasks] + _ranks(tasks), self._sizes[tasks]
        )
        keys = mix(self._seeds[tasks], passes)
        positions = spread(places, self._sizes[tasks], keys)
        counts = counts + np.bincount(tasks, minlength=len(counts))
        return counts, tasks, positions

    def _tasks(self, draws: np.ndarray) -> np.ndarray:
        chance = (mix(self._choice, draws) >> np.uint64(11)) * _UNIT
        return np.searchsorted(self._bounds, chance, side="right")


def _ranks(values: np.ndarray) -> np.ndarray:
    """Returns how many equal values stand before each.

    Example:
        >>> _ranks(np.array([5, 3, 5, 5]))
        array([0, 0, 1, 2])
    """
    order = np.argsort(values, kind="stable")
    in_order = values[order]
    first = np.searchsorted(in_order, in_order)
    ranks = np.empty(len(values), np.int64)
    ranks[order] = np.arange(len(values)) - first
    return ranks
