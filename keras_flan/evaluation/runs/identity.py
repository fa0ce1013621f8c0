"""What a model is, in a few letters: to know whose outputs a log holds."""

import hashlib
import importlib
import inspect
import os
import sys
from typing import Any

import numpy as np

from keras_flan.errors import InputError
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


def is_callable_name(name: str) -> bool:
    """Whether a text names a Python callable, as `module:function` does.

    Example:
        >>> is_callable_name("my_models:ask"), is_callable_name("hf://a/b")
        (True, False)
    """
    module, colon, function = name.partition(":")
    parts = [*module.split("."), *function.split(".")]
    return bool(colon) and all(part.isidentifier() for part in parts)


def load_callable(name: str) -> Any:
    """Imports what is named as `module:function`: it, or its `generate`.

    Modules are also looked for in the working directory.

    Raises:
        InputError: If there is no such module or name, or it isn't callable.
    """
    module, _, function = name.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise InputError(
            f"{name}: cannot import {module!r} ({error}); give it as "
            "module:function, from a folder where it can be imported"
        ) from None
    for part in function.split("."):
        if not hasattr(found, part):
            raise InputError(f"{name}: {module} has no {function!r}")
        found = getattr(found, part)
    if not (callable(found) or hasattr(found, "generate")):
        raise InputError(
            f"{name}: expected a callable, found a {type(found).__name__}"
        )
    return found
