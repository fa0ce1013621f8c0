r"""Flan chain-of-thought TSVs: question, answer, rationale.

No header and no quoting; line breaks in a question or rationale stand as the
two characters `\n` (google-research/FLAN, `flan/v2/cot_data`).
"""

from functools import partial
from pathlib import Path

from keras_flan.data.importers import base, folders

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


def _fields(line: str) -> base.Found:
    cells = [cell.strip() for cell in line.split("\t")]
    if len(cells) != 3:
        return (
            "expected 3 tab-separated columns (question, answer, rationale), "
            f"found {len(cells)}"
        )
    if not all(cells):
        return f"the column {_COLUMNS[cells.index('')]!r} is empty"
    question, answer, rationale = cells
    return {
        "question": question.replace("\\n", "\n"),
        "answer": answer,
        "rationale": rationale.replace("\\n", "\n"),
    }


def _open(path: Path, options: base.Options | None = None) -> base.Source:
    rows, name = base.line_rows(path, _fields), base.task_name(path, "flan-cot")
    for family in (name, options and options.name):
        if family in _ANSWER_KINDS:
            return base.Source(rows, name, family, _ANSWER_KINDS[family])
    return base.Source(rows, name)


IMPORTER = base.Importer(
    format="flan-cot",
    summary="Flan CoT TSV, or a folder of them: question, answer, rationale",
    read=_open,
    origin="https://github.com/google-research/FLAN",
    license="Apache-2.0",
    parts=partial(folders.parts_of_folder, suffix=".tsv", open=_open),
)
