"""Tokens that a Hugging Face folder adds to its SentencePiece model.

T5's sentinels (`<extra_id_0>`) and those of a finetuning (`<sep>`) have rows
of the embedding, but no piece. Here they become pieces of the kind that
SentencePiece calls user-defined: one id, wherever the text stands.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keras_flan.data.vocabularies.sentencepiece import BLANK, added_pieces
from keras_flan.errors import InputError
from keras_flan.files import read_json_object

_FILES = ("tokenizer.json", "added_tokens.json", "tokenizer_config.json")
# T5's sentinels follow the pieces, counting down.
_SENTINELS = 100


def with_added(model: bytes, folder: Path, rows: int) -> bytes:
    """Returns a SentencePiece model that has a folder's added tokens.

    Args:
        model: The SentencePiece model without them.
        folder: May hold `tokenizer.json`, `added_tokens.json` and
            `tokenizer_config.json`. The first lists all added tokens; without
            it, T5's 100 sentinels go without saying.
        rows: Rows of the model's embedding.

    Raises:
        InputError: If a token has no row, or the id of another piece.
    """
    from sentencepiece import sentencepiece_model_pb2 as spm

    proto = spm.ModelProto.FromString(model)
    size = len(proto.pieces)
    added: dict[int, str] = {}
    for place, index, token in _listed(folder):
        known = added.get(index, token)
        if 0 <= index < size:
            known = proto.pieces[index].piece
        if index >= rows or index < 0 or known.strip(BLANK) != token:
            reason = f"the embedding has {rows} rows"
            if 0 <= index < rows:
                reason = f"it is that of {known!r}"
            raise InputError(
                f"{place}: gives the token {token!r} the id {index}, but "
                f"{reason}; the files belong to different models"
            )
        if index >= size:
            added[index] = token
    taken = range(size, size + _SENTINELS)
    is_listed = (folder / _FILES[0]).is_file() or set(added) & set(taken)
    if not is_listed and rows >= taken.stop:
        added |= sentinels(size, rows)
    kind = spm.ModelProto.SentencePiece
    for index in range(size, max(added, default=-1) + 1):
        token = added.get(index, f"<unused_{index}>")
        type_ = kind.USER_DEFINED if index in added else kind.UNUSED
        proto.pieces.add(piece=token, score=0.0, type=type_)
    proto.trainer_spec.vocab_size = len(proto.pieces)
    return proto.SerializeToString()


def without_added(model: bytes) -> tuple[bytes, dict[int, str]]:
    """Returns what `with_added` got, and the tokens that it added, by id.

    Ids without a token have one too: libraries number them without gaps.
    """
    from sentencepiece import sentencepiece_model_pb2 as spm

    proto, kind = spm.ModelProto.FromString(model), spm.ModelProto.SentencePiece
    added = added_pieces(proto)
    if not added:
        return model, {}
    size = min(added)
    while size and proto.pieces[size - 1].type == kind.UNUSED:
        size -= 1
    added = {i: proto.pieces[i].piece for i in range(size, len(proto.pieces))}
    del proto.pieces[size:]
    proto.trainer_spec.vocab_size = len(proto.pieces)
    return proto.SerializeToString(), added


def sentinels(size: int, rows: int) -> dict[int, str]:
    """Returns T5's sentinels by id, as far as there are rows for them."""
    count = min(_SENTINELS, rows - size)
    return {size + i: f"<extra_id_{count - 1 - i}>" for i in range(count)}


def _listed(folder: Path) -> Iterator[tuple[Path, int, str]]:
    """Yields each added token of a folder's files: file, id and text."""
    for name in _FILES:
        path = folder / name
        if not path.is_file():
            continue
        values = read_json_object(path, allow_nan=True)
        try:
            for index, token in _tokens(name, values):
                yield path, int(index), str(token)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"{path}: its added tokens cannot be read ({error!r:.100}); "
                "download the file again"
            ) from None


def _tokens(name: str, values: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
    if name == "added_tokens.json":
        yield from ((index, token) for token, index in values.items())
    elif name == "tokenizer_config.json":
        for index, token in (values.get("added_tokens_decoder") or {}).items():
            yield index, token["content"]
    else:
        for token in values.get("added_tokens") or []:
            if token.get("single_word"):
                raise InputError(
                    f"{name}: the added token {token['content']!r} stands for "
                    "single words only, which SentencePiece can't say"
                )
            yield token["id"], token["content"]
