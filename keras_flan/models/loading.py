"""Models on disk: keras-hub presets, which plain keras-hub loads too."""

import json
import os
from pathlib import Path

from keras_flan.errors import InputError, did_you_mean
from keras_flan.files import read_text, replace_folder
from keras_flan.models.huggingface.hub import local_folder

# Where keras-hub keeps the SentencePiece model inside a preset folder.
_VOCABULARY = Path("assets") / "tokenizer" / "vocabulary.spm"


def load(path: str | os.PathLike):
    """Loads a T5 from a folder or by name.

    Args:
        path: A folder written by `save`, by `T5.save_to_preset`, by
            keras-hub itself or by transformers; or a name:
            `"hf://google/flan-t5-small"` (either format),
            `"kaggle://keras/t5/keras/t5_small_multi"` or
            `"t5_small_multi"` (these two need the package kagglehub).

    Returns:
        A `keras_flan.models.T5` with its vocabulary.

    Raises:
        InputError: If there is no T5 at `path`, or it cannot be fetched.

    Example:
        >>> model = keras_flan.models.load("runs/quickstart/model")
        >>> keras_flan.generation.generate(model, ["What is 2 + 2?"])
    """
    folder = local_folder(path)
    if not folder.exists() and _is_name(path):
        return _load_by_name(os.fspath(path))
    config = folder / "config.json"
    if not config.is_file():
        found = "no such folder" if not folder.exists() else "no config.json"
        raise InputError(
            f"{path}: not a model folder ({found}); give the folder that "
            "`keras-flan train` or `save_to_preset` wrote"
        )
    if _is_of_transformers(config):
        from keras_flan.models.huggingface.convert import (
            from_huggingface,
        )

        return from_huggingface(folder)
    from keras_flan.data.tokenizers import Vocabulary
    from keras_flan.models.t5 import T5

    backbone = _backbone(os.fspath(folder))
    vocabulary = None
    if (folder / _VOCABULARY).is_file():
        vocabulary = Vocabulary(folder / _VOCABULARY)
    return T5(backbone, vocabulary=vocabulary)


def save(model, path: str | os.PathLike) -> None:
    """Writes a model folder; an earlier one is replaced when all is written.

    Args:
        model: A `keras_flan.models.T5`.
        path: The folder. It loads with `load` and, in plain keras-hub, with
            `keras_hub.models.T5Seq2SeqLM.from_preset`.

    Raises:
        InputError: If `path` is a folder of something else.
    """
    with replace_folder(path, marker="config.json") as folder:
        model.save_to_preset(folder)


def _is_name(path: str | os.PathLike) -> bool:
    """Whether a path that does not exist may be a name of keras-hub's."""
    return "://" in str(path) or (
        not os.path.isabs(path) and len(Path(path).parts) == 1
    )


def _load_by_name(name: str):
    import keras_hub

    from keras_flan.data.tokenizers import Vocabulary
    from keras_flan.models.t5 import T5

    known = keras_hub.models.T5Backbone.presets
    if "://" not in name and name not in known:
        raise InputError(
            f"{name}: neither a folder nor a T5 preset of keras-hub."
            + did_you_mean(name, known)
        )
    backbone = _backbone(name)
    tokenizer = keras_hub.models.T5Tokenizer.from_preset(name)
    return T5(backbone, vocabulary=Vocabulary(tokenizer.proto))


def _backbone(source: str):
    import keras_hub

    from keras_flan.models.t5 import quiet_masks

    try:
        with quiet_masks():
            return keras_hub.models.T5Backbone.from_preset(source)
    except Exception as error:
        # keras-hub's errors differ by source (Kaggle, h5py, its own).
        reason = str(error).strip().split("\n")[0]
        raise InputError(f"{source}: cannot be loaded: {reason}") from error


def _is_of_transformers(path: Path) -> bool:
    """Whether a `config.json` is one of transformers, not of keras-hub."""
    try:
        values = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: not JSON ({error.msg})") from None
    if isinstance(values, dict) and "model_type" in values:
        return True
    name = values.get("class_name") if isinstance(values, dict) else None
    if name is None:
        raise InputError(
            f"{path}: not the config of a model (expected a 'class_name', as "
            "keras-hub writes, or a 'model_type', as transformers does)"
        )
    if name != "T5Backbone":
        raise InputError(f"{path}: found a {name}, expected a T5Backbone")
    return False
