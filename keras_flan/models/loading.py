"""Models on disk: keras-hub presets, which plain keras-hub loads too."""

import json
import os
import shutil
import tempfile
from pathlib import Path

from keras_flan.errors import InputError

# Where keras-hub keeps the SentencePiece model inside a preset folder.
_VOCABULARY = Path("assets") / "tokenizer" / "vocabulary.spm"


def load(path: str | os.PathLike):
    """Loads a model folder, or a keras-hub preset by name.

    Args:
        path: A folder written by `save`, by `T5.save_to_preset` or by
            keras-hub itself, or a name that keras-hub's `from_preset` takes
            (`"t5_small_multi"`, `"kaggle://..."`, `"hf://..."`).

    Returns:
        A `keras_flan.models.T5` with its vocabulary.

    Raises:
        InputError: If there is no T5 preset at `path`.

    Example:
        >>> model = keras_flan.models.load("runs/quickstart/model")
        >>> keras_flan.generation.generate(model, ["What is 2 + 2?"])
    """
    folder = Path(path)
    is_name = not folder.exists() and not os.path.isabs(path)
    if not is_name and not (folder / "config.json").is_file():
        found = "no such folder" if not folder.exists() else "no config.json"
        raise InputError(
            f"{path}: not a model folder ({found}); give the folder that "
            "`keras-flan train` or `save_to_preset` wrote"
        )
    if not is_name:
        _check_backbone(folder / "config.json")
    import keras_hub

    from keras_flan.data.tokenizers import Vocabulary
    from keras_flan.models.t5 import T5, quiet_masks

    try:
        with quiet_masks():
            backbone = keras_hub.models.T5Backbone.from_preset(str(path))
    except Exception as error:
        # keras-hub's errors differ by source (Kaggle, Hugging Face, h5py).
        reason = str(error).strip().split("\n")[0]
        raise InputError(f"{path}: cannot be loaded: {reason}") from error
    vocabulary = None
    if is_name:
        tokenizer = keras_hub.models.T5Tokenizer.from_preset(str(path))
        vocabulary = Vocabulary(tokenizer.proto)
    elif (folder / _VOCABULARY).is_file():
        vocabulary = Vocabulary(folder / _VOCABULARY)
    return T5(backbone, vocabulary=vocabulary)


def save(model, path: str | os.PathLike) -> None:
    """Writes a model folder; an earlier one is replaced when all is written.

    Args:
        model: A `keras_flan.models.T5`.
        path: The folder. It loads with `load` and, in plain keras-hub, with
            `keras_hub.models.T5Seq2SeqLM.from_preset`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        made = aside / "new"
        model.save_to_preset(made)
        if path.exists():
            path.rename(aside / "old")
        made.rename(path)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _check_backbone(path: Path) -> None:
    try:
        name = json.loads(path.read_text("utf-8"))["class_name"]
    except (json.JSONDecodeError, KeyError, TypeError):
        raise InputError(
            f"{path}: not the config of a keras-hub preset (expected a "
            "'class_name')"
        ) from None
    if name != "T5Backbone":
        raise InputError(f"{path}: found a {name}, expected a T5Backbone")
