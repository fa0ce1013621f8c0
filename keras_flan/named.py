"""What a user names as `module:name`: imported from their own files."""

import importlib
import os
import sys
from types import ModuleType
from typing import Any

from keras_flan.errors import InputError


def is_callable_name(name: str) -> bool:
    """Whether a text names a Python callable, as `module:function` does.

    Example:
        >>> is_callable_name("my_models:ask"), is_callable_name("hf://a/b")
        (True, False)
    """
    module, colon, function = name.partition(":")
    parts = [*module.split("."), *function.split(".")]
    return bool(colon) and all(part.isidentifier() for part in parts)


def load_module(name: str) -> ModuleType:
    """Imports a module, which may be in the working directory.

    Raises:
        ModuleNotFoundError: If there is none.
    """
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    return importlib.import_module(name)


def load_named(name: str) -> Any:
    """Imports what is named as `module:name`.

    Modules are also looked for in the working directory.

    Raises:
        InputError: If there is no such module or name.
    """
    module, _, function = name.partition(":")
    try:
        found: Any = load_module(module)
    except ModuleNotFoundError as error:
        raise InputError(
            f"{name}: cannot import {module!r} ({error}); give it as "
            "module:name, from a folder where it can be imported"
        ) from None
    for part in function.split("."):
        if not hasattr(found, part):
            raise InputError(f"{name}: {module} has no {function!r}")
        found = getattr(found, part)
    return found


def load_callable(name: str) -> Any:
    """Imports what is named as `module:function`: it, or its `generate`.

    Raises:
        InputError: As `load_named`, or if it isn't callable.
    """
    found = load_named(name)
    if not (callable(found) or hasattr(found, "generate")):
        raise InputError(
            f"{name}: expected a callable, found a {type(found).__name__}"
        )
    return found
