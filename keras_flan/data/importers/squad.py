"""SQuAD JSON (Rajpurkar et al., 2016), which XQuAD and TyDiQA-GoldP share."""

import dataclasses
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from keras_flan.data.importers import base

# The answer to the questions of SQuAD 2.0 that their passages don't answer.
UNANSWERABLE = "unanswerable"


class _Item(NamedTuple):
    """A question of a file, and where it is."""

    place: str
    item: Any
    title: Any
    paragraph: Any
    is_v2: bool  # Whether questions of the file may have no answer.


def _items(document: Any) -> Iterator[_Item]:
    """Yields every question: of nested articles, or of flat rows."""
    data, is_v2 = document, False
    if isinstance(document, dict):
        data = document["data"]
        is_v2 = str(document.get("version", "")).lstrip("v").startswith("2")
    for i, article in enumerate(data):
        place = f"data[{i}]"
        title = article.get("title", "") if isinstance(article, dict) else ""
        if isinstance(article, dict) and "question" in article:
            # As Hugging Face's data set has them.
            yield _Item(place, article, title, article, is_v2)
            continue
        for j, paragraph in enumerate(_list(article, "paragraphs")):
            for k, item in enumerate(_list(paragraph, "qas")):
                full = f"{place}.paragraphs[{j}].qas[{k}]"
                yield _Item(full, item, title, paragraph, is_v2)


def _list(value: Any, key: str) -> list:
    """Returns the list under `key`; what has none counts as one bad item."""
    found = value.get(key) if isinstance(value, dict) else None
    return found if isinstance(found, list) else [value]


def _answers(found: _Item) -> list[str] | str:
    """Returns the distinct answers of a question, or why it has none."""
    answers = found.item.get("answers")
    texts = answers.get("text") if isinstance(answers, dict) else None
    if isinstance(texts, list):
        answers = [{"text": text} for text in texts]
    if not answers:
        # Hugging Face's rows say it by an empty list alone.
        may_lack = found.is_v2 or isinstance(texts, list)
        lacks = found.item.get("is_impossible", may_lack)
        return [UNANSWERABLE] if lacks is True else "the question has no answer"
    answers = answers if isinstance(answers, list) else [answers]
    if reason := base.missing_text(answers[0], ["text"]):
        return reason
    usable = [a for a in answers if not base.missing_text(a, ["text"])]
    return list(dict.fromkeys(answer["text"].strip() for answer in usable))


def _fields(found: _Item) -> base.Found:
    reason = base.missing_text(found.paragraph, ["context"])
    reason = reason or base.missing_text(found.item, ["question"])
    answers = reason or _answers(found)
    if isinstance(answers, str):
        return f"{found.place}: {answers}"
    fields = {
        "context": found.paragraph["context"].strip(),
        "question": found.item["question"].strip(),
        "answer": answers[0],
        "title": base.text_or_empty(found.title),
    }
    if len(answers) > 1:
        fields["references"] = base.as_json(answers)
    return fields


def _rows(path: Path, document: Any) -> Iterator[base.Row | base.Reject]:
    seen: Counter[str] = Counter()
    for number, found in enumerate(_items(document), 1):
        fields = _fields(found)
        if isinstance(fields, str):
            text = base.as_json(found.item)
            yield base.Reject(path, number, fields, text)
            continue
        name = str(found.item.get("id", ""))
        seen[name] += 1
        if name and seen[name] > 1:
            name = f"{name}#{seen[name]}"  # Two questions of one id.
        yield base.Row(path, number, fields, name)


def read_rows(path: Path) -> Iterator[base.Row | base.Reject]:
    """Returns the questions of a file, which has been read then.

    A field `references` holds all answers as a JSON list, where a question
    has several; one without an answer, in the files of SQuAD 2.0, has the
    answer "unanswerable".
    """
    if path.name.removesuffix(".gz").endswith(".jsonl"):
        return _line_rows(path)
    document = base.read_exact_json(path)
    rows = document if isinstance(document, list) else []
    if not any(isinstance(row, dict) and "question" in row for row in rows):
        document = base.read_document(path, "data")
    return _rows(path, document)


def _line_rows(path: Path) -> Iterator[base.Row | base.Reject]:
    """Yields the rows of a file with a flat row on each line."""
    objects = list(base.read_objects(path))
    values = [v for _, _, v in objects if not isinstance(v, base.Reject)]
    rows = _rows(path, values)
    for number, _, value in objects:
        if isinstance(value, base.Reject):
            yield value
        else:
            yield dataclasses.replace(next(rows), number=number)


def _read(path: Path, options: base.Options) -> base.Source:
    name = base.task_name(path, "squad")
    return base.Source(read_rows(path), name, "squad", "text")


IMPORTER = base.Importer(
    format="squad",
    summary="SQuAD 1 and 2 JSON (XQuAD, TyDiQA-GoldP, flat rows too)",
    read=_read,
)
