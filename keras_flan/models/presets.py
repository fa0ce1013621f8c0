"""Models that ship with the package: their weights in half precision."""

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
from keras import ops

from keras_flan.data.vocabularies.sentencepiece import Vocabulary
from keras_flan.errors import InputError
from keras_flan.files import atomic_write, read_json_object, write_json
from keras_flan.locks import locked
from keras_flan.models.t5.huggingface.t5_tensors import t5_tensors
from keras_flan.models.t5.model import T5
from keras_flan.models.weight_files import (
    check_claims,
    files_of_weights,
    read_npz,
)
from keras_flan.outputs import replace_files, settle
from keras_flan.storage import as_path

# A folder here for each: config.json, vocabulary.model, weights.npz.
_FOLDER = Path(__file__).parent / "preset_weights"
_SIZES = (
    "vocabulary_size", "num_layers", "num_heads", "hidden_dim",
    "intermediate_dim", "key_value_dim",
)  # fmt: skip


def shipped() -> list[str]:
    """Returns the names of the presets in the package.

    Example:
        >>> shipped()
        ['flan_nano']
    """
    return sorted(p.parent.name for p in _FOLDER.glob("*/weights.npz"))


def shipped_folder(name: str) -> Path:
    """Returns where the preset of a name is, as `write_preset` wrote it."""
    return _FOLDER / name


def digest(name: str) -> str:
    """Returns the SHA-256 of a preset's weights."""
    data = (shipped_folder(name) / "weights.npz").read_bytes()
    return hashlib.sha256(data).hexdigest()


def read_preset(
    folder: str | os.PathLike, dtype: Any = None, weights: bool = True
) -> T5:
    """Loads what `write_preset` wrote.

    Args:
        folder: The folder.
        dtype: Of the weights; default: Keras's policy.
        weights: `False` draws the weights.

    Raises:
        InputError: If a file is missing or does not fit.
    """
    settle(folder)
    folder = as_path(folder)
    config = folder / "config.json"
    sizes = read_json_object(config)
    if set(sizes) != set(_SIZES) or not all(
        type(size) is int and size > 0 for size in sizes.values()
    ):
        raise InputError(
            f"{config}: expected numbers above 0 under {', '.join(_SIZES)}, "
            f"found {sizes!r:.200}; install the package again"
        )
    if weights:
        check_claims(str(config), sizes, files_of_weights(folder))
    model = T5.from_config_values(
        **sizes,
        dropout=0.0,
        vocabulary=Vocabulary(folder / "vocabulary.model"),
        dtype=dtype,
    )
    if not weights:
        return model
    tensors = {tensor.name: tensor for tensor in t5_tensors(model.backbone)}
    # The names and shapes are those of a checkpoint, not transposed.
    shapes = {k: tuple(t.variable.shape) for k, t in tensors.items()}
    for name, array in read_npz(folder / "weights.npz", shapes):
        tensors[name].variable.assign(array)
    return model


def write_preset(model: T5, folder: str | os.PathLike) -> None:
    """Writes sizes, vocabulary and weights (float16) of a T5.

    Args:
        model: A model with a vocabulary.
        folder: The folder, made if missing. The same weights give the same
            bytes, and the files come into it together.
    """
    backbone = model.backbone
    values = backbone.get_config()
    folder = as_path(folder)
    with locked(folder), replace_files(folder, "config.json") as made:
        write_json(made / "config.json", {key: values[key] for key in _SIZES})
        with atomic_write(made / "vocabulary.model", "wb") as f:
            f.write(model.vocabulary.proto)
        with atomic_write(made / "weights.npz", "wb") as f:
            arrays = {
                tensor.name: ops.convert_to_numpy(tensor.variable).astype(
                    "float16"
                )
                for tensor in t5_tensors(backbone)
            }
            np.savez(f, **arrays)
