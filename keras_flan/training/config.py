"""The settings of a training run, read from YAML.

What describes a training step is a `JobConfig`, with which
`keras_flan.planning` plans.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import yaml

from keras_flan.data.mixtures.files import Missing
from keras_flan.data.mixtures.task_registry import DEFAULT_RECORDS
from keras_flan.data.templates.chat import LossOn
from keras_flan.data.templates.library import is_library_name
from keras_flan.errors import InputError
from keras_flan.models.kernels.choice import Attention
from keras_flan.schema import AnyPath, Strict, parse_yaml, read_yaml, validate
from keras_flan.storage import as_path
from keras_flan.training.steps import Accumulation, profiled_steps

Positive = Annotated[int, pydantic.Field(gt=0)]
Fraction = Annotated[float, pydantic.Field(ge=0, lt=1)]


class ModelSettings(Strict):
    """Which model to start from, and how it is run.

    Attributes:
        init: What to finetune, as `keras_flan.models.load` takes it: a model
            folder, `hf://...`, `smollm2_135m`; or `palm_8b` and so on for a
            random PaLM; `None` starts from a random T5 of the sizes of
            `ModelConfig`.
        dropout: Dropout rate; the paper finetunes with 0.05.
        scan: Whether the layers of a T5 are stacked and run by one scan, so
            that a deep model compiles as fast as a shallow one.
        remat: Whether activations are computed again in the backward pass,
            `true`, or in part, `products`; see `keras_flan.models.T5`.
            Default: as the model says.
        query_chunk: How many queries of a T5 attend at a time; default: all.
            Kernels (see `attention`) pay no heed to it.
        attention: `einsum` writes all scores, and runs anywhere. Kernels that
            don't: `splash`, JAX's for decoder-only models on a TPU; `pallas`,
            this package's for T5 on a TPU; `cudnn`, for decoder-only models
            on a GPU. `auto` takes the kernel where there is one for the
            devices and the model, else `einsum`.
    """

    init: str | None = None
    dropout: Fraction = 0.05
    scan: bool | None = None
    remat: bool | Literal["products"] | None = None
    query_chunk: Positive | None = None
    attention: Attention = "auto"

    def settings(self) -> dict[str, Any]:
        """Returns what `keras_flan.models.load` takes beside a name."""
        values = self.model_dump(include=set(ModelSettings.model_fields))
        del values["init"]
        return {k: value for k, value in values.items() if value is not None}


class ModelConfig(ModelSettings):
    """`ModelSettings`, and the sizes of a random T5.

    Attributes:
        num_layers: Layers of the encoder, and of the decoder.
        num_heads: Attention heads.
        hidden_dim: Width of the model.
        intermediate_dim: Width inside the feed-forward block.
        key_value_dim: Width of a head; default `hidden_dim // num_heads`.
    """

    num_layers: Positive = 2
    num_heads: Positive = 4
    hidden_dim: Positive = 128
    intermediate_dim: Positive = 256
    key_value_dim: Positive | None = None


class DataConfig(Strict):
    """Shapes of a batch.

    Attributes:
        input_length: Encoder tokens per row (the paper: 2,048).
        target_length: Decoder tokens per row (the paper: 512).
        batch_size: Packed rows per optimizer step (the paper: 64 for T5, 32
            for PaLM).
        pack: Whether several examples share a row.
        chat: A chat template for decoder-only models, see
            `keras_flan.data.load_chat_template`: a name such as `chatml`, a
            YAML file, a folder of Hugging Face, or `model` for that of
            `model.init`.
        loss_on: What of conversations is learnt: `assistant`, `last` or
            `all`; see `keras_flan.data.PipelineSettings`.
    """

    input_length: Positive = 256
    target_length: Positive = 128
    batch_size: Positive = 8
    pack: bool = True
    chat: str | None = None
    loss_on: LossOn = "assistant"


class OptimizerConfig(Strict):
    """The optimizer and the loss.

    Attributes:
        name: `adafactor` (the paper's), or `adam`, which suits adapters:
            Adafactor's steps are relative to a weight's size, and adapters
            start at zero.
        learning_rate: The rate (the paper: 5e-4 for Flan-T5).
        warmdown: Share of the steps, the last ones, in which the rate falls
            to a tenth; 0 keeps it constant, as the paper does.
        z_loss: Weight of the z-loss.
        accumulate: In how many parts a batch is computed; their gradients
            are averaged. Saves memory.
        loss_chunk: Positions per row whose logits are in memory at a time;
            see `TokenCrossentropy`.
        clip_norm: Largest norm of the gradients, or `None`.
    """

    name: Literal["adafactor", "adam"] = "adafactor"
    learning_rate: Annotated[float, pydantic.Field(gt=0)] = 1e-3
    warmdown: Annotated[float, pydantic.Field(ge=0, le=1)] = 0.0
    z_loss: Annotated[float, pydantic.Field(ge=0)] = 0.0
    accumulate: Positive = 1
    loss_chunk: Positive | None = None
    clip_norm: Annotated[float, pydantic.Field(gt=0)] | None = None

    @property
    def accumulation(self) -> Accumulation:
        """How `fit` makes an optimizer step of `accumulate` parts."""
        return Accumulation(self.accumulate)


class AdapterConfig(Strict):
    """An adapter to train instead of the model's weights.

    Attributes:
        kind: `lora` or `houlsby`.
        rank: LoRA's rank.
        alpha: LoRA's scale; default: the rank.
        width: Width of a Houlsby adapter.
        targets: See `keras_flan.models.add_lora`.
    """

    kind: Literal["lora", "houlsby"]
    rank: Positive = 8
    alpha: Annotated[float, pydantic.Field(gt=0)] | None = None
    width: Positive = 64
    targets: str | list[str] = "default"


class HeldOutConfig(Strict):
    """Evaluation during training; the best weights are kept in `best/`.

    Attributes:
        mixture: As that of the training: held-out tasks or splits.
        every: Steps between two evaluations (the paper: 2k to 10k).
        batches: How many batches are evaluated.
    """

    mixture: AnyPath
    every: Positive = 2000
    batches: Positive = 50


class DistributionConfig(Strict):
    """The devices of a run; see `keras_flan.distribution.setup`.

    Attributes:
        mesh: Such as `batch=4,model=2`; default: the batch over all devices.
        preset: `data`, `fsdp`, `model` or `fsdp+model`.
        sequence: Whether activations are split along the length too.
        multi_host: Whether this is one of many processes; default: if the
            environment says so.
        cache: A folder for compiled programs.
        patience: Seconds after which a silent process counts as gone.
    """

    mesh: str = "batch=-1"
    preset: Literal["data", "fsdp", "model", "fsdp+model"] | None = None
    sequence: bool = False
    multi_host: bool | None = None
    cache: str | None = None
    patience: Positive = 100


class JobConfig(Strict):
    """What a training step is made of; a run and a plan share it.

    Attributes:
        vocabulary: A SentencePiece model; not needed with `model.init`,
            which brings its own.
        steps: Optimizer steps.
        seed: Seed of the weights, the data order and dropout.
        precision: `float32`, `bfloat16` (also of the weights) or
            `mixed_bfloat16`.
        model: See `ModelConfig`.
        data: See `DataConfig`.
        optimizer: See `OptimizerConfig`.
        distribution: See `DistributionConfig`; default: one device.
        adapter: See `AdapterConfig`; `None` trains all weights.
    """

    vocabulary: AnyPath | None = None
    steps: Positive = 1000
    seed: int = 0
    precision: Literal["float32", "bfloat16", "mixed_bfloat16"] = "float32"
    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    distribution: DistributionConfig | None = None
    adapter: AdapterConfig | None = None

    @property
    def brings_no_vocabulary(self) -> bool:
        """Whether the model starts without a vocabulary of its own."""
        init = self.model.init
        return init is None or init.startswith("palm_")


class TrainConfig(JobConfig):
    """A training run: a `JobConfig`, its data and its files.

    Attributes:
        output: The folder to write, relative to the current folder.
        mixture: A mixture YAML file, or the name of one of the library, such
            as `flan2022_paper_b`.
        records: The folder of records, instead of the mixture's.
        missing: `error` or `skip`, instead of the mixture's: what to do
            about tasks without records.
        log_every: Steps between two points of the loss curve.
        checkpoint_every: Steps between two checkpoints, from which a run
            that was killed goes on; 0 for none.
        tensorboard: Whether to write a log for TensorBoard too.
        profile: Steps whose trace is written to `profile/`, such as
            `100:110`; see `keras_flan.training.Profile`.
        recipe: The name of one of the paper's models, whose settings are
            taken where this file gives none; see
            `keras_flan.training.recipe`.
        held_out: See `HeldOutConfig`; `None` evaluates nothing.

    Example:

    ```yaml
    output: runs/cot
    mixture: cot.yaml
    vocabulary: vocabulary.model
    steps: 1000
    data: {input_length: 512, target_length: 256, batch_size: 16}
    optimizer: {learning_rate: 0.001}
    ```
    """

    output: AnyPath
    mixture: AnyPath
    records: AnyPath | None = None
    missing: Missing | None = None
    log_every: Positive = 20
    checkpoint_every: Annotated[int, pydantic.Field(ge=0)] = 1000
    tensorboard: bool = False
    profile: str | None = None
    recipe: str | None = None
    held_out: HeldOutConfig | None = None

    @pydantic.field_validator("profile")
    @classmethod
    def _two_steps(cls, profile: str | None) -> str | None:
        if profile is not None:
            profiled_steps(profile)
        return profile

    @classmethod
    def from_yaml(
        cls,
        path: str | os.PathLike,
        overrides: Sequence[str] = (),
        recipe: str | None = None,
    ) -> "TrainConfig":
        """Reads a config file.

        `mixture`, `records`, `vocabulary`, `held_out.mixture` and
        `model.init` are relative to the file (`output` to the current
        folder); in overrides all are relative to the current folder.

        Args:
            path: A YAML file; or the folder of an earlier run, which is
                then the output, wherever it was moved or copied to.
            overrides: `"key=value"` with dots for nesting and a YAML value,
                such as `"data.batch_size=4"`.
            recipe: Instead of the file's.

        Raises:
            InputError: Names the file or override, and the key.
        """
        path = as_path(path)
        # It may have been moved, or be a copy.
        whole_run = path.is_dir() and (path / "run.json").is_file()
        if path.is_dir():
            path = path / "config.yaml"
        given = read_yaml(path)
        if recipe is not None and isinstance(given, dict):
            given = {**given, "recipe": recipe}
        config = validate(cls, _with_recipe(given), str(path))
        values = config._placed(path.parent)
        if whole_run:
            values["output"] = str(path.parent)
        for text in overrides:
            _override(values, text)
        place = f"{path} with {' '.join(overrides)}" if overrides else path
        config = validate(cls, values, str(place))
        if config.data.batch_size % config.optimizer.accumulate:
            raise InputError(
                f"{place}: optimizer.accumulate: found "
                f"{config.optimizer.accumulate}, which does not divide "
                f"data.batch_size {config.data.batch_size}"
            )
        if config.adapter is not None and config.model.init is None:
            raise InputError(
                f"{place}: adapter: there is no model.init to adapt; give a "
                "model that was trained, or leave out the adapter"
            )
        if config.vocabulary is None and config.brings_no_vocabulary:
            raise InputError(
                f"{path}: vocabulary: this key is missing; give a "
                "SentencePiece .model file (see `keras-flan vocabulary`) or "
                "model.init"
            )
        return config

    def to_yaml(self, folder: Path | None = None) -> str:
        """Returns the config as YAML, with absolute paths.

        Args:
            folder: Where it will be written. What is in this folder too is
                given relative to it, so that both may be moved together.
        """
        here = Path.cwd()
        values = self._placed(here, "output")
        if is_library_name(self.mixture):
            values["records"] = str(
                as_path(here, self.records or DEFAULT_RECORDS)
            )
        if folder is not None:
            for section, key in self._paths(values):
                section[key] = _relative(section[key], here / folder)
        first = ("output", "mixture", "records")
        values = {**{key: values[key] for key in first}, **values}
        return yaml.safe_dump(values, sort_keys=False)

    def _paths(
        self, values: dict[str, Any]
    ) -> Iterator[tuple[dict[str, Any], str]]:
        """Yields where values have paths that are relative to their file."""
        sections: list[tuple[dict[str, Any], tuple[str, ...]]]
        sections = [(values, ("mixture", "records", "vocabulary"))]
        if values["held_out"]:
            sections.append((values["held_out"], ("mixture",)))
        for section, keys in sections:
            for key in keys:
                # Mixtures of the library have a name.
                named = key == "mixture" and is_library_name(section[key])
                if section[key] and not named:
                    yield section, key

    def _placed(self, folder: Path, *others: str) -> dict[str, Any]:
        """Returns all values as for YAML, with paths relative to a folder."""
        values = self.model_dump(mode="json")
        for section, key in [
            *self._paths(values),
            *((values, key) for key in others),
        ]:
            section[key] = str(as_path(folder, section[key]))
        # Names of other places, such as hf://, are no paths.
        for part, key in (("model", "init"), ("data", "chat")):
            name = values[part][key]
            if name is not None and "://" not in name:
                beside = as_path(folder, name)
                if beside.exists():
                    values[part][key] = str(beside)
        return values


def _relative(path: str, folder: Path) -> str:
    """Returns a path relative to a folder, if it is in there."""
    inside = "://" not in path and Path(path).is_relative_to(folder)
    return str(Path(path).relative_to(folder)) if inside else path


def merged(*settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns nested settings as one; what comes later wins, key by key."""
    values: dict[str, Any] = {}
    for given in settings:
        for key, value in given.items():
            if isinstance(value, Mapping):
                before = values.get(key)
                before = before if isinstance(before, Mapping) else {}
                value = merged(before, value)
            values[key] = value
    return values


def _with_recipe(given: Any) -> Any:
    """Fills in what a recipe says and a file does not."""
    from keras_flan.training.recipe_table import recipe

    if not isinstance(given, dict) or not given.get("recipe"):
        return given
    values = merged(recipe(str(given["recipe"])).settings(), given)
    own = given.get("model") or {}
    if "init" not in own and "hidden_dim" in own:
        # Sizes of its own need no checkpoint.
        values["model"].pop("init")
    return values


def _override(values: dict[str, Any], text: str) -> None:
    """Applies `key.sub=value` to nested dictionaries, in place."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise InputError(f"found {text!r}, expected key=value")
    *parents, last = key.split(".")
    for parent in parents:
        if values.get(parent) is None:
            values[parent] = {}
        values = values[parent]
        if not isinstance(values, dict):
            raise InputError(f"{text!r}: {parent!r} has no keys below it")
    try:
        values[last] = parse_yaml(value)
    except yaml.YAMLError:
        raise InputError(f"{text!r}: {value!r} is not a YAML value") from None
