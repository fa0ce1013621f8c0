"""The file of an adapter: tensors and settings, as safetensors."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from safetensors.numpy import load, save

from keras_flan.errors import InputError
from keras_flan.files import atomic_write, parse_json

_FORMAT = "keras_flan.adapter.1"
_KEYS = {"kind", "family", "base", "targets"}


def write_adapter(
    path: str | os.PathLike,
    settings: dict[str, Any],
    state: dict[str, np.ndarray],
) -> None:
    """Writes an adapter, atomically.

    Args:
        path: The file.
        settings: JSON-able; at least `kind`, `family`, `base`, `targets`.
        state: The tensors, by name.
    """
    metadata = {"format": _FORMAT, "settings": json.dumps(settings)}
    arrays = {name: np.ascontiguousarray(a) for name, a in state.items()}
    with atomic_write(path, "wb") as f:
        f.write(save(arrays, metadata))


def read_adapter(
    path: str | os.PathLike,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Returns the settings and tensors that `write_adapter` wrote.

    Raises:
        InputError: If the file is missing or is no adapter's.
    """
    settings = read_settings(path)
    return settings, load(Path(path).read_bytes())


def read_settings(path: str | os.PathLike) -> dict[str, Any]:
    """Returns the settings alone; see `read_adapter`."""
    try:
        with safetensors.safe_open(path, framework="np") as opened:
            metadata = opened.metadata() or {}
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, safetensors.SafetensorError) as error:
        raise InputError(
            f"{path}: not a safetensors file ({error}); give what "
            "save_adapter wrote"
        ) from None
    try:
        settings = parse_json(metadata["settings"])
        known = (
            metadata["format"] == _FORMAT
            and settings["kind"] in ("lora", "houlsby")
            and set(settings) >= _KEYS
            and all(isinstance(t, str) for t in settings["targets"])
        )
    except (KeyError, TypeError, ValueError):
        known = False
    if not known:
        raise InputError(
            f"{path}: a safetensors file, but not of an adapter of "
            "keras_flan; give what save_adapter wrote"
        )
    return settings
