"""keras_flan: the Flan 2022 recipe for Keras 3.

Task files -> TFRecords -> templated mixtures -> packed `tf.data` ->
`model.fit` -> chain-of-thought generation -> votes -> benchmarks.

JAX is the default backend: set `KERAS_BACKEND` before the first import of
keras or keras_flan to choose another.
"""

import os
import sys

from keras_flan.lazy import attach

# Nothing else is set by an import; see `keras_flan.runtime`.
if "keras" not in sys.modules:
    os.environ.setdefault("KERAS_BACKEND", "jax")

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "data": "",
        "models": "",
        "training": "",
        "distribution": "",
        "generation": "",
        "evaluation": "",
        "planning": "",
    },
)
