"""A model that learns from its own answers: sample, judge, weigh, train.

Imports `training`, `evaluation`, `generation`, and what these may import.
"""

from keras_flan.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "ImproveConfig": ".config",
        "advantages": ".weighing",
        "best_and_worst": ".weighing",
        "improve": ".run",
        "right": ".weighing",
        "token_scales": ".weighing",
    },
)
