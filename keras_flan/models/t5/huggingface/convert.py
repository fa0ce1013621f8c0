"""A T5 from the files of Hugging Face, and back."""

import os
import re
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_flan.data.vocabularies.sentencepiece import Vocabulary
from keras_flan.errors import InputError, did_you_mean
from keras_flan.files import read_json_object, write_json
from keras_flan.models.adapters.base import merged
from keras_flan.models.backbones import quiet_masks, undrawn
from keras_flan.models.hub import local_folder
from keras_flan.models.t5.huggingface import t5_config, tokenizer_json
from keras_flan.models.t5.huggingface.added_tokens import (
    with_added,
    without_added,
)
from keras_flan.models.t5.huggingface.checkpoint import (
    DTYPES,
    Checkpoint,
    write_checkpoint,
)
from keras_flan.models.t5.huggingface.t5_tensors import (
    EMBEDDING,
    EMBEDDING_ALIASES,
    HEAD,
    UNUSED,
    t5_tensors,
)
from keras_flan.models.t5.model import T5
from keras_flan.models.weight_files import check_claims, files_of_weights
from keras_flan.outputs import Kind, head_of, replace_folder
from keras_flan.runtime.keras_hub import keras_hub
from keras_flan.runtime.start import prepare_process

SENTENCEPIECE = "spiece.model"
# All that is in a folder that `to_huggingface` writes.
_WRITTEN = re.compile(
    r"((generation_|tokenizer_)?config|tokenizer)\.json|spiece\.model"
    r"|model(-\d+-of-\d+)?\.safetensors(\.index\.json)?"
)
_SHARD_BYTES = 2 << 30


def from_huggingface(path: str | os.PathLike, **settings: Any) -> T5:
    """Loads a T5 v1.0, T5 v1.1, LM-adapted, Flan or mT5 checkpoint.

    Tensors are read from disk one at a time: beside the model itself no more
    than one of them is in memory.

    Args:
        path: A folder with `config.json`, `model.safetensors` (or its shards
            and their index) and a tokenizer (`spiece.model`, else
            `tokenizer.json`; without either the model has no vocabulary), or
            `"hf://organisation/model"`.
        **settings: As for `keras_flan.models.load`, such as `scan=True` or
            `dtype="bfloat16"`; the checkpoint's own dtype does not matter.

    Returns:
        A `keras_flan.models.T5`, which maps keras-hub's four inputs to
        logits.

    Raises:
        InputError: If a file is missing or broken, or the model is one that
            keras-hub's T5 cannot express.

    Example:

    ```python
    model = keras_flan.models.from_huggingface("hf://google/flan-t5-small")
    keras_flan.generation.generate(model, ["What is 2 + 2?"])
    ```
    """
    prepare_process()
    T5.check_settings(settings)
    with local_folder(path) as folder:
        backbone, found = read_huggingface(folder, settings.get("dtype"))
    return T5.around(backbone, **{**found, **settings})


def read_huggingface(
    folder: Path, dtype: Any = None, weights: bool = True
) -> tuple[Any, dict[str, Any]]:
    """Returns the backbone of a folder, and `vocabulary`, an argument of `T5`.

    Args:
        folder: As for `from_huggingface`.
        dtype: Of the weights; default: Keras's policy.
        weights: `False` draws the weights, and gives no vocabulary.
    """
    place = folder / "config.json"
    # Of another model it may hold an Infinity; then its type is what is wrong.
    values = read_json_object(place, allow_nan=True)
    config = t5_config.read_config(values, str(place))
    if not weights:
        with quiet_masks():
            return keras_hub.models.T5Backbone(**config, dtype=dtype), {}
    with Checkpoint(folder) as checkpoint:
        check_claims(str(place), config, files_of_weights(folder))
        vocabulary = _read_vocabulary(folder, config["vocabulary_size"])
        with quiet_masks(), undrawn():
            backbone = keras_hub.models.T5Backbone(**config, dtype=dtype)
        _read_weights(backbone, checkpoint, t5_config.ties(values))
    return backbone, {"vocabulary": vocabulary}


def to_huggingface(
    model: T5,
    path: str | os.PathLike,
    *,
    dtype: str | None = None,
    shard_bytes: int = _SHARD_BYTES,
    overwrite: bool = False,
) -> None:
    """Writes a folder that transformers' `T5ForConditionalGeneration` loads.

    The folder holds `config.json`, `generation_config.json`, the weights as
    safetensors and, if the model has a vocabulary, `spiece.model` and a
    `tokenizer.json` that gives the same ids. It takes its place when all is
    written. A LoRA adapter is merged into the written weights.

    Args:
        model: A `keras_flan.models.T5`.
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
    ```
    """
    if not isinstance(model, T5):
        raise InputError(
            f"to_huggingface: expected a keras_flan.models.T5, found a "
            f"{type(model).__name__}; keras-hub's decoder-only models have "
            "`export_to_transformers`"
        )
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
        config = t5_config.write_config(backbone, dtype)
        write_json(folder / "config.json", config)
        write_json(
            folder / "generation_config.json",
            t5_config.write_generation_config(),
        )
        if model.vocabulary is not None:
            _write_tokenizer(folder, model.vocabulary, config["vocab_size"])
        with merged(model):
            tensors = t5_tensors(model.hub_backbone())
            write_checkpoint(folder, tensors, dtype, shard_bytes)


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


def _read_weights(backbone: Any, checkpoint: Checkpoint, ties: bool) -> None:
    if not (ties or HEAD in checkpoint.names):
        raise InputError(
            f"{checkpoint.folder}: config.json says that the output projection "
            f"is not the embedding ('tie_word_embeddings'), but there is no "
            f"{HEAD!r}; the checkpoint is not whole, or of an encoder alone"
        )
    known = {HEAD, UNUSED, *EMBEDDING_ALIASES}
    for tensor in t5_tensors(backbone):
        name = _name_in(checkpoint, tensor.name)
        array = checkpoint.read(name, tensor.shape)
        tensor.variable.assign(array.T if tensor.transposed else array)
        known.add(tensor.name)
    if unknown := sorted(set(checkpoint.names) - known):
        raise InputError(
            f"{checkpoint.folder}: found {len(unknown)} tensors that are no "
            f"part of a T5, first {unknown[0]!r}; merge adapters before the "
            "conversion"
        )
    if backbone.tie_embedding_weights and HEAD in checkpoint.names:
        embedding = checkpoint.read(_name_in(checkpoint, EMBEDDING))
        if not np.array_equal(checkpoint.read(HEAD), embedding):
            raise InputError(
                f"{checkpoint.folder}: config.json ties the output "
                f"projection to the embedding, but {HEAD!r} differs from "
                f"{EMBEDDING!r}; set 'tie_word_embeddings' to false if it is "
                "a T5 v1.1"
            )


def _name_in(checkpoint: Checkpoint, name: str) -> str:
    """The name under which the file keeps a shared tensor."""
    aliases = [name]
    if name in (EMBEDDING, HEAD):
        # A projection that equals the embedding may be left out.
        aliases += EMBEDDING_ALIASES
    return next((a for a in aliases if a in checkpoint.names), name)


def _read_vocabulary(folder: Path, rows: int) -> Vocabulary | None:
    if (folder / SENTENCEPIECE).is_file():
        proto = Vocabulary(folder / SENTENCEPIECE).proto
    elif (folder / tokenizer_json.FILE).is_file():
        proto = tokenizer_json.to_sentencepiece(folder / tokenizer_json.FILE)
    else:
        return None
    size = Vocabulary(proto).size
    if size > rows:
        raise InputError(
            f"{folder}: the tokenizer has {size} pieces but the embedding "
            f"only {rows} rows; they belong to different models"
        )
    return Vocabulary(with_added(proto, folder, rows))


def _write_tokenizer(folder: Path, vocabulary: Vocabulary, rows: int) -> None:
    proto, _ = without_added(vocabulary.proto)
    (folder / SENTENCEPIECE).write_bytes(proto)
    tokenizer, config = tokenizer_json.from_sentencepiece(
        vocabulary.proto, rows
    )
    write_json(folder / tokenizer_json.FILE, tokenizer)
    write_json(folder / tokenizer_json.CONFIG_FILE, config)
