"""The input pipeline: a mixture becomes packed batches for `model.fit`.

    records -> prompts -> token ids -> packed rows -> batches

Examples are drawn one by one (`streams`) and then handled in large chunks,
each on its own: prompts, tokens and rows of a chunk depend only on its
records, its number and the seed, so any number of threads gives the same
bytes.
"""

import dataclasses
import functools

from keras_flan.data.mixtures.mixture import Mixture
from keras_flan.data.pipeline.feature_converters import (
    DecoderOnlyRows,
    EncoderDecoderRows,
)
from keras_flan.data.pipeline.packing import pack as pack_lengths
from keras_flan.data.pipeline.position import CUTS, Position, RowCounts
from keras_flan.data.pipeline.prompt_tokens import PromptTokens
from keras_flan.data.pipeline.streams import draw_records, stable_seed
from keras_flan.data.vocabularies.sentencepiece import Vocabulary
from keras_flan.errors import InputError
from keras_flan.runtime.tensorflow import tf

_BEGIN = Position()
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
    host: int = 0,
    hosts: int = 1,
    decoder_only: bool = False,
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
        host: The number of this host, from 0.
        hosts: How many hosts share the mixture's shards, each example going
            to exactly one. A host makes batches of `batch_size` of its own.
        decoder_only: Put inputs and targets one after the other, for
            decoder-only models, in rows of `input_length + target_length`
            tokens.

    Returns:
        A `tf.data.Dataset` of `(x, y, sample_weight)` as
        `feature_converters` makes them, with
        the batch size in front; all shapes are fixed.

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
    return Pipeline(
        mixture,
        vocabulary,
        input_length=input_length,
        target_length=target_length,
        batch_size=batch_size,
        seed=seed,
        pack=pack,
        repeat=repeat,
        shuffle_buffer=shuffle_buffer,
        chunk=chunk,
        prefetch=prefetch,
        host=host,
        hosts=hosts,
        decoder_only=decoder_only,
    ).dataset()


class Pipeline:
    """Batches of a mixture that can be resumed at any step.

    The stages of a mixture follow each other after their numbers of batches.

    Args:
        mixture: The mixture.
        vocabulary: The vocabulary.
        **settings: As for `build_dataset`.

    Example:
        >>> pipeline = Pipeline(mixture, vocabulary, input_length=512,
        ...     target_length=256, batch_size=8)
        >>> model.fit(pipeline.dataset(), steps_per_epoch=100)
        >>> saved = pipeline.position(100).to_dict()  # to a file
        >>> model.fit(pipeline.dataset(Position.from_dict(saved)),
        ...     steps_per_epoch=100)
    """

    def __init__(
        self,
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
        host: int = 0,
        hosts: int = 1,
        decoder_only: bool = False,
    ):
        for name, value, least in (
            ("input_length", input_length, 2),
            ("target_length", target_length, 2),
            ("batch_size", batch_size, 1),
            ("shuffle_buffer", shuffle_buffer, 1),
            ("chunk", chunk, 1),
            ("host", host, 0),
            ("hosts", hosts, host + 1),
        ):
            if value < least:
                raise InputError(
                    f"{name}: expected at least {least}, got {value}"
                )
        sizes = (input_length, target_length, vocabulary.eos_id)
        if decoder_only:
            self._converter = DecoderOnlyRows(
                *sizes, bos_id=getattr(vocabulary, "bos_id", None)
            )
        else:
            self._converter = EncoderDecoderRows(*sizes)
        if mixture.then and not repeat:
            raise InputError(
                f"{mixture.name}: stages last a number of batches, not a pass "
                "over the examples; leave `repeat` on, or train on one stage"
            )
        self._batch_size = batch_size
        self._prefetch = prefetch
        self._stages = [
            _Stage(
                stage,
                vocabulary,
                self._converter,
                batch_size=batch_size,
                # Each stage has draws of its own.
                seed=stable_seed("stage", i, seed) if i else seed,
                pack=pack,
                repeat=repeat,
                shuffle_buffer=shuffle_buffer,
                chunk=chunk if pack else min(chunk, _UNPACKED_CHUNK),
                host=host,
                hosts=hosts,
            )
            for i, stage in enumerate(mixture.stages)
        ]
        self._start = Position()

    def dataset(self, start: Position = _BEGIN):
        """Returns the batches from a position on, as `build_dataset` does.

        The batches are those that an uninterrupted stream has from there,
        byte for byte. Only reading and drawing are done again for what came
        before (some 5 microseconds an example).
        """
        data = tf().data
        self._start = start
        options = data.Options()
        options.deterministic = True
        number, done = self._find_stage(start.batch)
        batches = self._stages[number].batches(start, done)
        for stage in self._stages[number + 1 :]:
            batches = batches.concatenate(stage.batches())
        return batches.prefetch(self._prefetch).with_options(options)

    def position(self, batches: int) -> Position:
        """Returns where the latest dataset stands after so many batches.

        Args:
            batches: Batches taken from it since its start.
        """
        begun, done = self._find_stage(self._start.batch)
        number, now = self._find_stage(self._start.batch + batches)
        if number == begun:
            start, now = self._start, now - done
        else:
            start = _BEGIN
        place = self._stages[number].counts.after(start, now * self._batch_size)
        return dataclasses.replace(place, batch=self._start.batch + batches)

    def cuts(self) -> dict[str, int]:
        """Counts what did not fit, since the latest dataset began.

        Examples are counted as they are made, which is ahead of their
        batches, a chunk at a time.

        Returns:
            `examples` drawn; of these `left_out`, few-shot prompts without
            place for an exemplar; and how many `inputs` and `targets` were
            longer than allowed, and therefore trimmed.

        Example:
            >>> pipeline.cuts()
            {'examples': 8192, 'left_out': 3, 'inputs': 410, 'targets': 0}
        """
        counts = [stage.counts.cuts() for stage in self._stages]
        sums = [sum(each) for each in zip(*filter(None, counts), strict=True)]
        return dict(zip(CUTS, sums or [0] * len(CUTS), strict=True))

    def _find_stage(self, batch: int) -> tuple[int, int]:
        """Returns the stage that a batch is in, and its number in there."""
        for number, stage in enumerate(self._stages):
            if stage.steps is None or batch < stage.steps:
                return number, batch
            batch -= stage.steps
        raise AssertionError("the last stage has no end")


class _Stage:
    """The batches of one mixture.

    Attributes:
        steps: How many batches there are; `None` for no end.
        counts: The rows of each chunk made since the latest start.
    """

    def __init__(
        self,
        mixture: Mixture,
        vocabulary: Vocabulary,
        converter: EncoderDecoderRows | DecoderOnlyRows,
        *,
        batch_size: int,
        seed: int,
        pack: bool,
        chunk: int,
        **draws,
    ):
        self.steps = mixture.steps
        self.counts = RowCounts()
        self._converter = converter
        self._batch_size = batch_size
        self._pack = pack
        self._chunk = chunk
        self._row_seed = stable_seed("rows", seed)
        self._tokenise = PromptTokens(
            mixture, vocabulary, converter.longest_input, seed
        )
        # Traced once, however many times the stage is begun: tracing takes a
        # second or more.
        self._rows = tf().function(
            self._make_rows,
            input_signature=[
                tf().TensorSpec([], tf().int64),
                tf().TensorSpec([None], tf().int64),
                tf().TensorSpec([None], tf().string),
            ],
            autograph=False,
        )
        self._draws = draw_records(mixture, seed=seed, **draws)
        if all(f.few_shot for part in mixture.tasks for f in part.formats):
            # Nothing else is ever left out, so nothing else can come to
            # nothing.
            _check_yield(
                mixture,
                self._tokenise,
                self._chunks(),
                converter.longest_input,
            )

    def batches(self, start: Position = _BEGIN, done: int = 0):
        """Returns the batches from a position in this stage on.

        Args:
            start: The position.
            done: Batches of the stage that come before it.
        """
        tf_ = tf()
        counts = self.counts = RowCounts()

        def make_rows(number, batch):
            rows, cuts = self._rows(number, *batch)
            count = tf_.shape(rows[1])[0]
            noted = tf_.numpy_function(counts.add, [number, count, cuts], [])
            first = tf_.where(number == start.chunk, start.row, 0)
            with tf_.control_dependencies([noted]):
                return tf_.nest.map_structure(lambda row: row[first:], rows)

        def fill_up(*batch):
            return tf_.nest.map_structure(
                lambda rows: _fill_up(rows, self._batch_size), batch
            )

        batches = (
            self._chunks(start.chunk)
            .map(make_rows, num_parallel_calls=tf_.data.AUTOTUNE)
            .rebatch(self._batch_size)
            .map(fill_up)
        )
        return batches.take(self.steps - done) if self.steps else batches

    def _chunks(self, first: int = 0):
        draws = self._draws.skip(first * self._chunk)
        return draws.batch(self._chunk).enumerate(start=first)

    def _make_rows(self, number, keys, records):
        tf_ = tf()
        inputs, targets = self._tokenise(number, keys, records)
        lengths = self._converter.lengths(inputs, targets)
        if self._pack:
            rows = _pack_rows(
                lengths, self._converter.capacity, self._row_seed, number
            )
        else:
            rows = tf_.range(tf_.shape(lengths)[0])
        return self._converter.fill(inputs, targets, rows), self._cuts(
            keys, inputs, targets
        )

    def _cuts(self, keys, inputs, targets):
        """Counts what did not fit, int32 in the order of `CUTS`."""
        tf_ = tf()
        drawn, used = tf_.size(keys), tf_.size(inputs.row_lengths())
        # One place is for the end-of-text id.
        inputs, targets = (
            tf_.math.count_nonzero(
                tokens.row_lengths() > longest - 1, dtype=tf_.int32
            )
            for tokens, longest in (
                (inputs, self._converter.longest_input),
                (targets, self._converter.target_length),
            )
        )
        return tf_.stack([drawn, drawn - used, inputs, targets])


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
