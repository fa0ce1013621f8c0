"""Streams of stored examples as `tf.data`, drawn at the mixture's rates.

Only what must run for every example is here, in TensorFlow's C++: reading,
shuffling and choosing a task. All work on the content is done on batches
(`pipeline`). Every random number comes from the seed, the task's name and a
counter, never from TensorFlow's global seed.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Sequence

import numpy as np

from keras_flan.data.mixtures.mixture import Mixture
from keras_flan.data.pipeline.settings import PipelineSettings
from keras_flan.data.records.info import read_info
from keras_flan.data.records.shards import check_sizes
from keras_flan.data.templates.task import Task
from keras_flan.runtime.tensorflow import allow_open_files, tf
from keras_flan.tensors import Dataset, Tensor

# A key is the task's id and, in the lower bits, the example's position.
_INDEX_BITS = 40
_NO_END = np.iinfo(np.int64).max
# Choices of tasks that are drawn at once.
_CHOICES = 1024


def stable_seed(*parts: int | str) -> int:
    """Returns a seed in [0, 2**62) that depends on the parts alone."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 2


def task_records(tasks: Sequence[Task], limits: Sequence[int]) -> Dataset:
    """Returns the records of tasks in their original order, task by task.

    A task's id is its place in `tasks`, and only its examples before its
    limit are read. The dataset is of `(key, record)`: int64 (see
    `split_keys`), and the serialised example.

    Raises:
        InputError: If a shard is missing or has not the size it should have.
    """
    pairs = zip(tasks, limits, strict=True)
    sources = [_source(task, limit) for task, limit in pairs]
    return tf().data.Dataset.range(len(tasks)).flat_map(_stream_opener(sources))


@dataclasses.dataclass(frozen=True)
class _Source:
    """What is read of a task: the first `number` records of its `files`."""

    files: list[str]
    number: int


def _source(task: Task, limit: int) -> _Source:
    info = read_info(task.directory)
    check_sizes(task.directory, info)
    files = [str(task.directory / shard.file) for shard in info.shards]
    return _Source(files, limit)


def _stream_opener(sources: Sequence[_Source]) -> Callable[[Tensor], Dataset]:
    """Returns a function that opens the records of a source, by its number.

    TensorFlow takes some 0.1 seconds to trace the functions of a dataset.
    What differs between tasks is therefore in tables, so that a dataset's
    `map` traces this function once for hundreds of tasks.
    """
    tf_ = tf()
    data = tf_.data
    allow_open_files(sum(len(source.files) for source in sources))
    files = tf_.constant([file for source in sources for file in source.files])
    ends = tf_.constant(np.cumsum([0] + [len(s.files) for s in sources]))
    numbers = tf_.constant([s.number for s in sources], tf_.int64)

    def open_stream(place: Tensor) -> Dataset:
        first, last = ends[place], ends[place + 1]
        # Records were dealt out to the shards in turn, so the k-th record
        # here is record k // m of shard k % m (of m shards).
        records = data.Dataset.from_tensor_slices(files[first:last])
        records = records.interleave(
            data.TFRecordDataset, cycle_length=last - first, block_length=1
        )
        keys = data.Dataset.range(place * (1 << _INDEX_BITS), _NO_END)
        return data.Dataset.zip(keys, records).take(numbers[place])

    return open_stream


def make_keys(task_id: int, indices: Sequence[int]) -> np.ndarray:
    """Returns the keys (int64) of a task's examples, given positions."""
    return (task_id << _INDEX_BITS) + np.asarray(indices, np.int64)


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


def draw_records(mixture: Mixture, settings: PipelineSettings) -> Dataset:
    """Returns records as `task_records`, drawn at the rates of the mixture.

    Raises:
        InputError: If a shard is missing or has not the size it should have.
    """
    tf_ = tf()
    seed = settings.seed
    tasks = [part.task for part in mixture.tasks]
    sources = [_source(task, task.num_usable) for task in tasks]
    seeds = tf_.constant(
        [stable_seed("shuffle", seed, task.name) for task in tasks], tf_.int64
    )

    open_stream = _stream_opener(sources)

    def open_passes(place: Tensor) -> Dataset:
        return _passes(open_stream(place), seeds[place], settings)

    options = tf_.data.Options()
    # Rewriting the graph of hundreds of streams takes longer than it saves.
    options.experimental_optimization.apply_default_optimizations = False
    return tf_.data.Dataset.choose_from_datasets(
        list(tf_.data.Dataset.range(len(sources)).map(open_passes)),
        _choices([part.rate for part in mixture.tasks], seed),
        stop_on_empty_dataset=False,
    ).with_options(options)


def _passes(records, seed, settings: PipelineSettings) -> Dataset:
    """Shuffles every pass over the records with a seed of its own."""
    tf_ = tf()

    def shuffled(number: Tensor) -> Dataset:
        # TensorFlow mixes the graph's seed into every seed; inside this
        # function's graph it is pinned, whatever `tf.random.set_seed` says.
        tf_.compat.v1.set_random_seed(1)
        return records.shuffle(
            settings.shuffle_buffer,
            seed=seed + number,
            reshuffle_each_iteration=False,
        )

    passes = tf_.data.Dataset.counter()
    if not settings.repeat:
        passes = passes.take(1)
    return passes.flat_map(shuffled)


def _choices(rates: Sequence[float], seed: int) -> Dataset:
    """Returns an endless dataset of task ids, drawn at the rates."""
    tf_ = tf()
    bounds = np.cumsum(rates)
    # The last bound is exactly 1, also for a last rate of 0.
    bounds /= bounds[-1]
    seed = stable_seed("choice", seed)

    def draw(number: Tensor) -> Tensor:
        chance = tf_.random.stateless_uniform(
            [_CHOICES], tf_.stack([seed, number]), dtype=tf_.float64
        )
        return tf_.searchsorted(
            tf_.constant(bounds), chance, side="right", out_type=tf_.int64
        )

    return tf_.data.Dataset.counter().map(draw).unbatch()
