"""The folder of a training run: what it holds, and whether to go on in it."""

import contextlib
import hashlib
import importlib.metadata
import platform
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import yaml

from keras_flan.data.records.info import read_info
from keras_flan.errors import InputError
from keras_flan.files import atomic_write, read_json, write_json
from keras_flan.models.adapters.saving import KINDS, check_adapter, save_adapter
from keras_flan.models.loading import MODEL, save
from keras_flan.outputs import (
    Kind,
    check_output,
    head_of,
    output_folder,
    removed,
    replace_files,
)
from keras_flan.storage import remove_folder
from keras_flan.training.callbacks import DRAWS
from keras_flan.training.cards import write_own_card
from keras_flan.training.config import TrainConfig
from keras_flan.training.finished import (
    CONFIG_FILE,
    METRICS_FILE,
    RUN_FILE,
    TrainedRun,
)
from keras_flan.training.report import write_training

if TYPE_CHECKING:
    from keras_flan.data.mixtures.mixture import Mixture
    from keras_flan.models.language_model import LanguageModel

CHECKPOINTS = "checkpoints"
ADAPTER = "adapter.safetensors"
# What may change between the parts of a run that was stopped.
_FREE = (
    *("output", "steps", "checkpoint_every", "tensorboard"),
    *("profile", "distribution", "callbacks"),
)
_PACKAGES = ("keras_flan", "keras", "keras-hub", "jax", "tensorflow", "numpy")


def _is_run(folder: Path) -> bool:
    run = head_of(folder / RUN_FILE)
    return {"finished", "data", "vocabulary"} <= run.keys()


# What takes up the folder of a run.
RUN = Kind("run", _is_run)


@contextlib.contextmanager
def run_folder(config: TrainConfig, overwrite: bool = False) -> Iterator[None]:
    """Locks the output of a run, by the process that writes it.

    Args:
        config: The settings; `output` is the folder.
        overwrite: Whether to write over what is neither empty nor a run.

    Raises:
        InputError: If the folder holds something else, or another process
            writes there.
    """
    with output_folder(config.output, RUN, overwrite) as folder:
        for name in ("model", "best"):
            check_output(folder / name, MODEL, overwrite)
            check_adapter(_adapter(folder / name), overwrite)
        yield


def open_run(config: TrainConfig, mixture: "Mixture") -> bool:
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
    facts = run_facts(config.seed, mixture)
    run = {**facts, "vocabulary": _checksum(config.vocabulary)}
    begun = _is_begun(config.output / CHECKPOINTS)
    return begin_run(config, run, begun, _FREE)


def begin_run(
    config: TrainConfig,
    run: Mapping[str, Any],
    begun: bool,
    free: Collection[str],
    stale: Sequence[str] = (),
) -> bool:
    """Begins the folder of a run of any kind, or finds a stopped one.

    Args:
        config: The settings; `output` is the folder.
        run: What `run.json` says; `data` has checksums.
        begun: Whether there is something to go on with.
        free: Settings that may change between the parts of a run.
        stale: Files of an earlier run, which go before the new settings come.

    Returns:
        Whether there is a stopped run to go on with.

    Raises:
        InputError: If it had other settings or data.
    """
    folder = config.output
    before = _read(folder / RUN_FILE)
    if before and not before["finished"] and begun:
        _check_same(config, before, run, free)
        return True
    remove_folder(folder / CHECKPOINTS)
    with replace_files(folder, RUN_FILE) as made:
        for name in stale:
            removed(made, name)
        _write_run(made, config, {"finished": False, **run})
    return False


def close_run(
    config: TrainConfig,
    metrics: dict[str, Any],
    fates: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Writes the metrics, also as tables, and marks a run as finished.

    `fates` says what became of the examples, as `Pipeline.fates` does.

    Its checkpoints have served their purpose, and go.
    """
    folder = config.output
    run = _read(folder / RUN_FILE) or {}
    with replace_files(folder, RUN_FILE) as made:
        _write_metrics(made, metrics)
        _write_fates(made, fates)
        _write_page(made, config, metrics, run)
        _write_run(made, config, {**run, "finished": True})
    # The model has its place already; its card says how it came about.
    write_own_card(config, metrics["model"], metrics, run)
    remove_folder(folder / CHECKPOINTS)


def _write_run(made: Path, config: TrainConfig, run: dict[str, Any]) -> None:
    with atomic_write(made / CONFIG_FILE) as f:
        f.write(config.to_yaml(config.output))
    write_json(made / RUN_FILE, run)


def _adapter(folder: Path) -> Path:
    """Where an adapter is: `best/` has one of its own."""
    name = "" if folder.name == "model" else f"{folder.name}_"
    return folder.parent / f"{name}{ADAPTER}"


def save_trained(
    config: TrainConfig,
    model: "LanguageModel",
    folder: Path,
    overwrite: bool = False,
) -> Path:
    """Writes what was trained; returns what `keras_flan.models.load` takes.

    Args:
        config: The settings.
        model: The model.
        folder: `model` or `best` in the run's folder.
        overwrite: Whether to replace what is there, if it isn't ours.
    """
    if config.adapter is None:
        save(model, folder, overwrite=overwrite)
        return folder
    path = _adapter(folder)
    save_adapter(model, path, base=config.model.init, overwrite=overwrite)
    if not KINDS[config.adapter.kind].mergeable:
        return path
    save(model, folder, overwrite=overwrite)
    return folder


def _write_metrics(made: Path, metrics: dict[str, Any]) -> None:
    """Writes `metrics.json`, and its curves as tables."""
    steps, held_out = metrics["loss_steps"], metrics.get("held_out")
    curves = [("loss", "loss", steps, metrics["loss"])]
    if norms := metrics["gradient_norm"]:
        curves.append(("gradient_norm", "gradient_norm", steps, norms))
    if held_out and held_out["loss"]:
        curve = held_out["steps"], held_out["loss"]
        curves.append(("held_out", "loss", *curve))
    if held_out and held_out["score"]:
        curve = held_out["steps"], held_out["score"]
        curves.append(("held_out_score", "score", *curve))
    optional = {"gradient_norm", "held_out", "held_out_score"}
    for file in optional - {curve[0] for curve in curves}:
        removed(made, f"{file}.csv")
    for file, name, steps, values in curves:
        with atomic_write(made / f"{file}.csv") as f:
            f.write(f"step,{name}\n")
            for step, value in zip(steps, values, strict=True):
                f.write(f"{step},{value:.6f}\n")
    write_json(made / METRICS_FILE, metrics)


def _write_page(
    made: Path,
    config: TrainConfig,
    metrics: dict[str, Any],
    facts: dict[str, Any],
) -> None:
    name, values = config.output.name, config.model_dump(mode="json")
    write_training(made, [TrainedRun(name, values, metrics, facts)], name)


def _write_fates(made: Path, fates: Sequence[Mapping[str, Any]]) -> None:
    if not fates:
        removed(made, DRAWS)
        return
    with atomic_write(made / DRAWS) as f:
        f.write(",".join(fates[0]) + "\n")
        for row in fates:
            cells = [
                f"{value:.6f}" if isinstance(value, float) else str(value)
                for value in row.values()
            ]
            f.write(",".join(cells) + "\n")


def run_facts(seed: int, mixture: "Mixture | None") -> dict[str, Any]:
    """Returns seed, versions and backend, and what was trained on.

    Args:
        seed: The seed.
        mixture: The mixture, if there is one.
    """
    return {
        "seed": seed,
        "versions": _versions(),
        "backend": keras.backend.backend(),
        "data": data_checksums(mixture) if mixture else {},
        "tasks": _tasks(mixture) if mixture else {},
    }


def _tasks(mixture: "Mixture") -> dict[str, dict[str, Any]]:
    """Returns what a card says of each task of a mixture."""
    parts = (part.task for s in mixture.stages for part in s.tasks)
    infos = {task.name: read_info(task.directory) for task in parts}
    return {
        name: {
            "examples": info.num_examples,
            "license": info.license,
            "source": info.source,
        }
        for name, info in infos.items()
    }


def data_checksums(mixture: "Mixture") -> dict[str, str]:
    """Returns a SHA-256 of the shards of each task of a mixture."""
    tasks = (part.task for s in mixture.stages for part in s.tasks)
    return {task.name: records_checksum(task.directory) for task in tasks}


def records_checksum(folder: Path) -> str:
    """Returns a SHA-256 of the shards of records."""
    text = "".join(shard.sha256 for shard in read_info(folder).shards)
    return hashlib.sha256(text.encode()).hexdigest()


def _is_begun(checkpoints: Path) -> bool:
    """Whether there is a checkpoint, and not just their folder."""
    return checkpoints.is_dir() and any(
        place.name.isdigit() for place in checkpoints.iterdir()
    )


def _check_same(
    config: TrainConfig,
    before: Mapping[str, Any],
    run: Mapping[str, Any],
    free: Collection[str],
) -> None:
    folder = config.output
    advice = f"give another output, or remove its {RUN_FILE} to begin anew"
    # Settings that came later than the run are at their defaults.
    written = folder / CONFIG_FILE
    earlier = type(config).from_yaml(written)
    old, new = (yaml.safe_load(c.to_yaml()) for c in (earlier, config))
    for key in sorted(old.keys() | new.keys()):
        if key not in free and old.get(key) != new.get(key):
            raise InputError(
                f"{folder}: a stopped run had {key}: {old.get(key)}, now "
                f"found {new.get(key)}; {advice}"
            )
    for name, checksum in run["data"].items():
        if before.get("data", {}).get(name) != checksum:
            raise InputError(
                f"{folder}: the records of {name!r} are not those of the "
                f"stopped run; {advice}"
            )
    if before.get("vocabulary") != run.get("vocabulary"):
        raise InputError(
            f"{folder}: the vocabulary is not that of the stopped run; {advice}"
        )


def _read(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    remedy = "give another output"
    run = read_json(path, remedy=remedy, allow_nan=True)
    try:
        run["finished"], run["data"]
    except (KeyError, TypeError):
        raise InputError(
            f"{path}: not what `keras-flan train` writes; {remedy}"
        ) from None
    return run


def _versions() -> dict[str, str | None]:
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None  # run from a checkout
    return versions


def _checksum(path: Path | None) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path else None
