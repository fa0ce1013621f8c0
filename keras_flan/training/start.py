"""What a training run starts from: devices, and a model."""

import inspect

import keras

from keras_flan.data.vocabularies.sentencepiece import Vocabulary
from keras_flan.distribution.start import Setup, setup
from keras_flan.models import T5, DecoderOnly, PaLMBackbone, load
from keras_flan.models.adapters.saving import KINDS
from keras_flan.models.language_model import LanguageModel
from keras_flan.runtime.start import prepare_process
from keras_flan.training.config import ModelSettings, TrainConfig


def start_devices(config: TrainConfig) -> Setup:
    """Returns the `keras_flan.distribution.Setup` that a run asks for.

    To be called before the model is made; without `distribution` in the
    config it is that of one device.
    """
    if config.distribution is None:
        return Setup()
    return setup(**config.distribution.model_dump(), seed=config.seed)


def start_model(config: TrainConfig) -> LanguageModel:
    """Returns the model that a run starts from, with its vocabulary.

    Also seeds Keras, for the weights and for dropout.
    """
    prepare_process()
    keras.utils.set_random_seed(config.seed)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(config.precision)
    try:
        model = _start(config)
    finally:
        keras.config.set_dtype_policy(before)
    if config.adapter is not None:
        add = KINDS[config.adapter.kind].add
        known = set(inspect.signature(add).parameters)
        add(model, **config.adapter.model_dump(include=known))
    return model


def _start(config: TrainConfig) -> LanguageModel:
    settings, init = config.model.settings(), config.model.init
    if init is not None and not config.brings_no_vocabulary:
        return load(init, **settings)
    vocabulary = Vocabulary(str(config.vocabulary))
    if init is not None:
        attention = settings.pop("attention", "auto")
        backbone = PaLMBackbone.from_preset(init, False, **settings)
        return DecoderOnly(backbone, vocabulary, attention=attention)
    sizes = config.model.model_dump(
        exclude=set(ModelSettings.model_fields), exclude_none=True
    )
    # Rows are padded, as T5's are: products are faster in round sizes.
    rows = -(-vocabulary.size // 128) * 128
    return T5.from_config_values(
        vocabulary_size=rows, vocabulary=vocabulary, **sizes, **settings
    )
