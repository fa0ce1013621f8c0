"""Formats of any content: columns, keys or labels become fields."""

import functools
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_flan.data.importers import base
from keras_flan.data.importers.texts import (
    find_delimiter,
    read_csv,
    read_source,
)
from keras_flan.data.templates.template import Template
from keras_flan.errors import InputError, did_you_mean

Columns = Mapping[str, str | Sequence[str]] | None

_NAME = re.compile(r"[^\W\d_]\w*")
# What a pattern of columns may name.
_COLUMN = r"[^{}?]+"
_POSITION = re.compile(r"#[1-9]\d*")
_MISSING = object()


def pick_fields(record: Mapping[str, Any], columns: Columns) -> base.Found:
    r"""Returns the fields of a record, or why it can't be used.

    A key in `columns` that the record lacks is read as a path:
    `question.stem`, `answers.0.text`; in a list a path without an index is
    followed in every item (`choices.text`). None takes every key as a field.

    A column with braces is a pattern of columns, such as `{title}\n{body}`,
    or with an optional part `{title}{body?\n{body}?}` (see `Template`).

    A number becomes text as the file spells it. A list becomes the lines of
    the field `options`, and is no text elsewhere.
    """
    fields = {}
    for field, column in (columns or {key: key for key in record}).items():
        if not _NAME.fullmatch(field):
            return (
                f"{field!r:.40} can't be the name of a field: expected "
                "letters, digits and '_'; choose columns with --map"
            )
        pattern = None
        if columns and isinstance(column, str) and column not in record:
            pattern = _pattern(column)
        if pattern is not None:
            joined = _joined(record, pattern)
            if isinstance(joined, str):
                return joined
            fields[field] = joined[0]
            continue
        values = []
        for key in [column] if isinstance(column, str) else column:
            values.append(_look_up(record, key))
            if values[-1] is _MISSING:
                return f"no {key!r}." + did_you_mean(key, record)
        value = values[0] if len(values) == 1 else values
        text = _text(value, field)
        if text is None:
            expected = f"expected a text or number under {column!r}"
            return f"{expected}, found {value!r:.40}"
        fields[field] = text
    filled = any(text and not text.isspace() for text in fields.values())
    return fields if filled else "all columns are empty"


@functools.cache
def _pattern(column: str) -> Template | None:
    """Returns the pattern that joins columns; None for a column's name.

    Raises:
        InputError: If it is no whole pattern.
    """
    if "{" not in column:
        return None
    try:
        return Template.parse(column, name=_COLUMN)
    except InputError as error:
        raise InputError(f"--map: {error}") from None


def _joined(record: Mapping[str, Any], pattern: Template) -> list[str] | str:
    """Returns the text that a pattern makes, in a list; or why it can't."""
    texts = {}
    for name in pattern.fields:
        value = _look_up(record, name)
        optional = name not in pattern.required
        if value is _MISSING and not optional:
            return f"no {name!r}." + did_you_mean(name, record)
        if optional and (value is None or value is _MISSING):
            value = ""
        text = _text(value, "")
        if text is None:
            return (
                f"expected a text or number under {name!r}, found {value!r:.40}"
            )
        texts[name] = text
    return [pattern.render(texts)]


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
        is_object = isinstance(value, Mapping)
        found = value.get(key, _MISSING) if is_object else _MISSING
    return _look_up(found, rest) if rest and found is not _MISSING else found


def _text(value: Any, field: str) -> str | None:
    """Returns a scalar, or a list of options, as text; None for the rest."""
    if isinstance(value, str):
        return value
    if isinstance(value, base.Number):
        return value.text
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    if field == "options" and isinstance(value, list):
        texts = [_text(option, "") for option in value]
        known = [text for text in texts if text is not None]
        return base.join_options(known) if len(known) == len(texts) else None
    return None


def _table_rows(
    path: Path,
    records: Iterator[tuple[int, list[str]]],
    columns: Columns,
    separator: str,
) -> Iterator[base.Row | base.Reject]:
    """Yields the rows of a table of cells, whose first row may be a header."""
    named, first = _flat(columns), next(records, None)
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
        found: base.Found
        if len(cells) == len(names):
            record = dict(zip(names, cells, strict=True))
            found = pick_fields(record, columns)
        else:
            found = f"expected {len(names)} columns, found {len(cells)}"
        yield base.row_or_reject(path, number, found, separator.join(cells))


def _flat(columns: Columns) -> list[str]:
    """Returns all columns that are mapped."""
    flat: list[str] = []
    for column in (columns or {}).values():
        for name in [column] if isinstance(column, str) else column:
            pattern = _pattern(name)
            # What stands in optional parts may be missing.
            flat += [name] if pattern is None else pattern.required
    return flat


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


def _read_csv(path: Path, options: base.Options) -> base.Source:
    text = read_source(path, options.encoding)
    delimiter = find_delimiter(path, text, options.delimiter)
    records = read_csv(path, text, delimiter)
    rows = _table_rows(path, records, options.columns, delimiter)
    return base.Source(rows, base.folder_name(path, "csv"))


def _read_tsv(path: Path, options: base.Options) -> base.Source:
    lines = base.read_lines(path, read_source(path, options.encoding))
    records = ((n, line.split("\t")) for n, line in lines)
    rows = _table_rows(path, records, options.columns, "\t")
    return base.Source(rows, base.folder_name(path, "tsv"))


def _read_jsonl(path: Path, options: base.Options) -> base.Source:
    rows = base.object_rows(
        path,
        lambda row: pick_fields(row, options.columns),
        text=read_source(path, options.encoding),
    )
    return base.Source(rows, base.folder_name(path, "jsonl"))


def _read_json(path: Path, options: base.Options) -> base.Source:
    def fields_of(item: Any) -> base.Found:
        reason = base.missing_text(item, ())
        return reason or pick_fields(item, options.columns)

    items = _items(path, read_source(path, options.encoding))
    rows = base.item_rows(path, "", items, fields_of)
    return base.Source(rows, base.folder_name(path, "json"))


def _items(path: Path, text: str) -> list[Any]:
    """Returns the list that a file is, or that its object has just one of."""
    try:
        document = base.read_exact_json(path, text)
    except InputError as error:
        raise InputError(
            f"{error}; a file with an object on each line has the format jsonl"
        ) from None
    if isinstance(document, list):
        return document
    found = type(document).__name__
    if isinstance(document, dict):
        lists = [v for v in document.values() if isinstance(v, list)]
        lists = [v for v in lists if any(isinstance(i, dict) for i in v)]
        if len(lists) == 1:
            return lists[0]
        found = f"an object with the keys {sorted(document)!r:.80}"
    raise InputError(
        f"{path}: expected a JSON list of objects, or an object with one such "
        f"list, found {found}; choose the format that fits, see `keras-flan "
        "formats`"
    )


def _read_labelled_lines(path: Path, options: base.Options) -> base.Source:
    for column in _flat(options.columns):
        if column not in ("label", "text"):
            raise InputError(
                f"{path}: no column {column!r}; labelled lines have the "
                "columns label and text"
            )

    def fields_of(line: str) -> base.Found:
        label, _, text = line.partition(" ")
        if not label or not text.strip():
            return "expected a label, one blank and a text"
        record = {"label": label, "text": text.strip()}
        return pick_fields(record, options.columns)

    text = read_source(path, options.encoding)
    rows = base.line_rows(path, fields_of, text)
    return base.Source(rows, base.folder_name(path, "labelled-lines"))


CSV = base.Importer(
    format="csv",
    summary="CSV; with --map FIELD=COLUMN, or #1, #2 without a header",
    read=_read_csv,
    has_columns=True,
    takes=("delimiter", "encoding"),
)
TSV = base.Importer(
    format="tsv",
    summary="Tab-separated, no quoting; --map FIELD=COLUMN, or #1, #2",
    read=_read_tsv,
    has_columns=True,
    takes=("encoding",),
)
JSONL = base.Importer(
    format="jsonl",
    summary="An object per line; --map FIELD=KEY, nested: question.stem",
    read=_read_jsonl,
    has_columns=True,
    takes=("encoding",),
)
JSON = base.Importer(
    format="json",
    summary="A list of objects; --map FIELD=KEY, nested: question.stem",
    read=_read_json,
    has_columns=True,
    takes=("encoding",),
)
LABELLED_LINES = base.Importer(
    format="labelled-lines",
    summary="`label text` lines; --map FIELD=label or FIELD=text",
    read=_read_labelled_lines,
    has_columns=True,
    takes=("encoding",),
)
