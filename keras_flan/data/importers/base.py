"""What every importer is made of, and the helpers they share."""

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keras_flan.errors import InputError
from keras_flan.files import read_text

_SPLIT = r"(train|training|test|dev|val|valid|validation)"


@dataclass(frozen=True)
class Row:
    """A usable row of a source file.

    Args:
        path: The file.
        number: Its line, counted from 1; in a JSON document, the running
            number of the item.
        fields: Field name to text.
        source_id: Id given by the source; default: file name and number.
    """

    path: Path
    number: int
    fields: dict[str, str]
    source_id: str = ""


@dataclass(frozen=True)
class Reject:
    """A row that can't be used.

    Args:
        path: The file.
        number: As in `Row`.
        reason: What was found and what was expected.
        text: The row itself.
    """

    path: Path
    number: int
    reason: str
    text: str


@dataclass(frozen=True)
class Options:
    """What the user asked for.

    Args:
        name: Name of the task, or None to take it from the file.
        columns: Field name to column name; None to take all columns.
    """

    name: str | None = None
    columns: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Source:
    """An opened source: its rows, and what is known about them.

    Args:
        rows: The rows in file order; may be a generator.
        name: Default name of the task.
        templates: Template family that fits the fields, or None.
        answer_kind: `number`, `option`, `yes_no`, `text` or None.
        extra: Further keys for `dataset_info.json`.
    """

    rows: Iterable[Row | Reject]
    name: str
    templates: str | None = None
    answer_kind: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Importer:
    """A file format.

    Args:
        format: Its name on the command line.
        summary: One line for the list of formats.
        read: Opens a file (or folder) of the format. It raises `InputError`
            if the file as a whole can't be read, and yields a `Reject` for a
            row that can't be used.
        origin: Where files of the format come from, if from one place.
        license: License of the data there.
        has_columns: Whether the user may map columns to fields.

    Example:
        >>> def read(path, options):
        ...     rows = (
        ...         Row(path, n, {"question": line, "answer": line[::-1]})
        ...         for n, line in read_lines(path)
        ...     )
        ...     return Source(rows, name=task_name(path, "reversal"))
        >>> reversal = Importer("reversal", "Words to be reversed.", read)
        >>> info = import_file(reversal, "words.txt", "records/reversal")
    """

    format: str
    summary: str
    read: Callable[[Path, Options], Source]
    origin: str = ""
    license: str = ""
    has_columns: bool = False


def task_name(path: Path, default: str) -> str:
    """Returns a task name: the file's, without suffixes and split.

    Example:
        >>> task_name(Path("gsm8k_train.tsv.gz"), "flan-cot")
        'gsm8k'
        >>> task_name(Path("train.jsonl"), "gsm8k")
        'gsm8k'
    """
    stem = Path(path.name.removesuffix(".gz")).stem
    stem = re.sub(rf"(^|[_-]){_SPLIT}$", "", stem)
    return re.sub(r"[^\w.+-]+|^\W+", "_", stem) or default


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    r"""Yields number, from 1, and text of the lines that are not blank.

    Only `"\n"` and `"\r\n"` end a line: others, such as U+2028, occur inside
    the texts of public data sets.
    """
    for number, line in enumerate(_read(path).split("\n"), 1):
        if line and not line.isspace():
            yield number, line.removesuffix("\r")


def read_objects(path: Path) -> Iterator[tuple[int, str, dict | Reject]]:
    """Yields number, text and object, or `Reject`, of each JSON line."""
    for number, line in read_lines(path):
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            reason = f"not JSON ({error.msg} at column {error.colno})"
            value = Reject(path, number, reason, line)
        except (ValueError, RecursionError) as error:
            value = Reject(path, number, f"not JSON ({error})", line)
        else:
            if not isinstance(value, dict):
                kind = type(value).__name__
                value = Reject(
                    path, number, f"expected a JSON object, found {kind}", line
                )
        yield number, line, value


def read_document(path: Path, key: str) -> dict:
    """Returns the JSON object in a file, which holds a list under `key`."""
    text = _read(path)
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path}:{error.lineno}: not JSON ({error.msg} at column "
            f"{error.colno}); download or convert the file again"
        ) from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error})") from None
    if not isinstance(document, dict):
        found = type(document).__name__
    elif key not in document:
        found = f"an object with the keys {sorted(document)!r:.80}"
    elif not isinstance(document[key], list):
        found = f"{type(document[key]).__name__} there"
    else:
        return document
    raise InputError(
        f"{path}: expected a JSON object with a list under {key!r}, found "
        f"{found}; choose the format that fits, see `keras-flan formats`"
    )


def read_csv(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yields first line, from 1, and cells of each CSV record."""
    # StringIO, not splitlines, which also cuts at U+0085 and the like.
    lines = io.StringIO(_read(path), newline="")
    records = csv.reader(lines, strict=True)
    number = 1
    try:
        for cells in records:
            if cells:
                yield number, cells
            number = records.line_num + 1
    except csv.Error as error:
        raise InputError(
            f"{path}:{number}: not CSV ({error}); check the quotes there"
        ) from None


def join_options(options: Iterable[str]) -> str:
    r"""Returns answer options as one text, an option a line.

    Example:
        >>> join_options(["yes ", "not at\nall"])
        'yes\nnot at all'
    """
    return "\n".join(" ".join(option.split()) for option in options)


def missing_text(value: Any, names: Iterable[str]) -> str:
    """Returns why `value` has no usable texts under `names`, or `""`."""
    if not isinstance(value, dict):
        return f"expected a JSON object, found {type(value).__name__}"
    for name in names:
        text = value.get(name)
        if not isinstance(text, str):
            return f"expected a text under {name!r}, found {text!r:.40}"
        if not text or text.isspace():
            return f"the text under {name!r} is empty"
    return ""


def _read(path: Path) -> str:
    # Spreadsheets put a byte-order mark in front.
    return read_text(path).removeprefix("\ufeff")
