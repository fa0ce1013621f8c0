"""Optimizer, loss and the training run."""

from keras_flan.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "Adafactor": ".adafactor",
        "HeldOutLoss": ".held_out",
        "TokenCrossentropy": ".losses",
        "TrainConfig": ".config",
        "TrainingCheckpoint": ".checkpoints",
        "held_out_loss": ".held_out",
        "train": ".runner",
    },
)
