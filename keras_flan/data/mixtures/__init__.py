"""Which tasks are drawn how often: mixtures, also the paper's own.

Imports `records` and `templates`.
"""

from keras_flan.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "Mixture": ".mixture",
        "MixtureGroup": ".groups",
    },
)
