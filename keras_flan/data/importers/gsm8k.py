"""GSM8K (Cobbe et al., 2021): JSON Lines with `question` and `answer`."""

import re
from pathlib import Path
from typing import Any

from keras_flan.data.importers import base

_MARKS = re.compile(r"<<[^<>]*>>")
_NUMBER = re.compile(r"-?\d+(\.\d+)?")


def _fields(row: dict[str, Any]) -> base.Found:
    reason = base.missing_text(row, ("question", "answer"))
    if reason:
        return reason
    rationale, mark, answer = row["answer"].rpartition("####")
    answer = answer.strip().replace(",", "")
    rationale = _MARKS.sub("", rationale).strip()
    if not mark or not _NUMBER.fullmatch(answer):
        return "expected 'answer' to end with a line '#### number'"
    if not rationale:
        return "expected a rationale before '####' in 'answer'"
    question = row["question"].strip()
    return {"question": question, "answer": answer, "rationale": rationale}


def _read(path: Path, options: base.Options) -> base.Source:
    rows = base.object_rows(path, _fields)
    return base.Source(rows, base.task_name(path, "gsm8k"), "gsm8k", "number")


IMPORTER = base.Importer(
    format="gsm8k",
    summary="GSM8K JSON Lines: question; answer that ends with '#### number'",
    read=_read,
    origin="https://github.com/openai/grade-school-math",
    license="MIT",
)
