"""keras_flan: the Flan 2022 recipe for Keras 3.

Task files -> TFRecords -> templated mixtures -> packed `tf.data` ->
`model.fit` -> chain-of-thought generation -> votes -> benchmarks.

JAX is the default backend: set `KERAS_BACKEND` before the first import of
keras or keras_flan to choose another.
"""

import os
import sys

from keras_flan.lazy import attach
from keras_flan.runtime.memory import keep_freed_memory
from keras_flan.runtime.xla import choose_products

if "keras" not in sys.modules:
    os.environ.setdefault("KERAS_BACKEND", "jax")
# Silence TensorFlow's start-up chatter, which would drown our own messages.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
choose_products()
keep_freed_memory()

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
    },
)
