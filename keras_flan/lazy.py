"""Names that are imported when they are first used.

`import keras_flan` and `keras-flan --help` must not pay for TensorFlow, JAX
or Keras, so each package lists its public names and where they live.
"""

import importlib
from collections.abc import Callable
from typing import Any


def attach(
    package: str, names: dict[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Returns `__getattr__`, `__dir__` and `__all__` for a package.

    Args:
        package: The `__name__` of the package.
        names: Public name to the module (relative to the package) that
            defines it; a module is exported by mapping it to `""`.

    Example:
        >>> __getattr__, __dir__, __all__ = attach(
        ...     __name__, {"Task": ".tasks", "importers": ""}
        ... )
    """

    def __getattr__(name: str) -> Any:
        if name not in names:
            raise AttributeError(
                f"module {package!r} has no attribute {name!r}"
            )
        module = names[name] or f".{name}"
        loaded = importlib.import_module(module, package)
        return getattr(loaded, name) if names[name] else loaded

    def __dir__() -> list[str]:
        return sorted(names)

    return __getattr__, __dir__, sorted(names)


def borrowed(module: str, name: str) -> Any:
    """Returns what a module of a higher room defines, imported now.

    A room imports downwards only. A class that offers what is made above it,
    as a model offers `generate`, gets it by name, when it is called.

    Args:
        module: The module's full name.
        name: What it defines.
    """
    return getattr(importlib.import_module(module), name)
