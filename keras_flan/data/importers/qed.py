"""QED (Lamm et al., 2021): questions, passages and how to see the answer.

The rationale is put together from the annotation: the sentence that answers
and which of its words the question refers to. Only questions that a single
sentence answers have one; the others are rejected.
"""

from pathlib import Path
from typing import Any

from keras_flan.data.importers import base

_QUESTION = "{}\n\nQuestion: {}"
_SENTENCE = 'The passage says: "{}"'
_REFERENCE = 'There "{}" is what the question means by "{}".'


def _explain(value: dict[str, Any]) -> tuple[str, str] | str:
    """Returns rationale and answer, or why there are none."""
    annotation = value.get("annotation")
    annotation = annotation if isinstance(annotation, dict) else {}
    kind = annotation.get("explanation_type")
    if kind != "single_sentence":
        return f"expected a single_sentence explanation, found {kind!r:.40}"
    paragraph = value["paragraph_text"]
    question = value["question_text"]
    answers = [
        _span(item, "paragraph_reference", paragraph)
        for item in _list(annotation, "answer")
    ]
    sentence = _span(annotation, "selected_sentence", paragraph)
    pairs = [
        (
            _span(item, "sentence_reference", paragraph),
            _span(item, "question_reference", question),
        )
        for item in _list(annotation, "referential_equalities")
        if not _is_implicit(item)
    ]
    known = [answer for answer in answers if answer is not None]
    if not answers or len(known) < len(answers) or sentence is None:
        return "the answer or the sentence isn't where its offsets say"
    if any(None in pair for pair in pairs):
        return "a reference isn't where its offsets say"
    lines = [_SENTENCE.format(sentence)]
    lines += [_REFERENCE.format(*pair) for pair in pairs]
    return " ".join(lines), ", ".join(known)


def _is_implicit(item: Any) -> bool:
    """Whether the sentence only implies what the question names."""
    span = item.get("sentence_reference") if isinstance(item, dict) else None
    return isinstance(span, dict) and span.get("start") == span.get("end") == -1


def _list(value: dict[str, Any], key: str) -> list[Any]:
    """Returns the list under a key; what is none counts as one bad item."""
    found = value.get(key, [])
    return found if isinstance(found, list) else [found]


def _span(value: Any, key: str, text: str) -> str | None:
    """Returns the text of a span; None if its offsets don't give it."""
    span = value.get(key) if isinstance(value, dict) else None
    if not isinstance(span, dict):
        return None
    start, end, string = (span.get(k) for k in ("start", "end", "string"))
    if type(start) is not int or type(end) is not int or start < 0:
        return None
    if not isinstance(string, str) or text[start:end] != string:
        return None
    return string.strip() or None


def _fields(value: dict[str, Any]) -> base.Found:
    reason = base.missing_text(value, ("question_text", "paragraph_text"))
    found = reason or _explain(value)
    if isinstance(found, str):
        return found
    rationale, answer = found
    return {
        "question": _QUESTION.format(
            value["paragraph_text"].strip(), value["question_text"].strip()
        ),
        "answer": answer,
        "rationale": rationale,
        "title": base.text_or_empty(value.get("title_text")),
    }


def _read(path: Path, options: base.Options) -> base.Source:
    rows = base.object_rows(path, _fields, "example_id")
    return base.Source(rows, "qed", "qed", "text")


IMPORTER = base.Importer(
    format="qed",
    summary="QED JSON Lines: question, passage and annotation",
    read=_read,
    origin="https://github.com/google-research-datasets/QED",
    license="CC-BY-SA-3.0",
)
