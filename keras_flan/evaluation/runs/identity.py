"""What a model is, in a few letters: to know whose outputs a log holds."""

import hashlib
import inspect
import os
from typing import Any

import numpy as np

from keras_flan.generation.language_model_like import Recorded


def model_hash(model: Any) -> str:
    """Returns 16 hexadecimal digits that change when the model does.

    Of a Keras model these are a SHA-256 of its weights, in order, with their
    shapes and dtypes; of a callable, one of its name and of the source file
    that defines it, but not of what it reads elsewhere; of recorded outputs,
    one of these.

    Args:
        model: A Keras model, or a callable.

    Example:
        >>> model_hash(keras_flan.models.load("runs/quickstart/model"))
        '5f0c6a1d2b3e4f90'
    """
    digest = hashlib.sha256()
    if hasattr(model, "weights"):
        import keras

        digest.update(type(model).__name__.encode())
        # Not `variables`: those of seeds differ each time a model is loaded.
        for variable in model.weights:
            digest.update(f"{variable.shape} {variable.dtype};".encode())
            value = keras.ops.convert_to_numpy(variable.value)
            # bfloat16 is no dtype of NumPy's own; a scalar has no last axis.
            value = np.ascontiguousarray(np.atleast_1d(value))
            digest.update(value.view(np.uint8).data)
    else:
        if isinstance(model, Recorded):
            digest.update(model.digest)
        kind = model if hasattr(model, "__qualname__") else type(model)
        digest.update(f"{kind.__module__}:{kind.__qualname__}".encode())
        try:
            source = inspect.getsourcefile(kind)
        except TypeError:
            source = None
        if source and os.path.isfile(source):
            with open(source, "rb") as f:
                digest.update(f.read())
    return digest.hexdigest()[:16]
