"""The settings of a training run, read from YAML.

What describes a training step is a `JobConfig`, with which
`keras_flan.planning` plans.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import pydantic
import yaml

from keras_flan.data.mixtures.files import Missing
from keras_flan.data.mixtures.task_registry import DEFAULT_RECORDS
from keras_flan.data.templates.library import is_library_name
from keras_flan.errors import InputError
from keras_flan.runtime.xla import Products
from keras_flan.schema import AnyPath, Strict, parse_yaml, read_yaml, validate
from keras_flan.storage import as_path
from keras_flan.training.sections import (
    EVERY,
    AdapterConfig,
    Callbacks,
    DataConfig,
    DistributionConfig,
    Fraction,
    HeldOutConfig,
    ModelConfig,
    OptimizerConfig,
    Positive,
)
from keras_flan.training.steps import profiled_steps


class JobConfig(Strict):
    """What a training step is made of; a run and a plan share it.

    Attributes:
        vocabulary: A SentencePiece model; not needed with `model.init`,
            which brings its own.
        steps: Optimizer steps.
        seed: Seed of the weights, the data order and dropout.
        precision: `float32`, `bfloat16` (also of the weights) or
            `mixed_bfloat16`.
        products: `bfloat16` rounds what is multiplied to bfloat16, and sums
            in float32, as TPUs do anyway: on a CPU with AMX a step takes
            half the time. `auto` does so on such a CPU, and is `float32` on
            another. JAX only; see `keras_flan.runtime.bfloat16_products`.
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
    products: Products = "float32"
    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    distribution: DistributionConfig | None = None
    adapter: AdapterConfig | None = None

    @pydantic.model_validator(mode="after")
    def _check_trainable(self) -> Self:
        if self.adapter is not None and self.model.trainable != "all":
            raise ValueError(
                f"model.trainable: found {self.model.trainable!r} beside an "
                "adapter, which is all that is trained then; leave out one"
            )
        if self.model.quantize and self.adapter is None:
            raise ValueError(
                f"model.quantize: found {self.model.quantize!r} without an "
                "adapter; weights in few bits can't be trained, so give one, "
                "such as adapter.kind=lora"
            )
        if self.model.quantize and self.model.experts:
            raise ValueError(
                "model.quantize: found it beside model.experts, which can't "
                "be in few bits; leave out one"
            )
        return self

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
        validation: Share of each task's examples that are never trained on,
            nor shown as exemplars, but evaluated (see `held_out`). They are
            chosen by their content, so that they are the same in every run.
        held_out: See `HeldOutConfig`; `None` evaluates nothing but
            `validation`.
        callbacks: Trackers and other callbacks, each `module:Class` or a
            `CallbackConfig`. With many processes the first one has them.

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
    validation: Fraction = 0.0
    held_out: HeldOutConfig | None = None
    callbacks: Callbacks = pydantic.Field(default_factory=list)
    # What may be a folder, or the name of another place.
    _names: ClassVar[tuple[tuple[str, str], ...]] = (
        ("model", "init"),
        ("data", "chat"),
    )

    @pydantic.model_validator(mode="after")
    def _check_held_out(self) -> Self:
        its = self.held_out
        if its is not None and its.mixture is not None and self.validation:
            raise ValueError(
                "validation and held_out.mixture both say what is held out; "
                "leave out one of them"
            )
        if its is not None and not (
            its.mixture or its.benchmark or self.validation
        ):
            raise ValueError(
                "held_out: names nothing to evaluate; give it a mixture or a "
                "benchmark, or give validation, such as 0.05, beside it"
            )
        return self

    @property
    def evaluated(self) -> HeldOutConfig | None:
        """What is evaluated during the training, and how often."""
        its = self.held_out
        if its is None and self.validation:
            its = HeldOutConfig()
        if its is None or its.every is not None:
            return its
        tenth = max(self.steps // 10, 1)
        return its.model_copy(update={"every": min(EVERY, tenth)})

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
    ) -> Self:
        """Reads a config file.

        `mixture`, `records`, `vocabulary`, `model.init`, and under `held_out`
        `mixture` and the data of a `benchmark` are relative to the file
        (`output` to the current folder); in overrides all are relative to
        the current folder.

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
            if its := values["held_out"]["benchmark"]:
                sections.append((its, ("name", "data")))
        for section, keys in sections:
            for key in keys:
                # Mixtures and benchmarks of the library have a name.
                may_be_named = key in ("mixture", "name") and section[key]
                if may_be_named and is_library_name(section[key]):
                    continue
                if section[key]:
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
        for part, key in self._names:
            name = (values[part] or {}).get(key)
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
