"""The YAML of a training run, changed to what fits."""

import os

from keras_flan.errors import InputError
from keras_flan.files import atomic_write
from keras_flan.planning.jobs import PlannedJob
from keras_flan.planning.planner import JobPlan
from keras_flan.storage import as_path
from keras_flan.training.config import JobConfig, TrainConfig


def fitting_config(plan: JobPlan) -> TrainConfig:
    """Returns a run's settings, changed so that it fits.

    Args:
        plan: The plan of a run.

    Raises:
        InputError: If the plan is not of a run, or nothing makes it fit.
    """
    if plan.config is None or plan.job.side != "train":
        raise InputError(
            "--write: expected the plan of a training run's YAML; give its "
            "path instead of --preset, and no --side"
        )
    return _with(plan.config, plan.fitting)


def write_fitting(plan: JobPlan, path: str | os.PathLike) -> list[str]:
    """Writes a run's YAML, changed so that it fits.

    Paths in it are absolute; comments are not kept.

    Args:
        plan: The plan of a run.
        path: The YAML file, which must not exist yet.

    Returns:
        What was changed, as overrides of `train`.

    Raises:
        InputError: As `fitting_config`, or if there is such a file.
    """
    config = fitting_config(plan)
    if as_path(path).exists():
        raise InputError(
            f"--write: {path} exists; give the name of a new file, or remove "
            "it first"
        )
    with atomic_write(path) as file:
        file.write(config.to_yaml())
    assert plan.config is not None
    return plan.fitting.overrides(plan.config.model_dump())


def _with(config: TrainConfig, job: PlannedJob) -> TrainConfig:
    values = config.model_dump() | job.model_dump(
        include=set(JobConfig.model_fields)
    )
    if config.distribution is None and job.slice.devices == 1:
        values["distribution"] = None  # One device by itself.
    return TrainConfig.model_validate(values)
