"""Optimizer, loss and the training run.

Imports `distribution` and what that may import.
"""

from keras_flan.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "Adafactor": ".adafactor",
        "Adam": ".optimizers",
        "AdamW": ".optimizers",
        "HeldOutLoss": ".held_out",
        "PathLoss": ".path_losses",
        "PreferenceLoss": ".path_losses",
        "Profile": ".profiling",
        "Schedule": ".schedules",
        "SoftLoss": ".path_losses",
        "StepLog": ".callbacks",
        "StopOnSignal": ".signals",
        "Telemetry": ".telemetry",
        "TokenCrossentropy": ".losses",
        "TrainConfig": ".config",
        "TrainingCheckpoint": ".checkpoints",
        "held_out_loss": ".held_out",
        "recipe": ".recipe_table",
        "recipes": ".recipe_table",
        "report_training": ".report",
        "train": ".run",
        "write_card": ".cards",
    },
)
