"""BIG-Bench Hard (Suzgun et al., 2022): one JSON file per task.

The data are for evaluation only: the canary of the file is kept in
`dataset_info.json`, so that the records can be found and left out.
"""

import re
from pathlib import Path
from typing import Any

from keras_flan.data.importers import base


def _fields(example: Any) -> base.Found:
    reason = base.missing_text(example, ("input", "target"))
    return reason or {
        "question": example["input"].strip(),
        "answer": example["target"].strip(),
    }


def _read(path: Path, options: base.Options) -> base.Source:
    document = base.read_document(path, "examples")
    rows = list(base.item_rows(path, "examples", document["examples"], _fields))
    used = [row.fields for row in rows if isinstance(row, base.Row)]
    # A few tasks of options have one or two targets that are none.
    letters = sum(bool(re.fullmatch(r"\([A-Z]\)", f["answer"])) for f in used)
    kind = "option" if 2 * letters > len(used) else "text"
    extra = {k: document[k] for k in ("canary",) if document.get(k)}
    return base.Source(rows, base.task_name(path, "bbh"), "bbh", kind, extra)


IMPORTER = base.Importer(
    format="bbh",
    summary="BIG-Bench Hard JSON: examples with input and target",
    read=_read,
    origin="https://github.com/suzgunmirac/BIG-Bench-Hard",
    license="MIT",
)
