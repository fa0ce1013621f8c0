"""GSM8K (Cobbe et al., 2021): JSON Lines with `question` and `answer`."""

import re
from collections.abc import Iterator
from pathlib import Path

from keras_flan.data.importers.base import (
    Importer,
    Options,
    Reject,
    Row,
    Source,
    missing_text,
    read_objects,
    task_name,
)

_MARKS = re.compile(r"<<[^<>]*>>")
_NUMBER = re.compile(r"-?\d+(\.\d+)?")


def _rows(path: Path) -> Iterator[Row | Reject]:
    for number, line, value in read_objects(path):
        if isinstance(value, Reject):
            yield value
            continue
        reason = missing_text(value, ("question", "answer"))
        if reason:
            yield Reject(path, number, reason, line)
            continue
        rationale, mark, answer = value["answer"].rpartition("####")
        answer = answer.strip().replace(",", "")
        rationale = _MARKS.sub("", rationale).strip()
        if not mark or not _NUMBER.fullmatch(answer):
            reason = "expected 'answer' to end with a line '#### number'"
        elif not rationale:
            reason = "expected a rationale before '####' in 'answer'"
        if reason:
            yield Reject(path, number, reason, line)
            continue
        question = value["question"].strip()
        fields = {
            "question": question,
            "answer": answer,
            "rationale": rationale,
        }
        yield Row(path, number, fields)


def _read(path: Path, options: Options) -> Source:
    return Source(_rows(path), task_name(path, "gsm8k"), "gsm8k", "number")


IMPORTER = Importer(
    format="gsm8k",
    summary="GSM8K JSON Lines: question; answer that ends with '#### number'",
    read=_read,
    origin="https://github.com/openai/grade-school-math",
    license="MIT",
)
