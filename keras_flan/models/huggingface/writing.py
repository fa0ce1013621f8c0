"""A model as a folder that transformers loads."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import keras

from keras_flan.data.templates.chat import ChatTemplate
from keras_flan.data.templates.chat_jinja_writing import to_jinja
from keras_flan.errors import InputError, did_you_mean
from keras_flan.files import write_json
from keras_flan.models.adapters.base import merged
from keras_flan.models.cards import write_saved_card
from keras_flan.models.huggingface import families
from keras_flan.models.huggingface.checkpoint import DTYPES, write_checkpoint
from keras_flan.models.huggingface.tensors import Tensor
from keras_flan.models.huggingface.tokenizer_files import (
    token_ids,
    write_tokenizer,
)
from keras_flan.models.language_model import LanguageModel
from keras_flan.models.t5.huggingface.convert import write_files
from keras_flan.models.t5.huggingface.t5_tensors import t5_tensors
from keras_flan.models.t5.model import T5
from keras_flan.outputs import Kind, head_of, replace_folder

# All that is in a folder that `to_huggingface` writes.
_WRITTEN = re.compile(
    r"((generation_|tokenizer_)?config|tokenizer)\.json|spiece\.model"
    r"|model(-\d+-of-\d+)?\.safetensors(\.index\.json)?"
)
_SHARD_BYTES = 2 << 30


def to_huggingface(
    model: LanguageModel,
    path: str | os.PathLike,
    *,
    dtype: str | None = None,
    shard_bytes: int = _SHARD_BYTES,
    overwrite: bool = False,
) -> None:
    """Writes a folder that transformers loads, by `from_pretrained`.

    The folder holds `config.json`, `generation_config.json`, the weights as
    safetensors and, if the model has a vocabulary, a `tokenizer.json` that
    gives the same ids; of a SentencePiece vocabulary the model too. What a
    `DecoderOnly` was trained to read around a prompt, the tokenizer adds. The
    folder takes its place when all is written. A LoRA adapter is merged into
    the written weights (`to_peft` writes it alone).

    Args:
        model: A `keras_flan.models.T5`, or a `DecoderOnly` of a family that
            transformers has: all but PaLM.
        path: The folder; an earlier model folder there is replaced.
        dtype: `"float32"`, `"bfloat16"` or `"float16"`; default: that of the
            model's variables. A checkpoint that came in bfloat16 goes out
            with the same bytes under `dtype="bfloat16"`.
        shard_bytes: Largest size of a weight file.
        overwrite: Whether to replace a folder of something else, with all
            that is in it.

    Raises:
        InputError: If `path` is a folder of something else, or the model
            cannot be expressed there.

    Example:

    ```python
    model = keras_flan.models.load("runs/quickstart/model")
    keras_flan.models.to_huggingface(model, "quickstart-t5")
    transformers.AutoModelForSeq2SeqLM.from_pretrained("quickstart-t5")
    ```
    """
    backbone = model.backbone
    if dtype is None:
        dtype = keras.backend.standardize_dtype(
            backbone.token_embedding.embeddings.dtype
        )
    if dtype not in DTYPES:
        raise InputError(
            f"dtype: found {dtype!r}." + did_you_mean(str(dtype), DTYPES)
        )
    needed = backbone.count_params() * DTYPES[dtype].itemsize
    with replace_folder(
        path, CONVERTED, "config.json", overwrite=overwrite, needed=needed
    ) as folder:
        if isinstance(model, T5):
            write_files(model, folder, dtype)
        else:
            _write_files(model, folder, dtype)
        with merged(model):
            write_checkpoint(folder, tensors_of(model), dtype, shard_bytes)
        write_saved_card(folder, model, "transformers")


def tensors_of(model: LanguageModel, backbone: Any = None) -> Iterator[Tensor]:
    """Returns the weights of a model, by transformers' names.

    Args:
        model: The model.
        backbone: Its weights, as `model.hub_backbone` returned them.

    Raises:
        InputError: If transformers has no such model.
    """
    backbone = model.hub_backbone() if backbone is None else backbone
    if isinstance(model, T5):
        return t5_tensors(backbone)
    return families.tensors(backbone)


def _write_files(model: Any, folder: Path, dtype: str) -> None:
    """Writes the config and tokenizer of a model that is no T5."""
    config = families.config_of(model.backbone, dtype)
    vocabulary, ids = model.vocabulary, {}
    if vocabulary is not None:
        chat, ends = getattr(model, "chat_template", None), []
        if chat is not None:
            ends = list(chat.end_ids(vocabulary))
        ids = token_ids(vocabulary, ends)
        write_tokenizer(
            folder,
            vocabulary,
            separate=model.separate,
            markers=() if chat is None else (*chat.markers, *chat.inside),
            chat=None if chat is None else _jinja(model.chat, chat),
        )
    if not model.decoder_only:
        config["encoder"] |= ids
        config["decoder"] |= ids
        ids = {**ids, "decoder_start_token_id": model.start_id}
    write_json(folder / "config.json", {**config, **ids})
    write_json(folder / "generation_config.json", ids)


def _jinja(source: Any, template: ChatTemplate) -> str:
    """The chat template in Jinja; that of a Hugging Face folder as it was."""
    if isinstance(source, Mapping) and "chat_template" in source:
        return str(source["chat_template"])
    return to_jinja(template)


def _is_converted(folder: Path) -> bool:
    """Whether a folder is what this wrote before it made marks.

    A checkpoint of somebody else names the version of transformers.
    """
    config = head_of(folder / "config.json")
    others = (child.name for child in folder.iterdir())
    return (
        config.get("model_type") in ("t5", "mt5")
        and "transformers_version" not in config
        and all(_WRITTEN.fullmatch(name) for name in others)
    )


# What takes up the folder of a converted model.
CONVERTED = Kind("huggingface", _is_converted)
