"""The tokenizer of a decoder-only model, in the files of transformers."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from keras_flan.data.vocabularies.hub import HubVocabulary
from keras_flan.data.vocabularies.sentencepiece import BLANK, Vocabulary
from keras_flan.errors import InputError
from keras_flan.files import read_json_object, write_json
from keras_flan.models.t5.huggingface.tokenizer_json import (
    CONFIG_FILE,
    FILE,
    Part,
    decoders,
    normalizers,
)

SENTENCEPIECE = "tokenizer.model"
_BLANKS = {
    "type": "Metaspace",
    "replacement": BLANK,
    "prepend_scheme": "first",
    "split": False,
}


def write_tokenizer(
    folder: Path,
    vocabulary: Vocabulary | HubVocabulary,
    *,
    separate: bool,
    markers: Iterable[str] = (),
    chat: str | None = None,
) -> None:
    """Writes `tokenizer.json` and `tokenizer_config.json`.

    transformers then reads a prompt as `generate` does; only a blank that a
    prompt begins with is lost where the vocabulary puts one there itself. A
    SentencePiece model lies beside them, as `tokenizer.model`.

    Args:
        folder: An existing folder.
        vocabulary: Of the model.
        separate: Whether a prompt ends with the end token, as
            `DecoderOnly.separate`.
        markers: Special tokens of the chat template.
        chat: The chat template in Jinja.
    """
    proto = _proto(vocabulary)
    if proto is None:
        pieces, tokenizer = _byte_level(vocabulary)
    else:
        (folder / SENTENCEPIECE).write_bytes(proto)
        pieces, tokenizer = _from_sentencepiece(proto)
    names = {id: token for token, id in tokenizer.pop("ids").items()}
    begin, end = getattr(vocabulary, "bos_id", None), vocabulary.eos_id
    special = {i for i in (begin, end) if i is not None}
    special |= {id for id in pieces if names[id] in set(markers)}
    special |= {id for id, kept in pieces.items() if kept}
    tokenizer["added_tokens"] = [
        {
            **{"id": id, "content": names[id], "special": id in special},
            **dict.fromkeys(("single_word", "lstrip", "rstrip"), False),
            # A run of blanks is one only when it is written as such.
            "normalized": BLANK in names[id] and id not in special,
        }
        for id in sorted({*pieces, *special})
    ]
    tokenizer["post_processor"] = _frame(
        names, begin, end if separate else None
    )
    write_json(folder / FILE, tokenizer)
    unknown = tokenizer["model"].get("unk_id")
    pad = vocabulary.pad_id if vocabulary.pad_id in special else end
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": _start_token(vocabulary),
        "eos_token": names[end],
        "pad_token": names[pad],
        "unk_token": tokenizer["model"].get("unk_token", names.get(unknown)),
        "clean_up_tokenization_spaces": False,
    }
    if chat is not None:
        config["chat_template"] = chat
    config = {key: value for key, value in config.items() if value is not None}
    write_json(folder / CONFIG_FILE, config)


def framed(folder: Path) -> tuple[bool, bool] | None:
    """Returns whether a folder's tokenizer begins and ends a prompt itself.

    `None` if it does not say so in the way of `write_tokenizer`.
    """
    if not (folder / FILE).is_file():
        return None
    parts = read_json_object(folder / FILE).get("post_processor") or {}
    single = parts.get("single")
    if not single:
        return None
    return "SpecialToken" in single[0], "SpecialToken" in single[-1]


def token_ids(
    vocabulary: Vocabulary | HubVocabulary, ends: Iterable[int] = ()
) -> dict[str, Any]:
    """Returns the ids that a config has: of beginning, end and padding.

    Args:
        vocabulary: Of the model.
        ends: More tokens that end an answer.
    """
    own = getattr(vocabulary, "end_ids", (vocabulary.eos_id,))
    ends = list(dict.fromkeys([*own, *ends]))
    return {
        "bos_token_id": getattr(vocabulary, "bos_id", None),
        "eos_token_id": ends if len(ends) > 1 else ends[0],
        "pad_token_id": vocabulary.pad_id,
    }


def _start_token(vocabulary: Vocabulary | HubVocabulary) -> str | None:
    """The token that may begin a text, whether or not it does."""
    if isinstance(vocabulary, HubVocabulary):
        return getattr(vocabulary.tokenizer, "start_token", None)
    return None


def _proto(vocabulary: Vocabulary | HubVocabulary) -> bytes | None:
    if isinstance(vocabulary, HubVocabulary):
        return getattr(vocabulary.tokenizer, "proto", None)
    return vocabulary.proto


def _byte_level(vocabulary: Any) -> tuple[dict[int, bool], Part]:
    """The tokenizer that keras-hub itself runs, and its added tokens.

    Added tokens, which no merge makes, are whole wherever they stand. Each
    has whether it is special.
    """
    hub = vocabulary.tokenizer
    hub._maybe_initialized_tokenizers()
    tokenizer = json.loads(hub._tokenizer.to_str())
    ids: dict[str, int] = dict(hub.vocabulary)
    merges = (str(merge).split(" ") for merge in hub.merges)
    made = {"".join(pair) for pair in merges}
    added = {
        id: token in hub.special_tokens or token.startswith("<|")
        for token, id in ids.items()
        if len(token) > 1 and token not in made
    }
    return added, {**tokenizer, "ids": ids}


def _from_sentencepiece(model: bytes) -> tuple[dict[int, bool], Part]:
    """The same for a SentencePiece model."""
    from sentencepiece import sentencepiece_model_pb2 as spm

    proto = spm.ModelProto.FromString(model)
    kind, piece = spm.TrainerSpec.ModelType, spm.ModelProto.SentencePiece
    trainer, spec = proto.trainer_spec, proto.normalizer_spec
    if trainer.model_type not in (kind.UNIGRAM, kind.BPE):
        raise InputError(
            "vocabulary: found a SentencePiece model of the kind "
            f"{kind.Name(trainer.model_type)}, expected UNIGRAM or BPE"
        )
    ids = {p.piece: id for id, p in enumerate(proto.pieces)}
    added = {
        id: p.type != piece.USER_DEFINED
        for id, p in enumerate(proto.pieces)
        if p.type in (piece.CONTROL, piece.UNKNOWN, piece.USER_DEFINED)
    }
    unknown = next(
        id for id, p in enumerate(proto.pieces) if p.type == piece.UNKNOWN
    )
    if trainer.model_type == kind.UNIGRAM:
        inner = {
            "type": "Unigram",
            "unk_id": unknown,
            "vocab": [[p.piece, p.score] for p in proto.pieces],
        }
    else:
        inner = {
            "type": "BPE",
            "unk_token": proto.pieces[unknown].piece,
            "fuse_unk": True,
            "vocab": ids,
            "merges": list(_merges(proto, ids)),
        }
    inner["byte_fallback"] = trainer.byte_fallback
    # A blank goes before the text, but not after an added token.
    prefix = spec.add_dummy_prefix
    before = list(normalizers(spec, blanks=not prefix))
    return added, {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "normalizer": (
            {"type": "Sequence", "normalizers": before} if before else None
        ),
        "pre_tokenizer": _BLANKS if prefix else None,
        "decoder": {"type": "Sequence", "decoders": list(decoders(spec))},
        "model": inner,
        "ids": ids,
    }


def _merges(proto: Any, ids: dict[str, int]) -> Iterator[list[str]]:
    """Yields the pairs that SentencePiece's BPE joins, the first first.

    It joins the neighbours that make the piece of the best score, whatever
    the two are.
    """
    normal = [p for p in proto.pieces if p.type == proto.SentencePiece.NORMAL]
    known = {p.piece for p in normal}
    for p in sorted(normal, key=lambda p: -p.score):
        pairs = (
            (p.piece[:cut], p.piece[cut:]) for cut in range(1, len(p.piece))
        )
        found = [pair for pair in pairs if known.issuperset(pair)]
        found.sort(key=lambda pair: [ids[half] for half in pair])
        yield from map(list, found)


def _frame(names: dict[int, str], begin: int | None, end: int | None) -> Part:
    """What stands around a prompt."""

    def special(id: int | None) -> list[Part]:
        if id is None:
            return []
        return [{"SpecialToken": {"id": names[id], "type_id": 0}}]

    around = {id for id in (begin, end) if id is not None}
    first, second = (
        [{"Sequence": {"id": name, "type_id": 0}}] for name in "AB"
    )
    single = [*special(begin), *first, *special(end)]
    return {
        "type": "TemplateProcessing",
        "single": single,
        "pair": [*special(begin), *first, *second, *special(end)],
        "special_tokens": {
            names[id]: {"id": names[id], "ids": [id], "tokens": [names[id]]}
            for id in around
        },
    }
