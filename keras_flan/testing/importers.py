"""What an importer promises."""

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_flan.data.importers import Importer, import_file
from keras_flan.data.records.shards import read_records
from keras_flan.data.records.writing import REJECTS_FILE
from keras_flan.errors import InputError
from keras_flan.files import read_jsonl


def check_importer(
    importer: str | Importer,
    source: str | os.PathLike,
    *,
    rows: Sequence[Mapping[str, str]],
    rejects: Sequence[str] = (),
    **settings: Any,
) -> None:
    """Checks that an importer reads a file as you expect, and safely.

    The records hold the rows whole and in order, the same file gives the same
    bytes, what can't be used is listed with file, row and reason, and
    `strict` ends the import at the first of them.

    Args:
        importer: What `keras_flan.data.import_file` takes.
        source: A small file of the format.
        rows: The fields of each usable row.
        rejects: A part of the reason of each row that can't be used.
        **settings: Other arguments of `import_file`.

    Raises:
        AssertionError: If a promise is broken.

    Example:
        >>> check_importer(
        ...     "glossary.py",
        ...     "french.txt",  # "bonjour = hello", and a line that says "oui"
        ...     rows=[{"question": "bonjour?", "answer": "hello"}],
        ...     rejects=["expected 'word = translation'"],
        ... )
    """
    with tempfile.TemporaryDirectory() as temporary:
        one, two = Path(temporary, "one"), Path(temporary, "two")
        for folder in (one, two):
            import_file(importer, source, folder, **settings)
        found = [e.fields for e in read_records(one, verify=True)]
        expected = [dict(row) for row in rows]
        assert found == expected, f"rows: found {found}, expected {expected}"
        files = [
            {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*.*")}
            for folder in (one, two)
        ]
        assert files[0] == files[1], "the same file gives other bytes"
        _check_rejects(one, Path(source), rejects)
        if rejects:
            try:
                import_file(importer, source, two, strict=True, **settings)
            except InputError as error:
                message = str(error)
            else:
                raise AssertionError("strict: a row to reject ends no import")
            assert rejects[0] in message, f"strict: found {message!r}"


def _check_rejects(folder: Path, source: Path, reasons: Sequence[str]) -> None:
    paths = folder.rglob(REJECTS_FILE)
    listed = [row for path in paths for row in read_jsonl(path)]
    found = [row["reason"] for row in listed]
    assert len(found) == len(reasons), f"rejects: found {found}"
    for row, reason in zip(listed, reasons, strict=True):
        assert reason in row["reason"], (
            f"rejects: found {row['reason']!r}, expected {reason!r} in it"
        )
        assert source.name in row["source"], (
            f"rejects: {row} names another file"
        )
