"""What is to be planned: sizes of models, chips, and jobs on them."""

import functools
import math
import operator
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import pydantic

from keras_flan.distribution.mesh import PRESETS, Mesh, default_preset
from keras_flan.errors import InputError, did_you_mean
from keras_flan.models.sizes import palm_sizes, t5_sizes
from keras_flan.schema import Strict, read_yaml, validate
from keras_flan.training.config import (
    DataConfig,
    DistributionConfig,
    ModelSettings,
    OptimizerConfig,
    merged,
)
from keras_flan.training.recipe_table import Recipe

_CHIPS = Path(__file__).with_name("chips.yaml")
# What is planned where nothing else is said: the paper's rows, and all that
# saves memory.
_DEFAULTS = {
    "model": {"scan": True, "remat": True, "query_chunk": 256},
    "data": {"input_length": 2048, "target_length": 512, "batch_size": 32},
    "optimizer": {"loss_chunk": 256},
    "distribution": {"preset": "fsdp+model", "sequence": True},
}
_SECTIONS = tuple(_DEFAULTS)


class ModelSize(Strict):
    """The size of a T5 v1.1 or a PaLM.

    Attributes:
        vocabulary_size: Rows of the embedding.
        num_layers: Layers; of a T5, of the encoder and again of the decoder.
        num_heads: Query heads.
        hidden_dim: Width of the model.
        intermediate_dim: Width inside the feed-forward block.
        key_value_dim: Width of a head.
    """

    vocabulary_size: pydantic.PositiveInt
    num_layers: pydantic.PositiveInt
    num_heads: pydantic.PositiveInt
    hidden_dim: pydantic.PositiveInt
    intermediate_dim: pydantic.PositiveInt
    key_value_dim: pydantic.PositiveInt

    @property
    def attention_dim(self) -> int:
        """Width of all query heads together."""
        return self.num_heads * self.key_value_dim


class Chip(Strict):
    """What a chip can do; see `chips.yaml` for units and sources."""

    flops: float
    memory: int
    bandwidth: float
    network: float
    devices: int
    slices: tuple[str, ...]

    @property
    def memory_per_device(self) -> int:
        """Bytes of one device."""
        return self.memory // self.devices


@functools.cache
def chips() -> dict[str, Chip]:
    """Returns the chips by name."""
    return {
        name: validate(Chip, values, f"{_CHIPS.name}: {name}")
        for name, values in read_yaml(_CHIPS).items()
    }


class Topology:
    """A slice of a TPU, written as `v4:8x8x8`.

    Args:
        text: The chip's name and the slice's shape in chips.

    Raises:
        InputError: If the chip or the shape aren't known.

    Example:
        >>> slice = Topology("v4:8x8x8")
        >>> slice.chips, slice.devices
        (512, 1024)
    """

    def __init__(self, text: str):
        name, _, shape = text.partition(":")
        if name not in chips():
            raise InputError(
                f"topology {text!r}: chip {name!r} is not known."
                f"{did_you_mean(name, chips())}"
            )
        self.name, self.chip, self.shape = name, chips()[name], shape
        sides = self.chip.slices[0].count("x") + 1
        parts = shape.split("x")
        if len(parts) != sides or not all(
            p.isascii() and p.isdigit() and int(p) > 0 for p in parts
        ):
            raise InputError(
                f"topology {text!r}: expected {sides} sides, such as "
                f"'{name}:{self.chip.slices[0]}'"
            )
        self.chips = math.prod(map(int, parts))
        self.devices = self.chips * self.chip.devices

    def __str__(self) -> str:
        return f"{self.name}:{self.shape}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Topology) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))


class PlannedJob(Strict):
    """One program on one slice.

    `model`, `data`, `optimizer` and `distribution` are the sections of a
    training run's YAML, so that `train` takes what was planned.

    Attributes:
        family: `t5` or `palm`.
        size: The model's size, which `model.init` only names.
        side: `train`, a step of training, or `decode`, a prompt read and one
            token generated on each path.
        topology: Such as `v4:8x8x8`.
        model: See `ModelSettings`.
        data: See `DataConfig`; rows are prompts when decoding, and their
            lengths those of a prompt and an answer.
        optimizer: See `OptimizerConfig`.
        distribution: See `DistributionConfig`.
        paths: Answers per prompt, when decoding.
    """

    family: Literal["t5", "palm"]
    size: ModelSize
    side: Literal["train", "decode"] = "train"
    topology: str
    model: ModelSettings
    data: DataConfig
    optimizer: OptimizerConfig
    distribution: DistributionConfig
    paths: pydantic.PositiveInt = 8

    @property
    def slice(self) -> Topology:
        """The parsed topology."""
        return Topology(self.topology)

    @property
    def axes(self) -> Mesh:
        """The parsed mesh, checked against the slice.

        Raises:
            InputError: If it has more or fewer devices than the slice.
        """
        return Mesh(self.distribution.mesh, devices=self.slice.devices)

    @property
    def split(self) -> dict[str, str]:
        """Which axes of weights are split, over which axis of the mesh."""
        preset = self.distribution.preset or default_preset(self.axes)
        return PRESETS[preset]

    @property
    def tokens(self) -> int:
        """Tokens of a step, inputs and targets, padding counted."""
        data = self.data
        return data.batch_size * (data.input_length + data.target_length)

    def changed(self, change: Mapping[str, object]) -> "PlannedJob":
        """Returns the job with other values, by their dotted names."""
        values = self.model_dump()
        for key, value in change.items():
            *parents, last = key.split(".")
            functools.reduce(operator.getitem, parents, values)[last] = value
        return PlannedJob.model_validate(values)

    def overrides(self, recipe: Recipe | None = None) -> list[str]:
        """Returns the job as overrides of `keras-flan train`.

        Args:
            recipe: A recipe that `train` is given too.
        """
        own = {name: getattr(self, name) for name in _SECTIONS}
        known = merged(
            {name: type(part)().model_dump() for name, part in own.items()},
            recipe.settings() if recipe else {},
        )
        return ["precision=mixed_bfloat16"] + [
            override(f"{name}.{key}", value)
            for name, part in own.items()
            for key, value in part.model_dump().items()
            if value != known[name][key]
        ]


def override(key: str, value: object) -> str:
    """Returns a setting as `keras-flan train` takes it."""
    if isinstance(value, bool):
        value = str(value).lower()
    return f"{key}={'null' if value is None else value}"


def make_job(
    recipe: Recipe | None,
    topology: str,
    mesh: str | None,
    settings: Mapping[str, Any],
) -> PlannedJob:
    """Returns a job of the paper, or one of your own.

    Args:
        recipe: The paper's, or `None` with `family` and `size` among the
            settings.
        topology: The slice, such as `"v4:8x8x8"`.
        mesh: Such as `"batch=32,model=32"`; default: all devices along
            `batch`.
        settings: Fields of `PlannedJob` to use instead of the recipe's.
    """
    values: dict[str, Any] = {}
    if recipe is not None:
        sizes = {**t5_sizes(), **palm_sizes()}[recipe.size]
        values = {
            **{key: recipe.settings()[key] for key in _SECTIONS[:3]},
            "family": "palm" if recipe.decoder_only else "t5",
            # keras-hub calls it otherwise in each family.
            "size": {
                k.replace("head_", "key_value_"): v for k, v in sizes.items()
            },
        }
    place = {"topology": topology, "distribution": {"mesh": mesh or "batch=-1"}}
    values = merged(_DEFAULTS, values, place, settings)
    if values.get("family") == "palm":
        # Its layers always run by a scan, and all queries attend at once.
        values["model"] |= {"scan": None, "query_chunk": None}
    job = validate(PlannedJob, values, "plan")
    if job.optimizer.accumulate > 1 or job.optimizer.name != "adafactor":
        raise InputError(
            "plan: optimizer: only Adafactor, with a batch in one part, can "
            "be planned; leave out accumulate and name"
        )
    return job
