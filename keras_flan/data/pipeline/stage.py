"""The batches of one mixture: of one stage of the training."""

import dataclasses
import functools
import os

import numpy as np

from keras_flan.data.mixtures.mixture import Mixture
from keras_flan.data.pipeline.chat_tokens import ChatTokens
from keras_flan.data.pipeline.feature_converters import (
    ConversationRows,
    DecoderOnlyRows,
    EncoderDecoderRows,
)
from keras_flan.data.pipeline.order import stable_seed
from keras_flan.data.pipeline.packing import pack as pack_lengths
from keras_flan.data.pipeline.position import Position, RowCounts
from keras_flan.data.pipeline.prompt_tokens import PromptTokens
from keras_flan.data.pipeline.settings import Long, PipelineSettings
from keras_flan.data.pipeline.streams import Draws
from keras_flan.data.pipeline.tally import Chunk, Fate, Limit, Tally
from keras_flan.data.records.shards import verify_records
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

# Chunks made side by side, at most: each is held in memory until it is used.
_PARALLEL = min(os.cpu_count() or 1, 16)
# How many examples are tried at first, to see whether any can be used.
_PROBE = 128


class Stage:
    """The batches of one mixture.

    Attributes:
        steps: How many batches there are; `None` for no end.
        counts: The rows of each chunk made since the latest start.
        tally: What became of the examples since then.
        draws: The examples that are drawn, in chunks.
        rows: Makes a chunk's rows, and says what became of its examples.
        limits: What bounds inputs and targets.
        failure: The error of a text that is too long, if that is one.
    """

    def __init__(
        self,
        mixture: Mixture,
        vocabulary: Vocabulary | HubVocabulary,
        settings: PipelineSettings,
    ):
        self.steps = mixture.steps
        self.counts = RowCounts()
        self.tally = Tally(mixture)
        self._mixture, self._settings = mixture, settings
        self._converter = _converter(settings, vocabulary)
        self._row_seed = stable_seed("rows", settings.seed)
        self._tokenise: PromptTokens | ChatTokens
        if settings.chat is not None:
            self._tokenise = ChatTokens(
                mixture,
                vocabulary,
                load_chat_template(settings.chat),
                self._converter.longest_input - 1,
                settings,
            )
        else:
            self._tokenise = PromptTokens(
                mixture,
                vocabulary.encoder_tf,
                self._converter.longest_input,
                self._converter.target_length,
                settings,
            )
        # Traced once, however many times the stage is begun: tracing takes a
        # second or more.
        self.rows = tf().function(
            self._make_rows,
            input_signature=[
                tf().TensorSpec([], tf().int64),
                tf().TensorSpec([None], tf().int64),
                tf().TensorSpec([None], tf().string),
            ],
            autograph=False,
        )
        self.draws = Draws(mixture, settings)
        self.limits = _limits(settings, self._converter)
        self.failure: InputError | None = None
        try:
            self._check_yield()
        # The first is of a TFRecord, the second of our own reader.
        except (tf().errors.DataLossError, tf().errors.InvalidArgumentError):
            for part in mixture.tasks:
                verify_records(part.task.directory)
            raise

    def batches(self, start: Position = _BEGIN, done: int = 0) -> Dataset:
        """Returns the batches after `start`, before which `done` were made."""
        tf_ = tf()
        counts = self.counts = RowCounts()
        tally = self.tally = Tally(self._mixture)

        def note(number: int, rows: int, *found: np.ndarray) -> None:
            chunk = Chunk(*found)
            if counts.add(number, rows):
                tally.add(chunk)
            self._check_long(chunk)

        def make_rows(number: Tensor, keys: Tensor, records: Tensor) -> tuple:
            rows, found = self.rows(number, keys, records)
            count = tf_.shape(rows[1])[0]
            noted = tf_.numpy_function(note, [number, count, *found], [])
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
            self.draws.chunks(start.chunk)
            .map(make_rows, num_parallel_calls=_PARALLEL)
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
        return batch, tokens.chunk(keys)

    def _check_long(self, chunk: Chunk) -> None:
        """Fails at a text that is too long, if the settings say so."""
        long = Long.of(self._settings.long)
        wanted = Fate.long_inputs * (long.inputs == "fail")
        wanted |= Fate.long_targets * (long.targets == "fail")
        if (chunk.fates & wanted).any():
            fates = chunk.fates & wanted
            self.failure = self.tally.fail(
                chunk._replace(fates=fates), *self.limits
            )
            raise self.failure

    def _check_yield(self) -> None:
        """Checks that at least one example is used."""
        tally = Tally(self._mixture)
        for number, keys, records in self.draws.chunks().take(1):
            # Nearly always a few examples decide.
            for n in (_PROBE, len(keys)):
                tally = Tally(self._mixture)
                _, found = self.rows(number, keys[:n], records[:n])
                chunk = Chunk(*(part.numpy() for part in found))
                self._check_long(chunk)
                tally.add(chunk)
                totals = tally.totals()
                if totals["left_out"] < totals["drawn"]:
                    return
        raise InputError(
            f"{self._mixture.name}: no example can be used: "
            + "; ".join(tally.advice(*self.limits))
        )


def stage_settings(settings: PipelineSettings, number: int):
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


def _limits(
    settings: PipelineSettings,
    converter: EncoderDecoderRows | DecoderOnlyRows | ConversationRows,
) -> tuple[Limit, Limit]:
    """Returns what bounds inputs and targets."""
    if settings.chat is not None:
        longest = converter.longest_input - 1
        both = settings.input_length + settings.target_length
        limit = Limit("input_length + target_length", both, longest)
        return limit, limit
    return (
        Limit(
            *("input_length", settings.input_length),
            converter.longest_input - 1,
        ),
        Limit(
            *("target_length", settings.target_length),
            converter.target_length - 1,
        ),
    )


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
