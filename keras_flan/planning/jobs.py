"""What is to be planned: a training step, or decoding, on a slice."""

import functools
import operator
from collections.abc import Mapping
from typing import Any, Literal

import pydantic

from keras_flan.distribution.mesh import PRESETS, Mesh, default_preset
from keras_flan.planning.shapes import model_shape
from keras_flan.planning.topology import Topology
from keras_flan.planning.weights import ModelShape
from keras_flan.schema import validate
from keras_flan.training.config import JobConfig, TrainConfig, merged
from keras_flan.training.recipe_table import Recipe
from keras_flan.training.sections import DistributionConfig

# What is planned of a model of the paper where nothing else is said: the
# paper's rows, and all that saves memory.
_DEFAULTS = {
    "precision": "mixed_bfloat16",
    "model": {"scan": True, "remat": True, "query_chunk": 256},
    "data": {"input_length": 2048, "target_length": 512, "batch_size": 32},
    "optimizer": {"loss_chunk": 256},
    "distribution": {"preset": "fsdp+model", "sequence": True},
}
# Where a run says nothing of devices, and there are many.
_SPREAD = DistributionConfig(preset="fsdp+model", sequence=True)
# What a plan may change of a run.
_SECTIONS = ("model", "data", "optimizer", "distribution")
_BYTES = {"float32": 4, "bfloat16": 2, "mixed_bfloat16": 4}


class PlannedJob(JobConfig):
    """One program on one slice.

    What describes the training step is as in the YAML of a training run, so
    that `train` runs what was planned.

    Attributes:
        topology: Such as `v4:8x8x8`, see `Topology`.
        side: `train`, a step of training, or `decode`, a prompt read and one
            token generated on each path.
        distribution: See `DistributionConfig`; when decoding, rows are
            prompts, and their lengths those of a prompt and an answer.
        paths: Answers per prompt, when decoding.
    """

    topology: str
    side: Literal["train", "decode"] = "train"
    distribution: DistributionConfig = DistributionConfig()
    paths: pydantic.PositiveInt = 8

    @property
    def slice(self) -> Topology:
        """The parsed topology."""
        return Topology(self.topology)

    @property
    def shape(self) -> ModelShape:
        """The model's sizes and weights."""
        return model_shape(self)

    @property
    def axes(self) -> Mesh:
        """The parsed mesh, checked against the slice.

        Raises:
            InputError: If it has more or fewer devices than the slice.
        """
        return Mesh(self.distribution.mesh, devices=self.slice.devices)

    @property
    def preset(self) -> str:
        """The name of the layouts."""
        return self.distribution.preset or default_preset(self.axes)

    @property
    def split(self) -> dict[str, str]:
        """Which axes of weights are split, over which axis of the mesh."""
        return PRESETS[self.preset]

    @property
    def tokens(self) -> int:
        """Tokens of a step, inputs and targets, padding counted."""
        data = self.data
        return data.batch_size * (data.input_length + data.target_length)

    @property
    def rows(self) -> int:
        """Rows on a device at a time; the most, if they can't be divided.

        Prompts that can't be divided are all on every device.
        """
        if self.side == "decode" and not self.divides:
            return self.data.batch_size
        parts = self.axes.size("batch")
        if self.side == "train":
            parts *= self.optimizer.accumulate
        return -(-self.data.batch_size // parts)

    @property
    def divides(self) -> bool:
        """Whether the mesh divides the rows of a call."""
        rows = self.data.batch_size
        if self.side == "train":
            rows = self.optimizer.accumulation.rows(rows)
        return rows % self.axes.size("batch") == 0

    @property
    def weight_bytes(self) -> int:
        """Bytes of a number of a weight."""
        return 2 if self.side == "decode" else _BYTES[self.precision]

    @property
    def compute_bytes(self) -> int:
        """Bytes of a number of an activation."""
        whole = self.precision == "float32" and self.side == "train"
        return 4 if whole else 2

    def changed(self, change: Mapping[str, object]) -> "PlannedJob":
        """Returns the job with other values, by their dotted names."""
        values = self.model_dump()
        for key, value in change.items():
            *parents, last = key.split(".")
            functools.reduce(operator.getitem, parents, values)[last] = value
        return PlannedJob.model_validate(values)

    def of_adapter(self) -> list[str]:
        """Returns what is trained instead of all, as overrides of `train`."""
        if self.adapter is None:
            return []
        values = self.adapter.model_dump(exclude_defaults=True)
        values = {f"adapter.{key}": value for key, value in values.items()}
        if self.model.quantize:
            values["model.quantize"] = self.model.quantize
        values["optimizer.name"] = self.optimizer.name
        return [override(key, value) for key, value in values.items()]

    def overrides(self, known: Mapping[str, Any]) -> list[str]:
        """Returns the job as overrides of `keras-flan train`.

        Args:
            known: What `train` is told otherwise, as the nested settings of
                a `JobConfig`.
        """
        found = []
        if known["precision"] != self.precision:
            found.append(override("precision", self.precision))
        if self.adapter is not None and not known.get("adapter"):
            its = self.adapter.model_dump(exclude_defaults=True)
            found += [override(f"adapter.{k}", v) for k, v in its.items()]
        for section in _SECTIONS:
            before = known[section] or {}
            if not before and self.slice.devices == 1:
                continue  # A run without devices has one.
            blank = type(getattr(self, section))().model_dump()
            for key, value in getattr(self, section).model_dump().items():
                if before.get(key, blank[key]) != value:
                    found.append(override(f"{section}.{key}", value))
        return found


def override(key: str, value: object) -> str:
    """Returns a setting as `keras-flan train` takes it."""
    if isinstance(value, bool):
        value = str(value).lower()
    return f"{key}={'null' if value is None else value}"


def recipe_job(
    recipe: Recipe, topology: str, mesh: str | None, settings: Mapping[str, Any]
) -> PlannedJob:
    """Returns a job of the paper.

    Args:
        recipe: The paper's.
        topology: The slice, such as `"v4:8x8x8"`.
        mesh: Such as `"batch=32,model=32"`; default: all devices along
            `batch`.
        settings: Fields of `PlannedJob` to use instead of the recipe's.
    """
    place = {"topology": topology, "distribution": {"mesh": mesh or "batch=-1"}}
    values = merged(_DEFAULTS, recipe.settings(), place)
    if recipe.decoder_only:
        # Its layers always run by a scan, and all queries attend at once.
        values["model"] |= {"scan": None, "query_chunk": None}
    return validate(PlannedJob, merged(values, settings), "plan")


def run_job(
    config: TrainConfig,
    topology: str,
    mesh: str | None,
    settings: Mapping[str, Any],
) -> PlannedJob:
    """Returns the job of a training run.

    Args:
        config: The run's settings.
        topology: The slice.
        mesh: Instead of the run's.
        settings: Fields of `PlannedJob` to use instead of the run's.
    """
    values = config.model_dump(include=set(JobConfig.model_fields))
    if config.distribution is None:
        values["distribution"] = _SPREAD.model_dump()
    place: dict[str, Any] = {"topology": topology}
    if mesh is not None:
        place["distribution"] = {"mesh": mesh}
    return validate(PlannedJob, merged(values, place, settings), "plan")
