"""From token ids to the features of an architecture.

A converter says how long an example is in a row, and lays examples out in
rows. The pipeline packs by the one and builds batches by the other.
"""

import dataclasses

from keras_flan.runtime.tensorflow import tf
from keras_flan.tensors import Ragged, Tensor


@dataclasses.dataclass(frozen=True)
class EncoderDecoderRows:
    """Inputs to the encoder, targets to the decoder.

    Source: arXiv:2210.11416, section 2.2.
    """

    input_length: int  # Tokens of a row for the inputs.
    target_length: int  # Tokens of a row for the targets.
    eos_id: int

    @property
    def longest_input(self) -> int:
        """The most tokens of a text and its end-of-text id."""
        return self.input_length

    @property
    def capacity(self) -> tuple[int, int]:
        """What a row holds, in the two terms of `lengths`."""
        return self.input_length, self.target_length

    def lengths(self, inputs: Ragged, targets: Ragged) -> Tensor:
        """Returns what each example takes of a row, int32 `[n, 2]`."""
        input_sizes = _trimmed_lengths(inputs, self.input_length)
        target_sizes = _trimmed_lengths(targets, self.target_length)
        return tf().stack([input_sizes, target_sizes], axis=1)

    def lay_out(
        self, inputs: Ragged, targets: Ragged, rows: Tensor
    ) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Lays examples out in rows of fixed length.

        Texts are trimmed to leave place for the end-of-text id, which is
        added. Segments number the examples of a row from 1; padding has
        segment 0. The decoder reads the targets shifted right by one within
        each segment, which begins with the padding id 0.

        Args:
            inputs: int32 `tf.RaggedTensor` `[n, (tokens)]` without any
                special ids.
            targets: The same for the targets.
            rows: The row of each example, int32 `[n]`, as from `pack`; each
                row from 0 to the last must have an example.

        Returns:
            `(x, y, sample_weight)` with `x` a dict of int32 tensors
            `encoder_token_ids` and `encoder_segment_ids`
            `[R, input_length]`, `decoder_token_ids` and
            `decoder_segment_ids` `[R, target_length]`; `y` int32 and
            `sample_weight` float32 `[R, target_length]`: 1 on every target
            token, 0 on padding.
        """
        tf_ = tf()
        places = _Places.of(rows)
        encoder, encoder_segments, _ = places.lay_out(
            inputs, self.input_length, self.eos_id
        )
        y, segments, begins = places.lay_out(
            targets, self.target_length, self.eos_id
        )
        shifted = tf_.pad(y[:, :-1], [[0, 0], [1, 0]])
        decoder = tf_.where((begins > 0) | (segments == 0), 0, shifted)
        x = {
            "encoder_token_ids": encoder,
            "encoder_segment_ids": encoder_segments,
            "decoder_token_ids": decoder,
            "decoder_segment_ids": segments,
        }
        return x, y, tf_.cast(segments > 0, tf_.float32)


@dataclasses.dataclass(frozen=True)
class DecoderOnlyRows:
    """Inputs and targets one after the other, for decoder-only models.

    An example is the text `[bos] inputs eos targets eos`. The model reads
    all of it but the last token, and is to predict all but the first; only
    the predictions of target tokens and of the last end-of-text id count.

    An input has at most `input_length` tokens, with its end-of-text id and
    the start token, if there is one, and a target at most `target_length`
    with its end-of-text id. Rows have the sum of both.

    Example, for inputs `[5, 6]`, targets `[7]` and end-of-text id 1:

        token_ids      5  6  1  7  0
        segment_ids    1  1  1  1  0
        prefix_mask    1  1  1  0  0
        y              6  1  7  1  0
        sample_weight  0  0  1  1  0

    Source: arXiv:2210.11416, section 2.2; arXiv:2204.02311, section 5.
    """

    input_length: int
    target_length: int
    eos_id: int
    bos_id: int | None = None

    @property
    def longest_input(self) -> int:
        """The most tokens of a text and its end-of-text id."""
        return self.input_length - (self.bos_id is not None)

    @property
    def row_length(self) -> int:
        """Tokens of a row."""
        return self.input_length + self.target_length

    @property
    def capacity(self) -> tuple[int, int]:
        """What a row holds, in the two terms of `lengths`."""
        return self.row_length, self.row_length

    def lengths(self, inputs: Ragged, targets: Ragged) -> Tensor:
        """Returns what each example takes of a row, int32 `[n, 2]`.

        `packing.pack` knows rows of two lengths; the second one counts
        examples here and never binds.
        """
        prefix, target = self._lengths(inputs, targets)
        total = prefix + target - 1
        return tf().stack([total, tf().ones_like(total)], axis=1)

    def lay_out(
        self, inputs: Ragged, targets: Ragged, rows: Tensor
    ) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Lays examples out in rows, as `EncoderDecoderRows.lay_out`.

        Returns:
            `(x, y, sample_weight)` with `x` a dict of int32 tensors
            `token_ids`, `segment_ids` (from 1, 0 is padding) and
            `prefix_mask` (1 at the inputs, up to their end-of-text id), each
            `[R, row_length]`; `y` int32 and `sample_weight` float32
            `[R, row_length]`.
        """
        tf_ = tf()
        prefix, target = self._lengths(inputs, targets)
        one = tf_.ones_like(prefix)[:, None]
        parts = [
            inputs[:, : self.longest_input - 1],
            one * self.eos_id,
            targets[:, : self.target_length - 1],
        ]
        if self.bos_id is not None:
            parts = [one * self.bos_id, *parts]
        tokens = tf_.concat(parts, axis=1)
        # What is to be predicted: all but the first, and the last end.
        places = _Places.of(rows)
        y, segments, begins = places.lay_out(
            tokens[:, 1:], self.row_length, self.eos_id
        )
        starts = tf_.where(begins > 0)  # in the order of `places`
        firsts = tf_.gather(tokens[:, :1].values, places.order)
        read = tf_.tensor_scatter_nd_update(
            tf_.pad(y[:, :-1], [[0, 0], [1, 0]]), starts, firsts
        )
        shape = tf_.shape(y)
        prefix = tf_.cast(tf_.gather(prefix, places.order), tf_.int64)
        target = tf_.cast(tf_.gather(target, places.order), tf_.int64)
        used = tf_.cast(segments > 0, tf_.int32)
        x = {
            "token_ids": read * used,
            "segment_ids": segments,
            "prefix_mask": _spans(starts, prefix, shape),
        }
        scored = starts + tf_.stack([tf_.zeros_like(prefix), prefix - 1], 1)
        weight = _spans(scored, target, shape)
        return x, y, tf_.cast(weight, tf_.float32)

    def _lengths(
        self, inputs: Ragged, targets: Ragged
    ) -> tuple[Tensor, Tensor]:
        """Tokens of each input, with special ids, and of each target."""
        prefix = _trimmed_lengths(inputs, self.longest_input)
        if self.bos_id is not None:
            prefix = prefix + 1
        return prefix, _trimmed_lengths(targets, self.target_length)


@dataclasses.dataclass(frozen=True)
class ConversationRows:
    """Whole conversations in a row, for decoder-only models.

    The model reads all tokens of a conversation but the last, and is to
    predict all but the first; those that are learnt count. Conversations of
    more than `row_length + 1` tokens are for the renderer to shorten.

    Example, for the tokens `[2, 5, 6, 7, 1]`, of which the last two are
    learnt:

        token_ids      2  5  6  7  0
        segment_ids    1  1  1  1  0
        prefix_mask    1  1  1  0  0
        y              5  6  7  1  0
        sample_weight  0  0  1  1  0
    """

    row_length: int

    @property
    def longest_input(self) -> int:
        """One more than the most tokens of a conversation."""
        return self.row_length + 2

    @property
    def target_length(self) -> int:
        """The same of what is learnt, which is never longer."""
        return self.row_length + 2

    @property
    def capacity(self) -> tuple[int, int]:
        """What a row holds, in the two terms of `lengths`."""
        return self.row_length, self.row_length

    def lengths(self, inputs: Ragged, targets: Ragged) -> Tensor:
        """Returns what each conversation takes of a row, int32 `[n, 2]`."""
        tf_ = tf()
        total = tf_.cast(inputs.row_lengths(), tf_.int32) - 1
        return tf_.stack([total, tf_.ones_like(total)], axis=1)

    def lay_out(
        self, inputs: Ragged, targets: Ragged, rows: Tensor
    ) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Lays conversations out in rows, as `DecoderOnlyRows.lay_out`.

        Args:
            inputs: Token ids, int32 `[n, (tokens)]`.
            targets: 1 at the tokens that are learnt, of the same shape.
            rows: As for `EncoderDecoderRows.lay_out`.
        """
        tf_ = tf()
        places, length = _Places.of(rows), self.row_length
        read, segments, _ = places.lay_out(inputs[:, :-1], length)
        y, _, _ = places.lay_out(inputs[:, 1:], length)
        learnt, _, _ = places.lay_out(targets[:, 1:], length)
        asked = tf_.cumsum(targets.values)
        before = tf_.gather(
            tf_.pad(asked, [[1, 0]]), tf_.cast(targets.row_starts(), tf_.int32)
        )
        asked -= tf_.repeat(before, targets.row_lengths())
        prompt = targets.with_values(tf_.cast(asked < 1, tf_.int32))
        prefix, _, _ = places.lay_out(prompt[:, :-1], length)
        x = {"token_ids": read, "segment_ids": segments, "prefix_mask": prefix}
        return x, y, tf_.cast(learnt, tf_.float32)


@dataclasses.dataclass(frozen=True)
class _Places:
    """Where examples go."""

    order: Tensor  # The examples in the order of the rows, int32 `[n]`.
    rows: Tensor  # The row of each example in that order, int32 `[n]`.
    num_rows: Tensor  # R in the shapes below.

    @classmethod
    def of(cls, rows: Tensor) -> "_Places":
        """Returns the places of examples whose rows are given, `[n]`."""
        tf_ = tf()
        order = tf_.argsort(rows, stable=True)
        num_rows = tf_.reduce_max(tf_.concat([rows, [-1]], 0)) + 1
        return cls(order, tf_.gather(rows, order), num_rows)

    def lay_out(
        self, tokens: Ragged, length: int, eos_id: int | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Lays texts `[n, (tokens)]` out in rows, each with an `eos_id`.

        Longer texts than `length - 1` tokens are trimmed. Without an `eos_id`
        they are laid out as they are.

        Returns:
            int32 token ids, segment ids (from 1, 0 is padding) and 1 where a
            segment begins, each `[R, length]`.
        """
        tf_ = tf()
        if eos_id is None:
            sizes = tf_.cast(tokens.row_lengths(), tf_.int32)
        else:
            sizes = _trimmed_lengths(tokens, length)
        sizes = tf_.gather(sizes, self.order)
        # One token more than each text has: its place is for the eos_id.
        starts = tf_.cast(tokens.row_starts(), tf_.int32)
        starts = tf_.gather(starts, self.order)
        source = tf_.ragged.range(starts, starts + sizes).values
        flat = tf_.gather(tf_.pad(tokens.values, [[0, 1]]), source)
        ends = tf_.cumsum(sizes)
        if eos_id is not None:
            flat = tf_.tensor_scatter_nd_update(
                flat, (ends - 1)[:, None], tf_.fill(tf_.shape(ends), eos_id)
            )
        row_sizes = tf_.math.unsorted_segment_sum(
            sizes, self.rows, self.num_rows
        )
        packed = tf_.RaggedTensor.from_row_lengths(
            flat, row_sizes, validate=False
        )
        token_ids = packed.to_tensor(shape=[None, length])

        row_starts = tf_.cumsum(row_sizes, exclusive=True)
        first = ends - sizes - tf_.gather(row_starts, self.rows)
        begins = tf_.scatter_nd(
            tf_.stack([self.rows, first], axis=1),
            tf_.ones_like(self.rows),
            tf_.stack([self.num_rows, length]),
        )
        used = tf_.sequence_mask(row_sizes, length, tf_.int32)
        return token_ids, tf_.cumsum(begins, axis=1) * used, begins


def _trimmed_lengths(tokens: Ragged, limit: int) -> Tensor:
    """Returns the lengths, int32 `[n]`, of trimmed texts with end-of-text."""
    lengths = tf().cast(tokens.row_lengths(), "int32")
    return tf().minimum(lengths, limit - 1) + 1


def _spans(places: Tensor, sizes: Tensor, shape: Tensor) -> Tensor:
    """Marks spans of tokens by 1 in a tensor of 0 of this shape.

    Spans begin at rows and columns `places`, int64 `[n, 2]`; `sizes` `[n]`.
    """
    tf_ = tf()
    ends = places + tf_.stack([tf_.zeros_like(sizes), sizes], axis=1)
    # A span may end where the row does, so there is one column more.
    shape = tf_.cast(tf_.stack([shape[0], shape[1] + 1]), tf_.int64)
    one = tf_.ones_like(sizes, tf_.int32)
    steps = tf_.scatter_nd(places, one, shape)
    steps -= tf_.scatter_nd(ends, one, shape)
    return tf_.cumsum(steps, axis=1)[:, :-1]
