"""BIG-Bench Hard (Suzgun et al., 2022): one JSON file a task.

The data are for evaluation only: the canary of the file is kept in
`dataset_info.json`, so that the records can be found and left out.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from keras_flan.data.importers.base import (
    Importer,
    Options,
    Reject,
    Row,
    Source,
    as_json,
    missing_text,
    read_document,
    task_name,
)


def _rows(path: Path, examples: list) -> Iterator[Row | Reject]:
    for number, example in enumerate(examples, 1):
        reason = missing_text(example, ("input", "target"))
        if reason:
            text = as_json(example)
            reason = f"examples[{number - 1}]: {reason}"
            yield Reject(path, number, reason, text)
        else:
            fields = {
                "question": example["input"].strip(),
                "answer": example["target"].strip(),
            }
            yield Row(path, number, fields)


def _read(path: Path, options: Options) -> Source:
    document = read_document(path, "examples")
    rows = list(_rows(path, document["examples"]))
    answers = [row.fields["answer"] for row in rows if isinstance(row, Row)]
    # A few tasks of options have one or two targets that are none.
    letters = sum(bool(re.fullmatch(r"\([A-Z]\)", a)) for a in answers)
    kind = "option" if 2 * letters > len(answers) else "text"
    canary = document.get("canary")
    extra = {"canary": canary} if canary else {}
    return Source(rows, task_name(path, "bbh"), "bbh", kind, extra)


IMPORTER = Importer(
    format="bbh",
    summary="BIG-Bench Hard JSON: examples with input and target",
    read=_read,
    origin="https://github.com/suzgunmirac/BIG-Bench-Hard",
    license="MIT",
)
