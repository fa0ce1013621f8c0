"""The texts of a benchmark, from record sets or from files of any layout.

To compare texts, the layout of a file does not matter: every JSON object,
table row or line is an example, and all strings in it are its texts.
"""

import csv
import functools
import io
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from keras_flan.data.importers.base import read_lines
from keras_flan.data.records.info import INFO_FILE
from keras_flan.data.records.shards import read_records
from keras_flan.errors import InputError
from keras_flan.files import json_fault, parse_json, read_json, read_text
from keras_flan.storage import as_path

# An example: where it is, such as "test.jsonl:7", and its texts.
Found = tuple[str, list[str]]
_Numbered = Iterator[tuple[int, list[str]]]


def read_benchmark(path: str | os.PathLike) -> Iterator[Found]:
    """Yields the examples of a benchmark's folder or file.

    Args:
        path: A file, or a folder, searched at any depth. Read are record
            sets and `.json`, `.jsonl`, `.jsonlines`, `.csv`, `.tsv` and
            `.txt`, each also with `.gz`.

    Raises:
        InputError: If there is nothing to read, or a file is broken.

    Example:
        >>> place, texts = next(read_benchmark("gsm8k/test.jsonl"))
        >>> place, len(texts)
        ('test.jsonl:1', 2)
    """
    path = as_path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    root = path if path.is_dir() else path.parent
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    known = [
        (file, reader)
        for file in files
        if file.is_file() and (reader := _reader(file))
    ]
    if not known:
        raise InputError(
            f"{path}: nothing to compare with; expected record sets or files "
            f"that end in {', '.join(_READERS)} (.gz too)"
        )
    for file, reader in known:
        name = file.relative_to(root)
        for number, texts in reader(file):
            yield f"{name}:{number}", texts


def _reader(file: Path) -> Callable[[Path], _Numbered] | None:
    if file.name == INFO_FILE:
        return _read_records
    return _READERS.get(Path(file.name.removesuffix(".gz")).suffix)


def _read_records(file: Path) -> _Numbered:
    for number, example in enumerate(read_records(file.parent)):
        yield number, list(example.fields.values())


def _read_json(file: Path) -> _Numbered:
    # Public files of JSON lines are often called .json.
    if _holds_lines(file):
        yield from _read_json_lines(file)
    else:
        value = read_json(
            file, remedy="mend the file, or take it away", allow_nan=True
        )
        yield from enumerate(_objects(value), 1)


def _holds_lines(file: Path) -> bool:
    """Whether a first line is a whole JSON value and others follow."""
    lines = [line for _, line in itertools.islice(read_lines(file), 2)]
    if len(lines) < 2:
        return False
    try:
        parse_json(lines[0], allow_nan=True)
    except ValueError:
        return False
    return True


def _read_json_lines(file: Path) -> _Numbered:
    for number, line in read_lines(file):
        try:
            value = parse_json(line, allow_nan=True)
        except ValueError as error:
            raise InputError(
                f"{file}:{number}: not JSON ({json_fault(error)}); mend the "
                "line, or take it away"
            ) from None
        yield number, [text for one in _objects(value) for text in one]


def _read_table(file: Path, **dialect: Any) -> _Numbered:
    rows = csv.reader(io.StringIO(read_text(file), newline="\n"), **dialect)
    try:
        yield from enumerate(rows, 1)
    except csv.Error as error:
        raise InputError(f"{file}: not a table ({error})") from None


def _read_lines(file: Path) -> _Numbered:
    for number, line in read_lines(file):
        yield number, [line]


def _objects(value: Any) -> Iterator[list[str]]:
    """Yields the strings of each object, without those of objects in it."""
    texts, inner = [], []
    todo = [value]
    while todo:
        one = todo.pop()
        if isinstance(one, str):
            texts.append(one)
        elif isinstance(one, dict) and one is not value:
            inner.append(one)
        elif isinstance(one, dict):
            todo += reversed(one.values())
        elif isinstance(one, list):
            todo += reversed(one)
    if texts:
        yield texts
    for one in inner:
        yield from _objects(one)


_READERS: dict[str, Callable[[Path], _Numbered]] = {
    ".json": _read_json,
    ".jsonl": _read_json_lines,
    ".jsonlines": _read_json_lines,
    ".csv": _read_table,
    ".tsv": functools.partial(
        _read_table, delimiter="\t", quoting=csv.QUOTE_NONE
    ),
    ".txt": _read_lines,
}
