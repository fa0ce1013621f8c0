"""Folders of files: a task of each, or all of them one."""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from keras_flan.data.importers.base import (
    Options,
    Part,
    Reject,
    Row,
    Source,
    file_stem,
    task_name,
)
from keras_flan.errors import InputError


def data_files(path: Path, suffix: str) -> list[Path]:
    """Returns a file as a list, or a folder's files of a suffix, in order.

    The suffix is such as `.csv`; the same with `.gz` counts too.

    Raises:
        InputError: If the folder has no such file.
    """
    if not path.is_dir():
        return [path]
    found = sorted([*path.glob(f"*{suffix}"), *path.glob(f"*{suffix}.gz")])
    if not found:
        raise InputError(
            f"{path}: expected a folder of {suffix} or {suffix}.gz files, "
            "found none"
        )
    return found


def parts_of_folder(
    path: Path, options: Options, suffix: str, open: Callable[[Path], Source]
) -> list[Part] | None:
    """Returns a task for each file of a folder; None for a single file."""
    if not path.is_dir():
        return None

    def part(file: Path) -> list[Part]:
        return [Part(file, open(file).name, functools.partial(open, file))]

    return parts_of_files(data_files(path, suffix), part)


def parts_of_files(
    files: Iterable[Path], parts_of: Callable[[Path], list[Part]]
) -> list[Part]:
    """Returns the tasks of files; a broken file is one that can't be opened."""
    found: list[Part] = []
    for file in files:
        try:
            found += parts_of(file)
        except InputError as error:
            read = functools.partial(_fail, str(error))
            found.append(Part(file, task_name(file, file_stem(file)), read))
    return found


def _fail(message: str) -> NoReturn:
    raise InputError(message)


def rows_of_files(
    files: Sequence[Path], rows_of: Callable[[Path], Iterable[Row | Reject]]
) -> Iterator[Row | Reject]:
    """Yields the rows of files; one of several that is broken is a reject."""
    for file in files:
        try:
            yield from rows_of(file)
        except InputError as error:
            if len(files) == 1:
                raise
            yield Reject(file, 1, str(error), "")
