"""Template families of the user's own: registered, or objects in Python."""

import contextlib
import functools
import importlib.metadata
import os
import re
import runpy
from collections.abc import Mapping
from typing import Any, TypeAlias

from keras_flan.data.templates.families import TemplateFamily
from keras_flan.errors import InputError, did_you_mean
from keras_flan.named import load_named
from keras_flan.storage import as_path, local_copy

# What a family may be given as, in Python.
FamilyObject: TypeAlias = TemplateFamily | Mapping[str, Any]
FamilySource: TypeAlias = FamilyObject | str | os.PathLike

# The group of entry points by which an installed package brings families.
GROUP = "keras_flan.templates"
_PYTHON = re.compile(r"(.+\.py|[\w.]+):\w+")
_registered: dict[str, FamilyObject] = {}


def register_family(name: str, family: FamilyObject) -> contextlib.ExitStack:
    """Makes a family known by a name, as those of the library are.

    A package that is installed registers its own by an entry point of the
    group `keras_flan.templates`.

    Args:
        name: The name: letters, digits and `_`.
        family: The family, or a mapping with the keys of a family's file.

    Returns:
        A context: closing it takes the name back.

    Raises:
        InputError: If another family has the name.

    Example:
        >>> with register_family("mine", family):
        ...     load_family("mine").name
        'mine'
    """
    if not re.fullmatch(r"\w+", name):
        raise InputError(
            f"the name {name!r} of a template family: expected letters, "
            "digits and '_'"
        )
    if _registered.setdefault(name, family) is not family:
        raise InputError(
            f"there is a template family {name!r} already; choose another name"
        )
    undo = contextlib.ExitStack()
    undo.callback(_registered.pop, name, None)
    return undo


def registered_families() -> list[str]:
    """Returns the names of the families that are registered."""
    return sorted({*_registered, *_entry_points()})


def registered_family(name: str) -> FamilyObject | None:
    """Returns a family that was registered, or that a package brings."""
    if name in _registered:
        return _registered[name]
    entry = _entry_points().get(name)
    return None if entry is None else _object(entry.load(), entry.value)


def is_python(source: str | os.PathLike) -> bool:
    """Whether this names an object: `my.py:FAMILY`, `package.mine:FAMILY`."""
    return _PYTHON.fullmatch(os.fspath(source)) is not None


def python_family(source: str | os.PathLike) -> FamilyObject:
    """Returns the object of a Python file or module.

    Raises:
        InputError: If there is no such file, module or name, or the object is
            no family.
    """
    text = os.fspath(source)
    place, _, name = text.rpartition(":")
    if not place.endswith(".py"):
        return _object(load_named(text), text)
    path = as_path(place)
    if not path.is_file():
        raise InputError(f"{path}: no such file of templates")
    with local_copy(path) as file:
        names = runpy.run_path(str(file))
    if name not in names:
        raise InputError(
            f"templates {text}: there is no {name!r}."
            + did_you_mean(name, names)
        )
    return _object(names[name], text)


def _object(value: Any, place: str) -> FamilyObject:
    if isinstance(value, TemplateFamily | Mapping):
        return value
    raise InputError(
        f"templates {place}: expected a `TemplateFamily`, or a dict with the "
        f"keys of a family's file, found {value!r:.40}"
    )


@functools.cache
def _entry_points() -> dict[str, importlib.metadata.EntryPoint]:
    found = importlib.metadata.entry_points(group=GROUP)
    return {entry.name: entry for entry in found}
