"""keras-hub backbones, wired for packed batches."""

from keras_flan.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__, {"T5": ".t5", "load": ".loading", "save": ".loading"}
)
