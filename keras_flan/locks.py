"""Locks of files and outputs; the system releases them when a process ends."""

import contextlib
import errno
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

from keras_flan.disk import is_full, naming_full_disk
from keras_flan.errors import InputError
from keras_flan.storage import is_remote

try:
    import fcntl
except ImportError:  # Windows has no such locks.
    fcntl = None  # type: ignore[assignment]

# In an output whose own folder can't be written to.
LOCK = ".keras_flan-lock"

# The threads that have locked an output, by its path.
_holders: dict[Path, int] = {}


class Busy(InputError):
    """Another process writes to an output."""


@contextlib.contextmanager
def locked(path: str | os.PathLike) -> Iterator[None]:
    """Keeps other processes from an output, by a file `.NAME.lock` beside it.

    The same thread may lock it again.

    Raises:
        Busy: If another process, or thread, has it.
    """
    if is_remote(path):
        yield
        return
    path = whole_path(path)
    if holds(path):
        yield
        return
    file, handle = _lock(path)
    _holders[path] = threading.get_ident()
    try:
        yield
    finally:
        del _holders[path]
        # Before others may have it, so that theirs is never removed.
        with contextlib.suppress(FileNotFoundError):
            file.unlink()
        os.close(handle)


def lock_file(handle: int, wait: bool = False) -> bool:
    """Locks an open file, until it is closed or the process ends.

    Args:
        handle: The file, open to write.
        wait: Whether to wait for who has locked it.

    Returns:
        Whether nobody else has locked it. Where there are no such locks it
        can't be known, and is taken for so.
    """
    if fcntl is None:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        return error.errno not in (errno.EAGAIN, errno.EACCES)
    return True


def whole_path(path: str | os.PathLike) -> Path:
    """Returns an absolute path without links."""
    return Path(os.path.realpath(path))


def holds(path: Path) -> bool:
    """Whether this thread has locked an output."""
    if is_remote(path):
        return False
    return _holders.get(whole_path(path)) == threading.get_ident()


def _lock(path: Path) -> tuple[Path, int]:
    """Returns the locked file and its handle."""
    file = path.parent / f".{path.name}.lock"
    if path.is_dir() and not os.access(path.parent, os.W_OK):
        file = path / LOCK
    while True:
        handle = _open(path, file)
        if not lock_file(handle):
            who = os.read(handle, 200).decode("utf-8", "replace").strip()
            os.close(handle)
            raise Busy(
                f"{path}: {who or 'another process'} is writing there; wait "
                "until it is done, or give another output"
            )
        if _is_at(handle, file):
            break
        os.close(handle)  # It was removed meanwhile.
    # A full disk does not matter here.
    with contextlib.suppress(OSError):
        os.ftruncate(handle, 0)
        text = f"process {os.getpid()} on {socket.gethostname()}\n"
        os.pwrite(handle, text.encode(), 0)
    return file, handle


def _open(path: Path, file: Path) -> int:
    try:
        with naming_full_disk(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            return os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        if is_full(error):
            raise
        raise InputError(
            f"{path}: cannot be used as a folder ({error.strerror}); choose "
            "another"
        ) from None


def _is_at(handle: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(file))
    except FileNotFoundError:
        return False
