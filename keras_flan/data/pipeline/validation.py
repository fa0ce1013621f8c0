"""The examples that are kept apart from training, to validate it."""

from collections.abc import Sequence

import numpy as np

from keras_flan.data.pipeline.settings import PipelineSettings
from keras_flan.data.records.reader import RecordReader
from keras_flan.data.templates.draws import mix
from keras_flan.errors import InputError

# So that the choice has nothing to do with other draws.
_SALT = 0x5EED_0F_7A1D
_UNIT = 2.0**-53


def kept_apart(checksums: np.ndarray, share: float) -> np.ndarray:
    """Returns which examples are for validation, booleans of shape `[n]`.

    By their content alone: the same example is on the same side in every
    task, run and file, wherever it stands. A set of which all would be for
    validation stays with the training.

    Args:
        checksums: Of the records, integers of shape `[n]`.
        share: The share that is kept apart, from 0 to 1.

    Example:
        >>> kept_apart(np.arange(100_000), 0.05).mean().round(2)
        0.05
    """
    chance = (mix(_SALT, checksums.astype(np.int64)) >> np.uint64(11)) * _UNIT
    apart = chance < share
    return apart if not apart.all() else np.zeros_like(apart)


class Split:
    """Where the examples of one side of the split are, in each task.

    Args:
        reader: Reads the tasks' records.
        sizes: How many examples of each task are used, the first ones.
        settings: `validation`, the share, and `split`, the side.

    Raises:
        InputError: If no example is on that side.
    """

    def __init__(
        self,
        reader: RecordReader,
        sizes: Sequence[int],
        settings: PipelineSettings,
    ):
        places = []
        share, wanted = settings.validation, settings.split == "validation"
        for number, size in enumerate(sizes):
            apart = kept_apart(reader.checksums(number, size), share)
            places.append(np.flatnonzero(apart == wanted))
        self.sizes = np.array([len(p) for p in places], np.int64)
        if not self.sizes.sum():
            raise InputError(
                f"validation: {share} of {sum(sizes):,} examples is none; "
                "keep a larger share apart"
            )
        self._first = np.cumsum(self.sizes) - self.sizes
        self._all = np.concatenate(places)

    def positions(self, tasks: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Returns positions in the tasks, of places on this side; `[n]`."""
        return self._all[self._first[tasks] + places]
