"""The settings of a training run, read from YAML."""

from pathlib import Path
from typing import Annotated, Literal

import pydantic
import yaml

from keras_flan.data.mixture_files import Missing, is_library_name
from keras_flan.data.registry import DEFAULT_RECORDS
from keras_flan.errors import InputError
from keras_flan.schema import Strict, read_yaml, validate

Positive = Annotated[int, pydantic.Field(gt=0)]
Fraction = Annotated[float, pydantic.Field(ge=0, lt=1)]


class ModelConfig(Strict):
    """Which model to start from.

    Attributes:
        init: A model folder or keras-hub preset to finetune; `None` starts
            from random weights of the sizes below.
        num_layers: Layers of the encoder, and of the decoder.
        num_heads: Attention heads.
        hidden_dim: Width of the model.
        intermediate_dim: Width inside the feed-forward block.
        key_value_dim: Width of a head; default `hidden_dim // num_heads`.
        dropout: Dropout rate; the paper finetunes with 0.05.
    """

    init: str | None = None
    num_layers: Positive = 2
    num_heads: Positive = 4
    hidden_dim: Positive = 128
    intermediate_dim: Positive = 256
    key_value_dim: Positive | None = None
    dropout: Fraction = 0.05


class DataConfig(Strict):
    """Shapes of a batch.

    Attributes:
        input_length: Encoder tokens a row (the paper: 2,048).
        target_length: Decoder tokens a row (the paper: 512).
        batch_size: Packed rows a step (the paper: 64 for T5, 32 for PaLM).
        pack: Whether several examples share a row.
    """

    input_length: Positive = 256
    target_length: Positive = 128
    batch_size: Positive = 8
    pack: bool = True


class OptimizerConfig(Strict):
    """Adafactor's settings.

    Attributes:
        learning_rate: Constant rate (the paper: 5e-4 for Flan-T5).
        z_loss: Weight of the z-loss.
    """

    learning_rate: Annotated[float, pydantic.Field(gt=0)] = 1e-3
    z_loss: Annotated[float, pydantic.Field(ge=0)] = 0.0


class DistributionConfig(Strict):
    """The devices of a run; see `keras_flan.distribution.setup`.

    Attributes:
        mesh: Such as `batch=4,model=2`; default: the batch over all devices.
        preset: `data`, `fsdp`, `model` or `fsdp+model`.
        sequence: Whether activations are split along the length too.
        multi_host: Whether this is one of many processes; default: if the
            environment says so.
        cache: A folder for compiled programs.
    """

    mesh: str = "batch=-1"
    preset: Literal["data", "fsdp", "model", "fsdp+model"] | None = None
    sequence: bool = False
    multi_host: bool | None = None
    cache: str | None = None


class TrainConfig(Strict):
    """A training run.

    Attributes:
        output: The folder to write, relative to the current folder.
        mixture: A mixture YAML file, or the name of one of the library, such
            as `flan2022_paper_b`.
        records: The folder of records, instead of the mixture's.
        missing: `error` or `skip`, instead of the mixture's: what to do
            about tasks without records.
        vocabulary: A SentencePiece model; not needed with `model.init`,
            which brings its own.
        steps: Optimizer steps.
        seed: Seed of the weights, the data order and dropout.
        log_every: Steps between two points of the loss curve.
        model: See `ModelConfig`.
        data: See `DataConfig`.
        optimizer: See `OptimizerConfig`.
        distribution: See `DistributionConfig`; default: one device.

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

    output: Path
    mixture: Path
    records: Path | None = None
    missing: Missing | None = None
    vocabulary: Path | None = None
    steps: Positive = 1000
    seed: int = 0
    log_every: Positive = 20
    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    distribution: DistributionConfig | None = None

    @classmethod
    def from_yaml(cls, path, overrides: list[str] = ()) -> "TrainConfig":
        """Reads a config file.

        `mixture`, `records`, `vocabulary` and `model.init` are relative to
        the file (`output` to the current folder); in overrides all are
        relative to the current folder.

        Args:
            path: A YAML file.
            overrides: `"key=value"` with dots for nesting and a YAML value,
                such as `"data.batch_size=4"`.

        Raises:
            InputError: Names the file or override, and the key.
        """
        path = Path(path)
        config = validate(cls, read_yaml(path), str(path))
        values = config.model_dump()
        folder = path.parent
        for key in ("mixture", "records", "vocabulary"):
            if values[key] is not None and not _is_name(key, values[key]):
                values[key] = folder / values[key]
        init = values["model"]["init"]
        if init is not None and (folder / init).exists():
            values["model"]["init"] = str(folder / init)
        for text in overrides:
            _override(values, text)
        place = f"{path} with {' '.join(overrides)}" if overrides else path
        config = validate(cls, values, str(place))
        if config.vocabulary is None and config.model.init is None:
            raise InputError(
                f"{path}: vocabulary: this key is missing; give a "
                "SentencePiece .model file (see `keras-flan vocabulary`) or "
                "model.init"
            )
        return config

    def to_yaml(self) -> str:
        """Returns the config as YAML, with absolute paths."""
        values = self.model_dump()
        values["missing"] = self.missing and self.missing.value
        if is_library_name(self.mixture):
            values["records"] = self.records or DEFAULT_RECORDS
        for key in ("output", "mixture", "records", "vocabulary"):
            if values[key] is not None:
                path = values[key]
                path = path if _is_name(key, path) else path.absolute()
                values[key] = str(path)
        return yaml.safe_dump(values, sort_keys=False)


def _is_name(key: str, path: Path) -> bool:
    """Whether this is the name of a mixture, not a path."""
    return key == "mixture" and is_library_name(path)


def _override(values: dict, text: str) -> None:
    """Applies `key.sub=value` to nested dictionaries, in place."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise InputError(f"found {text!r}, expected key=value")
    *parents, last = key.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise InputError(f"{text!r}: {parent!r} has no keys below it")
    try:
        values[last] = yaml.safe_load(value)
    except yaml.YAMLError:
        raise InputError(f"{text!r}: {value!r} is not a YAML value") from None
