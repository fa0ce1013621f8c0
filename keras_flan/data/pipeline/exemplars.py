"""Exemplars: solved examples of the same task, drawn inside the graph."""

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from keras_flan.data.pipeline.order import stable_seed
from keras_flan.data.pipeline.streams import parse_records
from keras_flan.data.records.reader import RecordReader
from keras_flan.data.templates.task import Task
from keras_flan.runtime.tensorflow import tf
from keras_flan.tensors import Tensor

# Examples of a task that serve as exemplars.
POOL_SIZE = 128


class ExemplarPool:
    """Up to `POOL_SIZE` examples of each task, held in memory.

    A task's id is its place among the tasks; a `None` has no exemplars. Of
    the records, only the named fields are kept.

    Raises:
        InputError: If records are missing or damaged.

    Example:
        >>> pool = ExemplarPool([gsm8k], ["question", "answer"], seed=0)
        >>> slots, shown = pool.draw(
        ...     task_ids=[0], indices=[7], shots=3, seed=[0, 1]
        ... )
        >>> pool.values(slots)["question"].shape
        TensorShape([1, 3])

    Source: arXiv:2301.13688, section 3 (exemplars come from the task's own
    training split).
    """

    def __init__(
        self,
        tasks: Sequence[Task | None],
        field_names: Sequence[str],
        seed: int,
    ):
        self._first = np.zeros(len(tasks), np.int32)
        self._count = np.zeros(len(tasks), np.int32)
        # The position of each exemplar in its task's order of reading.
        self._indices = np.full([len(tasks), POOL_SIZE], -1, np.int64)
        folders: list[Path] = []
        sets: list[int] = []
        positions: list[int] = []
        for i, task in enumerate(tasks):
            if task is None:
                continue
            size = min(task.num_examples, POOL_SIZE)
            draw = random.Random(stable_seed("pool", seed, task.name))
            indices = draw.sample(range(task.num_examples), size)
            self._first[i] = sum(self._count)
            self._count[i] = len(indices)
            self._indices[i, : len(indices)] = indices
            sets += [len(folders)] * size
            positions += indices
            folders.append(task.directory)
        records = RecordReader(folders).read(
            np.array(sets, np.int64), np.array(positions, np.int64)
        )
        self._values = parse_records(records, list(field_names))

    def draw(
        self, task_ids: Tensor, indices: Tensor, *, shots: int, seed: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Draws exemplars without replacement, never the question itself.

        Questions are given by task (int32) and position (int64), of shape
        `[n]`; the seed is that of `tf.random.stateless_uniform`.

        Returns:
            Slots of the pool, int32 of shape `[n, shots]`, and how many of
            them count, int32 of shape `[n]`: fewer than `shots` in a task
            with too few examples.
        """
        tf_ = tf()
        count = tf_.gather(self._count, task_ids)
        itself = tf_.gather(self._indices, task_ids) == indices[:, None]
        inside = tf_.reduce_any(itself, axis=1)
        own = tf_.argmax(itself, axis=1, output_type=tf_.int32)
        available = count - tf_.cast(inside, tf_.int32)
        chance = tf_.random.stateless_uniform(
            [tf_.shape(count)[0], shots], seed, dtype=tf_.float64
        )
        # A draw picks among the slots not yet taken, counted from 0, and
        # steps over the taken ones in ascending order. The question's own
        # slot is taken from the start.
        taken = tf_.where(inside, own, POOL_SIZE)[:, None]
        picks = []
        for i in range(shots):
            left = tf_.maximum(available - i, 1)
            pick = chance[:, i] * tf_.cast(left, tf_.float64)
            pick = tf_.cast(pick, tf_.int32)
            for j in range(i + 1):
                pick += tf_.cast(pick >= taken[:, j], tf_.int32)
            picks.append(pick)
            taken = tf_.sort(tf_.concat([taken, pick[:, None]], 1), axis=1)
        # Beyond what is available, picks mean nothing but must be valid.
        slots = tf_.minimum(tf_.stack(picks, axis=1), count[:, None] - 1)
        slots += tf_.gather(self._first, task_ids)[:, None]
        return slots, tf_.minimum(available, shots)

    def values(self, slots: Tensor) -> dict[str, Tensor]:
        """Returns the fields of the exemplars, strings shaped as `slots`."""
        return {k: tf().gather(v, slots) for k, v in self._values.items()}
