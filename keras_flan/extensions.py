"""Modules of a user's own: they add answer kinds, readers and metrics by name.

A module has dictionaries that are called as those that they add to:

```python
KINDS = {"grade": Kind(find_grade, normalise_grade)}  # answers.KINDS
READERS = {"quiz": read_quiz}  # evaluation's READERS
METRICS = {"distance": Metric(of_example=distance)}  # evaluation's METRICS
```

It is loaded by `add_module` (`--module` of a command). Installed packages
name theirs under the group of entry points `keras_flan.extensions`; these are
loaded when a name is asked for that nothing else has.
"""

import contextlib
import dataclasses
import hashlib
import importlib
import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Generic, TypeVar

from keras_flan.errors import InputError, did_you_mean
from keras_flan.named import load_module
from keras_flan.storage import as_path, is_remote, local_copy

T = TypeVar("T")

# The group of entry points of installed packages.
GROUP = "keras_flan.extensions"
# What a module may define.
ATTRIBUTES = ("KINDS", "READERS", "METRICS")


@dataclasses.dataclass(frozen=True, eq=False)
class Extension:
    """A module that was added.

    Args:
        name: As it was given.
        digest: 16 hexadecimal digits that change with its source file.
        module: What was imported.
    """

    name: str
    digest: str
    module: ModuleType

    def remove(self) -> None:
        """Takes back what the module added."""
        if self in _added:
            _added.remove(self)
        for registry in _registries:
            registry.forget(self)


class Registry(dict[str, T], Generic[T]):
    """What is known by a name: the package's own, and what modules add.

    Args:
        noun: What an entry is, for messages.
        attribute: The dictionary of a module that adds to it.
        kind: The class of an entry; `None` if any callable will do.
        own: The package's entries.

    Example:
        >>> COLOURS = Registry("colour", "COLOURS", str, {"red": "#f00"})
        >>> COLOURS.named("rad")
        InputError: no colour 'rad'. Did you mean 'red'?
    """

    def __init__(
        self,
        noun: str,
        attribute: str,
        kind: type[T] | None,
        own: Mapping[str, T],
    ):
        super().__init__(own)
        self._noun, self._attribute, self._kind = noun, attribute, kind
        self._origins: dict[str, Extension] = {}
        for extension in _added:
            self.take(extension)
        _registries.append(self)

    def __missing__(self, name: str) -> T:
        return self.named(name)

    def named(self, name: str) -> T:
        """Returns the entry of this name, also of an installed package.

        Raises:
            InputError: If there is none; it names the nearest.
        """
        if name not in self:
            add_installed()
        if name not in self:
            raise InputError(
                f"no {self._noun} {name!r}."
                + did_you_mean(name, self)
                + " One of your own is known once its module is given, with "
                "--module"
            )
        return dict.__getitem__(self, name)

    def origin(self, name: str) -> Extension | None:
        """Returns the module that an entry is of; `None`: the package's."""
        return self._origins.get(name)

    def check(self, extension: Extension) -> Mapping[str, T]:
        """Returns what a module adds; InputError if that can't be."""
        found = getattr(extension.module, self._attribute, {})
        place = f"{extension.name}: {self._attribute}"
        if not isinstance(found, Mapping):
            raise InputError(
                f"{place}: expected a dict of names, found a "
                f"{type(found).__name__}"
            )
        for name, entry in found.items():
            fits = (
                isinstance(entry, self._kind) if self._kind else callable(entry)
            )
            if not (isinstance(name, str) and name and fits):
                wanted = self._kind.__name__ if self._kind else "function"
                raise InputError(
                    f"{place}[{name!r}]: expected a {wanted} by name, found "
                    f"a {type(entry).__name__}"
                )
            if name in self:
                other = self._origins.get(name)
                raise InputError(
                    f"{place}[{name!r}]: there is a {self._noun} of this name "
                    f"already, of {other.name if other else 'keras_flan'}; "
                    "give yours another name"
                )
        return found

    def take(self, extension: Extension) -> None:
        """Takes the entries of a module."""
        found = self.check(extension)
        self.update(found)
        self._origins |= dict.fromkeys(found, extension)

    def forget(self, extension: Extension) -> None:
        """Drops the entries of a module."""
        for name, origin in list(self._origins.items()):
            if origin is extension:
                del self._origins[name], self[name]


_added: list[Extension] = []
_registries: list[Registry] = []
_seen_installed: set[str] = set()


def add_module(source: str | os.PathLike | ModuleType) -> Extension:
    """Adds the answer kinds, readers and metrics of a module.

    Added again, from the same place, it takes the place of what it was.

    Args:
        source: The path of a Python file, whose code is run; the name of a
            module that can be imported, also from the working directory; or
            the module.

    Returns:
        What was added; `remove` takes it back.

    Raises:
        InputError: If it isn't there, fails, adds nothing, or adds a name
            that is taken.

    Example:
        >>> add_module("quiz.py")
        >>> extract_answer("My grade: A-", "grade").value
        'a-'
    """
    name = source.__name__ if isinstance(source, ModuleType) else str(source)
    for former in [one for one in _added if one.name == name]:
        former.remove()
    module = source if isinstance(source, ModuleType) else _load(name)
    extension = Extension(name, _digest(module), module)
    if not any(hasattr(module, attribute) for attribute in ATTRIBUTES):
        raise InputError(
            f"{name}: expected a dict {', '.join(ATTRIBUTES[:-1])} or "
            f"{ATTRIBUTES[-1]} in the module, found none of them"
        )
    for registry in _registries:  # All of it, or nothing.
        registry.check(extension)
    for registry in _registries:
        registry.take(extension)
    _added.append(extension)
    return extension


def add_installed() -> None:
    """Adds the modules that installed packages name, each once.

    Raises:
        InputError: If one of them can't be added; it names the package.
    """
    for entry in importlib.metadata.entry_points(group=GROUP):
        if entry.value in _seen_installed:
            continue
        _seen_installed.add(entry.value)
        try:
            add_module(entry.value)
        except InputError as error:
            package = entry.dist.name if entry.dist else entry.name
            raise InputError(
                f"the installed package {package!r}: {error}"
            ) from None


@contextlib.contextmanager
def using(*sources: str | os.PathLike | ModuleType) -> Iterator[None]:
    """Adds modules, see `add_module`, until the block ends."""
    with contextlib.ExitStack() as stack:
        for source in sources:
            stack.callback(add_module(source).remove)
        yield


def digests(origins: Iterable[Extension | None]) -> dict[str, str]:
    """Returns the digests of modules by name, without repetition."""
    found = {one.name: one.digest for one in origins if one is not None}
    return dict(sorted(found.items()))


def _load(name: str) -> ModuleType:
    if name.endswith(".py"):
        path = as_path(name)
        if not path.is_file():
            raise InputError(f"{path}: no such file")
        if is_remote(path):
            with local_copy(path) as file:
                return _run(file, name)
        return _run(path, name)
    if not all(part.isidentifier() for part in name.split(".")):
        raise InputError(
            f"{name}: expected a Python file (.py) or the name of a module"
        )
    with _told(name):
        if name in sys.modules:
            return importlib.reload(sys.modules[name])
        return load_module(name)


def _run(path: Path, name: str) -> ModuleType:
    """Runs a Python file as a module; its folder's modules can be imported."""
    key = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]
    title = f"keras_flan_module_{path.stem}_{key}"
    spec = importlib.util.spec_from_file_location(title, path)
    assert spec and spec.loader  # It ends in .py.
    module = importlib.util.module_from_spec(spec)
    folder = str(path.parent.resolve())
    sys.modules[title] = module  # Dataclasses look their module up.
    sys.path.insert(0, folder)
    try:
        with _told(name):
            spec.loader.exec_module(module)
    except InputError:
        del sys.modules[title]
        raise
    finally:
        sys.path.remove(folder)
    return module


@contextlib.contextmanager
def _told(name: str) -> Iterator[None]:
    """Says in a line what a module does wrong."""
    try:
        yield
    except InputError:
        raise
    except ModuleNotFoundError as error:
        raise InputError(
            f"{name}: cannot import it ({error}); give a Python file, or a "
            "module from a folder where it can be imported"
        ) from error
    except Exception as error:
        raise InputError(
            f"{name}: {type(error).__name__} in the module: {error}"
        ) from error


def _digest(module: ModuleType) -> str:
    file = getattr(module, "__file__", None)
    if file is not None and os.path.isfile(file):
        data = Path(file).read_bytes()
    else:
        data = module.__name__.encode()
    return hashlib.sha256(data).hexdigest()[:16]
