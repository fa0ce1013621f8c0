"""Stored examples as `tf.data`, in chunks, drawn at the mixture's rates.

All work on examples is done on chunks of them: `order` says which they are,
and a `RecordReader` reads them wherever they are. Every random number comes
from the seed, the task's name and a counter, never from TensorFlow's global
seed.
"""

from collections.abc import Sequence

import numpy as np

from keras_flan.data.mixtures.mixture import Mixture
from keras_flan.data.pipeline.order import Order
from keras_flan.data.pipeline.settings import PipelineSettings
from keras_flan.data.pipeline.validation import Split
from keras_flan.data.records.example import CONTENTS_FEATURE, ROLES_FEATURE
from keras_flan.data.records.reader import RecordReader
from keras_flan.runtime.tensorflow import tf
from keras_flan.tensors import Dataset, Ragged, Tensor

# A key is the task's id and, in the lower bits, the example's position.
_INDEX_BITS = 40


class Draws:
    """The draws of a mixture, a chunk at a time.

    Raises:
        InputError: If a shard is missing or damaged.

    Example:
        >>> draws = Draws(mixture, settings)
        >>> for number, keys, records in draws.chunks(first=3).take(1):
        ...     print(number.numpy(), keys.shape, records.shape)
        3 (8192,) (8192,)
    """

    def __init__(self, mixture: Mixture, settings: PipelineSettings):
        tasks = [part.task for part in mixture.tasks]
        self._reader = RecordReader([task.directory for task in tasks])
        self._split: Split | None = None
        sizes = None
        if settings.validation:
            usable = [task.num_usable for task in tasks]
            self._split = Split(self._reader, usable, settings)
            sizes = self._split.sizes
        self._order = Order(mixture, settings, sizes)
        self._size = settings.chunk

    def chunks(self, first: int = 0) -> Dataset:
        """Returns the chunks from number `first` on.

        The dataset is of the chunk's number, int64, and its `n` draws: keys
        (see `split_keys`), int64 `[n]`, and serialised examples, `[n]`. Only
        the last chunk of one pass is smaller.
        """
        tf_ = tf()
        end = None
        if self._order.draws is not None:
            end = -(-self._order.draws // self._size)
        numbers = tf_.data.Dataset.range(
            first, np.iinfo(np.int64).max if end is None else max(first, end)
        )
        types = (tf_.int64, tf_.int64, tf_.int64)

        def draw(counts: Tensor, number: Tensor) -> tuple:
            counts, *draws = tf_.numpy_function(
                self._chunk, [number, counts], types, stateful=False
            )
            return counts, (number, *draws)

        def read(number: Tensor, tasks: Tensor, positions: Tensor) -> tuple:
            records = tf_.numpy_function(
                self._reader.read, [tasks, positions], tf_.string
            )
            records = tf_.ensure_shape(records, [None])
            keys = tf_.bitwise.left_shift(
                tasks, tf_.constant(_INDEX_BITS, tf_.int64)
            )
            return number, tf_.ensure_shape(keys + positions, [None]), records

        counts = self._order.counts(first * self._size)
        # A function of Python keeps the reader, whose files are open.
        return numbers.scan(counts, draw).map(read)

    def _chunk(
        self, number: int, counts: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        counts, tasks, positions = self._order.chunk(number, counts)
        if self._split is not None:
            positions = self._split.positions(tasks, positions)
        return counts, tasks, positions


def split_keys(keys: Tensor) -> tuple[Tensor, Tensor]:
    """Returns task ids (int32) and positions (int64) of int64 keys."""
    tf_ = tf()
    bits = tf_.constant(_INDEX_BITS, tf_.int64)
    mask = tf_.constant((1 << _INDEX_BITS) - 1, tf_.int64)
    task_ids = tf_.bitwise.right_shift(keys, bits)
    return tf_.cast(task_ids, tf_.int32), tf_.bitwise.bitwise_and(keys, mask)


def parse_records(
    records: Tensor, field_names: Sequence[str]
) -> dict[str, Tensor]:
    """Returns each field of serialised examples as strings of shape `[n]`.

    A field that a record lacks is an empty text.
    """
    io = tf().io
    feature = io.FixedLenFeature([], tf().string, default_value="")
    return io.parse_example(records, dict.fromkeys(field_names, feature))


def parse_turns(records: Tensor) -> tuple[Ragged, Ragged]:
    """Returns roles and contents of serialised conversations, `[n, (turns)]`.

    Another record has no turns.
    """
    tf_ = tf()
    names = (ROLES_FEATURE, CONTENTS_FEATURE)
    feature = tf_.io.RaggedFeature(tf_.string, row_splits_dtype=tf_.int64)
    parsed = tf_.io.parse_example(records, dict.fromkeys(names, feature))
    return parsed[ROLES_FEATURE], parsed[CONTENTS_FEATURE]
