"""The tokenizer of a GGUF file, as a keras-hub tokenizer."""

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
from tokenizers import Regex, normalizers, pre_tokenizers

from keras_flan.data.vocabularies.sentencepiece import BLANK
from keras_flan.errors import InputError
from keras_flan.models.gguf.file import GgufFile
from keras_flan.runtime.keras_hub import keras_hub
from keras_flan.runtime.tensorflow import tf

_KEY = "tokenizer.ggml"
# Kinds of tokens: control tokens stand for themselves in no text.
_CONTROL, _USER_DEFINED = 3, 4
# How texts are split before bytes are merged: (digits in a row) of Llama 3
# and Qwen 2 and later.
_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# The same splits under other names.
_SAME = {
    "deepseek-r1-qwen": "qwen2",
    "llama-v3": "llama-bpe",
    "llama3": "llama-bpe",
}


@keras.saving.register_keras_serializable(package="keras_flan")
class ByteLevelTokenizer(keras_hub.models.Llama3Tokenizer):
    """Byte-pair encoding that splits texts as its model was trained to.

    keras-hub's own byte-pair tokenizers split all texts alike. SmolLM2 takes
    single digits and the rest as GPT-2, Llama 3 groups of three digits, Qwen
    single ones. The ids are the same inside and outside of a `tf.data`
    pipeline, which keras-hub's are not.

    Args:
        vocabulary: Tokens and ids, or a JSON file.
        merges: Merge rules, or a file of one per line.
        bos_token: Begins a text or a chat message.
        eos_token: Ends one.
        misc_special_tokens: Strings that are one token each.
        splits: `"smollm"`, `"llama-bpe"` or `"qwen2"`.
        **kwargs: As for `keras_hub.tokenizers.BytePairTokenizer`.

    Source: the names of splits are llama.cpp's,
    https://github.com/ggml-org/llama.cpp/blob/master/src/llama-vocab.cpp.
    """

    # A preset names the tokenizer's class itself.
    backbone_cls: Any = None

    def __init__(
        self,
        vocabulary: dict[str, int] | str | None = None,
        merges: list[str] | str | None = None,
        bos_token: str = "<|im_start|>",
        eos_token: str = "<|im_end|>",
        misc_special_tokens: Iterable[str] = (),
        splits: str = "smollm",
        **kwargs: Any,
    ):
        self._own = {
            "bos_token": bos_token,
            "eos_token": eos_token,
            "misc_special_tokens": sorted(misc_special_tokens),
            "splits": splits,
        }
        super().__init__(
            vocabulary=vocabulary,
            merges=merges,
            bos_token=bos_token,
            eos_token=eos_token,
            misc_special_tokens=set(misc_special_tokens),
            **kwargs,
        )

    def _set_vocabulary_and_merges_tokenizers(
        self, vocabulary: Any, merges: Any
    ) -> None:
        super()._set_vocabulary_and_merges_tokenizers(vocabulary, merges)
        splits = self._own["splits"]
        if splits == "smollm":
            self._tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
                [
                    pre_tokenizers.Digits(individual_digits=True),
                    pre_tokenizers.ByteLevel(add_prefix_space=False),
                ]
            )
            return
        digits = "{1,3}" if splits == "llama-bpe" else ""
        self._tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(_SPLIT % digits), "isolated"),
                pre_tokenizers.ByteLevel(
                    add_prefix_space=False, use_regex=False
                ),
            ]
        )
        if splits == "llama-bpe":
            self._tokenizer.model.ignore_merges = True
        else:
            self._tokenizer.normalizer = normalizers.NFC()

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self._own}

    def _tokenize_tf(self, inputs: Any) -> Any:
        """In a graph: calls the tokeniser of `_tokenize_tokenizers`."""
        self._maybe_initialized_tokenizers()

        def encode(texts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            rows = self._tokenizer.encode_batch(
                [text.decode("utf-8", "replace") for text in texts]
            )
            ids = [i for row in rows for i in row.ids]
            lengths = [len(row.ids) for row in rows]
            return np.array(ids, "int32"), np.array(lengths, "int64")

        texts = tf().convert_to_tensor(inputs)
        ids, lengths = tf().numpy_function(
            encode, [tf().reshape(texts, [-1])], [tf().int32, tf().int64]
        )
        ids.set_shape([None])
        lengths.set_shape([None])
        rows = tf().RaggedTensor.from_row_lengths(ids, lengths, validate=False)
        if self.sequence_length:
            rows = rows.to_tensor(
                self.pad_token_id, shape=[None, self.sequence_length]
            )
        return rows if texts.shape.rank else rows[0]


def splits_of(file: GgufFile) -> str | None:
    """Returns how a file's texts are split; `None` for SentencePiece's.

    Raises:
        InputError: If it is in a way that is not known here.
    """
    kind = file.value(f"{_KEY}.model", str)
    if kind == "llama":
        return None
    split = file.value(f"{_KEY}.pre", str, "default")
    split = _SAME.get(split, split)
    if kind == "gpt2" and split in ("smollm", "llama-bpe", "qwen2"):
        return split
    raise InputError(
        f"{file.path}: found the tokenizer {(kind, split)}, expected 'llama' "
        "(SentencePiece), or 'gpt2' with 'smollm', 'llama-bpe' or 'qwen2'; "
        "load the model from a folder of transformers"
    )


def starts_text(file: GgufFile) -> bool:
    """Whether a text begins with the start token."""
    usual = splits_of(file) in (None, "llama-bpe")
    return bool(file.value(f"{_KEY}.add_bos_token", bool, usual))


def byte_level_tokenizer(
    file: GgufFile, make: type = ByteLevelTokenizer, **settings: Any
) -> Any:
    """Returns the tokenizer of a file with byte-level tokens.

    Args:
        file: The file.
        make: The class.
        **settings: Arguments of the class.

    Raises:
        InputError: If its parts do not fit together.
    """
    tokens, kinds = _tokens(file)
    merges = file.value(f"{_KEY}.merges", list)
    if not all(isinstance(merge, str) for merge in merges):
        raise _unfit(file)
    end = _special_id(file, "eos", tokens)
    begin = _special_id(file, "bos", tokens, end)
    try:
        return make(
            vocabulary={token: index for index, token in enumerate(tokens)},
            merges=merges,
            bos_token=tokens[begin],
            eos_token=tokens[end],
            misc_special_tokens=[
                token
                for token, kind in zip(tokens, kinds, strict=True)
                if kind in (_CONTROL, _USER_DEFINED)
            ],
            **settings,
        )
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise _unfit(file, f" ({error!s:.200})") from None


def sentencepiece_tokenizer(file: GgufFile, make: Any, **settings: Any) -> Any:
    """Returns the tokenizer of a file with a SentencePiece vocabulary.

    The file has pieces, scores and kinds, of which the model is made again. It
    calls control what the model had as pieces of texts, such as
    `<start_of_turn>`: all but beginning, end and padding are so again.

    Args:
        file: The file.
        make: A class of keras-hub.
        **settings: Arguments of the class.

    Raises:
        InputError: If its parts do not fit together.
    """
    from sentencepiece import sentencepiece_model_pb2 as spm

    tokens, kinds = _tokens(file)
    scores = file.value(f"{_KEY}.scores", list)
    if len(scores) != len(tokens):
        raise _unfit(file)
    ids = {
        "eos": _special_id(file, "eos", tokens),
        "bos": _special_id(file, "bos", tokens),
        "unk": _special_id(file, "unknown", tokens, 0),
    }
    pad = _special_id(file, "padding", tokens, -1)
    control = {ids["eos"], ids["bos"], pad}
    model, piece = spm.ModelProto(), spm.ModelProto.SentencePiece
    try:
        for index, token in enumerate(tokens):
            kind = kinds[index]
            if index == ids["unk"]:
                kind = piece.UNKNOWN
            elif kind == _CONTROL and index not in control:
                kind = piece.USER_DEFINED
            if kind == piece.USER_DEFINED:
                token = token.replace(" ", BLANK)
            model.pieces.add(piece=token, score=scores[index], type=kind)
        trainer = model.trainer_spec
        trainer.model_type = spm.TrainerSpec.BPE
        trainer.byte_fallback = True
        trainer.vocab_size = len(tokens)
        trainer.pad_id = pad
        for name, index in ids.items():
            setattr(trainer, f"{name}_id", index)
            setattr(trainer, f"{name}_piece", tokens[index])
        model.normalizer_spec.name = "identity"
        model.normalizer_spec.add_dummy_prefix = file.value(
            f"{_KEY}.add_space_prefix", bool, True
        )
        model.normalizer_spec.remove_extra_whitespaces = False
        return make(model.SerializeToString(), **settings)
    except (ValueError, TypeError, RuntimeError) as error:
        raise _unfit(file, f" ({error!s:.200})") from None


def _tokens(file: GgufFile) -> tuple[list[str], list[int]]:
    """Returns tokens, all different, and their kinds."""
    tokens = file.value(f"{_KEY}.tokens", list)
    kinds = file.value(f"{_KEY}.token_type", list)
    if (
        not all(isinstance(token, str) for token in tokens)
        or len(kinds) != len(tokens)
        or len(set(tokens)) != len(tokens)
    ):
        raise _unfit(file)
    return tokens, kinds


def _special_id(
    file: GgufFile, name: str, tokens: list[str], default: int | None = None
) -> int:
    index = file.value(f"{_KEY}.{name}_token_id", int, default)
    if not index < len(tokens):
        raise _unfit(file)
    return int(index)


def _unfit(file: GgufFile, reason: str = "") -> InputError:
    return InputError(
        f"{file.path}: its tokens, their kinds and its special ids do not "
        f"fit together{reason}; install or download it again"
    )
