"""Packages that only some formats need."""

import importlib
from types import ModuleType

from keras_flan.errors import InputError


def require(package: str, extra: str) -> ModuleType:
    """Imports an optional package.

    Raises:
        InputError: With the command that installs it, if it is absent.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise InputError(
            f"this needs the package {package!r} ({error}); install "
            f"it with: pip install 'keras_flan[{extra}]'"
        ) from None
