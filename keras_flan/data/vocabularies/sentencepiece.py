"""SentencePiece vocabularies: outside the graph and inside it.

The ids are T5's: 0 pads, 1 ends a text, 2 is unknown. The same file serves
Python (`sentencepiece`) and the input pipeline (`tensorflow_text`), and the
tests hold the two to the same ids.
"""

import functools
import hashlib
import itertools
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import sentencepiece

from keras_flan.errors import InputError
from keras_flan.runtime.tensorflow import tf
from keras_flan.storage import as_path
from keras_flan.tensors import Tensor

# How SentencePiece writes a blank.
BLANK = "\u2581"
# No character of any text.
_CUT = "\U0010ffff"


class Vocabulary:
    r"""A SentencePiece model with T5's special ids.

    Args:
        source: Path of a `.model` file, or its bytes.

    Attributes:
        path: Where the model was read from; `None` for bytes.
        proto: The bytes of the model file.
        size: Number of pieces. A T5 checkpoint may have more embedding rows.
        pad_id: 0, also the first token that a decoder sees.
        eos_id: 1, ends every input and target.
        unk_id: 2.

    Raises:
        InputError: If the file is no SentencePiece model, or its special
            ids are others.

    Example:
        >>> vocabulary = Vocabulary("spiece.model")
        >>> ids = vocabulary.encode("The answer is 4.")
        >>> vocabulary.decode([*ids, vocabulary.eos_id, 5, 0, 0])
        'The answer is 4.'

    Source: T5 (arXiv:1910.10683), section 2.2.1.
    """

    pad_id = 0
    eos_id = 1
    unk_id = 2

    def __init__(self, source: str | os.PathLike | bytes) -> None:
        if isinstance(source, bytes):
            self.path, self.proto = None, source
        else:
            self.path = as_path(source)
            self.proto = _read_bytes(self.path)
        place = self.path or "vocabulary"
        if not self.proto:
            raise InputError(f"{place}: empty; expected a SentencePiece model")
        try:
            self._processor = sentencepiece.SentencePieceProcessor(
                model_proto=self.proto
            )
        except RuntimeError:
            raise InputError(
                f"{place}: not a SentencePiece model; give the .model file "
                "or train one with `keras-flan vocabulary`"
            ) from None
        processor = self._processor
        found = (processor.pad_id(), processor.eos_id(), processor.unk_id())
        expected = (self.pad_id, self.eos_id, self.unk_id)
        if found != expected:
            raise InputError(
                f"{place}: found the ids <pad>, </s>, <unk> = {found}, "
                f"expected {expected}; use a T5 vocabulary or train one with "
                "`keras-flan vocabulary`"
            )
        self.size = processor.get_piece_size()
        self._added = self._find_added()

    @functools.cached_property
    def sha256(self) -> str:
        """The digest of the model file, in hexadecimal."""
        return hashlib.sha256(self.proto).hexdigest()

    def _find_added(self) -> str:
        """Returns a pattern of the added tokens; "" if there are none."""
        from sentencepiece import sentencepiece_model_pb2 as spm

        added = added_pieces(spm.ModelProto.FromString(self.proto)).values()
        # The longest first: one may begin with another.
        longest = sorted(added, key=len, reverse=True)
        return f"({'|'.join(map(re.escape, longest))})" if longest else ""

    def encode(self, text: str) -> list[int]:
        """Returns the ids of `text`, without the end-of-text id."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Returns the ids of every text; uses all cores."""
        encode = self._processor.encode
        if not self._added:
            return encode(list(texts))
        rows = [re.split(self._added, text) for text in texts]
        parts = iter(encode([part for row in rows for part in row]))
        # Every second part is an added token, and a blank goes before it.
        return [
            [
                i
                for number in range(len(row))
                for i in next(parts)[-1 if number % 2 else None :]
            ]
            for row in rows
        ]

    def decode(self, ids: Iterable[int]) -> str:
        """Returns the text of `ids` up to the first end-of-text id.

        Padding is dropped, and so are ids that have no piece: T5 checkpoints
        have more embedding rows than their vocabulary has pieces.
        """
        text = itertools.takewhile(lambda i: i != self.eos_id, map(int, ids))
        return self._processor.decode(
            [i for i in text if i != self.pad_id and 0 <= i < self.size]
        )

    @functools.cached_property
    def adds_blank(self) -> bool:
        """Whether a text is read with a blank in front."""
        first = self._processor.id_to_piece(self.encode("a")[0])
        return first.startswith(BLANK)

    def token_id(self, token: str) -> int | None:
        """Returns the id of a piece, or `None` if there is no such piece."""
        found = self._processor.piece_to_id(token)
        same = self._processor.id_to_piece(found) == token
        return found if same else None

    def token(self, token_id: int) -> str:
        """Returns the piece of an id, as it is written in the model."""
        return str(self._processor.id_to_piece(token_id))

    def encode_tf(self, texts: Tensor) -> Tensor:
        """Tokenises inside the graph.

        Args:
            texts: String tensor `[n]`, UTF-8.

        Returns:
            `tf.RaggedTensor` `[n, (tokens)]`, int32, without end-of-text ids.
        """
        return self.encoder_tf()(texts)

    def encoder_tf(self) -> Callable[[Tensor], Tensor]:
        """Returns `encode_tf` for several calls inside one traced function.

        The model becomes a part of the graph that is being traced. (A model
        made outside of it is lost as soon as something clears TensorFlow's
        kernels, as `tf.random.set_seed` does.)
        """
        encode = graph_tokenizer(self.proto)
        if not self._added:
            return encode

        def encode_parts(texts: Tensor) -> Tensor:
            marked = tf().strings.regex_replace(
                texts, self._added, rf"{_CUT}\1{_CUT}"
            )
            rows = tf().strings.split(marked, _CUT)
            parts = encode(rows.values)
            is_added = tf().strings.regex_full_match(rows.values, self._added)
            ends = tf().cast(parts.row_lengths(), tf().int64) - 1
            places = tf().ragged.range(parts.row_lengths())
            kept = (places == ends[:, None]) | ~is_added[:, None]
            parts = tf().ragged.boolean_mask(parts, kept)
            return rows.with_values(parts).merge_dims(1, 2)

        return encode_parts


def graph_tokenizer(proto: bytes) -> Callable[[Tensor], Tensor]:
    """Returns SentencePiece's tokeniser as a part of the traced graph."""
    try:
        from tensorflow_text import SentencepieceTokenizer
    except ImportError as error:
        raise InputError(
            f"tensorflow_text cannot be imported ({error}); install the "
            "tensorflow-text of your TensorFlow version"
        ) from None
    made = SentencepieceTokenizer(model=proto, out_type=tf().int32)
    tokenize: Callable[[Tensor], Tensor] = made.tokenize
    return tokenize


def added_pieces(proto: Any) -> dict[int, str]:
    """Returns the tokens that were added behind a model's pieces, by id.

    Args:
        proto: A `sentencepiece_model_pb2.ModelProto`. Its own user-defined
            pieces stand in front, those of mT5 begin with a blank.
    """
    kind, added = proto.SentencePiece, {}
    for index in range(len(proto.pieces) - 1, -1, -1):
        piece = proto.pieces[index]
        if piece.type == kind.USER_DEFINED and piece.piece[0] != BLANK:
            added[index] = piece.piece
        elif piece.type != kind.UNUSED:
            break
    return added


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); expected a "
            "SentencePiece .model file"
        ) from None
