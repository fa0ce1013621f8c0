"""The sections of a training run's settings."""

from typing import Annotated, Any, Literal, Self

import pydantic

from keras_flan.data.pipeline.settings import KEEP_WHOLE, How
from keras_flan.data.templates.chat import LossOn
from keras_flan.models.kernels.choice import Attention
from keras_flan.named import is_callable_name
from keras_flan.schema import AnyPath, Strict
from keras_flan.training.steps import Accumulation, Shape, check_warmdown

Positive = Annotated[int, pydantic.Field(gt=0)]
# Steps between two evaluations.
EVERY = 2000
Fraction = Annotated[float, pydantic.Field(ge=0, lt=1)]


class ExpertsConfig(Strict):
    """Experts made of a dense T5's feed-forward blocks before it is trained.

    Attributes:
        experts: How many of a block, each a copy at first.
        top_k: 1 or 2, of which a token takes.
        capacity: Places of an expert in training, of those that an even share
            of a row's tokens needs.
        balance: Weight of the loss of uneven experts.
        z_loss: Weight of the loss of large logits of the router.
        every: Which blocks: the last of each so many, 2 for every other.
    """

    experts: Annotated[int, pydantic.Field(ge=2)] = 8
    top_k: Literal[1, 2] = 2
    capacity: Annotated[float, pydantic.Field(gt=0)] = 1.25
    balance: Annotated[float, pydantic.Field(ge=0)] = 0.01
    z_loss: Annotated[float, pydantic.Field(ge=0)] = 0.001
    every: Positive = 2


class ModelSettings(Strict):
    """Which model to start from, and how it is run.

    Attributes:
        init: What to finetune, as `keras_flan.models.load` takes it: a model
            folder or GGUF file, `hf://...`, `gemma3_270m`, `smollm2_135m`; or
            `palm_8b` and so on for a random PaLM; `None` starts from a random
            T5 of the sizes of `ModelConfig`.
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
        trainable: `all` weights, or `all_but_embedding`: the token embedding
            stays as it is (of a Gemma 3 270M, 168 of 268 million weights), and
            the projection to logits with it where that is the same layer.
            Not together with `adapter`.
        experts: See `ExpertsConfig` and `keras_flan.models.upcycle`; `None`
            leaves the model as it is. A T5, without `scan`.
        quantize: `int8` or `int4` holds the weights so, beneath an `adapter`,
            which alone is trained and saved: QLoRA. `null` leaves them as
            they are; a `model.init` that is in few bits already stays so.
    """

    init: str | None = None
    dropout: Fraction = 0.05
    scan: bool | None = None
    remat: bool | Literal["products"] | None = None
    query_chunk: Positive | None = None
    attention: Attention = "auto"
    trainable: Literal["all", "all_but_embedding"] = "all"
    experts: ExpertsConfig | None = None
    quantize: Literal["int8", "int4"] | None = None

    def settings(self) -> dict[str, Any]:
        """Returns what `keras_flan.models.load` takes beside a name."""
        values = self.model_dump(include=set(ModelSettings.model_fields))
        # What is done to a model that is loaded.
        for name in ("init", "trainable", "experts", "quantize"):
            del values[name]
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


class LongConfig(Strict):
    """What is done about texts that are too long: see `keras_flan.data.Long`.

    Attributes:
        inputs: `shorten`, `trim`, `drop` or `fail`.
        targets: The same.
    """

    inputs: How = KEEP_WHOLE.inputs
    targets: How = KEEP_WHOLE.targets


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
        seed: Seed of the order, the formats and the exemplars; default: that
            of the run.
        prefetch: Batches made ahead of the training step.
        long: What is done about texts that are too long; by default inputs
            lose of the field that may be shortened, and examples with longer
            targets are left out, and counted.
    """

    input_length: Positive = 256
    target_length: Positive = 128
    batch_size: Positive = 8
    pack: bool = True
    chat: str | None = None
    loss_on: LossOn = "assistant"
    seed: int | None = None
    prefetch: Positive = 2
    long: LongConfig = LongConfig()


class OptimizerConfig(Strict):
    """The optimizer and the loss.

    Attributes:
        name: `adafactor` (the paper's); `adam` or `adamw`, which suit
            adapters: Adafactor's steps are relative to a weight's size, and
            adapters start at zero.
        learning_rate: The highest rate (the paper: 5e-4 for Flan-T5).
        schedule: What becomes of the rate: `constant`, as in the paper;
            `linear` or `cosine`, to 0 after the last step; `rsqrt`, by the
            root of the steps. See `keras_flan.training.Schedule`.
        warmup: Steps in which the rate rises from 0, or below 1 their share
            of all steps.
        warmdown: Share of the steps, the last ones, in which a constant rate
            falls to a tenth.
        weight_decay: A step takes this share of each weight away, times the
            rate; biases and norms are spared. Default: 0.01 with `adamw`,
            else none. `adam` has none.
        z_loss: Weight of the z-loss.
        accumulate: In how many parts a batch is computed; their gradients
            are averaged. Saves memory.
        loss_chunk: Positions per row whose logits are in memory at a time;
            see `TokenCrossentropy`.
        loss_gather: Positions of the batch whose logits are in memory at a
            time, of those alone that are learnt from; saves most of a step
            where the vocabulary is large and targets are few. On one device,
            instead of `loss_chunk`.
        clip_norm: Largest norm of the gradients, or `None`.
    """

    name: Literal["adafactor", "adam", "adamw"] = "adafactor"
    learning_rate: Annotated[float, pydantic.Field(gt=0)] = 1e-3
    schedule: Shape = "constant"
    warmup: Annotated[float, pydantic.Field(ge=0)] = 0
    warmdown: Annotated[float, pydantic.Field(ge=0, le=1)] = 0.0
    weight_decay: Annotated[float, pydantic.Field(ge=0)] | None = None
    z_loss: Annotated[float, pydantic.Field(ge=0)] = 0.0
    accumulate: Positive = 1
    loss_chunk: Positive | None = None
    loss_gather: Positive | None = None
    clip_norm: Annotated[float, pydantic.Field(gt=0)] | None = None

    @pydantic.model_validator(mode="after")
    def _check(self) -> Self:
        check_warmdown(self.schedule, self.warmdown)
        if self.loss_chunk and self.loss_gather:
            raise ValueError(
                f"loss_gather: found {self.loss_gather} beside loss_chunk "
                f"{self.loss_chunk}; take one of them"
            )
        if self.name == "adam" and self.weight_decay:
            raise ValueError(
                f"weight_decay: found {self.weight_decay} with adam, which "
                "has none; take adamw"
            )
        return self

    @property
    def accumulation(self) -> Accumulation:
        """How `fit` makes an optimizer step of `accumulate` parts."""
        return Accumulation(self.accumulate)

    @property
    def decay(self) -> float:
        """The weight decay, 0 for none."""
        if self.weight_decay is None:
            return 0.01 if self.name == "adamw" else 0.0
        return self.weight_decay

    @property
    def keeps_moments(self) -> bool:
        """Whether it keeps two numbers per weight, as Adam does."""
        return self.name != "adafactor"


class AdapterConfig(Strict):
    """An adapter to train instead of the model's weights.

    Attributes:
        kind: `lora`, `dora`, `ia3` or `houlsby`.
        rank: LoRA's and DoRA's rank.
        alpha: Their scale; default: the rank.
        width: Width of a Houlsby adapter.
        targets: See `keras_flan.models.add_lora`.
    """

    kind: Literal["lora", "dora", "ia3", "houlsby"]
    rank: Positive = 8
    alpha: Annotated[float, pydantic.Field(gt=0)] | None = None
    width: Positive = 64
    targets: str | list[str] = "default"


class BenchmarkConfig(Strict):
    """A benchmark that is asked during a training, as `evaluate` asks it.

    Attributes:
        name: As for `keras_flan.evaluation.evaluate`: `gsm8k`, `mmlu`, ...,
            or the YAML file of a protocol of your own.
        data: Its file or folder.
        mode: `direct`, `cot` or `rank`.
        shots: Exemplars per prompt; `None` is as many as published.
        limit: The most examples of each task; the first ones.
        tasks: Only these tasks.
        split: Of the benchmarks that have several.
        modules: Python files, or names of modules, with what a protocol of
            your own needs, as `--module` of `keras-flan evaluate`; found from
            where the training is started. Their code is run.
    """

    name: str
    data: AnyPath | None = None
    mode: Literal["direct", "cot", "rank"] = "direct"
    shots: Annotated[int, pydantic.Field(ge=0)] | None = 0
    limit: Positive | None = 100
    tasks: list[str] | None = None
    split: str | None = None
    modules: list[str] = pydantic.Field(default_factory=list)


class HeldOutConfig(Strict):
    """Evaluation during training; the best weights are kept in `best/`.

    Attributes:
        mixture: As that of the training: held-out tasks or splits. Not
            together with `validation`, which needs none.
        every: Steps between two evaluations (the paper: 2k to 10k). Default:
            2,000; without a mixture a tenth of all steps, if that is less.
        batches: How many batches are evaluated, at most.
        patience: After how many evaluations in a row that were no better
            than the best the training ends early; `None`: it never does.
        benchmark: See `BenchmarkConfig`. Its accuracy says which weights are
            best then; else the loss does.
    """

    mixture: AnyPath | None = None
    every: Positive | None = None
    batches: Positive = 50
    patience: Positive | None = None
    benchmark: BenchmarkConfig | None = None

    @pydantic.model_validator(mode="before")
    @classmethod
    def _with_every(cls, values: Any) -> Any:
        if not isinstance(values, dict) or not values.get("mixture"):
            return values
        if values.get("every") is None:
            return {**values, "every": EVERY}
        return values


class DistributionConfig(Strict):
    """The devices of a run; see `keras_flan.distribution.setup`.

    Attributes:
        mesh: Such as `batch=4,model=2`; default: the batch over all devices.
        preset: `data`, `fsdp`, `model`, `fsdp+model` or `experts`.
        sequence: Whether activations are split along the length too.
        multi_host: Whether this is one of many processes; default: if the
            environment says so.
        cache: A folder for compiled programs.
        patience: Seconds after which a silent process counts as gone.
    """

    mesh: str = "batch=-1"
    preset: Literal["data", "fsdp", "model", "fsdp+model", "experts"] | None = (
        None
    )
    sequence: bool = False
    multi_host: bool | None = None
    cache: str | None = None
    patience: Positive = 100


class CallbackConfig(Strict):
    """A callback of one's own, such as a tracker; also just its name.

    Attributes:
        name: `module:Class`, a `keras.callbacks.Callback`; the module is also
            looked for in the working directory.
        settings: What the class is called with.
    """

    name: str
    settings: dict[str, Any] = pydantic.Field(default_factory=dict)

    @pydantic.field_validator("name")
    @classmethod
    def _names_a_class(cls, name: str) -> str:
        if not is_callable_name(name):
            raise ValueError(
                f"found {name!r}, expected module:Class, such as trackers:WandB"
            )
        return name


def _as_callback(value: object) -> object:
    return {"name": value} if isinstance(value, str) else value


Callbacks = list[
    Annotated[CallbackConfig, pydantic.BeforeValidator(_as_callback)]
]
