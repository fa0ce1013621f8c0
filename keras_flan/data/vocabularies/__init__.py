"""Text to ids and back: SentencePiece models and keras-hub's tokenizers.

Imports `mixtures` and what that may import.
"""

from keras_flan.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "Vocabulary": ".sentencepiece",
        "HubVocabulary": ".hub",
    },
)
