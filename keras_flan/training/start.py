"""What a training run starts from: devices, and a model."""

import contextlib
import inspect
from collections.abc import Iterator
from typing import Any

import keras

from keras_flan.data.templates.chat import ChatTemplate
from keras_flan.data.templates.chat_files import load_chat_template
from keras_flan.data.vocabularies.sentencepiece import Vocabulary
from keras_flan.distribution.abstract import build_abstract
from keras_flan.distribution.start import Setup, setup
from keras_flan.errors import InputError
from keras_flan.models import T5, DecoderOnly, PaLMBackbone, upcycle
from keras_flan.models.adapters.saving import KINDS
from keras_flan.models.backbones import quiet_masks
from keras_flan.models.compression.notes import forms_of, prepare_fewer
from keras_flan.models.language_model import LanguageModel
from keras_flan.models.loading import load_as
from keras_flan.models.sizes import t5_sizes
from keras_flan.runtime.start import prepare_process
from keras_flan.training.adafactor import Adafactor
from keras_flan.training.config import JobConfig, TrainConfig
from keras_flan.training.losses import TokenCrossentropy
from keras_flan.training.optimizers import Adam, AdamW, spare_norms
from keras_flan.training.recipe_table import recipes
from keras_flan.training.schedules import Schedule
from keras_flan.training.sections import ModelSettings, OptimizerConfig


def start_devices(config: TrainConfig) -> Setup:
    """Returns the `keras_flan.distribution.Setup` that a run asks for.

    To be called before the model is made; without `distribution` in the
    config it is that of one device.
    """
    if config.distribution is None:
        return Setup()
    return setup(**config.distribution.model_dump(), seed=config.seed)


def start_model(config: JobConfig) -> LanguageModel:
    """Returns the model that a run starts from, with its vocabulary.

    Also seeds Keras, for the weights and for dropout.
    """
    prepare_process()
    keras.utils.set_random_seed(config.seed)
    with _precision(config):
        model = _start(config)
    return _adapted(model, config)


def weightless_model(
    config: JobConfig, layers: int | None = None
) -> LanguageModel:
    """Returns what `start_model` does, without weights or a vocabulary.

    Only the config of `model.init` is read. The model can be looked at and
    traced; see `keras_flan.distribution.build_abstract`.

    Args:
        config: The settings.
        layers: How many layers; default: the model's own.
    """
    prepare_process()

    def build() -> LanguageModel:
        model = _start(config, weights=False)
        if layers is not None:
            model = _of_layers(model, layers)
        return _adapted(model, config)

    with _precision(config):
        return build_abstract(build)


def start_chat(model: LanguageModel, config: JobConfig) -> ChatTemplate | None:
    """Returns the chat template of a run, which the model then knows."""
    source = config.data.chat
    if source is None:
        return None
    if not isinstance(model, DecoderOnly):
        raise InputError(
            f"data.chat: found {source!r}, but the model is an "
            "encoder-decoder, which reads conversations as prompts; leave "
            "out this key"
        )
    template = model.chat_template if source == "model" else None
    if source == "model" and template is None:
        raise InputError(
            "data.chat: the model has no chat template of its own; name one, "
            "such as chatml"
        )
    template = template or load_chat_template(source)
    model.chat = template.to_dict()
    return template


def compile_model(
    model: LanguageModel, config: JobConfig, **settings: Any
) -> None:
    """Compiles a model with the optimizer and the loss of a run.

    Args:
        model: The model.
        config: The settings.
        **settings: As for `keras.Model.compile`.
    """
    its = config.optimizer
    model.compile(
        optimizer=make_optimizer(its, config.steps),
        loss=TokenCrossentropy(its.z_loss, its.loss_chunk, its.loss_gather),
        **settings,
    )


def make_optimizer(
    its: OptimizerConfig, steps: int
) -> keras.optimizers.Optimizer:
    """Returns the optimizer of a run of so many steps."""
    kinds = {"adafactor": Adafactor, "adam": Adam, "adamw": AdamW}
    parts = its.accumulate
    values: dict[str, Any] = {
        "learning_rate": its.learning_rate,
        "global_clipnorm": its.clip_norm,
        "gradient_accumulation_steps": parts if parts > 1 else None,
    }
    if its.schedule != "constant" or its.warmup or its.warmdown:
        falls = (its.schedule, its.warmup, its.warmdown)
        values["learning_rate"] = Schedule(
            its.learning_rate, steps, *falls, accumulate=parts
        )
    if its.decay or its.name == "adamw":
        values["weight_decay"] = its.decay
    optimizer = kinds[its.name](**values)
    spare_norms(optimizer)
    return optimizer


@contextlib.contextmanager
def _precision(config: JobConfig) -> Iterator[None]:
    """Makes the run's precision Keras's own."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(config.precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _adapted(model: LanguageModel, config: JobConfig) -> LanguageModel:
    if isinstance(model, DecoderOnly):
        model.family.check_remat(model.remat)
    its = config.model
    if its.experts is not None:
        upcycle(model, **its.experts.model_dump())
    if its.quantize is not None:
        model.quantize(its.quantize)
    if config.adapter is not None:
        add = KINDS[config.adapter.kind].add
        known = set(inspect.signature(add).parameters)
        add(model, **config.adapter.model_dump(include=known))
    elif config.model.trainable == "all_but_embedding":
        freeze_embedding(model)
    return model


def freeze_embedding(model: LanguageModel) -> None:
    """Leaves the token embedding as it is, and a head that is in its layer.

    Args:
        model: To be called before it is compiled.
    """
    for name in ("token_embedding", "decoder_token_embedding"):
        layer = getattr(model.backbone, name, None)
        if layer is not None:
            layer.trainable = False


def _start(config: JobConfig, weights: bool = True) -> LanguageModel:
    settings, init = config.model.settings(), config.model.init
    if init is not None and not config.brings_no_vocabulary:
        size = None if weights else _published_size(init)
        if size is None:
            return load_as(LanguageModel, init, settings, weights)
        T5.check_settings(settings)
        return T5.from_config_values(**size, **settings)
    vocabulary = None
    # Without weights only the number of its pieces counts, and that for a T5.
    if config.vocabulary and (weights or init is None):
        vocabulary = Vocabulary(str(config.vocabulary))
    if init is not None:
        DecoderOnly.check_settings(settings)
        attention = settings.pop("attention", "auto")
        backbone = PaLMBackbone.from_preset(init, False, **settings)
        return DecoderOnly(backbone, vocabulary, attention=attention)
    assert vocabulary is not None  # `TrainConfig.from_yaml` sees to it.
    sizes = config.model.model_dump(
        exclude=set(ModelSettings.model_fields), exclude_none=True
    )
    # Rows are padded, as T5's are: products are faster in round sizes.
    rows = -(-vocabulary.size // 128) * 128
    return T5.from_config_values(
        vocabulary_size=rows, vocabulary=vocabulary, **sizes, **settings
    )


def _published_size(init: str) -> dict[str, int] | None:
    """Returns the sizes of a T5 of the paper, which need no download."""
    for recipe in recipes().values():
        if recipe.init == init:
            return t5_sizes()[recipe.size]
    return None


def _of_layers(model: LanguageModel, layers: int) -> LanguageModel:
    backbone = model.backbone
    values = backbone.get_config()
    for name in ("num_layers", "encoder_num_layers", "decoder_num_layers"):
        if name in values:
            values[name] = layers
    forms = forms_of(backbone)
    with quiet_masks():
        backbone = type(backbone).from_config(values)
    prepare_fewer(backbone, forms)
    kept = {name: getattr(model, name) for name in model.own_settings}
    return type(model)(backbone, **kept)
