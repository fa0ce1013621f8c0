"""Where files are: on this machine, or in a bucket (`gs://`).

`as_path` is the one place that tells the two apart. Whoever is given a path
makes it by `as_path` (`pathlib.Path("gs://b")` would be a local folder `gs:`),
and goes on as with `pathlib`. What only reads local files, such as h5py, gets
them by `local_copy`; what only writes such, by `uploaded`.
"""

import contextlib
import fnmatch
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, TypeVar, cast

from keras_flan.disk import is_full, naming_full_disk, no_room
from keras_flan.errors import InputError

if TYPE_CHECKING:
    from keras_flan.remote import RemotePath

T = TypeVar("T")
R = TypeVar("R")

_BUCKET = "gs://"
# Requests to a bucket that wait at the same time.
_REQUESTS = 16


def is_remote(path: str | os.PathLike) -> bool:
    """Whether a path is in a bucket.

    Example:
        >>> is_remote("gs://bucket/records"), is_remote("records")
        (True, False)
    """
    return os.fspath(path).startswith(_BUCKET)


def as_path(path: str | os.PathLike, *others: str | os.PathLike) -> Path:
    """Returns a path, joined from parts, that may be in a bucket.

    Args:
        path: A local path, or `gs://bucket/...`.
        *others: Relative to it; one that is absolute or in a bucket stands
            for itself.

    Returns:
        A `pathlib.Path`; or, in a bucket, what has the same methods (and is
        typed as one for that reason).

    Raises:
        InputError: If the path is in another store than these.

    Example:
        >>> as_path("runs", "a"), as_path("gs://bucket", "a")
        (PosixPath('runs/a'), RemotePath('gs://bucket/a'))
        >>> as_path("gs://bucket/train.yaml", "/data"), as_path("a", "gs://b")
        (PosixPath('/data'), RemotePath('gs://b'))
    """
    for other in others:
        text = os.fspath(other)
        whole = "://" in text or os.path.isabs(text)
        path = other if whole else _checked(path) / _checked(text)
    return _checked(path)


def _checked(path: str | os.PathLike) -> Path:
    text = os.fspath(path)
    if text.startswith(_BUCKET) and len(text) > len(_BUCKET):
        # A tenth of a second that only buckets need.
        from keras_flan.remote import RemotePath

        return RemotePath(text)
    if "://" in text:
        raise InputError(
            f"{text}: expected a path of this machine, or gs://BUCKET/..."
        )
    if PurePath(text).parts[:1] == ("gs:",):
        raise InputError(
            f"{text}: a folder 'gs:' is no bucket (pathlib.Path takes a slash "
            "from gs://BUCKET/...); give the address as text"
        )
    return Path(text)


def local_path(path: str | os.PathLike) -> Path:
    """Returns a path of this machine.

    Raises:
        InputError: If it is in a bucket.
    """
    if is_remote(path):
        raise InputError(
            f"{os.fspath(path)}: this is written to a folder of this machine "
            "only; give a local one, and copy it to the bucket afterwards"
        )
    return as_path(path)


def remove_folder(path: str | os.PathLike) -> None:
    """Removes a folder with all in it, if it is there."""
    path = as_path(path)
    if is_remote(path):
        _remote(path).rmtree(missing_ok=True)
    else:
        shutil.rmtree(path, ignore_errors=True)


def upload(file: Path, path: Path) -> None:
    """Makes an object of a local file: it is there whole or not at all."""
    _remote(path).upload(file)


def append(path: Path, data: bytes) -> None:
    """Appends to a file; the data are safe when this returns.

    In a bucket the whole object is written anew.
    """
    if is_remote(path):
        _remote(path).append(data)
        return
    with open(path, "ab", buffering=0) as f, naming_full_disk(path):
        begin = f.tell()
        try:
            done = 0
            while done < len(data):
                done += f.write(data[done:])
            os.fsync(f.fileno())
        except OSError as error:
            f.truncate(begin)
            if is_full(error):
                raise no_room(path, len(data), done) from error
            raise


def each(call: Callable[[T], R], items: Sequence[T], where: Path) -> list[R]:
    """Returns what `call` makes of each item, in order.

    If `where` is in a bucket, many wait for it at the same time.
    """
    if not is_remote(where):
        return [call(item) for item in items]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(_REQUESTS) as pool:
        return list(pool.map(call, items))


@contextlib.contextmanager
def local_copy(
    path: str | os.PathLike, only: Sequence[str] = ("*",)
) -> Iterator[Path]:
    """Gives a file or folder to what reads local files only.

    Args:
        path: The file or folder. One of this machine is given as it is, one
            in a bucket is copied to a temporary folder (that `TMPDIR` names)
            until the end of the `with`; a missing one is missing there.
        only: Of a folder, the files whose names below it have one of these
            shapes.

    Yields:
        A local path of the same name. An `InputError` that names it is made
        to name `path`.

    Example:
        >>> with local_copy("gs://bucket/t5", ["*.json", "*.h5"]) as folder:
        ...     keras_hub.models.T5Backbone.from_preset(str(folder))
    """
    path = as_path(path)
    if not is_remote(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="keras_flan-") as temporary:
        local = Path(temporary, path.name)
        try:
            _download(_remote(path), local, only)
            yield local
        except InputError as error:
            text = str(error).replace(str(local), str(path))
            raise InputError(text) from error


@contextlib.contextmanager
def local_copies(paths: Iterable[Path]) -> Iterator[dict[Path, Path]]:
    """Gives files to what maps local files, as `local_copy` gives one.

    Those in a bucket are copied side by side. What has mapped or opened a
    file keeps it after the `with`.

    Example:
        >>> with local_copies([as_path("gs://bucket/a")]) as local:
        ...     data = local[as_path("gs://bucket/a")].read_bytes()
    """
    local = {path: path for path in paths}
    remote = [path for path in local if is_remote(path)]
    if not remote:
        yield local
        return
    with tempfile.TemporaryDirectory(
        prefix="keras_flan-", ignore_cleanup_errors=True
    ) as temporary:
        for i, path in enumerate(remote):
            local[path] = Path(temporary, f"{i}-{path.name}")
        each(lambda p: _remote(p).download(local[p]), remote, remote[0])
        yield local


@contextlib.contextmanager
def uploaded(path: str | os.PathLike, last: str) -> Iterator[Path]:
    """Gives a folder to what writes local files only.

    Args:
        path: The folder. One of this machine is made, if missing, and given
            as it is; for one in a bucket a temporary folder is given, whose
            files are uploaded when all went well.
        last: The file that is uploaded last: with it the folder is whole.

    Example:
        >>> with uploaded("gs://bucket/t5", last="config.json") as folder:
        ...     task.save_to_preset(str(folder))
    """
    path = as_path(path)
    if not is_remote(path):
        path.mkdir(parents=True, exist_ok=True)
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="keras_flan-") as temporary:
        made = Path(temporary, path.name)
        made.mkdir()
        yield made
        (path / last).unlink(missing_ok=True)
        upload_folder(made, path, last)


def upload_folder(made: Path, path: Path, last: str = "") -> list[str]:
    """Uploads a local folder's files, and returns their names in it."""
    names = [
        file.relative_to(made).as_posix()
        for file in sorted(made.rglob("*"))
        if file.is_file()
    ]
    for name in sorted(names, key=lambda name: name == last):
        upload(made / name, path / name)
    return names


def _download(path: "RemotePath", local: Path, only: Iterable[str]) -> None:
    if path.is_file():
        path.download(local)
        return
    for file in path.rglob("*"):
        name = str(file.relative_to(path))
        if any(fnmatch.fnmatchcase(name, shape) for shape in only):
            place = local / name
            place.parent.mkdir(parents=True, exist_ok=True)
            file.download(place)


def _remote(path: Path) -> "RemotePath":
    # `as_path` types it as a `Path`, whose methods it has.
    return cast("RemotePath", path)
