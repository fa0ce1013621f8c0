"""Conversations of whole batches, as TensorFlow operations.

The patterns are those of `ChatTemplate`, and the token ids agree with
`ChatTemplate.token_ids`. A conversation is joined to one string, in which
bytes that no UTF-8 text holds stand for markers and for where an assistant's
text begins; cut there, its texts are tokenised, and its markers are ids.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from keras_flan.data.records.turns import ROLES
from keras_flan.data.templates.chat import (
    BEFORE,
    END,
    LAST,
    ChatTemplate,
    LossOn,
    Pattern,
    Tokens,
    marker_ids,
)
from keras_flan.runtime.tensorflow import tf
from keras_flan.tensors import Ragged, Tensor

# Bytes that stand for a marker, whose number follows, and for the beginning
# of what is learnt.
_MARK, _LEARN = b"\xff", b"\xfe"
_WRITTEN = (*ROLES, LAST)
# What `str.strip` takes away at both ends, and `tf.strings.strip` does not.
_BLANK = r"[\s\v\x1c-\x1f\x{85}\p{Z}]+"


class Conversations(NamedTuple):
    """The token ids of a batch of `n` conversations."""

    ids: Ragged  # int32 `[n, (tokens)]`
    learnt: Ragged  # 1 at tokens that are learnt, else 0; the same shape.
    ends: Ragged  # 1 at the marker that ends what is learnt; the same shape.
    can: Tensor  # Whether the template can write it, booleans `[n]`.


class ChatRenderer:
    """Renders conversations with a chat template.

    Args:
        template: The template.
        vocabulary: Whose tokens it is written in.
        loss_on: Which tokens are learnt.

    Raises:
        InputError: If the vocabulary lacks a marker.

    Example:
        >>> renderer = ChatRenderer(load_chat_template("plain"), vocabulary)
        >>> made = renderer(roles, contents, vocabulary.encoder_tf())
        >>> made.ids.shape, made.can.shape
        (TensorShape([8, None]), TensorShape([8]))
    """

    def __init__(
        self,
        template: ChatTemplate,
        vocabulary: Tokens,
        loss_on: LossOn = "assistant",
    ):
        known = marker_ids(template, vocabulary)
        template = template.known_to(vocabulary)
        self._loss_on = loss_on
        self._adds_blank = vocabulary.adds_blank
        self._markers = [*template.markers, *template.inside]
        # Number 0 is no marker: what stands before the first.
        ids = [-1, *(known[marker] for marker in self._markers)]
        self._ids = np.array([-1 if i is None else i for i in ids], np.int32)
        self._structural = 1 + len(template.markers)
        self._trim = [role in template.trim for role in ROLES] + [
            "assistant" in template.trim
        ]
        self._inside = template.inside
        self._start = _MARK + bytes([1]) + self._marked(template.start)
        shape = [len(BEFORE), len(_WRITTEN)]
        self._before = np.full(shape, b"", object)
        self._after = np.full(shape, b"", object)
        self._can = np.zeros(shape, bool)
        self._end = np.full([len(BEFORE)], b"", object)
        for i, before in enumerate(BEFORE):
            end = template.patterns.get((before, END), Pattern("", ""))
            self._end[i] = self._marked(end.before)
            for j, written in enumerate(_WRITTEN):
                pattern = template.patterns.get((before, written))
                if written == LAST and pattern is None:
                    pattern = template.patterns.get((before, "assistant"))
                if pattern is not None:
                    self._can[i, j] = True
                    self._before[i, j] = self._marked(pattern.before)
                    self._after[i, j] = self._marked(pattern.after)

    def _marked(self, text: str) -> bytes:
        """Returns a pattern with a number for each of its markers."""
        data = text.encode()
        for number, marker in enumerate(self._markers[: self._structural - 1]):
            mark = _MARK + bytes([number + 2])
            data = data.replace(marker.encode(), mark)
        return data

    def __call__(
        self,
        roles: Ragged,
        contents: Ragged,
        encode: Callable[[Tensor], Ragged],
    ) -> Conversations:
        """Returns the token ids of conversations.

        Args:
            roles: Strings of `ROLES`, `[n, (turns)]`.
            contents: UTF-8 strings, `[n, (turns)]`.
            encode: Tokenises texts `[m]`, as a vocabulary's `encoder_tf()`.
        """
        texts, can = self._texts(roles, contents)
        pieces = tf().strings.split(texts, _MARK)[:, 1:]
        ids, learnt, ends, clean = self._tokens(pieces, encode)
        if self._loss_on == "all":
            learnt = tf().ones_like(learnt)
        return Conversations(ids, learnt, ends, can & clean)

    def _texts(self, roles: Ragged, contents: Ragged) -> tuple[Tensor, Tensor]:
        """Joins turns; returns the texts, and which ones can be written."""
        tf_ = tf()
        rows, number = roles.value_rowids(), roles.nrows()
        places = tf_.range(tf_.size(rows, tf_.int64))
        same = tf_.equal(roles.values[:, None], tf_.constant(ROLES))
        role = tf_.argmax(same, axis=1, output_type=tf_.int32)
        first = tf_.gather(roles.row_starts(), rows)
        last = tf_.gather(roles.row_limits(), rows) - 1
        before = tf_.where(
            places == first, 0, tf_.roll(role, 1, axis=0) + 1
        )  # In the order of `BEFORE`.
        assistant = tf_.equal(role, ROLES.index("assistant"))
        written = tf_.where(
            assistant & (places == last), _WRITTEN.index(LAST), role
        )
        learnt = assistant
        if self._loss_on == "last":
            latest = tf_.math.unsorted_segment_max(
                tf_.where(assistant, places, -1), rows, number
            )
            learnt = places == tf_.gather(latest, rows)
        pair = tf_.stack([before, written], axis=1)
        turns = tf_.strings.join(
            [
                tf_.gather_nd(tf_.constant(self._before), pair),
                tf_.where(learnt, _LEARN, b""),
                self._cleaned(contents.values, written),
                tf_.gather_nd(tf_.constant(self._after), pair),
            ]
        )
        known = tf_.reduce_any(same, axis=1)
        known &= tf_.gather_nd(tf_.constant(self._can), pair)
        can = tf_.math.unsorted_segment_min(
            tf_.cast(known, tf_.int32), rows, number
        )
        can = tf_.equal(can, 1) & (roles.row_lengths() > 0)
        ending = tf_.math.unsorted_segment_max(
            tf_.where(places == last, role + 1, 0), rows, number
        )
        ending = tf_.maximum(ending, 0)
        joined = tf_.strings.unsorted_segment_join(
            turns, rows, tf_.cast(number, tf_.int32)
        )
        end = tf_.gather(tf_.constant(self._end), ending)
        return tf_.strings.join([self._start, joined, end]), can

    def _cleaned(self, contents: Tensor, written: Tensor) -> Tensor:
        """Trims contents, and marks the tokens that they may hold."""
        tf_ = tf()
        if any(self._trim):
            trimmed = tf_.strings.regex_replace(contents, rf"\A{_BLANK}", "")
            trimmed = tf_.strings.regex_replace(trimmed, rf"{_BLANK}\z", "")
            trim = tf_.gather(self._trim, written)
            contents = tf_.where(trim, trimmed, contents)
        for number, marker in enumerate(self._inside, self._structural + 1):
            mark = _MARK + bytes([number])
            pieces = tf_.strings.split(contents, marker)
            first = tf_.ragged.range(pieces.row_lengths()).values == 0
            # A `separator` of such bytes would be lost.
            parts = tf_.strings.join(
                [tf_.where(first, b"", mark), pieces.values]
            )
            contents = tf_.strings.unsorted_segment_join(
                parts, pieces.value_rowids(), tf_.size(contents)
            )
        return contents

    def _tokens(
        self, pieces: Ragged, encode: Callable[[Tensor], Ragged]
    ) -> tuple[Ragged, Ragged, Ragged, Tensor]:
        """Tokenises pieces `[n, (pieces)]`, each a marker and a text.

        Returns:
            Ids, what is learnt and what ends it, `[n, (tokens)]`, and whether
            no text holds a marker, `[n]`.
        """
        tf_ = tf()
        flat = pieces.values
        numbers = tf_.io.decode_raw(tf_.strings.substr(flat, 0, 1), tf_.uint8)
        numbers = tf_.cast(tf_.reshape(numbers, [-1]), tf_.int32) - 1
        halves = tf_.strings.split(
            tf_.strings.substr(flat, 1, -1), _LEARN, maxsplit=1
        )
        begins = halves.row_lengths() > 1
        heads, tails = tf_.unstack(
            halves.to_tensor(default_value="", shape=[None, 2]), axis=1
        )
        # In one call: a tokeniser may be a large part of the graph.
        whole = tf_.strings.join([heads, tails])
        parts = tf_.concat([whole, tf_.boolean_mask(heads, begins)], axis=0)
        read = encode(self._unblanked(parts))
        count = tf_.size(whole)
        texts, read = read[:count], read[count:]
        sizes = texts.row_lengths()
        same = _common(read, tf_.ragged.boolean_mask(texts, begins))
        # Within contents, markers go on with what is learnt.
        structural = numbers < self._structural
        spoken = tf_.cumsum(tf_.cast(structural, tf_.int32)) - 1
        heard = tf_.math.unsorted_segment_max(
            tf_.cast(begins, tf_.int32), spoken, tf_.size(numbers)
        )
        learning = tf_.equal(tf_.gather(heard, spoken), 1)
        before = tf_.roll(learning, 1, axis=0)
        first = pieces.row_starts()
        before = tf_.tensor_scatter_nd_update(
            before, first[:, None], tf_.zeros_like(first, tf_.bool)
        )
        # Until a head is over nothing is learnt, and else all or nothing.
        unread = tf_.where(learning, tf_.zeros_like(sizes), sizes)
        unread = tf_.tensor_scatter_nd_update(
            unread, tf_.where(begins), tf_.cast(same, tf_.int64)
        )
        ids = tf_.gather(self._ids, numbers)
        marked = tf_.cast(ids >= 0, tf_.int64)

        def marks(values: Tensor) -> Ragged:
            return tf_.RaggedTensor.from_row_lengths(
                tf_.boolean_mask(values, marked > 0), marked, validate=False
            )

        def laid(markers: Tensor, inner: Tensor) -> Ragged:
            tokens = texts.with_flat_values(inner)
            both = tf_.concat([marks(markers), tokens], axis=1)
            return pieces.with_values(both).merge_dims(1, 2)

        place = tf_.ragged.range(sizes).values
        learnt = tf_.cast(place >= tf_.repeat(unread, sizes), tf_.int32)
        forbidden = self._ids[: self._structural]
        forbidden = forbidden[forbidden >= 0]
        imitated = tf_.reduce_any(
            tf_.equal(texts.values[:, None], forbidden), axis=1
        )
        rows = tf_.repeat(pieces.value_rowids(), sizes)
        wrong = tf_.math.unsorted_segment_max(
            tf_.cast(imitated, tf_.int32), rows, pieces.nrows()
        )
        return (
            laid(ids, texts.values),
            laid(tf_.cast(before, tf_.int32), learnt),
            laid(
                tf_.cast(before & structural, tf_.int32), tf_.zeros_like(learnt)
            ),
            wrong < 1,
        )

    def _unblanked(self, texts: Tensor) -> Tensor:
        """Leaves out a blank in front that the vocabulary adds by itself."""
        if not self._adds_blank:
            return texts
        return tf().strings.regex_replace(texts, r"\A ", "")


def _common(first: Ragged, second: Ragged) -> Tensor:
    """Returns how many ids both begin with, int32 `[n]`."""
    tf_ = tf()
    first = first.to_tensor(default_value=-1)
    width = tf_.shape(first)[1]
    second = second[:, :width].to_tensor(default_value=-2)
    missing = width - tf_.shape(second)[1]
    second = tf_.pad(second, [[0, 0], [0, missing]], constant_values=-2)
    equal = tf_.cast(tf_.equal(first, second), tf_.int32)
    return tf_.reduce_sum(tf_.math.cumprod(equal, axis=1), axis=1)
