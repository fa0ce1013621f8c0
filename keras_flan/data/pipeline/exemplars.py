"""Exemplars: solved examples of the same task, drawn inside the graph."""

import random
from collections.abc import Sequence

import numpy as np

from keras_flan.data.pipeline.order import stable_seed
from keras_flan.data.pipeline.streams import parse_records
from keras_flan.data.pipeline.validation import kept_apart
from keras_flan.data.records.reader import RecordReader
from keras_flan.data.templates.prompts_graph import PromptRenderer
from keras_flan.data.templates.task import Task
from keras_flan.runtime.tensorflow import tf
from keras_flan.tensors import Tensor

# Examples of a task that serve as exemplars.
POOL_SIZE = 128


class ExemplarPool:
    """Up to `POOL_SIZE` examples of each task, held in memory.

    No two of a task ask the same question. A task's id is its place among
    the tasks; a `None` has no exemplars. Of the records, only the fields of
    the renderer are kept. Of each task a share `validation` is never shown,
    see `validation.kept_apart`.

    Raises:
        InputError: If records are missing or damaged.

    Example:
        >>> pool = ExemplarPool([gsm8k], PromptRenderer([gsm8k]), seed=0)
        >>> slots, shown = pool.draw(
        ...     task_ids=[0], identities=identities, shots=3, seed=[0, 1]
        ... )
        >>> pool.values(slots)["question"].shape
        TensorShape([1, 3])

    Source: arXiv:2301.13688, section 3 (exemplars come from the task's own
    training split).
    """

    def __init__(
        self,
        tasks: Sequence[Task | None],
        renderer: PromptRenderer,
        seed: int,
        validation: float = 0.0,
    ):
        asked = [(i, task) for i, task in enumerate(tasks) if task is not None]
        reader = RecordReader([task.directory for _, task in asked])
        sets: list[int] = []
        task_ids: list[int] = []
        positions: list[int] = []
        for number, (i, task) in enumerate(asked):
            shown: Sequence[int] = range(task.num_examples)
            if validation:
                sums = reader.checksums(number, task.num_examples)
                shown = np.flatnonzero(~kept_apart(sums, validation)).tolist()
            size = min(len(shown), POOL_SIZE)
            draw = random.Random(stable_seed("pool", seed, task.name))
            positions += draw.sample(shown, size)
            sets += [number] * size
            task_ids += [i] * size
        records = reader.read(
            np.array(sets, np.int64), np.array(positions, np.int64)
        )
        values = parse_records(records, renderer.field_names)
        identities = renderer.identities(task_ids, values).numpy()
        own = np.array(task_ids, np.int64)
        # The first of each question, task by task as before.
        pairs = np.stack([own, identities], axis=1)
        _, kept = np.unique(pairs, axis=0, return_index=True)
        kept.sort()
        self._values = {k: tf().gather(v, kept) for k, v in values.items()}
        self._count = np.bincount(own[kept], minlength=len(tasks))
        self._count = self._count.astype(np.int32)
        self._first = np.cumsum(self._count, dtype=np.int32) - self._count
        # The question that each slot of a task asks.
        self._identities = np.full([len(tasks), POOL_SIZE], -1, np.int64)
        place = np.arange(len(kept)) - self._first[own[kept]]
        self._identities[own[kept], place] = identities[kept]

    def draw(
        self, task_ids: Tensor, identities: Tensor, *, shots: int, seed: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Draws exemplars without replacement, never the question itself.

        Questions are given by task (int32) and by what the renderer's
        `identities` say of them (int64), of shape `[n]`; the seed is that of
        `tf.random.stateless_uniform`.

        Returns:
            Slots of the pool, int32 of shape `[n, shots]`, and how many of
            them count, int32 of shape `[n]`: fewer than `shots` in a task
            with too few examples.
        """
        tf_ = tf()
        count = tf_.gather(self._count, task_ids)
        slots = tf_.gather(self._identities, task_ids)
        itself = slots == identities[:, None]
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
