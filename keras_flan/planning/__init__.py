"""The TPU planner: what a training job takes, before it runs.

Imports `training`, `distribution` and what these may import.
"""

from keras_flan.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "suggest_plans": ".planner",
    },
)
