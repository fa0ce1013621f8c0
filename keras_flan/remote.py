"""Paths in a bucket: `pathlib`'s ways, where there are only objects."""

import errno
import fnmatch
import functools
import io
import os
from collections.abc import Callable, Iterator
from typing import IO, Any, NamedTuple, NoReturn, TypeVar, cast

from etils.epath.gpath import PosixGPath

from keras_flan.errors import InputError
from keras_flan.runtime.tensorflow import tf

F = TypeVar("F", bound=Callable[..., Any])


def _os_errors(function: F) -> F:
    """Turns TensorFlow's errors of files into those of Python."""

    @functools.wraps(function)
    def call(self: "RemotePath", *args: Any, **kwargs: Any) -> Any:
        errors = tf().errors
        try:
            return function(self, *args, **kwargs)
        except errors.OpError as error:
            text = " ".join(error.message.split())[:300]
            if isinstance(error, errors.NotFoundError):
                place = errno.ENOENT, text, str(self)
                raise FileNotFoundError(*place) from error
            remedy = "try again"
            if isinstance(
                error,
                (errors.PermissionDeniedError, errors.UnauthenticatedError),
            ):
                remedy = (
                    "log in with `gcloud auth application-default login` "
                    "to an account that may do this"
                )
            raise RemoteError(f"{self}: {text}; {remedy}") from error

    return cast(F, call)


class RemoteError(InputError, OSError):
    """What a bucket refuses, or an answer that does not come."""


class _Stat(NamedTuple):
    st_size: int
    is_directory: bool


class RemotePath(PosixGPath):
    """A `gs://` path of `etils.epath`, with what `pathlib.Path` has.

    Objects are read and written whole. There are no folders: what objects'
    names begin with is taken for one, so that `mkdir` has nothing to do. There
    is no rename either: what has to be there whole or not at all is written
    with its last object naming or marking it.

    Errors are `FileNotFoundError` and so on as Python has them, and
    `RemoteError` where a bucket gives no answer or refuses one.

    Example:
        >>> path = RemotePath("gs://bucket/records")
        >>> [child.name for child in path.iterdir()]
        ['gsm8k', 'mixture.yaml']
    """

    @_os_errors
    def stat(self) -> _Stat:
        found = tf().io.gfile.stat(str(self))
        return _Stat(found.length, found.is_directory)

    def exists(self) -> bool:
        return self._is_folder() is not None

    def is_file(self) -> bool:
        return self._is_folder() is False

    def is_dir(self) -> bool:
        return self._is_folder() is True

    def iterdir(self) -> "Iterator[RemotePath]":
        return (child for child, _ in self._children())

    def glob(self, pattern: str) -> "Iterator[RemotePath]":
        """Yields what a pattern finds; `*/` at its end: folders only."""
        first, slash, rest = pattern.partition("/")
        for child, is_folder in self._children(missing_ok=True):
            if not fnmatch.fnmatchcase(child.name, first):
                continue
            if not slash or (is_folder and not rest):
                yield child
            elif is_folder:
                yield from child.glob(rest)

    def rglob(self, pattern: str) -> "Iterator[RemotePath]":
        """Yields files (no folders) of a name, at any depth."""
        for child, is_folder in self._children(missing_ok=True):
            if is_folder:
                yield from child.rglob(pattern)
            elif fnmatch.fnmatchcase(child.name, pattern):
                yield child

    def open(self, mode: str = "r", **_: Any) -> IO:  # UTF-8, always
        if mode == "r":
            return io.StringIO(self.read_bytes().decode("utf-8"), newline=None)
        return tf().io.gfile.GFile(str(self), mode)

    @_os_errors
    def read_bytes(self) -> bytes:
        if self.stat().is_directory:
            raise IsADirectoryError(errno.EISDIR, "is a folder", str(self))
        # One request for all of it, where a stream would make many.
        return tf().io.read_file(str(self)).numpy()

    def read_text(self, encoding: str | None = None) -> str:
        return self.open("r").read()

    @_os_errors
    def write_bytes(self, data: bytes) -> int:
        with tf().io.gfile.GFile(str(self), "wb") as f:
            f.write(data)
        return len(data)

    def write_text(self, data: str, *_: Any, **__: Any) -> int:
        return self.write_bytes(data.encode("utf-8"))

    @_os_errors
    def download(self, path: str | os.PathLike) -> None:
        """Copies the object to a file of this machine."""
        with open(path, "wb") as f:
            f.write(self.read_bytes())

    @_os_errors
    def upload(self, path: str | os.PathLike) -> None:
        """Makes the object of a file of this machine, whole or not at all."""
        tf().io.gfile.copy(os.fspath(path), str(self), overwrite=True)

    @_os_errors
    def append(self, data: bytes) -> None:
        """Replaces the object by a longer one."""
        with tf().io.gfile.GFile(str(self), "ab") as f:
            f.write(data)

    def unlink(self, missing_ok: bool = False) -> None:
        try:
            self._remove()
        except FileNotFoundError:
            if not missing_ok:
                raise

    def rmtree(self, missing_ok: bool = False) -> None:
        try:
            self._remove_all()
        except FileNotFoundError:
            if not missing_ok:
                raise

    def mkdir(self, *_: Any, **__: Any) -> None:
        """Does nothing."""

    def rmdir(self) -> None:
        """Does nothing."""

    def resolve(self, strict: bool = False) -> "RemotePath":
        return self

    absolute = expanduser = resolve

    def rename(self, target: object) -> NoReturn:
        raise OSError(errno.EPERM, "a bucket has no rename", str(self))

    replace = rename

    def _is_folder(self) -> bool | None:
        """Whether this is a folder; `None` if there is nothing."""
        try:
            return self.stat().is_directory
        except FileNotFoundError:
            return None

    @_os_errors
    def _children(
        self, missing_ok: bool = False
    ) -> "list[tuple[RemotePath, bool]]":
        """Returns what is in a folder, and whether it is a folder itself."""
        try:
            names = tf().io.gfile.listdir(str(self))
        except tf().errors.NotFoundError:
            if missing_ok:
                return []
            raise
        folders = {name[:-1] for name in names if name.endswith("/")}
        both = sorted({name.removesuffix("/") for name in names} - {""})
        return [(self / name, name in folders) for name in both]

    @_os_errors
    def _remove(self) -> None:
        tf().io.gfile.remove(str(self))

    @_os_errors
    def _remove_all(self) -> None:
        tf().io.gfile.rmtree(str(self))
