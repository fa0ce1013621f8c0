"""Adapters on disk: tensors and settings in one safetensors file."""

import contextlib
import json
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
from keras import ops
from safetensors.numpy import save

from keras_flan.data.templates.chat import ChatTemplate
from keras_flan.errors import InputError
from keras_flan.files import atomic_write, parse_json
from keras_flan.models.adapters import targets as adapter_targets
from keras_flan.models.adapters.base import Adapter, remove_adapter, required
from keras_flan.models.adapters.dora import DoRA
from keras_flan.models.adapters.houlsby import Houlsby
from keras_flan.models.adapters.ia3 import IA3
from keras_flan.models.adapters.lora import LoRA
from keras_flan.models.language_model import LanguageModel
from keras_flan.models.weight_files import Safetensors, opened_safetensors
from keras_flan.storage import as_path, local_copy

_FORMAT = "keras_flan.adapter.1"
_KEYS = {"kind", "family", "base", "targets"}
# How a model frames what it reads, which a training may have changed.
_FRAMES = ("separate", "chat")
# By their names in files and in train.yaml.
KINDS: dict[str, type[Adapter]] = {
    kind.kind: kind for kind in (LoRA, DoRA, IA3, Houlsby)
}


def save_adapter(
    model: LanguageModel,
    path: str | os.PathLike,
    base: str | None = None,
    *,
    overwrite: bool = False,
) -> None:
    """Writes what an adapter has learned, and its settings, to one file.

    Args:
        model: A model with an adapter.
        path: A safetensors file; it takes its place when all is written.
        base: Where the base model is, as `keras_flan.models.load` takes it,
            so that `load(path)` finds both.
        overwrite: Whether to replace a file that is no adapter of ours.

    Raises:
        InputError: If the model has no adapter, or `path` is something else.

    Example:

    ```python
    keras_flan.models.save_adapter(model, "gsm8k.safetensors")
    model = keras_flan.models.load("smollm2_135m")
    keras_flan.models.load_adapter(model, "gsm8k.safetensors")
    ```
    """
    adapter = required(model)
    settings = {
        **adapter.settings,
        "kind": adapter.kind.kind,
        "family": type(model.backbone).__name__,
        "base": base,
        "frames": _frames(model),
    }
    state = {
        name: ops.convert_to_numpy(variable)
        for name, variable in adapter.state().items()
    }
    check_adapter(path, overwrite)
    write_adapter(path, settings, state)


def _frames(model: LanguageModel) -> dict[str, Any]:
    found = {n: getattr(model, n) for n in _FRAMES if hasattr(model, n)}
    return {
        name: value.to_dict() if isinstance(value, ChatTemplate) else value
        for name, value in found.items()
    }


def check_adapter(path: str | os.PathLike, overwrite: bool = False) -> None:
    """Raises InputError if a file is there that is no adapter of ours."""
    if overwrite or not as_path(path).exists():
        return
    try:
        read_settings(path)
    except InputError:
        raise InputError(
            f"{path}: holds something other than an adapter; give a new "
            "file, or write over it with --overwrite (in Python: "
            "overwrite=True)"
        ) from None


def load_adapter(model: LanguageModel, path: str | os.PathLike) -> None:
    """Puts a saved adapter into the base model that it was trained on.

    Args:
        model: A model without an adapter.
        path: What `save_adapter` wrote.

    Raises:
        InputError: If the file is broken or belongs to another model.

    Example:

    ```python
    model = keras_flan.models.load("flan_t5_small")
    load_adapter(model, "runs/lora/adapter")
    ```
    """
    settings, state = read_adapter(path)
    known = adapter_targets.projections(model.backbone)
    unknown = [t for t in settings["targets"] if t not in known]
    if unknown:
        raise InputError(
            f"{path}: made for a {settings['family']} with the layer "
            f"{unknown[0]!r}, which this {type(model.backbone).__name__} "
            "does not have; load the model that it was trained on"
        )
    arguments = {
        name: value
        for name, value in settings.items()
        if name not in ("kind", "family", "base", "frames")
    }
    try:
        KINDS[settings["kind"]].add(model, **arguments)
    except (TypeError, ValueError, OverflowError, MemoryError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{path}: found the settings {arguments!r:.200}, which no adapter "
            "of this version has"
        ) from None
    variables = required(model).state()
    try:
        _check(path, state, variables)
    except InputError:
        remove_adapter(model)
        raise
    for name, variable in variables.items():
        variable.assign(state[name])
    # Files of earlier versions have no frames.
    for name, value in settings.get("frames", {}).items():
        if name in _FRAMES and hasattr(model, name):
            setattr(model, name, value)


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
    with _opened(path) as file:
        state = {name: file.read(name) for name in file.names}
        return _settings(path, file.metadata), state


def read_settings(path: str | os.PathLike) -> dict[str, Any]:
    """Returns the settings alone; see `read_adapter`."""
    with _opened(path) as file:
        return _settings(path, file.metadata)


@contextlib.contextmanager
def _opened(path: str | os.PathLike) -> Iterator[Safetensors]:
    with (
        local_copy(path) as local,
        opened_safetensors(local, "give what save_adapter wrote") as file,
    ):
        yield file


def _settings(
    path: str | os.PathLike, metadata: dict[str, str]
) -> dict[str, Any]:
    try:
        settings = parse_json(metadata["settings"])
        known = (
            metadata["format"] == _FORMAT
            and settings["kind"] in KINDS
            and set(settings) >= _KEYS
            and all(isinstance(t, str) for t in settings["targets"])
            and isinstance(settings["base"], str | None)
        )
    except (KeyError, TypeError, ValueError):
        known = False
    if not known:
        raise InputError(
            f"{path}: a safetensors file, but not of an adapter of "
            "keras_flan; give what save_adapter wrote"
        )
    return settings


def _check(
    path: str | os.PathLike,
    state: dict[str, np.ndarray],
    variables: dict[str, Any],
) -> None:
    """Checks that a file holds just the tensors of an adapter."""
    if missing := sorted(set(variables) ^ set(state)):
        raise InputError(
            f"{path}: the tensor {missing[0]!r} is in only one of file and "
            "model; load the model that it was trained on"
        )
    for name, variable in variables.items():
        if state[name].shape != tuple(variable.shape):
            raise InputError(
                f"{path}: tensor {name!r} has the shape {state[name].shape}, "
                f"the model expects {tuple(variable.shape)}; load the model "
                "that it was trained on"
            )
        if not np.isfinite(state[name]).all():
            raise InputError(f"{path}: tensor {name!r} is not finite")
