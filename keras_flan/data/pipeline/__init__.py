"""From a mixture to packed batches, without Python per example.

Imports `mixtures` and `vocabularies`, and what these may import.
"""

from keras_flan.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "build_dataset": ".pipeline",
        "Pipeline": ".pipeline",
        "Position": ".position",
    },
)
