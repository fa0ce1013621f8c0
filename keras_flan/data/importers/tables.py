"""Any CSV with a header, and any JSON Lines file: columns become fields."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from keras_flan.data.importers.base import (
    Importer,
    Options,
    Reject,
    Row,
    Source,
    join_options,
    read_csv,
    read_objects,
    task_name,
)
from keras_flan.errors import InputError, did_you_mean


def _csv_rows(
    path: Path, columns: Mapping[str, str] | None
) -> Iterator[Row | Reject]:
    records = read_csv(path)
    _, header = next(records, (1, []))
    header = [name.strip() for name in header]
    for name, times in Counter(header).items():
        if times > 1 or not name:
            raise InputError(
                f"{path}:1: expected distinct column names, found {name!r} "
                f"{times} time(s); rename the columns"
            )
    for column in (columns or {}).values():
        if column not in header:
            raise InputError(
                f"{path}:1: no column {column!r} in the header."
                + did_you_mean(column, header)
            )
    for number, cells in records:
        if len(cells) == len(header):
            fields = _fields(dict(zip(header, cells, strict=True)), columns)
        else:
            fields = f"expected {len(header)} columns, found {len(cells)}"
        if isinstance(fields, str):
            yield Reject(path, number, fields, ",".join(cells))
        else:
            yield Row(path, number, fields)


def _jsonl_rows(
    path: Path, columns: Mapping[str, str] | None
) -> Iterator[Row | Reject]:
    for number, line, value in read_objects(path):
        if isinstance(value, Reject):
            yield value
            continue
        fields = _fields(value, columns)
        if isinstance(fields, str):
            yield Reject(path, number, fields, line)
        else:
            yield Row(path, number, fields)


def _fields(
    record: Mapping[str, Any], columns: Mapping[str, str] | None
) -> dict[str, str] | str:
    """Returns the fields of a record, or why it can't be used."""
    fields = {}
    columns = columns or {name: name for name in record}
    for field, column in columns.items():
        if column not in record:
            return f"no {column!r}." + did_you_mean(column, record)
        fields[field] = _text(record[column], field)
        if fields[field] is None:
            return (
                f"expected a text or number under {column!r}, found "
                f"{record[column]!r:.40}"
            )
    return fields if any(fields.values()) else "all columns are empty"


def _text(value: Any, field: str) -> str | None:
    """Returns a scalar, or a list of options, as text; None for the rest."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    if field == "options" and isinstance(value, list):
        texts = [_text(option, "") for option in value]
        return None if None in texts else join_options(texts)
    return None


def _read_csv(path: Path, options: Options) -> Source:
    return Source(_csv_rows(path, options.columns), task_name(path, "csv"))


def _read_jsonl(path: Path, options: Options) -> Source:
    return Source(_jsonl_rows(path, options.columns), task_name(path, "jsonl"))


CSV = Importer(
    format="csv",
    summary="CSV with a header; choose columns with --map FIELD=COLUMN",
    read=_read_csv,
    has_columns=True,
)
JSONL = Importer(
    format="jsonl",
    summary="JSON Lines; choose columns with --map FIELD=COLUMN",
    read=_read_jsonl,
    has_columns=True,
)
