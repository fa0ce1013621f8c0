"""The input pipeline: a mixture becomes packed batches for `model.fit`.

    records -> prompts -> token ids -> packed rows -> batches

Examples are drawn one by one (`streams`) and then handled in large chunks,
each on its own: prompts, tokens and rows of a chunk depend only on its
records, its number and the seed, so any number of threads gives the same
bytes.
"""

import functools

import numpy as np

from keras_flan.data.exemplars import ExemplarPool
from keras_flan.data.mixtures import Mixture
from keras_flan.data.packing import fill_rows, packed_lengths
from keras_flan.data.packing import pack as pack_lengths
from keras_flan.data.prompts_graph import PromptRenderer
from keras_flan.data.streams import (
    draw_records,
    parse_records,
    split_keys,
    stable_seed,
)
from keras_flan.data.templates import Format
from keras_flan.data.tf_runtime import tf
from keras_flan.data.tokenizers import Vocabulary
from keras_flan.errors import InputError

_FORMATS = list(Format)
# Without packing a row holds one example, so large chunks would only cost
# memory.
_UNPACKED_CHUNK = 1024
# How many examples are tried at first, to see whether any prompt fits.
_PROBE = 128


def build_dataset(
    mixture: Mixture,
    vocabulary: Vocabulary,
    *,
    input_length: int,
    target_length: int,
    batch_size: int,
    seed: int = 0,
    pack: bool = True,
    repeat: bool = True,
    shuffle_buffer: int = 1000,
    chunk: int = 8192,
    prefetch: int = 2,
):
    """Returns batches of a mixture, ready for `model.fit`.

    Each draw takes a task by the mixture's rates, the next of its shuffled
    examples, and one of its formats. Few-shot prompts show exemplars of the
    same task; whole exemplars are dropped until the prompt fits, and a
    prompt without any is left out. Longer texts are trimmed; both sides end
    with the end-of-text id. The same arguments give the same batches, on
    every run and for any number of threads.

    Args:
        mixture: The mixture.
        vocabulary: The vocabulary.
        input_length: Tokens of a row for the inputs.
        target_length: Tokens of a row for the targets.
        batch_size: Rows of a batch.
        seed: Seeds everything that is random.
        pack: Put many examples in a row; otherwise one.
        repeat: Go on for ever. Otherwise every example comes once, and empty
            rows (all padding, weight 0) fill up the last batch.
        shuffle_buffer: Examples of each task that are shuffled together.
        chunk: Examples that are packed together.
        prefetch: Batches made ahead of the training step.

    Returns:
        A `tf.data.Dataset` of `(x, y, sample_weight)` as `fill_rows` makes
        them, with the batch size in front; all shapes are fixed.

    Raises:
        InputError: If a length is too small, a shard is damaged, or no
            example can be used.

    Example:
        >>> dataset = build_dataset(
        ...     Mixture.from_yaml("cot.yaml"), vocabulary,
        ...     input_length=512, target_length=256, batch_size=8,
        ... )
        >>> x, y, sample_weight = next(iter(dataset))
        >>> x["encoder_segment_ids"][0, :6].numpy()
        array([1, 1, 1, 1, 1, 1], dtype=int32)

    Source: arXiv:2210.11416, section 2.2 (packing); arXiv:2301.13688,
    section 3 (mixing, few-shot prompts).
    """
    for name, value, least in (
        ("input_length", input_length, 2),
        ("target_length", target_length, 2),
        ("batch_size", batch_size, 1),
        ("shuffle_buffer", shuffle_buffer, 1),
        ("chunk", chunk, 1),
    ):
        if value < least:
            raise InputError(f"{name}: expected at least {least}, got {value}")
    tf_ = tf()
    auto = tf_.data.AUTOTUNE
    tokenise = _Tokeniser(mixture, vocabulary, input_length, seed)
    draws = draw_records(
        mixture, seed=seed, shuffle_buffer=shuffle_buffer, repeat=repeat
    )
    chunks = draws.batch(
        chunk if pack else min(chunk, _UNPACKED_CHUNK)
    ).enumerate()
    if all(f.few_shot for part in mixture.tasks for f in part.formats):
        # Nothing else is ever left out, so nothing else can come to nothing.
        _check_yield(mixture, tokenise, chunks, input_length)
    row_seed = stable_seed("rows", seed)

    def make_rows(number, batch):
        inputs, targets = tokenise(number, *batch)
        lengths = tf_.stack(
            [
                packed_lengths(inputs, input_length),
                packed_lengths(targets, target_length),
            ],
            axis=1,
        )
        rows = (
            _pack_rows(lengths, (input_length, target_length), row_seed, number)
            if pack
            else tf_.range(tf_.shape(lengths)[0])
        )
        return fill_rows(
            inputs,
            targets,
            rows,
            input_length=input_length,
            target_length=target_length,
            eos_id=vocabulary.eos_id,
        )

    def fill_up(*batch):
        return tf_.nest.map_structure(
            lambda rows: _fill_up(rows, batch_size), batch
        )

    options = tf_.data.Options()
    options.deterministic = True
    return (
        chunks.map(make_rows, num_parallel_calls=auto)
        .rebatch(batch_size)
        .map(fill_up)
        .prefetch(prefetch)
        .with_options(options)
    )


class _Tokeniser:
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
        task_ids, indices = split_keys(keys)
        values = parse_records(records, self._renderer.field_names)
        ids = (task_ids, indices, self._draw_formats(number, task_ids))
        headers, inputs, targets = self._renderer.query(*ids, values)
        encode = self._vocabulary.encoder_tf()
        if self._pool is None:
            return encode(inputs), encode(targets)
        tokens, usable = self._with_exemplars(
            number, ids, headers, inputs, encode
        )
        return tokens, encode(tf().boolean_mask(targets, usable))

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


def _pack_rows(lengths, capacity, seed: int, number):
    """Packs a chunk and shuffles its rows, which `pack` orders by size."""
    tf_ = tf()
    rows = tf_.numpy_function(
        functools.partial(pack_lengths, capacity=capacity),
        [lengths],
        tf_.int32,
        stateful=False,
    )
    rows.set_shape([None])
    num_rows = tf_.reduce_max(tf_.concat([rows, [-1]], 0)) + 1
    chance = tf_.random.stateless_uniform(
        num_rows[None], tf_.stack([seed, number])
    )
    return tf_.gather(tf_.argsort(chance), rows)


def _fill_up(rows, batch_size: int):
    """Adds rows of padding to the last batch; fixes the shape."""
    tf_ = tf()
    missing = batch_size - tf_.shape(rows)[0]
    return tf_.ensure_shape(
        tf_.pad(rows, [[0, missing], [0, 0]]), [batch_size, rows.shape[1]]
    )


def _check_yield(mixture, tokenise, chunks, input_length: int) -> None:
    """Checks that few-shot prompts, at least one, fit into `input_length`."""
    for number, (keys, records) in chunks.take(1):
        # Nearly always a few examples decide.
        for n in (_PROBE, len(keys)):
            tokens, _ = tokenise(number, keys[:n], records[:n])
            if tokens.nrows() > 0:
                return
        raise InputError(
            f"{mixture.name}: none of the first {len(keys)} examples leaves "
            f"place for an exemplar within input_length {input_length}; raise "
            "it, or allow zero-shot formats"
        )
