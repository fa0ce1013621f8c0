"""TyDi QA (Clark et al., 2020): gold passages, and the primary task.

Gold passages (`.json`, a file or a folder of one a language) are laid out as
SQuAD. The primary task (`.jsonl`) gives whole articles and counts bytes of
their UTF-8 text; the passage and the minimal answer of the first annotation
that has one are cut out.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keras_flan.data.importers import base, folders, squad

# fmt: off
_LANGUAGES = (
    "arabic", "bengali", "english", "finnish", "indonesian", "japanese",
    "korean", "russian", "swahili", "telugu", "thai",
)
# fmt: on


def _gold_rows(path: Path) -> Iterator[base.Row | base.Reject]:
    for row in squad.read_rows(path):
        if isinstance(row, base.Row):
            # Ids begin with the language: "swahili-12345-0".
            language = row.source_id.partition("-")[0]
            known = language if language in _LANGUAGES else ""
            row.fields["language"] = known
        yield row


def _primary(value: dict[str, Any]) -> base.Found:
    texts = ("question_text", "document_plaintext", "language")
    found = base.missing_text(value, texts) or _passage_and_answer(value)
    if isinstance(found, str):
        return found
    context, answer = found
    return {
        "context": context,
        "question": value["question_text"].strip(),
        "answer": answer,
        "title": base.text_or_empty(value.get("document_title")),
        "language": value["language"],
    }


def _passage_and_answer(value: dict[str, Any]) -> tuple[str, str] | str:
    """Returns the passage and the answer in it, or why there are none."""
    annotations = value.get("annotations")
    candidates = value.get("passage_answer_candidates")
    if not isinstance(annotations, list) or not isinstance(candidates, list):
        return "expected lists under 'annotations' and " + (
            "'passage_answer_candidates'"
        )
    answered = next(filter(_is_answered, annotations), None)
    if answered is None:
        return "no annotation has a minimal answer"
    index = _integer(answered, "passage_answer", "candidate_index")
    if index is None or not 0 <= index < len(candidates):
        return f"expected the index of a passage, found {index}"
    data = value["document_plaintext"].encode("utf-8", "surrogatepass")
    passage = _span(candidates[index])
    context = _cut(data, passage, (0, len(data)))
    if context is None:
        return f"the passage {passage} doesn't fit the document's bytes"
    if answered.get("yes_no_answer") in ("YES", "NO"):
        return context, answered["yes_no_answer"].lower()
    minimal = _span(answered["minimal_answer"])
    answer = _cut(data, minimal, passage)
    if answer is None:
        return f"the answer {minimal} doesn't fit the passage {passage}"
    return context, answer


def _is_answered(annotation: Any) -> bool:
    if not isinstance(annotation, dict):
        return False
    if annotation.get("yes_no_answer") in ("YES", "NO"):
        return True
    start, _ = _span(annotation.get("minimal_answer"))
    return start is not None and start >= 0


def _span(value: Any) -> tuple[int | None, int | None]:
    """Returns first byte and end of a span; None for what isn't there."""
    return (
        _integer({"": value}, "", "plaintext_start_byte"),
        _integer({"": value}, "", "plaintext_end_byte"),
    )


def _integer(value: dict, outer: str, inner: str) -> int | None:
    found = value.get(outer)
    found = found.get(inner) if isinstance(found, dict) else None
    return found if type(found) is int else None


def _cut(data: bytes, span: tuple, bounds: tuple) -> str | None:
    """Returns the text of a span; None if it is empty or cuts a character."""
    (start, end), (first, last) = span, bounds
    if start is None or end is None or not first <= start < end <= last:
        return None
    try:
        return data[start:end].decode("utf-8").strip() or None
    except UnicodeDecodeError:
        return None


def _read(path: Path, options: base.Options) -> base.Source:
    if path.name.removesuffix(".gz").endswith(".jsonl"):
        rows = base.object_rows(path, _primary, "example_id")
    else:
        files = folders.data_files(path, ".json")
        rows = folders.rows_of_files(files, _gold_rows)
    name = "tydiqa" if path.is_dir() else base.task_name(path, "tydiqa")
    return base.Source(rows, name, "squad", "text")


IMPORTER = base.Importer(
    format="tydiqa",
    summary="TyDi QA: gold passages (.json, or a folder), primary (.jsonl)",
    read=_read,
    origin="https://github.com/google-research-datasets/tydiqa",
    license="Apache-2.0",
)
