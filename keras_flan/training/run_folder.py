"""The folder of a training run: what it holds, and whether to go on in it."""

import hashlib
import importlib.metadata
import os
import platform
import shutil
from pathlib import Path

import yaml

from keras_flan.errors import InputError
from keras_flan.files import atomic_write, read_json, read_text, write_json
from keras_flan.training.config import TrainConfig

_RUN = "run.json"
_CONFIG = "config.yaml"
CHECKPOINTS = "checkpoints"
# What may change between the parts of a run that was stopped.
_FREE = ("output", "steps", "checkpoint_every", "tensorboard")
_PACKAGES = ("keras_flan", "keras", "keras-hub", "jax", "tensorflow", "numpy")


def open_run(config: TrainConfig, mixture) -> bool:
    """Begins a run's folder, or finds one that was stopped.

    The folder gets `config.yaml`, from which the run can be made again, and
    `run.json`: seed, versions, backend and the checksums of all data.

    Args:
        config: The settings; `output` is the folder.
        mixture: The mixture that is trained on.

    Returns:
        Whether there is a stopped run to go on with. A finished one is begun
        anew.

    Raises:
        InputError: If a run was stopped there that had other settings or
            other data.
    """
    folder = config.output
    run = {
        "finished": False,
        "seed": config.seed,
        "versions": _versions(),
        "backend": _backend(),
        "data": data_checksums(mixture),
        "vocabulary": _checksum(config.vocabulary),
    }
    before = _read(folder / _RUN)
    if before and not before["finished"] and (folder / CHECKPOINTS).is_dir():
        _check_same(folder, config, before, run)
        return True
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
    with atomic_write(folder / _CONFIG) as f:
        f.write(config.to_yaml())
    write_json(folder / _RUN, run)
    return False


def close_run(config: TrainConfig) -> None:
    """Marks a run as finished; its checkpoints have served their purpose."""
    folder = config.output
    with atomic_write(folder / _CONFIG) as f:
        f.write(config.to_yaml())
    write_json(folder / _RUN, {**_read(folder / _RUN), "finished": True})
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)


def data_checksums(mixture) -> dict[str, str]:
    """Returns a SHA-256 of the shards of each task of a mixture."""
    from keras_flan.data.records.info import read_info

    checksums = {}
    for stage in mixture.stages:
        for part in stage.tasks:
            shards = read_info(part.task.directory).shards
            text = "".join(shard.sha256 for shard in shards)
            checksums[part.task.name] = hashlib.sha256(
                text.encode()
            ).hexdigest()
    return checksums


def _check_same(folder: Path, config: TrainConfig, before, run) -> None:
    advice = (
        f"give another output, or remove its {CHECKPOINTS} folder to begin anew"
    )
    old = yaml.safe_load(read_text(folder / _CONFIG))
    new = yaml.safe_load(config.to_yaml())
    for key in sorted(old.keys() | new.keys()):
        if key not in _FREE and old.get(key) != new.get(key):
            raise InputError(
                f"{folder}: a stopped run had {key}: {old.get(key)}, now "
                f"found {new.get(key)}; {advice}"
            )
    for name, checksum in run["data"].items():
        if before["data"].get(name) != checksum:
            raise InputError(
                f"{folder}: the records of {name!r} are not those of the "
                f"stopped run; {advice}"
            )
    if before["vocabulary"] != run["vocabulary"]:
        raise InputError(
            f"{folder}: the vocabulary is not that of the stopped run; {advice}"
        )


def _read(path: Path) -> dict | None:
    if not path.is_file():
        return None
    remedy = "give another output"
    run = read_json(path, remedy=remedy, allow_nan=True)
    try:
        run["finished"], run["data"], run["vocabulary"]
    except (KeyError, TypeError):
        raise InputError(
            f"{path}: not what `keras-flan train` writes; {remedy}"
        ) from None
    return run


def _versions() -> dict[str, str | None]:
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None  # run from a checkout
    return versions


def _backend() -> str:
    import keras

    return keras.backend.backend()


def _checksum(path: str | os.PathLike | None) -> str | None:
    if path is None:
        return None
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
