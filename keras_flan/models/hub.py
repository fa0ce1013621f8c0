"""Folders by name: a path, or a repository of the Hugging Face hub."""

import os
from pathlib import Path

from keras_flan.errors import InputError

PREFIX = "hf://"
# A checkpoint of transformers or a preset of keras-hub, without the copies in
# other formats that lie beside it.
_PATTERNS = [
    "*.json",
    "*.safetensors",
    "*.weights.h5",
    "spiece.model",  # "tokenizer.json" is among the "*.json"
    "assets/*",
]
# What tells its shapes.
_CONFIGS = ["config.json", "decoder_only.json"]


def local_folder(source: str | os.PathLike, weights: bool = True) -> Path:
    """Returns the folder of a model; `hf://` names are downloaded (once).

    Args:
        source: A folder, or `"hf://organisation/model"`.
        weights: `False` downloads the config alone.

    Raises:
        InputError: If the download fails.
    """
    if not str(source).startswith(PREFIX):
        return Path(source)
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise InputError(
            f"{source}: needs the package huggingface_hub; pip install "
            "'keras_flan[hf]', or download the folder and give its path"
        ) from None
    try:
        return Path(
            snapshot_download(
                str(source).removeprefix(PREFIX),
                allow_patterns=_PATTERNS if weights else _CONFIGS,
            )
        )
    except (OSError, ValueError) as error:
        # Its HTTP errors are OSErrors of many lines, the first of which tells.
        reason = str(error).strip().split("\n")[0]
        raise InputError(
            f"{source}: cannot be downloaded ({reason}); check the name and "
            "the network, or give a folder"
        ) from error
