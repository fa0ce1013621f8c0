"""Outputs: over nothing that is not ours, by one process, whole or not at all.

Every command and function that writes a folder goes by the same rule. The
folder is new or empty; or it is of the same kind, which its `.keras_flan.json`
says (or, if an earlier version wrote it, its own files); or it is refused, and
`overwrite` is how to insist. While it is written it is locked: a second
process is refused, with the first one's number and host. The system releases
a lock when its process ends, however it does. What was written takes its
place at once: a folder by exchange (`renameat2`), files by a folder of them
that is renamed when they are whole. Who was killed after that left the rest of
the work to the next one who opens the folder (`settle`).

In a bucket (`gs://`) there are neither locks nor renames: the file that makes
an output whole is uploaded last, and one process at a time may write.
"""

import contextlib
import ctypes
import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_flan.disk import naming_full_disk
from keras_flan.errors import InputError
from keras_flan.files import TEMPORARY, parse_json, read_text, write_json
from keras_flan.locks import LOCK, Busy, holds, locked, whole_path
from keras_flan.storage import as_path, is_remote, upload_folder

MARK = ".keras_flan.json"
# In a folder of a bucket while it is being replaced.
UNFINISHED = "UNFINISHED"

_VERSION = 1
# In an output folder: files to come, while they are made and when all are.
_MAKING, _MADE = ".keras_flan-making", ".keras_flan-made"
# What `removed` adds to a name.
_REMOVED = ".removed"
# From Linux's fcntl.h and fs.h.
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


@dataclass(frozen=True)
class Kind:
    """A kind of output folder.

    Args:
        name: What the mark says, such as `"model"`.
        former: Whether a folder without a mark is of this kind: earlier
            versions made no marks.
        marked: Whether it gets a mark; else `former` tells.
        joins: Kinds whose folders it may be put into: its files lie beside
            theirs then, and both know the folder as their own.
    """

    name: str
    former: Callable[[Path], bool] = lambda folder: False
    marked: bool = True
    joins: tuple[str, ...] = ()


def check_output(
    path: str | os.PathLike, kind: Kind, overwrite: bool = False
) -> None:
    """Checks that a folder may be written.

    Args:
        path: The folder.
        kind: What will be written.
        overwrite: Whether to write over what is neither empty nor ours.

    Raises:
        InputError: If it holds something else; says what, and what to do.
    """
    path = as_path(path)
    if not path.exists():
        return
    if not path.is_dir():
        raise InputError(f"{path}: expected a folder to write, found a file")
    names, kinds = _contents(path), _kinds(path)
    ours = {kind.name, *kind.joins}.intersection(kinds)
    if overwrite or not names or ours or kind.former(path):
        return
    found = f"files of another kind ({', '.join(names[:3])})"
    if kinds:
        found = f"what keras_flan calls a folder of kind {' and '.join(kinds)}"
    raise InputError(
        f"{path}: holds {found}, not of kind {kind.name}; give a new folder, "
        "or write over it with --overwrite (in Python: overwrite=True)"
    )


@contextlib.contextmanager
def output_folder(
    path: str | os.PathLike, kind: Kind, overwrite: bool = False
) -> Iterator[Path]:
    """Makes, checks, marks and locks a folder that is written to.

    Within it the same thread may open it again, also as another kind: it is
    of both then. A new folder to which nothing was written is removed.

    Args:
        path: The folder.
        kind: What will be written.
        overwrite: As in `check_output`.

    Yields:
        The folder.

    Raises:
        InputError: If it holds something else, or another process writes
            there.

    Example:
        >>> with output_folder("runs/a", Kind("evaluation")) as folder:
        ...     write_json(folder / "metrics.json", {})
    """
    path = as_path(path)
    nested = holds(path)
    with locked(path), naming_full_disk(path):
        if not nested:
            _settle(path)
        check_output(path, kind, overwrite or nested)
        _mark(path, kind)
        try:
            yield path
        finally:
            if not (is_remote(path) or nested or _contents(path)):
                (path / MARK).unlink(missing_ok=True)
                with contextlib.suppress(OSError):
                    path.rmdir()


@contextlib.contextmanager
def replace_folder(
    path: str | os.PathLike,
    kind: Kind,
    last: str,
    *,
    overwrite: bool = False,
    needed: int = 0,
) -> Iterator[Path]:
    """Makes a folder that takes the place of `path` only when all went well.

    In a bucket, which has no rename, the files are uploaded at the end,
    `last` last: while it isn't there the folder is incomplete.

    Args:
        path: The folder to write. Missing parent folders are made.
        kind: What it will be.
        last: The file without which it is incomplete.
        overwrite: As in `check_output`.
        needed: About how many bytes it takes, if that is known: then a full
            disk is said at once.

    Yields:
        A new local folder, to be filled.

    Raises:
        InputError: If `path` is something else, or another process writes
            there.

    Example:
        >>> with replace_folder("model", MODEL, "config.json") as folder:
        ...     model.save_to_preset(folder)
    """
    path = as_path(path)
    if is_remote(path):
        _check_objects(path, kind, overwrite)
        with tempfile.TemporaryDirectory(prefix="keras_flan-") as temporary:
            made = Path(temporary, path.name)
            made.mkdir()
            yield made
            _mark(made, kind)
            _replace_objects(made, path, last)
        return
    path = whole_path(path)
    with locked(path), naming_full_disk(path, needed):
        _settle(path)
        check_output(path, kind, overwrite)
        aside = _aside(path)
        made = aside / "new"
        made.mkdir(parents=True)
        try:
            yield made
            _mark(made, kind)
            _sync(made)
            _exchange(made, path)
        finally:
            _settle(path)


@contextlib.contextmanager
def replace_files(folder: Path, last: str) -> Iterator[Path]:
    """Makes files that come into a folder together, when all are whole.

    Args:
        folder: An `output_folder`.
        last: The file that comes last into a bucket.

    Yields:
        A new local folder, to be filled.

    Example:
        >>> with replace_files(folder, "metrics.json") as made:
        ...     write_jsonl(made / "predictions.jsonl", rows)
        ...     write_json(made / "metrics.json", metrics)
        ...     removed(made, "timing.json")
    """
    if is_remote(folder):
        with tempfile.TemporaryDirectory(prefix="keras_flan-") as temporary:
            made = Path(temporary)
            yield made
            gone = {f: name for f in made.iterdir() if (name := _unlisted(f))}
            for file in gone:
                file.unlink()
            upload_folder(made, folder, last)
        for name in gone.values():
            (folder / name).unlink(missing_ok=True)
        return
    making = folder / _MAKING
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(parents=True)
    try:
        with naming_full_disk(folder):
            yield making
            _sync(making)
        making.rename(folder / _MADE)
    except BaseException:
        shutil.rmtree(making, ignore_errors=True)
        raise
    _settle(folder)


def removed(made: Path, name: str) -> None:
    """Has `replace_files` remove a file, if there is one."""
    (made / f"{name}{_REMOVED}").touch()


def settle(path: str | os.PathLike) -> None:
    """Completes what a process had made of an output when it was killed.

    Whoever reads several files of an output calls it before.
    """
    path = as_path(path)
    if is_remote(path):
        return
    whole = path.exists() or not (_aside(whole_path(path)) / "old").exists()
    if whole and not (path / _MADE).is_dir():
        return
    # It is at work, or all that is left to do is somebody else's.
    with contextlib.suppress(Busy, PermissionError), locked(path):
        _settle(path)


# === What is whose ===


def _contents(path: Path) -> list[str]:
    """Returns the names in a folder, without what writing may leave."""
    return sorted(
        child.name
        for child in path.iterdir()
        if not (
            child.name in (MARK, LOCK, _MAKING, _MADE, UNFINISHED)
            or TEMPORARY.fullmatch(child.name)
            # Of earlier versions.
            or child.name.startswith(".writing-")
        )
    )


def _kinds(path: Path) -> list[str]:
    """Returns what the mark says."""
    found = head_of(path / MARK)
    if not found:
        return []
    kinds, version = found.get("kinds"), found.get("version")
    if version != _VERSION or not isinstance(kinds, list):
        raise InputError(
            f"{path / MARK}: expected version {_VERSION}, found {version!r}; "
            "update keras_flan, or give a new folder"
        )
    return [str(kind) for kind in kinds]


def head_of(path: Path) -> Mapping[str, Any]:
    """Returns the object in a JSON file, or in the first line of several.

    It is empty if there is none: for whoever asks what a file is.
    """
    if not path.is_file():
        return {}
    try:
        text = read_text(path)
        value = parse_json(text, allow_nan=True)
    except InputError:
        return {}
    except ValueError:
        try:
            value = parse_json(text.partition("\n")[0], allow_nan=True)
        except ValueError:
            return {}
    return value if isinstance(value, dict) else {}


def _mark(path: Path, kind: Kind) -> None:
    kinds = _kinds(path)
    if kind.marked and kind.name not in kinds:
        mark = {"kinds": [*kinds, kind.name], "version": _VERSION}
        write_json(path / MARK, mark)


# === Into place ===


def _aside(path: Path) -> Path:
    """Where a folder is made, beside the one whose place it takes."""
    return path.parent / f".{path.name}.keras_flan-making"


def _settle(path: Path) -> None:
    """As `settle`, by who has locked the output; also tidies up."""
    if is_remote(path):
        return
    aside = _aside(whole_path(path))
    if (aside / "old").exists() and not path.exists():
        (aside / "old").rename(path)
    shutil.rmtree(aside, ignore_errors=True)
    made = path / _MADE
    if made.is_dir():
        for file in sorted(made.iterdir()):
            if name := _unlisted(file):
                (path / name).unlink(missing_ok=True)
            else:
                file.replace(path / file.name)
        shutil.rmtree(made)
    shutil.rmtree(path / _MAKING, ignore_errors=True)


def _unlisted(file: Path) -> str:
    """Returns which file goes, if this says so."""
    name = file.name
    return name.removesuffix(_REMOVED) if name.endswith(_REMOVED) else ""


def _sync(folder: Path) -> None:
    """Has all files of a folder on disk; some disks are full only then."""
    for file in folder.rglob("*"):
        if not file.is_file():
            continue
        with naming_full_disk(file):
            handle = os.open(file, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


def _exchange(made: Path, path: Path) -> None:
    """Puts a folder in the place of another one, if there is one."""
    if not path.exists():
        made.rename(path)
    elif not _renamed_at_once(made, path):
        # A kill in between leaves the old one for `settle`.
        path.rename(made.parent / "old")
        made.rename(path)


def _renamed_at_once(made: Path, path: Path) -> bool:
    """Exchanges two folders, if the system and the file system can."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    paths = os.fsencode(made), os.fsencode(path)
    done = renameat2(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], _RENAME_EXCHANGE)
    if done == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
        return False
    raise OSError(number, os.strerror(number), os.fspath(path))


# === Buckets ===


def _check_objects(path: Path, kind: Kind, overwrite: bool) -> None:
    # One that was cut short is ours.
    if not (path / UNFINISHED).is_file():
        check_output(path, kind, overwrite)


def _replace_objects(made: Path, path: Path, last: str) -> None:
    """Puts a local folder in the place of one in a bucket."""
    # Whoever is cut short may begin again, and knows that it may.
    (path / UNFINISHED).write_text(
        "This folder was not written to the end; write it again.\n"
    )
    (path / last).unlink(missing_ok=True)
    names = upload_folder(made, path, last)
    for file in path.rglob("*"):
        if str(file.relative_to(path)) not in names:
            file.unlink(missing_ok=True)
