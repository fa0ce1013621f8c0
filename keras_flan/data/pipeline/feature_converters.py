"""From token ids to the features of an architecture.

A converter says how long an example is in a row, and lays examples out in
rows. The pipeline packs by the one and builds batches by the other.
"""

import dataclasses

from keras_flan.data.pipeline.packing import fill_rows, lay_out, packed_lengths
from keras_flan.runtime.tensorflow import tf


@dataclasses.dataclass(frozen=True)
class EncoderDecoderRows:
    """Inputs to the encoder, targets to the decoder.

    Args:
        input_length: Tokens of a row for the inputs.
        target_length: Tokens of a row for the targets.
        eos_id: The end-of-text id.
    """

    input_length: int
    target_length: int
    eos_id: int

    @property
    def longest_input(self) -> int:
        """The most tokens of a text and its end-of-text id."""
        return self.input_length

    @property
    def capacity(self) -> tuple[int, int]:
        """What a row holds, in the two terms of `lengths`."""
        return self.input_length, self.target_length

    def lengths(self, inputs, targets):
        """Returns what each example takes of a row, int32 `[n, 2]`."""
        return tf().stack(
            [
                packed_lengths(inputs, self.input_length),
                packed_lengths(targets, self.target_length),
            ],
            axis=1,
        )

    def fill(self, inputs, targets, rows):
        """Returns `(x, y, sample_weight)`, see `packing.fill_rows`."""
        return fill_rows(
            inputs,
            targets,
            rows,
            input_length=self.input_length,
            target_length=self.target_length,
            eos_id=self.eos_id,
        )


@dataclasses.dataclass(frozen=True)
class DecoderOnlyRows:
    """Inputs and targets one after the other, for decoder-only models.

    An example is the text `[bos] inputs eos targets eos`. The model reads
    all of it but the last token, and is to predict all but the first; only
    the predictions of target tokens and of the last end-of-text id count.

    Args:
        input_length: The most tokens of an input, with its end-of-text id
            and the start token, if there is one.
        target_length: The most tokens of a target, with its end-of-text id.
            Rows have `input_length + target_length` tokens.
        eos_id: The end-of-text id.
        bos_id: Begins every example, or `None`.

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

    def lengths(self, inputs, targets):
        """Returns what each example takes of a row, int32 `[n, 2]`.

        `packing.pack` knows rows of two lengths; the second one counts
        examples here and never binds.
        """
        prefix, target = self._lengths(inputs, targets)
        total = prefix + target - 1
        return tf().stack([total, tf().ones_like(total)], axis=1)

    def fill(self, inputs, targets, rows):
        """Lays examples out in rows.

        Args:
            inputs: int32 `tf.RaggedTensor` `[n, (tokens)]` without any
                special ids; longer ones are trimmed.
            targets: The same for the targets.
            rows: The row of each example, int32 `[n]`, as from `pack`; each
                row from 0 to the last must have an example.

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
        order = tf_.argsort(rows, stable=True)
        sorted_rows = tf_.gather(rows, order)
        num_rows = tf_.reduce_max(tf_.concat([rows, [-1]], 0)) + 1
        y, segments, begins = lay_out(
            tokens[:, 1:],
            order,
            sorted_rows,
            num_rows,
            self.row_length,
            self.eos_id,
        )
        places = tf_.where(begins > 0)  # in the order of `order`
        firsts = tf_.gather(tokens[:, :1].values, order)
        read = tf_.tensor_scatter_nd_update(
            tf_.pad(y[:, :-1], [[0, 0], [1, 0]]), places, firsts
        )
        shape = tf_.shape(y)
        prefix = tf_.cast(tf_.gather(prefix, order), tf_.int64)
        target = tf_.cast(tf_.gather(target, order), tf_.int64)
        used = tf_.cast(segments > 0, tf_.int32)
        x = {
            "token_ids": read * used,
            "segment_ids": segments,
            "prefix_mask": _spans(places, prefix, shape),
        }
        scored = places + tf_.stack([tf_.zeros_like(prefix), prefix - 1], 1)
        weight = _spans(scored, target, shape)
        return x, y, tf_.cast(weight, tf_.float32)

    def _lengths(self, inputs, targets):
        """Tokens of each input, with special ids, and of each target."""
        prefix = packed_lengths(inputs, self.longest_input)
        if self.bos_id is not None:
            prefix = prefix + 1
        return prefix, packed_lengths(targets, self.target_length)


def _spans(places, sizes, shape):
    """Marks spans of tokens by 1 in a tensor of 0.

    Args:
        places: int64 `[n, 2]`, row and column where each span begins.
        sizes: int64 `[n]`, tokens of each span.
        shape: int32 `[2]`, rows and columns.
    """
    tf_ = tf()
    ends = places + tf_.stack([tf_.zeros_like(sizes), sizes], axis=1)
    # A span may end where the row does, so there is one column more.
    shape = tf_.cast(tf_.stack([shape[0], shape[1] + 1]), tf_.int64)
    one = tf_.ones_like(sizes, tf_.int32)
    steps = tf_.scatter_nd(places, one, shape) - tf_.scatter_nd(
        ends, one, shape
    )
    return tf_.cumsum(steps, axis=1)[:, :-1]
