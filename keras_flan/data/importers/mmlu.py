"""MMLU (Hendrycks et al., 2021): CSV files without header, one a subject."""

from collections.abc import Iterator
from pathlib import Path

from keras_flan.data.importers.base import (
    Importer,
    Options,
    Reject,
    Row,
    Source,
    data_files,
    join_options,
    read_csv,
    task_name,
)


def _rows(path: Path) -> Iterator[Row | Reject]:
    subject = task_name(path, "mmlu")
    for number, cells in read_csv(path):
        reason = ""
        if len(cells) != 6:
            reason = (
                "expected 6 columns (question, A, B, C, D, answer), found "
                f"{len(cells)}"
            )
        elif cells[5].strip() not in ("A", "B", "C", "D"):
            reason = f"expected A, B, C or D as answer, found {cells[5]!r:.20}"
        elif not all(cell.strip() for cell in cells):
            reason = "the question or an option is empty"
        if reason:
            yield Reject(path, number, reason, ",".join(cells))
        else:
            fields = {
                "question": cells[0].strip(),
                "options": join_options(cells[1:5]),
                "answer": cells[5].strip(),
                "subject": subject.replace("_", " "),
            }
            yield Row(path, number, fields)


def _read(path: Path, options: Options) -> Source:
    files = data_files(path, ".csv")
    rows = (row for file in files for row in _rows(file))
    name = "mmlu" if path.is_dir() else task_name(path, "mmlu")
    return Source(rows, name, "mmlu", "option")


IMPORTER = Importer(
    format="mmlu",
    summary="MMLU CSV, or a folder of them: question, A, B, C, D, answer",
    read=_read,
    origin="https://github.com/hendrycks/test",
    license="MIT",
)
