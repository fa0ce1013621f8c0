"""The tokenizers of keras-hub, used as a `Vocabulary`."""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from keras_flan.data.vocabularies.sentencepiece import graph_tokenizer
from keras_flan.errors import InputError
from keras_flan.runtime.tensorflow import tf
from keras_flan.tensors import Tensor


class HubVocabulary:
    """A keras-hub tokenizer with the methods of `Vocabulary`.

    So the models of keras-hub that have a tokenizer of their own (Llama,
    SmolLM2, Gemma, Qwen, Mistral) are trained by the same pipeline and
    decoded by the same engine.

    Args:
        tokenizer: A keras-hub tokenizer, or a `CausalLMPreprocessor`, which
            says too whether texts have a start token.
        start: bool. Whether texts begin with the tokenizer's start token.
            Default: as the preprocessor says; without one, if there is a
            start token.

    Attributes:
        tokenizer: The keras-hub tokenizer.
        size: Number of tokens.
        pad_id: Fills up rows. It may also be a token: masks tell.
        eos_id: Ends a text.
        end_ids: All tokens that a model may end a text with, `eos_id` first:
            Llama 3 has two.
        bos_id: Begins a text, or `None`.

    Raises:
        InputError: If the tokenizer has no end token.

    Example:
        >>> preprocessor = keras_hub.models.CausalLMPreprocessor.from_preset(
        ...     "gemma_2b_en"
        ... )
        >>> vocabulary = HubVocabulary(preprocessor)
        >>> vocabulary.decode(vocabulary.encode("What is 2 + 2?"))
        'What is 2 + 2?'
    """

    def __init__(self, tokenizer: Any, start: bool | None = None) -> None:
        if hasattr(tokenizer, "tokenizer"):
            if start is None:
                start = tokenizer.add_start_token
            tokenizer = tokenizer.tokenizer
        self.tokenizer = tokenizer
        self.size = tokenizer.vocabulary_size()
        end: int | None = getattr(tokenizer, "end_token_id", None)
        if end is None:
            raise InputError(
                f"{type(tokenizer).__name__}: has no end token, which ends "
                "inputs and targets; use the tokenizer of a causal model"
            )
        self.eos_id = end
        second: int | None = getattr(tokenizer, "end_token2_id", None)
        self.end_ids = (end,) if second is None else (end, second)
        self.bos_id = getattr(tokenizer, "start_token_id", None)
        if start is False:
            self.bos_id = None
        self.pad_id = getattr(tokenizer, "pad_token_id", None) or 0
        special = set(tokenizer.special_token_ids)
        start_id = getattr(tokenizer, "start_token_id", None)
        self._dropped = {self.pad_id, start_id} & special

    def encode(self, text: str) -> list[int]:
        """Returns the ids of `text`, without start and end."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Returns the ids of every text."""
        if not texts:
            return []
        rows = self.tokenizer(list(texts))
        # A list, or a ragged tensor, by what else is installed.
        rows = rows.to_list() if hasattr(rows, "to_list") else rows
        return [np.asarray(row, int).tolist() for row in rows]

    def decode(self, ids: Iterable[int]) -> str:
        """Returns the text of `ids` up to the first end-of-text id.

        Padding and the start token are dropped if they are special tokens;
        in Llama 3's vocabulary the id of padding is that of "!".
        """
        kept = []
        for i in map(int, ids):
            if i in self.end_ids:
                break
            # A model may have more rows than its tokenizer has tokens.
            if i not in self._dropped and 0 <= i < self.size:
                kept.append(i)
        return str(self.tokenizer.detokenize(kept)) if kept else ""

    @functools.cached_property
    def adds_blank(self) -> bool:
        """Whether a text is read with a blank in front."""
        first = self.tokenizer.id_to_token(self.encode("a")[0])
        # SentencePiece's mark for a blank, and that of byte-level BPE.
        return str(first).startswith(("\u2581", "\u0120"))

    def token_id(self, token: str) -> int | None:
        """Returns the id of a token, or `None` if there is no such token."""
        try:
            found = int(self.tokenizer.token_to_id(token))
            same = self.tokenizer.id_to_token(found) == token
        except (KeyError, TypeError, ValueError):
            return None
        return found if same else None

    def token(self, token_id: int) -> str:
        """Returns the token of an id, as it is written in the vocabulary."""
        return str(self.tokenizer.id_to_token(token_id))

    def encoder_tf(self) -> Callable[[Tensor], Tensor]:
        """Returns a function of strings `[n]` to a `tf.RaggedTensor`.

        A SentencePiece model is made anew in the graph that is being traced:
        TensorFlow loses keras-hub's as soon as something clears its kernels,
        as `keras.utils.set_random_seed` does.
        """
        proto = getattr(self.tokenizer, "proto", None)
        if proto is not None:
            return graph_tokenizer(proto)

        def encode(texts: Tensor) -> Tensor:
            return tf().cast(self.tokenizer(texts), tf().int32)

        return encode
