"""What is to be planned: sizes of models, chips, and jobs on them."""

import functools
import math
from pathlib import Path
from typing import Literal

import pydantic

from keras_flan.distribution.mesh import Mesh
from keras_flan.errors import InputError, did_you_mean
from keras_flan.schema import Strict, read_yaml, validate

_JOBS = Path(__file__).with_name("paper_models.yaml")
_CHIPS = Path(__file__).with_name("chips.yaml")


class Size(Strict):
    """The size of a T5 v1.1 or a PaLM; the names are those of the backbones.

    Attributes:
        vocabulary_size: Rows of the embedding.
        num_layers: Layers; of a T5, of the encoder and again of the decoder.
        num_heads: Query heads.
        hidden_dim: Width of the model.
        intermediate_dim: Width inside the feed-forward block.
        head_dim: Width of a head.
    """

    vocabulary_size: pydantic.PositiveInt
    num_layers: pydantic.PositiveInt
    num_heads: pydantic.PositiveInt
    hidden_dim: pydantic.PositiveInt
    intermediate_dim: pydantic.PositiveInt
    head_dim: pydantic.PositiveInt

    @property
    def attention_dim(self) -> int:
        """Width of all query heads together."""
        return self.num_heads * self.head_dim


class Published(Strict):
    """What the paper prints about a model (tables 2 and 22, section 2.2)."""

    pretraining_flops: float
    finetuning_flops: float
    percent: float
    chips: int | None = None
    hours: float | None = None


class Misprint(Strict):
    """What the paper should have printed, and the steps of what it did."""

    finetuning_flops: float
    pretraining_flops: float
    steps_printed: int


class Model(Strict):
    """A model and how the paper finetunes it.

    Attributes:
        family: `t5` or `palm`.
        size: Its size.
        nominal: The paper's N, the parameters in its name.
        batch: Rows a step.
        dropout: Its rate.
        steps: Steps of finetuning.
        pretraining_tokens: Tokens that its initialisation has seen.
        published: What the paper prints of it.
        misprint: If that is wrong, what it should be.
    """

    family: Literal["t5", "palm"]
    size: Size
    nominal: float | None = None
    batch: pydantic.PositiveInt = 32
    dropout: float = 0.05
    steps: pydantic.PositiveInt = 10000
    pretraining_tokens: float | None = None
    published: Published | None = None
    misprint: Misprint | None = None


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
def models() -> dict[str, Model]:
    """Returns the ten models of the paper by name."""
    return {
        name: validate(Model, values, f"{_JOBS.name}: {name}")
        for name, values in read_yaml(_JOBS).items()
    }


def model_preset(name: str) -> Model:
    """Returns a model of the paper.

    Raises:
        InputError: If there is none of that name.
    """
    if name not in models():
        raise InputError(
            f"preset {name!r} is not known.{did_you_mean(name, models())}"
        )
    return models()[name]


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

    def __str__(self):
        return f"{self.name}:{self.shape}"

    def __eq__(self, other):
        return isinstance(other, Topology) and str(self) == str(other)

    def __hash__(self):
        return hash(str(self))


class Job(Strict):
    """One program on one slice.

    Attributes:
        family: `t5` or `palm`.
        size: The model's size.
        side: `train`, a step of training, or `decode`, a prompt read and
            one token of each path said.
        topology: Such as `v4:8x8x8`.
        mesh: Such as `batch=32,model=32`.
        layout: A preset of `keras_flan.distribution.layout_map`.
        sequence: Whether what goes from layer to layer is split over the
            mesh axis `model` along the length.
        remat: Whether a layer's activations are computed again in the
            backward pass.
        loss_chunk: Positions of a row whose logits are held at a time;
            0 for all.
        attention_chunk: Queries whose scores are held at a time; 0 for all.
        batch: Rows (training) or prompts (decoding), on all devices.
        input_length: Tokens of inputs in a row, or of a prompt.
        target_length: Tokens of targets in a row, or of an answer.
        paths: Answers a prompt, when decoding.
        dropout: Its rate.
    """

    family: Literal["t5", "palm"]
    size: Size
    side: Literal["train", "decode"] = "train"
    topology: str
    mesh: str
    layout: Literal["data", "fsdp", "model", "fsdp+model"] = "fsdp+model"
    sequence: bool = True
    remat: bool = True
    loss_chunk: pydantic.NonNegativeInt = 256
    attention_chunk: pydantic.NonNegativeInt = 256
    batch: pydantic.PositiveInt = 32
    input_length: pydantic.PositiveInt = 2048
    target_length: pydantic.PositiveInt = 512
    paths: pydantic.PositiveInt = 8
    dropout: float = 0.05

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
        return Mesh(self.mesh, devices=self.slice.devices)

    @property
    def tokens(self) -> int:
        """Tokens of a step, inputs and targets, padding counted."""
        return self.batch * (self.input_length + self.target_length)
