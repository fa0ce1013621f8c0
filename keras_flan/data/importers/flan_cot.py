r"""Flan chain-of-thought TSVs: question, answer, rationale.

No header and no quoting; line breaks in a question or rationale stand as the
two characters `\n` (google-research/FLAN, `flan/v2/cot_data`).
"""

import functools
from collections.abc import Iterator
from pathlib import Path

from keras_flan.data.importers.base import (
    Importer,
    Options,
    Part,
    Reject,
    Row,
    Source,
    data_files,
    read_lines,
    task_name,
)
from keras_flan.errors import InputError

_COLUMNS = ("question", "answer", "rationale")

# Each data set of the Flan paper's CoT mixture and the form of its answers.
_ANSWER_KINDS = {
    "aqua": "option",
    "creak": "yes_no",
    "ecqa": "text",
    "esnli": "text",
    "gsm8k": "number",
    "qasc": "option",
    "qed": "text",
    "sensemaking": "text",
    "strategyqa": "yes_no",
}


def _rows(path: Path) -> Iterator[Row | Reject]:
    for number, line in read_lines(path):
        cells = [cell.strip() for cell in line.split("\t")]
        if len(cells) != 3:
            reason = (
                "expected 3 tab-separated columns (question, answer, "
                f"rationale), found {len(cells)}"
            )
            yield Reject(path, number, reason, line)
        elif not all(cells):
            reason = f"the column {_COLUMNS[cells.index('')]!r} is empty"
            yield Reject(path, number, reason, line)
        else:
            question, answer, rationale = cells
            fields = {
                "question": question.replace("\\n", "\n"),
                "answer": answer,
                "rationale": rationale.replace("\\n", "\n"),
            }
            yield Row(path, number, fields)


def _open(path: Path, other_name: str | None = None) -> Source:
    name = task_name(path, "flan-cot")
    for family in (name, other_name or ""):
        if kind := _ANSWER_KINDS.get(family):
            return Source(_rows(path), name, family, kind)
    return Source(_rows(path), name)


def _read(path: Path, options: Options) -> Source:
    if path.is_dir():
        raise InputError(
            f"{path}: a folder holds many tasks; import it with "
            "`import_source`, or name one file"
        )
    return _open(path, options.name)


def _parts(path: Path, options: Options) -> list[Part] | None:
    if not path.is_dir():
        return None
    files = data_files(path, ".tsv")
    return [
        Part(
            file,
            task_name(file, "flan-cot"),
            functools.partial(_open, file),
        )
        for file in files
    ]


IMPORTER = Importer(
    format="flan-cot",
    summary="Flan CoT TSV, or a folder of them: question, answer, rationale",
    read=_read,
    origin="https://github.com/google-research/FLAN",
    license="Apache-2.0",
    parts=_parts,
)
