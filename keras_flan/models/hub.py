"""Folders by name: a path, or a repository of the Hugging Face hub."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from keras_flan.errors import InputError
from keras_flan.outputs import UNFINISHED
from keras_flan.storage import as_path, is_remote, local_copy

PREFIX = "hf://"
# A checkpoint of transformers or a preset of keras-hub, without the copies in
# other formats that lie beside it.
_PATTERNS = [
    "*.json",
    "*.safetensors",
    "*.weights.h5",
    "tokenizer.model",
    "spiece.model",  # "tokenizer.json" is among the "*.json"
    "assets/*",
]
# What tells its shapes.
_CONFIGS = ["config.json", "decoder_only.json"]


@contextlib.contextmanager
def local_folder(
    source: str | os.PathLike, weights: bool = True
) -> Iterator[Path]:
    """Yields the folder of a model, on this machine.

    Args:
        source: A folder; one in a bucket is copied, until the end of the
            `with`. Or `"hf://organisation/model"`, which is downloaded once.
            Other names are paths to nothing.
        weights: `False` copies or downloads the config alone.

    Raises:
        InputError: If the download fails.
    """
    only = _PATTERNS if weights else _CONFIGS
    if is_remote(source):
        # Without a config the rest is of no use. A file is given whole.
        is_model = as_path(source, "config.json").is_file()
        with local_copy(source, only if is_model else [UNFINISHED]) as folder:
            yield folder
    elif str(source).startswith(PREFIX):
        yield _snapshot(source, only)
    else:
        yield Path(source)


def _snapshot(source: str | os.PathLike, only: Sequence[str]) -> Path:
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
                str(source).removeprefix(PREFIX), allow_patterns=[*only]
            )
        )
    except (OSError, ValueError) as error:
        # Its HTTP errors are OSErrors of many lines, the first of which tells.
        reason = str(error).strip().split("\n")[0]
        raise InputError(
            f"{source}: cannot be downloaded ({reason}); check the name and "
            "the network, or give a folder"
        ) from error
