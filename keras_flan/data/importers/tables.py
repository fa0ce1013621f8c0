"""Formats of any content: columns, keys or labels become fields."""

import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_flan.data.importers.base import (
    Importer,
    Number,
    Options,
    Reject,
    Row,
    Source,
    as_json,
    join_options,
    missing_text,
    read_csv,
    read_exact_json,
    read_lines,
    read_objects,
    row_or_reject,
    task_name,
)
from keras_flan.errors import InputError, did_you_mean

Columns = Mapping[str, str | Sequence[str]] | None

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_POSITION = re.compile(r"#[1-9]\d*")
_MISSING = object()


def pick_fields(
    record: Mapping[str, Any], columns: Columns
) -> dict[str, str] | str:
    """Returns the fields of a record, or why it can't be used.

    Args:
        record: Keys to values, perhaps nested.
        columns: Field name to key. A key that the record lacks is read as a
            path: `question.stem`, `answers.0.text`; in a list a path without
            an index is followed in every item (`choices.text`). None takes
            every key as a field.

    Returns:
        The fields as texts; a number as the file spells it. A list becomes
        the lines of the field `options`, and is no text elsewhere.
    """
    fields = {}
    for field, column in (columns or {key: key for key in record}).items():
        if not _NAME.fullmatch(field):
            return (
                f"{field!r:.40} can't be the name of a field: expected "
                "letters, digits and '_'; choose columns with --map"
            )
        values = []
        for key in [column] if isinstance(column, str) else column:
            values.append(_look_up(record, key))
            if values[-1] is _MISSING:
                return f"no {key!r}." + did_you_mean(key, record)
        value = values[0] if len(values) == 1 else values
        text = _text(value, field)
        if text is None:
            return (
                f"expected a text or number under {column!r}, found "
                f"{value!r:.40}"
            )
        fields[field] = text
    filled = any(text and not text.isspace() for text in fields.values())
    return fields if filled else "all columns are empty"


def _look_up(value: Any, path: str) -> Any:
    """Returns what is under a key or a path, or `_MISSING`."""
    if isinstance(value, Mapping) and path in value:
        return value[path]
    key, _, rest = path.partition(".")
    if isinstance(value, list) and key.isdecimal():
        found = value[int(key)] if int(key) < len(value) else _MISSING
    elif isinstance(value, list):
        found = [_look_up(item, path) for item in value]
        return _MISSING if _MISSING in found else found
    else:
        found = (
            value.get(key, _MISSING)
            if isinstance(value, Mapping)
            else (_MISSING)
        )
    return _look_up(found, rest) if rest and found is not _MISSING else found


def _text(value: Any, field: str) -> str | None:
    """Returns a scalar, or a list of options, as text; None for the rest."""
    if isinstance(value, str):
        return value
    if isinstance(value, Number):
        return value.text
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    if field == "options" and isinstance(value, list):
        texts = [_text(option, "") for option in value]
        known = [text for text in texts if text is not None]
        return join_options(known) if len(known) == len(texts) else None
    return None


def _as_row(
    path: Path, number: int, record: Any, columns: Columns, text: str = ""
) -> Row | Reject:
    found = missing_text(record, ()) or pick_fields(record, columns)
    return row_or_reject(path, number, found, text or as_json(record))


def _table_rows(
    path: Path,
    records: Iterator[tuple[int, list[str]]],
    columns: Columns,
    separator: str,
) -> Iterator[Row | Reject]:
    """Yields the rows of a table of cells, whose first row may be a header."""
    named = _flat(columns)
    first = next(records, None)
    if first is None:
        return
    if named and all(_POSITION.fullmatch(column) for column in named):
        # The first row says how many columns there are: a stray tab must not
        # move texts from one field to another.
        names = [f"#{i}" for i in range(1, len(first[1]) + 1)]
        records = itertools.chain([first], records)
    else:
        names = _header(path, first[1], columns)
    for number, cells in records:
        text = separator.join(cells)
        if len(cells) == len(names):
            record = dict(zip(names, cells, strict=True))
            yield _as_row(path, number, record, columns, text)
        else:
            reason = f"expected {len(names)} columns, found {len(cells)}"
            yield Reject(path, number, reason, text)


def _flat(columns: Columns) -> list[str]:
    """Returns all columns that are mapped."""
    values = (columns or {}).values()
    return [
        column
        for value in values
        for column in ([value] if isinstance(value, str) else value)
    ]


def _header(path: Path, names: list[str], columns: Columns) -> list[str]:
    """Returns the checked column names."""
    names = [name.strip() for name in names]
    headless = "; columns of a file without header are #1, #2, ..."
    for name, times in Counter(names).items():
        if times > 1 or not name:
            raise InputError(
                f"{path}:1: expected distinct column names, found {name!r} "
                f"{times} time(s); rename the columns{headless}"
            )
        if columns is None and not _NAME.fullmatch(name):
            raise InputError(
                f"{path}:1: the column {name!r:.40} can't be the name of a "
                "field: expected letters, digits and '_'; choose columns with "
                f"--map FIELD=COLUMN{headless}"
            )
    for column in _flat(columns):
        if column not in names:
            raise InputError(
                f"{path}:1: no column {column!r} in the header."
                + did_you_mean(column, names)
            )
    return names


def _read_csv(path: Path, options: Options) -> Source:
    rows = _table_rows(path, read_csv(path), options.columns, ",")
    return Source(rows, task_name(path, "csv"))


def _read_tsv(path: Path, options: Options) -> Source:
    records = ((n, line.split("\t")) for n, line in read_lines(path))
    rows = _table_rows(path, records, options.columns, "\t")
    return Source(rows, task_name(path, "tsv"))


def _read_jsonl(path: Path, options: Options) -> Source:
    rows = (
        value
        if isinstance(value, Reject)
        else _as_row(path, number, value, options.columns, line)
        for number, line, value in read_objects(path)
    )
    return Source(rows, task_name(path, "jsonl"))


def _read_json(path: Path, options: Options) -> Source:
    items = _items(path)
    rows = (
        _as_row(path, number, item, options.columns)
        for number, item in enumerate(items, 1)
    )
    return Source(rows, task_name(path, "json"))


def _items(path: Path) -> Iterable[Any]:
    """Returns the list that a file is, or that its object has just one of."""
    try:
        document = read_exact_json(path)
    except InputError as error:
        raise InputError(
            f"{error}; a file with an object on each line has the format jsonl"
        ) from None
    if isinstance(document, list):
        return document
    found = type(document).__name__
    if isinstance(document, dict):
        lists = {
            key: value
            for key, value in document.items()
            if isinstance(value, list)
            and any(isinstance(v, dict) for v in value)
        }
        if len(lists) == 1:
            return next(iter(lists.values()))
        found = f"an object with the keys {sorted(document)!r:.80}"
    raise InputError(
        f"{path}: expected a JSON list of objects, or an object with one such "
        f"list, found {found}; choose the format that fits, see `keras-flan "
        "formats`"
    )


def _read_labelled_lines(path: Path, options: Options) -> Source:
    return Source(
        _labelled_rows(path, options.columns),
        task_name(path, "labelled-lines"),
    )


def _labelled_rows(path: Path, columns: Columns) -> Iterator[Row | Reject]:
    for column in _flat(columns):
        if column not in ("label", "text"):
            raise InputError(
                f"{path}: no column {column!r}; labelled lines have the "
                "columns label and text"
            )
    for number, line in read_lines(path):
        label, _, text = line.partition(" ")
        if not label or not text.strip():
            reason = "expected a label, one blank and a text"
            yield Reject(path, number, reason, line)
        else:
            record = {"label": label, "text": text.strip()}
            yield _as_row(path, number, record, columns, line)


CSV = Importer(
    format="csv",
    summary="CSV; with --map FIELD=COLUMN, or #1, #2 without a header",
    read=_read_csv,
    has_columns=True,
)
TSV = Importer(
    format="tsv",
    summary="Tab-separated, no quoting; --map FIELD=COLUMN, or #1, #2",
    read=_read_tsv,
    has_columns=True,
)
JSONL = Importer(
    format="jsonl",
    summary="An object a line; --map FIELD=KEY, nested: question.stem",
    read=_read_jsonl,
    has_columns=True,
)
JSON = Importer(
    format="json",
    summary="A list of objects; --map FIELD=KEY, nested: question.stem",
    read=_read_json,
    has_columns=True,
)
LABELLED_LINES = Importer(
    format="labelled-lines",
    summary="`label text` lines; --map FIELD=label or FIELD=text",
    read=_read_labelled_lines,
    has_columns=True,
)
