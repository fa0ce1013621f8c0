"""Streams of stored examples as `tf.data`, drawn at the mixture's rates.

Only what must run for every example is here, in TensorFlow's C++: reading,
shuffling and choosing a task. All work on the content is done on batches
(`pipeline`). Every random number comes from the seed, the task's name and a
counter, never from TensorFlow's global seed.
"""

import hashlib
from collections.abc import Sequence

import numpy as np

from keras_flan.data.mixtures import Mixture
from keras_flan.data.records import check_sizes, read_info
from keras_flan.data.tasks import Task
from keras_flan.data.tf_runtime import tf
from keras_flan.errors import InputError

# A key is the task's id and, in the lower bits, the example's position.
_INDEX_BITS = 40
_NO_END = np.iinfo(np.int64).max
# Choices of tasks that are drawn at once.
_CHOICES = 1024


def stable_seed(*parts: int | str) -> int:
    """Returns a seed in [0, 2**62) that depends on the parts alone."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 2


def task_records(
    task: Task,
    task_id: int = 0,
    *,
    limit: int | None = None,
    host: int = 0,
    hosts: int = 1,
):
    """Returns the records of a task in their original order.

    Args:
        task: The task.
        task_id: The task's number in its mixture.
        limit: Only examples of the task before this position.
        host: The number of this host; it reads the shards `host`,
            `host + hosts` and so on.
        hosts: How many hosts share the reading.

    Returns:
        A dataset of `(key, record)`: int64 (see `split_keys`), and the
        serialised example.

    Raises:
        InputError: If a shard is missing or has not the size it should have,
            or there are fewer shards than hosts.
    """
    data = tf().data
    info = read_info(task.directory)
    check_sizes(task.directory, info)
    shards = len(info["shards"])
    mine = range(host, shards, hosts)
    if shards < hosts:
        raise InputError(
            f"{task.directory}: {shards} shard(s) cannot be shared by {hosts} "
            f"hosts; import the task again with `--shards {hosts}` or more"
        )
    files = [str(task.directory / info["shards"][i]["file"]) for i in mine]
    # Records were dealt out to the shards in turn, so the k-th record here
    # is record k // m of shard k % m (of the m shards read).
    records = data.Dataset.from_tensor_slices(files).interleave(
        data.TFRecordDataset, cycle_length=len(files), block_length=1
    )
    limit = task.num_examples if limit is None else limit
    number = sum(len(range(i, limit, shards)) for i in mine)
    if hosts == 1:
        keys = data.Dataset.range(task_id << _INDEX_BITS, _NO_END)
    else:
        keys = data.Dataset.range(number).map(
            lambda k: (
                (task_id << _INDEX_BITS)
                + (k // len(mine)) * shards
                + host
                + (k % len(mine)) * hosts
            )
        )
    return data.Dataset.zip(keys, records).take(number)


def split_keys(keys):
    """Returns task ids (int32) and positions (int64) of int64 keys."""
    tf_ = tf()
    task_ids = tf_.bitwise.right_shift(
        keys, tf_.constant(_INDEX_BITS, tf_.int64)
    )
    indices = tf_.bitwise.bitwise_and(
        keys, tf_.constant((1 << _INDEX_BITS) - 1, tf_.int64)
    )
    return tf_.cast(task_ids, tf_.int32), indices


def parse_records(records, field_names: Sequence[str]) -> dict:
    """Returns each field of serialised examples as strings of shape `[n]`.

    A field that a record lacks is an empty text.
    """
    io = tf().io
    feature = io.FixedLenFeature([], tf().string, default_value="")
    return io.parse_example(records, dict.fromkeys(field_names, feature))


def draw_records(
    mixture: Mixture,
    *,
    seed: int,
    shuffle_buffer: int,
    repeat: bool,
    host: int = 0,
    hosts: int = 1,
):
    """Returns a stream of records, drawn at the rates of the mixture.

    Args:
        mixture: The mixture.
        seed: Seeds the shuffling and the choice of tasks.
        shuffle_buffer: Examples of each task that are shuffled together. A
            pass over a task has its own order, given by its number.
        repeat: Whether tasks begin anew when they are used up. If not, every
            usable example comes once.
        host: The number of this host.
        hosts: How many hosts share the shards; each draws for itself.

    Returns:
        A dataset of `(key, record)`, as from `task_records`.
    """
    data = tf().data
    streams = [
        _passes(
            task_records(
                part.task,
                i,
                limit=part.task.num_usable,
                host=host,
                hosts=hosts,
            ),
            seed=stable_seed("shuffle", seed, part.task.name),
            shuffle_buffer=shuffle_buffer,
            repeat=repeat,
        )
        for i, part in enumerate(mixture.tasks)
    ]
    return data.Dataset.choose_from_datasets(
        streams,
        _choices(
            [part.rate for part in mixture.tasks],
            seed if hosts == 1 else stable_seed("host", host, seed),
        ),
        stop_on_empty_dataset=False,
    )


def _passes(records, *, seed: int, shuffle_buffer: int, repeat: bool):
    """Shuffles every pass over the records with a seed of its own."""
    tf_ = tf()

    def shuffled(number):
        # TensorFlow mixes the graph's seed into every seed; inside this
        # function's graph it is pinned, whatever `tf.random.set_seed` says.
        tf_.compat.v1.set_random_seed(1)
        return records.shuffle(
            shuffle_buffer, seed=seed + number, reshuffle_each_iteration=False
        )

    counter = tf_.data.Dataset.counter()
    return (counter if repeat else counter.take(1)).flat_map(shuffled)


def _choices(rates: Sequence[float], seed: int):
    """Returns an endless dataset of task ids, drawn at the rates."""
    tf_ = tf()
    bounds = np.cumsum(rates)
    # The last bound is exactly 1, also for a last rate of 0.
    bounds /= bounds[-1]
    seed = stable_seed("choice", seed)

    def draw(number):
        chance = tf_.random.stateless_uniform(
            [_CHOICES], tf_.stack([seed, number]), dtype=tf_.float64
        )
        return tf_.searchsorted(
            tf_.constant(bounds), chance, side="right", out_type=tf_.int64
        )

    return tf_.data.Dataset.counter().map(draw).unbatch()
