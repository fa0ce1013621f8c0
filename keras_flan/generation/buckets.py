"""Which compiled program prompts and paths go to."""

import collections
import itertools
from collections.abc import Iterator, Sequence

from keras_flan.generation.rounds import Bucket, programs
from keras_flan.models.language_model import LanguageModel

# Prompts and paths have one of these lengths, or the next power of two: so
# there are few programs.
_SHORTEST = 32
_SHORTEST_INPUT = 64
# Paths of a prompt at a time; at most a fifth of the places is spare.
_LANES = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64)


def compiled_bucket(model: LanguageModel, bucket: Bucket, most: int) -> Bucket:
    """Returns the bucket, or a compiled one with room for it.

    That is cheaper than to compile the bucket itself, if it has at most four
    times the slots, never more than `most`, and twice the places for prompts.
    """
    found = (
        other
        for other in programs(model)
        if (other.lanes, other.length) == (bucket.lanes, bucket.length)
        and bucket.slots <= other.slots <= min(most, 4 * bucket.slots)
        and 1 <= other.input_length / bucket.input_length <= 2
    )
    return min(found, key=lambda b: (b.input_length, b.slots), default=bucket)


def lanes_for(paths: int) -> int:
    """Returns the lanes of a program that decodes so many at a time."""
    return next((lanes for lanes in _LANES if lanes >= paths), paths)


def prompt_places(tokens: int) -> int:
    """Returns the places that a program has for a prompt of so many."""
    return _power(tokens, _SHORTEST_INPUT)


def path_places(tokens: int) -> int:
    """Returns the places that a program has for a path of so many."""
    return _power(tokens)


def groups(
    prompts: Sequence[list[int]], most: int
) -> Iterator[tuple[int, list[int]]]:
    """Yields lengths to read, and the prompts that are read at each.

    Prompts too few to fill the `most` slots go with the next longer ones, up
    to four times as long: a program costs seconds to compile.
    """
    rows = collections.defaultdict(list)
    for row, ids in enumerate(prompts):
        rows[prompt_places(len(ids))].append(row)
    few: list[int] = []
    shortest, lengths = 0, sorted(rows)
    for length, longer in itertools.zip_longest(lengths, lengths[1:]):
        shortest = shortest if few else length
        few += rows[length]
        if len(few) >= most or longer is None or longer > 4 * shortest:
            yield length, few
            few = []


def _power(number: int, least: int = _SHORTEST) -> int:
    """The next power of two."""
    return max(least, 1 << (number - 1).bit_length())
