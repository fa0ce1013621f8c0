"""What a training run starts from: devices, and a model."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

from keras_flan.runtime.start import prepare_process
from keras_flan.training.config import ModelSettings, TrainConfig

if TYPE_CHECKING:
    from keras_flan.distribution.start import Setup
    from keras_flan.models.language_model import LanguageModel


def start_devices(config: TrainConfig) -> Setup:
    """Returns the `keras_flan.distribution.Setup` that a run asks for.

    To be called before the model is made; without `distribution` in the
    config it is that of one device.
    """
    from keras_flan.distribution.start import Setup, setup

    if config.distribution is None:
        return Setup()
    return setup(**config.distribution.model_dump(), seed=config.seed)


def start_model(config: TrainConfig) -> LanguageModel:
    """Returns the model that a run starts from, with its vocabulary.

    Also seeds Keras, for the weights and for dropout.
    """
    prepare_process()
    import keras

    keras.utils.set_random_seed(config.seed)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(config.precision)
    try:
        model = _start(config)
    finally:
        keras.config.set_dtype_policy(before)
    if config.adapter is not None:
        from keras_flan.models.adapters.saving import KINDS

        add = KINDS[config.adapter.kind].add
        known = set(inspect.signature(add).parameters)
        add(model, **config.adapter.model_dump(include=known))
    return model


def _start(config: TrainConfig) -> LanguageModel:
    from keras_flan.data.vocabularies.sentencepiece import Vocabulary
    from keras_flan.models.loading import load

    settings, init = config.model.settings(), config.model.init
    if init is not None and not config.brings_no_vocabulary:
        return load(init, **settings)
    vocabulary = Vocabulary(str(config.vocabulary))
    if init is not None:
        from keras_flan.models.decoder_only.model import DecoderOnly
        from keras_flan.models.decoder_only.palm import PaLMBackbone

        return DecoderOnly(
            PaLMBackbone.from_preset(init, load_weights=False, **settings),
            vocabulary,
        )
    from keras_flan.models.t5.model import T5

    sizes = config.model.model_dump(
        exclude=set(ModelSettings.model_fields), exclude_none=True
    )
    # Rows are padded, as T5's are: products are faster in round sizes.
    rows = -(-vocabulary.size // 128) * 128
    return T5.from_config_values(
        vocabulary_size=rows, vocabulary=vocabulary, **sizes, **settings
    )
