"""A T5 from the files of Hugging Face, and back."""

import os
from pathlib import Path
from typing import Any

from keras_flan.data.vocabularies.sentencepiece import Vocabulary
from keras_flan.errors import InputError
from keras_flan.files import read_json_object, write_json
from keras_flan.models.backbones import quiet_masks, undrawn
from keras_flan.models.hub import local_folder
from keras_flan.models.huggingface.checkpoint import Checkpoint
from keras_flan.models.t5.huggingface import t5_config, tokenizer_json
from keras_flan.models.t5.huggingface.added_tokens import (
    with_added,
    without_added,
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
from keras_flan.runtime.keras_hub import keras_hub
from keras_flan.runtime.start import prepare_process

SENTENCEPIECE = "spiece.model"


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


def write_files(model: T5, folder: Path, dtype: str) -> None:
    """Writes the config and the tokenizer of a T5, without its weights.

    Args:
        model: A T5.
        folder: An existing folder.
        dtype: That of the weights, which come beside them.

    Raises:
        InputError: If the model cannot be expressed there.
    """
    config = t5_config.write_config(model.backbone, dtype)
    write_json(folder / "config.json", config)
    write_json(
        folder / "generation_config.json", t5_config.write_generation_config()
    )
    if model.vocabulary is not None:
        _write_tokenizer(folder, model.vocabulary, config["vocab_size"])


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
        tensor.variable.assign(tensor.taken(array))
        known.add(tensor.name)
    if unknown := sorted(set(checkpoint.names) - known):
        raise InputError(
            f"{checkpoint.folder}: found {len(unknown)} tensors that are no "
            f"part of a T5, first {unknown[0]!r}; merge adapters before the "
            "conversion"
        )
    if backbone.tie_embedding_weights:
        checkpoint.check_tied(HEAD, _name_in(checkpoint, EMBEDDING))


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
