"""MGSM (Shi et al., 2022): one TSV per language, and the worked exemplars.

Thousands commas are removed from the answers. The exemplars (`.json`) carry
words for "question" and "answer" in front, which end in a colon; they are
removed too.
"""

import itertools
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from keras_flan.data.importers import base, folders
from keras_flan.data.templates.library import languages
from keras_flan.errors import InputError

_NUMBER = re.compile(r"-?\d{1,3}(,\d{3})+(\.\d+)?|-?\d+(\.\d+)?")
# An ASCII or a full-width colon ends the label.
_LABEL = re.compile("[^:\uff1a\n]{1,40}[:\uff1a]\\s*")
_SOLUTIONS, _EXEMPLARS = "EXEMPLAR_NUMBER_ANSWERS", "MGSM_EXEMPLARS"


def _fields(line: str, language: str) -> base.Found:
    cells = [cell.strip() for cell in line.split("\t")]
    if len(cells) != 2:
        return (
            "expected 2 tab-separated columns (question, answer), found "
            f"{len(cells)}"
        )
    if not cells[0]:
        return "the question is empty"
    if not _NUMBER.fullmatch(cells[1]):
        return f"expected a number as answer, found {cells[1]!r:.40}"
    return {
        "question": cells[0],
        "answer": cells[1].replace(",", ""),
        "language": language,
    }


def _exemplar_rows(path: Path) -> Iterator[base.Row | base.Reject]:
    document = base.read_exact_json(path)
    document = document if isinstance(document, dict) else {}
    answers, languages = document.get(_SOLUTIONS), document.get(_EXEMPLARS)
    if not isinstance(answers, list) or not isinstance(languages, dict):
        raise InputError(
            f"{path}: expected a list under {_SOLUTIONS!r} and an object under "
            f"{_EXEMPLARS!r}, found the keys {sorted(document)!r:.80}"
        )
    number = itertools.count(1)
    for language, exemplars in languages.items():
        place = f"{_EXEMPLARS}.{language}"
        if not isinstance(exemplars, dict):
            reason = f"{place}: expected an object"
            text = base.as_json(exemplars)
            yield base.Reject(path, next(number), reason, text)
            continue
        for key, exemplar in exemplars.items():
            found = _exemplar(key, exemplar, answers)
            if isinstance(found, str):
                found = f"{place}.{key}: {found}"
            else:
                found["language"] = language
            yield base.row_or_reject(
                path, next(number), found, base.as_json(exemplar)
            )


def _exemplar(key: str, exemplar: Any, answers: list[Any]) -> base.Found:
    """Returns the fields of an exemplar, or why it can't be used."""
    texts = {}
    for field, name in (("question", "q"), ("rationale", "a")):
        text = exemplar.get(name) if isinstance(exemplar, dict) else None
        label = _LABEL.match(text) if isinstance(text, str) else None
        rest = label.string[label.end() :].strip() if label else ""
        if not rest:
            return f"expected a text that begins 'Word:' under {name!r}"
        texts[field] = rest
    # "1" is the first: the answers are the same in every language.
    place = int(key) if key.isascii() and key.isdigit() else 0
    if not 1 <= place <= len(answers) or type(answers[place - 1]) is not int:
        return f"no whole number for it in {_SOLUTIONS}"
    return {**texts, "answer": str(answers[place - 1])}


def _open(path: Path, options: base.Options | None = None) -> base.Source:
    language = base.file_stem(path).rpartition("_")[2]
    known = language in languages()
    family = f"mgsm_{language}" if known else "gsm8k"
    if path.name.removesuffix(".gz").endswith(".json"):
        rows = _exemplar_rows(path)
    else:
        rows = base.line_rows(path, lambda line: _fields(line, language))
    return base.Source(
        rows,
        base.task_name(path, "mgsm"),
        family,
        "number",
        extra={"language": language} if known else {},
    )


IMPORTER = base.Importer(
    format="mgsm",
    summary="MGSM TSV, or a folder of one per language; the exemplars JSON",
    read=_open,
    origin="https://github.com/google-research/url-nlp",
    license="CC-BY-4.0",
    parts=partial(folders.parts_of_folder, suffix=".tsv", open=_open),
)
