"""keras-hub's Llama 3 with SmolLM2's tokenizer.

The classes are named by saved models.
"""

from typing import Any

import keras

from keras_flan.models.gguf.tokenizers import ByteLevelTokenizer
from keras_flan.runtime.keras_hub import keras_hub


@keras.saving.register_keras_serializable(package="keras_flan")
class SmolLM2Backbone(keras_hub.models.Llama3Backbone):
    """keras-hub's Llama, whose config says that its embeddings are tied.

    keras-hub 0.32 leaves that out, and cannot load a tied Llama again.
    """

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "tie_word_embeddings": self.tie_word_embeddings,
        }


@keras.saving.register_keras_serializable(package="keras_flan")
class SmolLM2Tokenizer(ByteLevelTokenizer):
    """The byte-pair encoding of SmolLM2; arguments as of its parent."""

    backbone_cls = SmolLM2Backbone


@keras.saving.register_keras_serializable(package="keras_flan")
class SmolLM2CausalLMPreprocessor(keras_hub.models.Llama3CausalLMPreprocessor):
    """keras-hub's preprocessor of Llama 3, with SmolLM2's tokenizer."""

    backbone_cls = SmolLM2Backbone
    tokenizer_cls = SmolLM2Tokenizer


@keras.saving.register_keras_serializable(package="keras_flan")
class SmolLM2CausalLM(keras_hub.models.Llama3CausalLM):
    """keras-hub's `Llama3CausalLM` with SmolLM2's tokenizer."""

    backbone_cls = SmolLM2Backbone
    preprocessor_cls = SmolLM2CausalLMPreprocessor
