"""From records to prompts to token ids, a chunk at a time."""

import numpy as np

from keras_flan.data.pipeline.exemplars import ExemplarPool
from keras_flan.data.pipeline.streams import (
    parse_records,
    split_keys,
    stable_seed,
)
from keras_flan.data.templates.families import Format
from keras_flan.data.templates.prompts_graph import PromptRenderer
from keras_flan.runtime.tensorflow import tf

_FORMATS = list(Format)


class PromptTokens:
    """Turns a chunk of records into prompts and token ids.

    Args:
        mixture: The mixture.
        vocabulary: The vocabulary.
        input_length: The longest input, with the end-of-text id.
        seed: Seeds formats and exemplars.
    """

    def __init__(self, mixture, vocabulary, input_length: int, seed: int):
        self._vocabulary = vocabulary
        self._budget = input_length - 1
        self._shots = mixture.shots
        self._renderer = PromptRenderer(
            [part.task for part in mixture.tasks], seed
        )
        self._few_shot = [
            any(f.few_shot for f in part.formats) for part in mixture.tasks
        ]
        self._pool = None
        if any(self._few_shot):
            self._pool = ExemplarPool(
                [
                    part.task if few_shot else None
                    for part, few_shot in zip(
                        mixture.tasks, self._few_shot, strict=True
                    )
                ],
                self._renderer.field_names,
                seed,
            )
        self._bounds = [_format_bounds(part.formats) for part in mixture.tasks]
        self._format_seed = stable_seed("format", seed)
        self._exemplar_seed = stable_seed("exemplars", seed)

    def __call__(self, number, keys, records):
        """Returns the token ids of inputs and targets of a chunk.

        Args:
            number: The number of the chunk, int64.
            keys: int64 of shape `[n]`.
            records: Serialised examples, strings of shape `[n]`.

        Returns:
            Two int32 `tf.RaggedTensor` `[m, (tokens)]` without end-of-text;
            `m < n` if prompts were left out.
        """
        inputs, targets, _, _ = self.examples(number, keys, records)
        return inputs, targets

    def examples(self, number, keys, records):
        """Returns what a call does, and what became of each record.

        Returns:
            Besides the two of a call: the formats, as places in
            `list(Format)`, int32 of shape `[n]`, and which records were
            used, booleans of shape `[n]`.
        """
        task_ids, indices = split_keys(keys)
        values = parse_records(records, self._renderer.field_names)
        formats = self._draw_formats(number, task_ids)
        ids = (task_ids, indices, formats)
        headers, inputs, targets = self._renderer.query(*ids, values)
        encode = self._vocabulary.encoder_tf()
        if self._pool is None:
            used = tf().ones_like(formats, tf().bool)
            return encode(inputs), encode(targets), formats, used
        tokens, used = self._with_exemplars(
            number, ids, headers, inputs, encode
        )
        targets = encode(tf().boolean_mask(targets, used))
        return tokens, targets, formats, used

    def _draw_formats(self, number, task_ids):
        """Draws a format for each example, int32 of shape `[n]`."""
        tf_ = tf()
        chance = tf_.random.stateless_uniform(
            tf_.shape(task_ids),
            tf_.stack([self._format_seed, number]),
            dtype=tf_.float64,
        )
        bounds = tf_.gather(tf_.constant(self._bounds, tf_.float64), task_ids)
        passed = tf_.cast(chance[:, None] >= bounds, tf_.int32)
        return tf_.reduce_sum(passed, axis=1)

    def _with_exemplars(self, number, ids, headers, queries, encode):
        """Tokenises the prompts, with exemplars where the format has them.

        Only prompts that turn out too long are tokenised again, with one
        exemplar less each time.

        Args:
            number: The number of the chunk.
            ids: Task ids, positions and format ids, each of shape `[n]`.
            headers: What stands before exemplars, strings of shape `[n]`.
            queries: The prompts without exemplars, strings of shape `[n]`.
            encode: Tokenises strings of shape `[n]`.

        Returns:
            The token ids of the `m` usable prompts, and which of the `n`
            these are, booleans of shape `[n]`.
        """
        tf_ = tf()
        few_shot = tf_.gather([f.few_shot for f in _FORMATS], ids[2])
        places = tf_.cast(tf_.where(few_shot)[:, 0], tf_.int32)
        ids = [tf_.gather(values, places) for values in ids]
        slots, shots = self._pool.draw(
            ids[0],
            ids[1],
            shots=self._shots,
            seed=tf_.stack([self._exemplar_seed, number]),
        )
        blocks = self._renderer.exemplars(*ids, self._pool.values(slots))

        def prompts(which, shots):
            at = tf_.gather(places, which)
            return self._renderer.assemble(
                tf_.gather(headers, at),
                tf_.gather(queries, at),
                tf_.gather(blocks, which),
                tf_.sequence_mask(shots, self._shots),
            )

        def update(values, which, new):
            at = tf_.gather(places, which)[:, None]
            return tf_.tensor_scatter_nd_update(values, at, new)

        # `which` are the few-shot prompts in question, numbered among
        # themselves; `rows` says where in `tokens` each example's prompt is,
        # with -1 for one without exemplars.
        which = tf_.range(tf_.size(places))
        tokens = encode(update(queries, which, prompts(which, shots)))
        rows = tf_.range(tf_.size(queries))
        rows = update(
            rows, which, tf_.where(shots > 0, tf_.gather(rows, places), -1)
        )
        lengths = tf_.gather(tokens.row_lengths(), places)
        for _ in range(self._shots):
            too_long = lengths > self._budget
            which = tf_.boolean_mask(which, too_long)
            shots = tf_.boolean_mask(shots, too_long) - 1
            rows = update(rows, which, tf_.fill(tf_.shape(which), -1))
            which = tf_.boolean_mask(which, shots > 0)
            shots = tf_.boolean_mask(shots, shots > 0)
            again = encode(prompts(which, shots))
            first = tf_.cast(tokens.nrows(), tf_.int32)
            rows = update(rows, which, first + tf_.range(tf_.size(which)))
            lengths = again.row_lengths()
            tokens = tf_.concat([tokens, again], axis=0)
        usable = rows >= 0
        return tf_.gather(tokens, tf_.boolean_mask(rows, usable)), usable


def _format_bounds(formats: dict[Format, float]) -> list[float]:
    """Returns the upper ends of the formats' shares of [0, 1)."""
    bounds = np.cumsum([formats.get(format, 0) for format in _FORMATS])
    return (bounds / bounds[-1]).tolist()
