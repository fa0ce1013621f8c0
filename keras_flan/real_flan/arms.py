"""An arm's mixture, as a file, and its training, by `train`."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from keras_flan.data.records.info import read_info
from keras_flan.data.templates.cutting import few_templates
from keras_flan.data.templates.library import is_library_name
from keras_flan.errors import InputError
from keras_flan.files import atomic_write, read_text
from keras_flan.models.kept_values import KeptValues
from keras_flan.real_flan.plan import Arm, FlanPlan
from keras_flan.training.config import TrainConfig
from keras_flan.training.run import train

if TYPE_CHECKING:
    from keras_flan.models.language_model import LanguageModel

# Optimizer steps whose time is measured, after the first.
_MEASURED = 3
# Share of the time to train that is kept: later steps are slower than the first
# ones, and there are checkpoints and a model to write.
_SPARE = 0.1
# Checkpoints of a run, from which it goes on after a kill; each takes the time
# of a few steps.
_CHECKPOINTS = 1


def arm_tasks(
    arm: Arm, seed: int, trained: Mapping[str, Mapping[str, Any]]
) -> dict[str, list[str]]:
    """Returns the tasks of an arm by source.

    Args:
        arm: The arm.
        seed: Chooses the clusters.
        trained: All tasks, see `prepare`.

    Raises:
        InputError: If none is left.
    """
    tasks = {n: t for n, t in trained.items() if t["examples"]}
    if arm.only is not None:
        tasks = {n: t for n, t in tasks.items() if t["source"] in arm.only}
    if arm.clusters is not None:
        clusters = sorted({task["cluster"] for task in tasks.values()})
        order = np.random.default_rng(seed).permutation(len(clusters))
        chosen = {clusters[i] for i in order[: arm.clusters]}
        tasks = {n: t for n, t in tasks.items() if t["cluster"] in chosen}
    if not tasks:
        raise InputError(
            f"no data of {', '.join(arm.only or ['any source'])} to train on; "
            "give a data folder that has some, or a plan without this arm"
        )
    found: dict[str, list[str]] = {}
    for name, task in sorted(tasks.items()):
        found.setdefault(task["source"], []).append(name)
    return found


def write_config(
    plan: FlanPlan,
    arm: str,
    seed: int,
    steps: int,
    run: Path,
    trained: Mapping[str, Mapping[str, Any]],
) -> TrainConfig:
    """Writes the mixture and the settings of a cell, as files of one's own.

    Args:
        plan: The plan.
        arm: A name in it.
        seed: The seed.
        steps: Optimizer steps.
        run: The folder of the run; they go to `cells/<arm>-<seed>/`.
        trained: All tasks, see `prepare`.
    """
    settings, folder = plan.arms[arm], cell_folder(run, arm, seed)
    groups = {
        source: {
            "proportion": plan.proportions[source],
            "cap": plan.task_cap,
            "formats": {f.value: w for f, w in plan.formats.items()},
            "tasks": [_entry(name, settings.templates, run) for name in names],
        }
        for source, names in arm_tasks(settings, seed, trained).items()
    }
    mixture = {
        "name": f"flan, {arm}",
        "records": "../../records",
        "split": "train",
        "shots": 2,
        "groups": groups,
    }
    _write(folder / "mixture.yaml", mixture)
    config = {
        "checkpoint_every": max(1, steps // (_CHECKPOINTS + 1)),
        **plan.train,
        "output": str(folder / "run"),
        "mixture": "mixture.yaml",
        "steps": steps,
        "seed": seed,
    }
    _write(folder / "train.yaml", config)
    return TrainConfig.from_yaml(folder / "train.yaml")


def cell_folder(run: Path, arm: str, seed: int) -> Path:
    """Returns the folder of an arm and a seed."""
    return run / "cells" / f"{arm}-{seed}"


def _entry(name: str, templates: int | None, run: Path) -> str | dict[str, str]:
    """Returns a task of the mixture, with few of its templates if asked."""
    family = read_info(run / "records" / name).templates
    if templates is None or not family or not is_library_name(family):
        return name
    file = run / "templates" / f"{family}-{templates}.yaml"
    if not file.is_file():
        _write(file, few_templates(family, templates))
    return {"name": name, "templates": f"../../templates/{file.name}"}


def measure_steps(
    model: "LanguageModel", config: TrainConfig, folder: Path, quiet: bool
) -> tuple[float, float]:
    """Trains a few steps, and takes them back.

    Args:
        model: The model; its weights are as before afterwards.
        config: The settings.
        folder: A folder for the run, which is removed.
        quiet: Whether to show no progress.

    Returns:
        The seconds of the first step, most of them compilation, and of each
        of the others.
    """
    before = KeptValues(model.variables)
    few = config.model_copy(
        update={
            "output": folder,
            "steps": 1 + _MEASURED,
            "log_every": 1,
            "checkpoint_every": 0,
        }
    )
    found = train(few, model=model, quiet=quiet)
    before.restore()
    lines = read_text(folder / "telemetry.csv").strip().split("\n")
    place = lines[0].split(",").index("seconds")
    each = [float(line.split(",")[place]) for line in lines[1:]]
    shutil.rmtree(folder)
    return float(found["speed"]["first_step"]), sum(each) / len(each)


def affordable_steps(
    left: float, cells: int, asking: float, first: float, each: float
) -> int:
    """Returns how many steps each cell can have.

    Args:
        left: Seconds that are left of the budget.
        cells: How many cells share them.
        asking: Seconds that the questions of a cell take.
        first: Seconds of a first step.
        each: Seconds of every other step.

    Raises:
        InputError: If there is no time for a step; says how much is missing.

    Example:
        >>> affordable_steps(600, 1, asking=200, first=40, each=2)
        163
    """
    training = left / cells - asking - first
    if training < 0:
        short = (-training + each) * cells / 60
        raise InputError(
            f"minutes: asking takes {asking / 60:.1f} minutes per training, "
            f"so that none is left to train; give {short:.0f} more, or say "
            "--steps"
        )
    return 1 + int((1 - _SPARE) * training / each)


def _write(path: Path, value: Mapping[str, Any]) -> None:
    with atomic_write(path) as f:
        yaml.safe_dump(dict(value), f, sort_keys=False, width=80)
