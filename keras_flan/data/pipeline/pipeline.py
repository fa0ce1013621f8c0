"""The input pipeline: a mixture becomes packed batches for `model.fit`.

    records -> prompts -> token ids -> packed rows -> batches

Examples are drawn (`streams`) and handled in large chunks, each on its own:
prompts, tokens and rows of a chunk depend only on its records, its number and
the seed, so any number of threads gives the same bytes.
"""

import dataclasses
import functools
from typing import Any

from keras_flan.data.mixtures.mixture import Mixture
from keras_flan.data.pipeline.chat_tokens import ChatTokens
from keras_flan.data.pipeline.feature_converters import (
    ConversationRows,
    DecoderOnlyRows,
    EncoderDecoderRows,
)
from keras_flan.data.pipeline.order import stable_seed
from keras_flan.data.pipeline.packing import pack as pack_lengths
from keras_flan.data.pipeline.position import CUTS, Position, RowCounts
from keras_flan.data.pipeline.prompt_tokens import PromptTokens, Tokens
from keras_flan.data.pipeline.settings import PipelineSettings
from keras_flan.data.pipeline.streams import Draws
from keras_flan.data.templates.chat_files import load_chat_template
from keras_flan.data.vocabularies.hub import HubVocabulary
from keras_flan.data.vocabularies.sentencepiece import Vocabulary
from keras_flan.errors import InputError
from keras_flan.runtime.tensorflow import tf
from keras_flan.tensors import Dataset, Tensor

_BEGIN = Position()
# Without packing a row holds one example, so large chunks would only cost
# memory.
_UNPACKED_CHUNK = 1024
# How many examples are tried at first, to see whether any prompt fits.
_PROBE = 128


def build_dataset(
    mixture: Mixture,
    vocabulary: Vocabulary | HubVocabulary,
    settings: PipelineSettings | None = None,
    **named: Any,
) -> Dataset:
    """Returns batches of a mixture, ready for `model.fit`.

    Each draw takes a task by the mixture's rates, the next of its examples in
    the random order of a pass over all of them, and one of its formats.
    Few-shot prompts show exemplars of the
    same task; whole exemplars are dropped until the prompt fits, and a
    prompt without any is left out. A zero-shot prompt that is too long loses
    a part of the passage that its template family names under `shorten`, or
    else of its longest field; targets are trimmed. Both sides end with the
    end-of-text id. The same arguments give the same batches, on every run and
    for any number of threads.

    Args:
        mixture: The mixture.
        vocabulary: The vocabulary.
        settings: All settings in one object.
        **named: Single settings, as `PipelineSettings` documents them:
            `input_length`, `target_length` and `batch_size` must be given
            here or in `settings`.

    Returns:
        A `tf.data.Dataset` of `(x, y, sample_weight)` as
        `feature_converters` makes them, with the batch size in front; all
        shapes are fixed.

    Raises:
        InputError: If a setting is unknown or too small, a shard is damaged,
            or no example can be used.

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
    return Pipeline(mixture, vocabulary, settings, **named).dataset()


class Pipeline:
    """Batches of a mixture that can be resumed at any step.

    The stages of a mixture follow each other after their numbers of batches.

    Args:
        mixture: The mixture.
        vocabulary: The vocabulary.
        settings: As for `build_dataset`.
        **named: As for `build_dataset`.

    Attributes:
        settings: The `PipelineSettings`.

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
        vocabulary: Vocabulary | HubVocabulary,
        settings: PipelineSettings | None = None,
        **named: Any,
    ):
        self.settings = settings = PipelineSettings.of(settings, named)
        if mixture.then and not settings.repeat:
            raise InputError(
                f"{mixture.name}: stages last a number of batches, not a pass "
                "over the examples; leave `repeat` on, or train on one stage"
            )
        self._stages = [
            _Stage(stage, vocabulary, _stage_settings(settings, i))
            for i, stage in enumerate(mixture.stages)
        ]
        self._start = Position()

    def dataset(self, start: Position = _BEGIN) -> Dataset:
        """Returns the batches from a position on, as `build_dataset` does.

        The batches are those that an uninterrupted stream has from there,
        byte for byte. Nothing is read again of what came before; which tasks
        it was drawn from is counted (less than a microsecond per draw).
        """
        data = tf().data
        self._start = start
        options = data.Options()
        options.deterministic = True
        number, done = self._find_stage(start.batch)
        batches = self._stages[number].batches(start, done)
        for stage in self._stages[number + 1 :]:
            batches = batches.concatenate(stage.batches())
        prefetch = self.settings.prefetch
        batches = batches.prefetch(prefetch).with_options(options)
        if self.settings.repeat:
            batches = batches.apply(
                data.experimental.assert_cardinality(data.INFINITE_CARDINALITY)
            )
        return batches

    def position(self, batches: int) -> Position:
        """Returns where the latest dataset is, `batches` after its start."""
        begun, done = self._find_stage(self._start.batch)
        batch = self._start.batch + batches
        number, now = self._find_stage(batch)
        start = _BEGIN
        if number == begun:
            start, now = self._start, now - done
        rows = now * self.settings.rows
        place = self._stages[number].counts.after(start, rows)
        return dataclasses.replace(place, batch=batch)

    def cuts(self) -> dict[str, int]:
        """Counts what did not fit, since the latest dataset began.

        Examples are counted as they are made, which is ahead of their
        batches, a chunk at a time.

        Returns:
            `examples` drawn; of these `left_out`, few-shot prompts without
            place for an exemplar, and conversations without place for an
            answer, or that the chat template can't write; and how many
            `inputs` and `targets` were longer than allowed, and therefore
            shortened or trimmed.

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
        vocabulary: Vocabulary | HubVocabulary,
        settings: PipelineSettings,
    ):
        self.steps = mixture.steps
        self.counts = RowCounts()
        self._settings = settings
        self._converter = _converter(settings, vocabulary)
        self._row_seed = stable_seed("rows", settings.seed)
        self._tokenise: PromptTokens | ChatTokens
        if settings.chat is not None:
            self._tokenise = ChatTokens(
                mixture,
                vocabulary,
                load_chat_template(settings.chat),
                self._converter.longest_input - 1,
                settings.loss_on,
                settings.seed,
            )
        else:
            self._tokenise = PromptTokens(
                mixture,
                vocabulary.encoder_tf,
                self._converter.longest_input,
                settings.seed,
                settings.validation,
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
        self._draws = Draws(mixture, settings)
        few_shot = (f.few_shot for part in mixture.tasks for f in part.formats)
        if settings.chat is not None or all(few_shot):
            # Nothing else is ever left out, so nothing else can come to
            # nothing.
            self._check_yield(mixture.name)

    def batches(self, start: Position = _BEGIN, done: int = 0) -> Dataset:
        """Returns the batches after `start`, before which `done` were made."""
        tf_ = tf()
        counts = self.counts = RowCounts()

        def make_rows(number: Tensor, keys: Tensor, records: Tensor) -> tuple:
            rows, cuts = self._rows(number, keys, records)
            count = tf_.shape(rows[1])[0]
            noted = tf_.numpy_function(counts.add, [number, count, cuts], [])
            first = tf_.where(number == start.chunk, start.row, 0)
            with tf_.control_dependencies([noted]):
                return tf_.nest.map_structure(lambda row: row[first:], rows)

        settings = self._settings
        first_row = settings.host * settings.batch_size

        def own_rows(*batch: Tensor) -> tuple:
            return tf_.nest.map_structure(
                lambda rows: _take_rows(rows, first_row, settings.batch_size),
                batch,
            )

        batches = (
            self._draws.chunks(start.chunk)
            .map(make_rows, num_parallel_calls=tf_.data.AUTOTUNE)
            .rebatch(settings.rows)
            .map(own_rows)
        )
        return batches.take(self.steps - done) if self.steps else batches

    def _make_rows(self, number: Tensor, keys: Tensor, records: Tensor):
        tf_ = tf()
        tokens = self._tokenise(number, keys, records)
        inputs, targets = tokens.inputs, tokens.targets
        lengths = self._converter.lengths(inputs, targets)
        if self._settings.pack:
            capacity = self._converter.capacity
            rows = _pack_rows(lengths, capacity, self._row_seed, number)
        else:
            rows = tf_.range(tf_.shape(lengths)[0])
        batch = self._converter.lay_out(inputs, targets, rows)
        return batch, self._cuts(tokens)

    def _cuts(self, tokens: Tokens) -> Tensor:
        """Counts what did not fit, int32 in the order of `CUTS`."""
        tf_ = tf()
        drawn, used = tf_.size(tokens.used), tf_.size(tokens.lengths)

        def cut(lengths: Tensor, longest: int) -> Tensor:
            too_long = lengths > longest - 1  # The last is eos_id.
            return tf_.math.count_nonzero(too_long, dtype=tf_.int32)

        long_inputs = cut(tokens.lengths, self._converter.longest_input)
        long_targets = cut(
            tokens.targets.row_lengths(), self._converter.target_length
        )
        return tf_.stack([drawn, drawn - used, long_inputs, long_targets])

    def _check_yield(self, name: str) -> None:
        """Checks that at least one example is used."""
        for number, keys, records in self._draws.chunks().take(1):
            # Nearly always a few examples decide.
            for n in (_PROBE, len(keys)):
                _, cuts = self._rows(number, keys[:n], records[:n])
                drawn, left_out, *_ = cuts.numpy()
                if left_out < drawn:
                    return
            if self._settings.chat is not None:
                raise InputError(
                    f"{name}: none of the first {len(keys)} conversations can "
                    "be written with the chat template and fits, up to its "
                    f"first answer, into {self._converter.capacity[0]} tokens; "
                    "raise input_length, or choose another template"
                )
            raise InputError(
                f"{name}: none of the first {len(keys)} examples leaves place "
                "for an exemplar within input_length "
                f"{self._converter.longest_input}; raise it, or allow "
                "zero-shot formats"
            )


def _stage_settings(settings: PipelineSettings, number: int):
    """Returns the settings of a stage, of which each has its own draws."""
    seed, chunk = settings.seed, settings.chunk
    return dataclasses.replace(
        settings,
        seed=stable_seed("stage", number, seed) if number else seed,
        chunk=chunk if settings.pack else min(chunk, _UNPACKED_CHUNK),
    )


def _converter(
    settings: PipelineSettings, vocabulary: Vocabulary | HubVocabulary
) -> EncoderDecoderRows | DecoderOnlyRows | ConversationRows:
    if settings.chat is not None:
        return ConversationRows(settings.input_length + settings.target_length)
    sizes = (settings.input_length, settings.target_length, vocabulary.eos_id)
    if settings.decoder_only:
        return DecoderOnlyRows(*sizes, getattr(vocabulary, "bos_id", None))
    return EncoderDecoderRows(*sizes)


def _pack_rows(lengths, capacity, seed: int, number) -> Tensor:
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


def _take_rows(rows: Tensor, first: int, number: int) -> Tensor:
    """Takes some rows of a batch, with padding for those it lacks."""
    tf_ = tf()
    rows = rows[first : first + number]
    missing = number - tf_.shape(rows)[0]
    return tf_.ensure_shape(
        tf_.pad(rows, [[0, missing], [0, 0]]), [number, rows.shape[1]]
    )
