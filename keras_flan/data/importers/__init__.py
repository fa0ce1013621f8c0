"""Importers: public task files to records.

Each format is one small module with an `Importer`. For a format of your own,
write such a module and pass its importer to `import_file`, or add it to
`IMPORTERS` to give it a name.
"""

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from keras_flan.data.importers import (
    bbh,
    flan_cot,
    gsm8k,
    mmlu,
    squad,
    tables,
)
from keras_flan.data.importers.base import (
    Importer,
    Options,
    Reject,
    Row,
    Source,
    task_name,
)
from keras_flan.data.records import Example, write_records
from keras_flan.errors import InputError, did_you_mean

__all__ = [
    "IMPORTERS",
    "Importer",
    "Options",
    "Reject",
    "Row",
    "Source",
    "describe_formats",
    "import_file",
    "task_name",
]

IMPORTERS: dict[str, Importer] = {
    importer.format: importer
    for importer in (
        gsm8k.IMPORTER,
        flan_cot.IMPORTER,
        bbh.IMPORTER,
        mmlu.IMPORTER,
        squad.IMPORTER,
        tables.JSONL,
        tables.CSV,
    )
}

_SHOWN = 200  # Characters of a rejected row that are kept.


def describe_formats() -> list[dict[str, str]]:
    """Returns `[{"format": name, "summary": one line}, ...]`."""
    return [
        {"format": name, "summary": importer.summary}
        for name, importer in IMPORTERS.items()
    ]


def import_file(
    format: str | Importer,
    source: str | os.PathLike,
    output: str | os.PathLike,
    *,
    name: str | None = None,
    split: str = "train",
    limit: int | None = None,
    shards: int = 1,
    strict: bool = False,
    columns: Mapping[str, str] | None = None,
    templates: str | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Imports a file (or folder) of a known format as a record set.

    Rows that can't be used are listed with the reason in `rejects.jsonl` in
    the output folder. If the import fails, the folder stays as it was.

    Args:
        format: A name in `IMPORTERS`, or an importer.
        source: The file, `.gz` too; for some formats a folder.
        output: The folder of the record set; replaced if there is one.
        name: Task name; default: from the file.
        split: Name of the split.
        limit: Import only the first so many usable rows.
        shards: Number of TFRecord files.
        strict: Fail at the first row that can't be used.
        columns: Field name to column name, for `csv` and `jsonl`; default:
            every column is a field.
        templates: Template family: a name or a YAML file; default: the
            format's own.
        progress: Show a progress bar, if stderr is a terminal.

    Returns:
        The content of `dataset_info.json`.

    Raises:
        InputError: If the source is missing or broken, or no row is usable.

    Example:
        >>> info = import_file("gsm8k", "train.jsonl.gz", "records/gsm8k")
        >>> info["num_examples"], info["num_rejected"]
        (7473, 0)
    """
    importer = _importer(format)
    path = Path(source)
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    if columns and not importer.has_columns:
        raise InputError(
            f"the format {importer.format!r} has its own columns; only csv "
            "and jsonl take a mapping"
        )
    opened = importer.read(path, Options(name, columns))
    name = name or opened.name
    rejects: list[dict[str, Any]] = []
    rows = opened.rows
    if progress and sys.stderr.isatty():
        rows = _with_progress(rows, name)
    origin = f"{importer.origin} " if importer.origin else ""
    return write_records(
        _examples(rows, path, name, limit, strict, rejects),
        output,
        name=name,
        split=split,
        shards=shards,
        source=origin + path.name,
        license=importer.license,
        templates=_templates(templates) or opened.templates,
        answer_kind=opened.answer_kind,
        rejects=rejects,
        extra=opened.extra,
    )


def _importer(format: str | Importer) -> Importer:
    if isinstance(format, Importer):
        return format
    if format not in IMPORTERS:
        raise InputError(
            f"unknown format {format!r}." + did_you_mean(format, IMPORTERS)
        )
    return IMPORTERS[format]


def _templates(family: str | None) -> str | None:
    """Makes the path of a YAML file absolute: records may be read anywhere."""
    if family is None or Path(family).suffix not in (".yaml", ".yml"):
        return family
    if not Path(family).is_file():
        raise InputError(f"{family}: no such file of templates")
    return str(Path(family).resolve())


def _examples(
    rows: Iterable[Row | Reject],
    path: Path,
    name: str,
    limit: int | None,
    strict: bool,
    rejects: list[dict[str, Any]],
) -> Iterator[Example]:
    """Yields the usable rows as examples and collects the others."""
    first = None
    number = 0
    for row in rows:
        if isinstance(row, Row):
            row = _check_text(row)
        if isinstance(row, Row):
            source_id = row.source_id or f"{row.path.name}:{row.number}"
            yield Example(row.fields, name, source_id)
            number += 1
            if number == limit:
                return
            continue
        place = f"{row.path}:{row.number}: {row.reason}"
        if strict:
            raise InputError(
                f"{place} (mend the row, or import without --strict)"
            )
        first = first or place
        rejects.append(
            {
                "row": row.number,
                "source": row.path.name,
                "reason": row.reason,
                "text": _escape(row.text[:_SHOWN]),
            }
        )
    if not number:
        raise InputError(
            f"{first} (none of the {len(rejects)} rows can be used; is this "
            "the format of the file? see `keras-flan formats`)"
            if first
            else f"{path}: no rows to import; the file is empty"
        )


def _check_text(row: Row) -> Row | Reject:
    """Rejects what JSON can hold and UTF-8 can't: half a surrogate pair."""
    for name, text in row.fields.items():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            reason = (
                f"{name!r} holds a lone surrogate at character {error.start}"
            )
            return Reject(row.path, row.number, reason, text)
    return row


def _escape(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _with_progress(rows: Iterable[Row | Reject], name: str):
    from rich.console import Console
    from rich.progress import track

    return track(rows, name, console=Console(stderr=True), transient=True)
