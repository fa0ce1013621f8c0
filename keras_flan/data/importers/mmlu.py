"""MMLU (Hendrycks et al., 2021): CSV files without header, one per subject."""

from collections.abc import Iterator
from pathlib import Path

from keras_flan.data.importers import base, folders
from keras_flan.data.importers.texts import read_csv


def _fields(cells: list[str], subject: str) -> base.Found:
    if len(cells) != 6:
        return (
            "expected 6 columns (question, A, B, C, D, answer), found "
            f"{len(cells)}"
        )
    if cells[5].strip() not in ("A", "B", "C", "D"):
        return f"expected A, B, C or D as answer, found {cells[5]!r:.20}"
    if not all(cell.strip() for cell in cells):
        return "the question or an option is empty"
    return {
        "question": cells[0].strip(),
        "options": base.join_options(cells[1:5]),
        "answer": cells[5].strip(),
        "subject": subject,
    }


def _rows(path: Path) -> Iterator[base.Row | base.Reject]:
    subject = base.task_name(path, "mmlu").replace("_", " ")
    for number, cells in read_csv(path):
        found = _fields(cells, subject)
        yield base.row_or_reject(path, number, found, ",".join(cells))


def _read(path: Path, options: base.Options) -> base.Source:
    files = folders.data_files(path, ".csv")
    rows = folders.rows_of_files(files, _rows)
    name = "mmlu" if path.is_dir() else base.task_name(path, "mmlu")
    return base.Source(rows, name, "mmlu", "option")


IMPORTER = base.Importer(
    format="mmlu",
    summary="MMLU CSV, or a folder of them: question, A, B, C, D, answer",
    read=_read,
    origin="https://github.com/hendrycks/test",
    license="MIT",
)
