"""SQuAD JSON (Rajpurkar et al., 2016), which XQuAD and TyDiQA-GoldP share."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keras_flan.data.importers import base


def _items(data: list) -> Iterator[tuple[str, Any, str, Any]]:
    """Yields key path, question, title and context of every question."""
    for i, article in enumerate(data):
        title = article.get("title", "") if isinstance(article, dict) else ""
        for j, paragraph in enumerate(_list(article, "paragraphs")):
            for k, item in enumerate(_list(paragraph, "qas")):
                place = f"data[{i}].paragraphs[{j}].qas[{k}]"
                yield place, item, title, paragraph


def _list(value: Any, key: str) -> list:
    """Returns the list under `key`; what has none counts as one bad item."""
    found = value.get(key) if isinstance(value, dict) else None
    return found if isinstance(found, list) else [value]


def _rows(path: Path, data: list) -> Iterator[base.Row | base.Reject]:
    for number, (place, item, title, paragraph) in enumerate(_items(data), 1):
        reason = base.missing_text(paragraph, ["context"])
        reason = reason or base.missing_text(item, ["question"])
        answers = [] if reason else item.get("answers") or []
        if not reason and not answers:
            reason = "the question has no answer"
        elif not reason:
            first = answers[0] if isinstance(answers, list) else answers
            reason = base.missing_text(first, ["text"])
        if reason:
            text = base.as_json(item)
            yield base.Reject(path, number, f"{place}: {reason}", text)
        else:
            fields = {
                "context": paragraph["context"].strip(),
                "question": item["question"].strip(),
                "answer": first["text"].strip(),
                "title": base.text_or_empty(title),
            }
            yield base.Row(path, number, fields, str(item.get("id", "")))


def read_rows(path: Path) -> Iterator[base.Row | base.Reject]:
    """Returns the questions of a file, which has been read then."""
    return _rows(path, base.read_document(path, "data")["data"])


def references(path: Path) -> dict[str, tuple[str, ...]]:
    """Returns all right answers to each question of a file, by its id."""
    found = {}
    for _, item, _, _ in _items(base.read_document(path, "data")["data"]):
        answers = item.get("answers") if isinstance(item, dict) else None
        texts = [
            answer["text"].strip()
            for answer in (answers if isinstance(answers, list) else [])
            if not base.missing_text(answer, ["text"])
        ]
        if texts:
            found[str(item.get("id", ""))] = tuple(dict.fromkeys(texts))
    return found


def _read(path: Path, options: base.Options) -> base.Source:
    name = base.task_name(path, "squad")
    return base.Source(read_rows(path), name, "squad", "text")


IMPORTER = base.Importer(
    format="squad",
    summary="SQuAD JSON (also XQuAD, TyDiQA-GoldP): context, question, answer",
    read=_read,
)
