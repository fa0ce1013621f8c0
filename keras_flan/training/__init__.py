"""Optimizer, loss and the training run."""

from keras_flan.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "Adafactor": ".adafactor",
        "TokenCrossentropy": ".losses",
        "TrainConfig": ".config",
        "train": ".runner",
    },
)
