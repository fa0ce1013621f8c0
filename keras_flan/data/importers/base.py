"""What every importer is made of, and the helpers they share."""

import dataclasses
import enum
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from keras_flan import files
from keras_flan.data.records.turns import Turn
from keras_flan.errors import InputError
from keras_flan.files import read_text

# The fields of a row, or why it can't be used.
Found: TypeAlias = dict[str, str] | str

SPLITS = ("train", "training", "test", "dev", "val", "valid", "validation")


@dataclass(frozen=True)
class Row:
    """A usable row of a source file.

    Args:
        path: The file.
        number: Its line, counted from 1; in a JSON document, the running
            number of the item.
        fields: Field name to text.
        source_id: Id given by the source; default: file name and number.
        turns: The turns, if it is a conversation; see `Example`.
    """

    path: Path
    number: int
    fields: dict[str, str]
    source_id: str = ""
    turns: tuple[Turn, ...] = ()


class RejectCode(enum.Enum):
    """Why a row can't be used, where something depends on it."""

    OTHER = "other"
    NO_NUMBER = "no number"  # A number is expected as the answer.


@dataclass(frozen=True)
class Reject:
    """A row that can't be used.

    Args:
        path: The file.
        number: As in `Row`.
        reason: What was found and what was expected.
        text: The row itself.
        code: The reason for programs: nothing may depend on its wording.
    """

    path: Path
    number: int
    reason: str
    text: str
    code: RejectCode = RejectCode.OTHER


@dataclass(frozen=True)
class Options:
    """What the user asked for.

    Args:
        name: Name of the task, or None to take it from the file.
        columns: Field name to column name; None to take all columns. The
            field `options` may have several columns.
        split: The split to read, where a source holds several.
        keep_mmlu: Keep the Natural Instructions tasks made of MMLU.
        delimiter: What stands between the columns of a CSV file; None to
            guess it.
        encoding: The encoding of the file, as Python names it; None for
            UTF-8, or, for formats of any content, to guess it.
    """

    name: str | None = None
    columns: Mapping[str, str | Sequence[str]] | None = None
    split: str = "train"
    keep_mmlu: bool = False
    delimiter: str | None = None
    encoding: str | None = None


@dataclass(frozen=True)
class Source:
    """An opened source: its rows, and what is known about them.

    Args:
        rows: The rows in file order; may be a generator.
        name: Default name of the task.
        templates: Template family that fits the fields, or None.
        answer_kind: `number`, `option`, `yes_no`, `text` or None.
        extra: Further keys for `dataset_info.json`.
        license: License of these data, if it differs from the format's.
        split: The split that the file says it is, if it does.
        origin: Where it comes from, if that differs from the format's.
    """

    rows: Iterable[Row | Reject]
    name: str
    templates: str | None = None
    answer_kind: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    license: str = ""
    split: str | None = None
    origin: str = ""


@dataclass(frozen=True)
class Part:
    """One task of a source that holds many.

    Args:
        path: Its file.
        name: Its name, as `open` will find it.
        open: Opens it; may raise `InputError`. A `functools.partial` of a
            function can go to other processes.
        split: The split that the file says it is, if it does.
        left_out: Why the task isn't imported, or `""`.
    """

    path: Path
    name: str
    open: Callable[[], Source]
    split: str | None = None
    left_out: str = ""


def _no_parts(path: Path, options: Options) -> None:
    """A source of one task."""


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
        takes: Which of `delimiter` and `encoding` the user may give.
        parts: Lists the tasks of a source that holds many, or returns None
            if it is one task.
        mixture: The mixture of the library that the tasks belong to, if they
            do; a file for it is written beside the records.

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
    takes: tuple[str, ...] = ()
    parts: Callable[[Path, Options], Iterable[Part] | None] = _no_parts
    mixture: str = ""


def open_with_origin(open: Callable[[], Source], importer: Importer) -> Source:
    """Opens a source, which then says where it comes from, and its license."""
    source = open()
    return dataclasses.replace(
        source,
        origin=source.origin or importer.origin,
        license=source.license or importer.license,
    )


def task_name(path: Path, default: str) -> str:
    """Returns a task name: the file's, without suffixes, split and number.

    Example:
        >>> task_name(Path("gsm8k_train.tsv.gz"), "flan-cot")
        'gsm8k'
        >>> task_name(Path("train.jsonl"), "gsm8k")
        'gsm8k'
    """
    stem = re.sub(r"-\d{5}-of-\d{5}$", "", file_stem(path))
    stem = re.sub(rf"(^|[_.-])({'|'.join(SPLITS)})$", "", stem)
    return clean_name(stem) or default


def folder_name(path: Path, default: str) -> str:
    """Returns the task name of a file that may be called after its split.

    Then its folder is the name.

    Example:
        >>> folder_name(Path("data/boolq/test.json"), "json")
        'boolq'
    """
    folder = path.resolve().parent.name if path.parent.name else ""
    return task_name(path, clean_name(folder) or default)


def file_stem(path: Path) -> str:
    """Returns the file's name without `.gz` and its suffix."""
    return Path(path.name.removesuffix(".gz")).stem


def clean_name(text: str) -> str:
    """Returns `text` with `_` for what a task's name can't hold.

    Letters of all scripts are kept; those that a Mac writes in two parts (a
    letter and its accent) become one.
    """
    text = unicodedata.normalize("NFC", text)
    return re.sub(r"[^\w.+-]+|^\W+", "_", text)


def read_lines(
    path: Path, text: str | None = None
) -> Iterator[tuple[int, str]]:
    r"""Yields number, from 1, and text of the lines that are not blank.

    Only `"\n"` and `"\r\n"` end a line: others, such as U+2028, occur inside
    the texts of public data sets. `text` is that of the file, if it has been
    read.
    """
    text = read_text(path) if text is None else text
    for number, line in enumerate(text.split("\n"), 1):
        if line and not line.isspace():
            yield number, line.removesuffix("\r")


def read_objects(
    path: Path, text: str | None = None
) -> Iterator[tuple[int, str, dict[str, Any] | Reject]]:
    """Yields number, text and object, or `Reject`, of each JSON line."""
    for number, line in read_lines(path, text):
        try:
            value = parse_exact_json(line)
        except ValueError as error:
            reason = f"not JSON ({files.json_fault(error)})"
        else:
            reason = missing_text(value, ())
        yield (
            number,
            line,
            Reject(path, number, reason, line) if reason else value,
        )


def row_or_reject(
    path: Path, number: int, found: Found, text: str, source_id: str = ""
) -> Row | Reject:
    """Returns a row of the fields found, or a reject of the reason found."""
    if isinstance(found, str):
        return Reject(path, number, found, text)
    return Row(path, number, found, source_id)


def line_rows(
    path: Path, fields_of: Callable[[str], Found], text: str | None = None
) -> Iterator[Row | Reject]:
    """Yields a row of each line that is not blank.

    `fields_of` returns the fields of a line, or why it can't be used.
    """
    for number, line in read_lines(path, text):
        yield row_or_reject(path, number, fields_of(line), line)


def object_rows(
    path: Path,
    fields_of: Callable[[dict[str, Any]], Found],
    id_key: str | None = None,
    text: str | None = None,
) -> Iterator[Row | Reject]:
    """Yields a row of each JSON line; its id is what is under `id_key`."""
    for number, line, value in read_objects(path, text):
        if isinstance(value, Reject):
            yield value
        else:
            source_id = str(value.get(id_key, "")) if id_key else ""
            found = fields_of(value)
            yield row_or_reject(path, number, found, line, source_id)


def item_rows(
    path: Path, key: str, items: list[Any], fields_of: Callable[[Any], Found]
) -> Iterator[Row | Reject]:
    """Yields a row of each item of a JSON list, or of that under a key."""
    for number, item in enumerate(items, 1):
        found = fields_of(item)
        if isinstance(found, str):
            found = f"{key}[{number - 1}]: {found}" if key else found
            yield Reject(path, number, found, as_json(item))
        else:
            yield Row(path, number, found)


class Number(float):
    """A JSON number that keeps its spelling, such as `1.50`, as `text`."""

    def __init__(self, text: str) -> None:
        self.text = text


def parse_exact_json(text: str) -> Any:
    """Returns the value of a JSON text, of which nothing is lost.

    Fractions keep their spelling (`Number`). What `json` takes in silence is
    an error: a key given twice, of which the last one would win, and `NaN`.

    Raises:
        ValueError: If it isn't JSON; see `files.json_fault`.
    """
    return files.parse_json(text, **_EXACTLY)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} is given twice")
    return value


_EXACTLY: dict[str, Any] = {"object_pairs_hook": _unique, "parse_float": Number}


def read_exact_json(path: Path, text: str | None = None) -> Any:
    """Returns the JSON value in a file; see `parse_exact_json`."""
    return files.read_json(
        path, remedy="download or convert the file again", text=text, **_EXACTLY
    )


def read_document(path: Path, key: str) -> dict[str, Any]:
    """Returns the JSON object in a file, which holds a list under `key`."""
    document = read_exact_json(path)
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


def join_options(options: Iterable[str]) -> str:
    r"""Returns answer options as one text, one per line.

    A line break in an option becomes a blank.

    Example:
        >>> join_options(["yes ", "not at\nall"])
        'yes\nnot at all'
    """
    return "\n".join(one_line(option) for option in options)


def one_line(text: str) -> str:
    """Returns the text with a blank for each run of line breaks."""
    parts = (part.strip() for part in re.split(r"[\r\n]", text))
    return " ".join(part for part in parts if part)


def text_or_empty(value: Any) -> str:
    """Returns a value that a source may lack or have in another form."""
    return value if isinstance(value, str) else ""


def as_json(value: Any) -> str:
    """Returns a value as JSON, to be shown as the text of a reject."""
    return json.dumps(value, ensure_ascii=False)


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
