"""A disk that is full: which file could not be written, and what is missing.

Libraries say so in many ways (an `OSError` without a name, TensorFlow's and
TensorStore's statuses, h5py's texts); here all become one `OSError` with the
file's name, which the command line prints as one line.
"""

import contextlib
import errno
import io
import math
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

_ERRNOS = (errno.ENOSPC, errno.EDQUOT)
_TEXTS = re.compile(
    r"No space left|errno = 28\b|Disk quota exceeded|ENOSPC|"
    r"\d+ requested and \d+ written"
)
# What HDF5 takes for each variable beside its values, measured.
_HDF5_GROUP = 4096
_UNITS = ("KB", "MB", "GB", "TB")


def no_room(path: str | os.PathLike, needed: int = 0, room: int = 0) -> OSError:
    """Returns the error of a full disk.

    Args:
        path: The file that could not be written.
        needed: Its size in bytes, if that is known.
        room: How many bytes there were for it.

    Example:
        >>> print(no_room("runs/model", 3_000_000, 1_000_000))
        [Errno 28] no space left on the disk: it needs 3.0 MB, of which 2.0 MB
        are missing: 'runs/model'
    """
    text = "no space left on the disk"
    if needed > room:
        text += (
            f": it needs {_size(needed)}, of which {_size(needed - room)} are "
            "missing"
        )
    return OSError(errno.ENOSPC, text, os.fspath(path))


def is_full(error: BaseException | None) -> bool:
    """Whether an error, or one that led to it, says that a disk is full."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if getattr(error, "errno", None) in _ERRNOS:
            return True
        if _TEXTS.search(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


@contextlib.contextmanager
def naming_full_disk(
    path: str | os.PathLike, needed: int = 0
) -> Iterator[None]:
    """Turns what a library says of a full disk into our error.

    Args:
        path: What is written: a file, or a folder of files.
        needed: Its size in bytes, or less, if that is known: if there is less
            room, this says so before anything is written.

    Raises:
        OSError: `ENOSPC`, with `path` as its `filename`.

    Example:
        >>> with naming_full_disk("model.weights.h5", needed=300 << 20):
        ...     model.save_weights("model.weights.h5")
    """
    room = free_bytes(path)
    if room is not None and needed > room:
        raise no_room(path, needed, room)
    try:
        yield
    except Exception as error:
        known = isinstance(error, OSError) and error.filename
        if known or not is_full(error):
            raise
        # There was room for `needed`, so how much is missing is not known.
        raise no_room(path) from error


def free_bytes(path: str | os.PathLike) -> int | None:
    """Returns how much may be written to a path's disk; None: unknown."""
    if "://" in os.fspath(path):
        return None
    folder = Path(os.path.abspath(path))
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return None
    # File systems over a network may not know.
    return usage.free if usage.total else None


def bytes_of(variables: Iterable[Any]) -> int:
    """Returns how many bytes the values of variables take.

    Args:
        variables: Keras variables, or others with `shape` and `dtype`.
    """
    return sum(
        math.prod(variable.shape) * _bits(str(variable.dtype)) // 8
        for variable in variables
    )


def bytes_in_hdf5(variables: Sequence[Any]) -> int:
    """Returns about how many bytes Keras's weights file of variables takes.

    It should be known before: HDF5 crashes the process when a disk is full.

    Args:
        variables: As for `bytes_of`.
    """
    return bytes_of(variables) + _HDF5_GROUP * len(variables)


def _bits(dtype: str) -> int:
    found = re.search(r"\d+", dtype)
    return int(found[0]) if found else 8


class MeasuredFile(io.RawIOBase):
    """A file that takes all that is written, also when the disk is full.

    What came is counted then, and `check` says how much is missing.

    Args:
        handle: An open file, which stays open.
        path: What errors call it.
    """

    def __init__(self, handle: int, path: str | os.PathLike):
        self._handle, self._path = handle, path
        self._place = self._size = 0
        self._room: int | None = None

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._place}
        self._place = base.get(whence, self._size) + offset
        return self._place

    def tell(self) -> int:
        return self._place

    def truncate(self, size: int | None = None) -> int:
        self._size = self._place if size is None else size
        os.ftruncate(self._handle, self._size)
        return self._size

    def write(self, data) -> int:
        view = memoryview(data).cast("B")
        begin, done = self._place, 0
        while self._room is None and done < len(view):
            try:
                done += os.pwrite(self._handle, view[done:], begin + done)
            except OSError as error:
                if error.errno not in _ERRNOS:
                    error.filename = os.fspath(self._path)
                    raise
                self._room = max(self._size, begin + done)
        self._place = begin + len(view)
        self._size = max(self._size, self._place)
        return len(view)

    def check(self) -> None:
        """Raises OSError if the disk was full; else all is on disk."""
        if self._room is not None:
            raise no_room(self._path, self._size, self._room)
        with naming_full_disk(self._path):
            os.fsync(self._handle)


def _size(number: float) -> str:
    """Returns a number of bytes as text, such as "3.0 MB"."""
    if number < 1000:
        return f"{number} bytes"
    power = min(int(math.log10(number)) // 3, len(_UNITS))
    return f"{number / 1000**power:.1f} {_UNITS[power - 1]}"
