"""`tokenizer.json` and SentencePiece: the same unigram model, twice.

Folders written by transformers 5 hold only a `tokenizer.json`; this project
and keras-hub work with SentencePiece. Both files hold pieces, scores and a
normaliser, so one can be made from the other.
"""

import base64
import binascii
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keras_flan.data.vocabularies.sentencepiece import Vocabulary
from keras_flan.errors import InputError
from keras_flan.files import read_json
from keras_flan.models.t5.huggingface.added_tokens import (
    sentinels,
    without_added,
)

# A part of a `tokenizer.json`.
Part = dict[str, Any]
FILE = "tokenizer.json"
CONFIG_FILE = "tokenizer_config.json"
_SENTINEL = re.compile(r"<extra_id_\d+>")
_BLANK = "\u2581"
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
_SPECIALS = {
    Vocabulary.pad_id: "<pad>",
    Vocabulary.eos_id: "</s>",
    Vocabulary.unk_id: "<unk>",
}
# What can be said in SentencePiece's terms.
_NORMALIZERS = {"Precompiled", "Replace", "Strip", "Prepend"}
_PRE_TOKENIZERS = {"WhitespaceSplit", "Metaspace"}


def to_sentencepiece(path: Path) -> bytes:
    """Returns the SentencePiece model that a `tokenizer.json` describes.

    Args:
        path: The `tokenizer.json` of a T5.

    Raises:
        InputError: If it is not a T5's, or normalises in a way that
            SentencePiece cannot.
    """
    from sentencepiece import sentencepiece_model_pb2 as spm

    remedy = "give the spiece.model instead"
    tokenizer = read_json(path, remedy=remedy)
    try:
        model = tokenizer["model"]
        pieces = [(str(piece), float(score)) for piece, score in model["vocab"]]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: expected a tokenizer with a unigram model ({error}); "
            f"{remedy}"
        ) from None
    while pieces and _SENTINEL.fullmatch(pieces[-1][0]):
        pieces.pop()
    normalizers = _flatten(tokenizer.get("normalizer"), "normalizers")
    splitters = _flatten(tokenizer.get("pre_tokenizer"), "pretokenizers")
    _check_parts(path, "normalizer", normalizers, _NORMALIZERS)
    _check_parts(path, "pre_tokenizer", splitters, _PRE_TOKENIZERS)

    proto = spm.ModelProto()
    trainer, normalizer = proto.trainer_spec, proto.normalizer_spec
    trainer.model_type = spm.TrainerSpec.UNIGRAM
    trainer.vocab_size = len(pieces)
    trainer.pad_id = Vocabulary.pad_id
    trainer.eos_id = Vocabulary.eos_id
    trainer.unk_id = Vocabulary.unk_id
    trainer.bos_id = -1
    trainer.byte_fallback = bool(model.get("byte_fallback", False))
    normalizer.name = "identity"
    parts = [*normalizers, *splitters]
    normalizer.add_dummy_prefix = any(map(_prepends, parts))
    normalizer.remove_extra_whitespaces = any(map(_joins_blanks, parts))
    for part in normalizers:
        if part["type"] == "Precompiled":
            normalizer.name = "precompiled"
            normalizer.precompiled_charsmap = _charsmap(path, part)
    _add_pieces(path, proto, pieces)
    return proto.SerializeToString()


def _add_pieces(
    path: Path, proto: Any, pieces: list[tuple[str, float]]
) -> None:
    kind = proto.SentencePiece
    for index, (piece, score) in enumerate(pieces):
        if _SPECIALS.get(index, piece) != piece:
            raise InputError(
                f"{path}: found {piece!r} as piece {index}, expected "
                f"{_SPECIALS[index]!r}; this is no T5 tokenizer"
            )
        type_ = kind.NORMAL
        if index == Vocabulary.unk_id:
            type_ = kind.UNKNOWN
        elif index in _SPECIALS:
            type_ = kind.CONTROL
        elif proto.trainer_spec.byte_fallback and _BYTE.fullmatch(piece):
            type_ = kind.BYTE
        proto.pieces.add(piece=piece, score=score, type=type_)


def from_sentencepiece(model: bytes, rows: int) -> tuple[dict, dict]:
    """Returns a `tokenizer.json` and a `tokenizer_config.json`.

    Args:
        model: The bytes of a SentencePiece unigram model with T5's ids.
        rows: Rows of the model's embedding. A model without added tokens
            gets T5's 100 sentinels, as far as there are rows for them.

    Raises:
        InputError: If the model is not a unigram model.
    """
    from sentencepiece import sentencepiece_model_pb2 as spm

    model, added = without_added(model)
    proto = spm.ModelProto.FromString(model)
    kind = spm.TrainerSpec.ModelType
    if proto.trainer_spec.model_type != kind.UNIGRAM:
        name = kind.Name(proto.trainer_spec.model_type)
        raise InputError(
            f"vocabulary: found a SentencePiece model of the kind {name}, "
            "expected UNIGRAM, the only one that a T5 tokenizer.json holds"
        )
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": _added_tokens(
            added or sentinels(len(proto.pieces), rows)
        ),
        "normalizer": {
            "type": "Sequence",
            "normalizers": list(normalizers(proto.normalizer_spec)),
        },
        "pre_tokenizer": None,
        "post_processor": _ends_with(_SPECIALS[Vocabulary.eos_id]),
        "decoder": {
            "type": "Sequence",
            "decoders": list(decoders(proto.normalizer_spec)),
        },
        "model": {
            "type": "Unigram",
            "unk_id": Vocabulary.unk_id,
            "vocab": [[piece.piece, piece.score] for piece in proto.pieces],
            "byte_fallback": proto.trainer_spec.byte_fallback,
        },
    }
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": _SPECIALS[Vocabulary.pad_id],
        "eos_token": _SPECIALS[Vocabulary.eos_id],
        "unk_token": _SPECIALS[Vocabulary.unk_id],
        # Otherwise blanks before punctuation are dropped in decoded text.
        "clean_up_tokenization_spaces": False,
    }
    return tokenizer, config


def _added_tokens(added: dict[int, str]) -> list[Part]:
    names = ("single_word", "lstrip", "rstrip", "normalized")
    flags = dict.fromkeys(names, False)
    return [
        {
            **{"id": index, "content": content, **flags},
            "special": index in _SPECIALS or bool(_SENTINEL.fullmatch(content)),
        }
        for index, content in {**_SPECIALS, **added}.items()
    ]


def normalizers(spec: Any, blanks: bool = True) -> Iterator[Part]:
    """Yields what SentencePiece does to a text before it is split.

    Args:
        spec: A `NormalizerSpec`.
        blanks: Whether blanks get SentencePiece's form, and one goes first.
    """
    if spec.precompiled_charsmap:
        charsmap = base64.b64encode(spec.precompiled_charsmap).decode("ascii")
        yield {"type": "Precompiled", "precompiled_charsmap": charsmap}
    if spec.remove_extra_whitespaces:
        yield _replace({"Regex": "^ +| +$"}, "")
        yield _replace({"Regex": " {2,}"}, " ")
    if not blanks:
        return
    if spec.add_dummy_prefix:
        yield {"type": "Prepend", "prepend": _BLANK}
    yield _replace({"String": " "}, _BLANK)


def decoders(spec: Any) -> Iterator[Part]:
    """Yields what makes a text of SentencePiece's pieces again."""
    yield _replace({"String": _BLANK}, " ")
    yield {"type": "ByteFallback"}
    yield {"type": "Fuse"}
    if spec.add_dummy_prefix:
        yield {"type": "Strip", "content": " ", "start": 1, "stop": 0}


def _replace(pattern: Part, content: str) -> Part:
    return {"type": "Replace", "pattern": pattern, "content": content}


def _ends_with(token: str) -> Part:
    end = {"SpecialToken": {"id": token, "type_id": 0}}

    def sequence(name: str) -> Part:
        return {"Sequence": {"id": name, "type_id": 0}}

    return {
        "type": "TemplateProcessing",
        "single": [sequence("A"), end],
        "pair": [sequence("A"), end, sequence("B"), end],
        "special_tokens": {
            token: {"id": token, "ids": [Vocabulary.eos_id], "tokens": [token]}
        },
    }


def _flatten(part: Part | None, key: str) -> list[Part]:
    """The parts of a normaliser or pre-tokeniser, sequences unfolded."""
    if part is None:
        return []
    if part.get("type") == "Sequence":
        return [leaf for child in part[key] for leaf in _flatten(child, key)]
    return [part]


def _check_parts(
    path: Path, where: str, parts: list[Part], known: set[str]
) -> None:
    for part in parts:
        if part.get("type") not in known:
            raise InputError(
                f"{path}: found the {where} {part.get('type')!r}, expected "
                f"only {sorted(known)}; give the spiece.model instead"
            )


def _prepends(part: Part) -> bool:
    if part["type"] == "Metaspace":
        # The older key is a flag.
        scheme = part.get("prepend_scheme", "always")
        return scheme != "never" and part.get("add_prefix_space", True)
    return part["type"] == "Prepend"


def _joins_blanks(part: Part) -> bool:
    if part["type"] == "Replace":
        return "{2,}" in part.get("pattern", {}).get("Regex", "")
    return part["type"] == "WhitespaceSplit"


def _charsmap(path: Path, part: Part) -> bytes:
    try:
        return base64.b64decode(part["precompiled_charsmap"], validate=True)
    except (binascii.Error, KeyError, TypeError):
        raise InputError(
            f"{path}: the 'precompiled_charsmap' is not base64; download the "
            "file again"
        ) from None
