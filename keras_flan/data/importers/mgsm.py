"""MGSM (Shi et al., 2022): a TSV a language, and the worked exemplars.

Thousands commas are removed from the answers. The exemplars (`.json`) carry
words for "question" and "answer" in front, which end in a colon; they are
removed too.
"""

import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keras_flan.data.importers.base import (
    Importer,
    Options,
    Part,
    Reject,
    Row,
    Source,
    as_json,
    data_files,
    file_stem,
    read_exact_json,
    read_lines,
    task_name,
)
from keras_flan.errors import InputError

_NUMBER = re.compile(r"-?\d{1,3}(,\d{3})+(\.\d+)?|-?\d+(\.\d+)?")
# An ASCII or a full-width colon ends the label.
_LABEL = re.compile("[^:\uff1a\n]{1,40}[:\uff1a]\\s*")
_LANGUAGES = ("bn", "de", "en", "es", "fr", "ja", "ru", "sw", "te", "th", "zh")
_SOLUTIONS, _EXEMPLARS = "EXEMPLAR_NUMBER_ANSWERS", "MGSM_EXEMPLARS"


def _rows(path: Path, language: str) -> Iterator[Row | Reject]:
    for number, line in read_lines(path):
        cells = [cell.strip() for cell in line.split("\t")]
        reason = ""
        if len(cells) != 2:
            reason = (
                "expected 2 tab-separated columns (question, answer), "
                f"found {len(cells)}"
            )
        elif not cells[0]:
            reason = "the question is empty"
        elif not _NUMBER.fullmatch(cells[1]):
            reason = f"expected a number as answer, found {cells[1]!r:.40}"
        if reason:
            yield Reject(path, number, reason, line)
            continue
        fields = {
            "question": cells[0],
            "answer": cells[1].replace(",", ""),
            "language": language,
        }
        yield Row(path, number, fields)


def _exemplar_rows(path: Path) -> Iterator[Row | Reject]:
    document = read_exact_json(path)
    document = document if isinstance(document, dict) else {}
    answers, languages = document.get(_SOLUTIONS), document.get(_EXEMPLARS)
    if not isinstance(answers, list) or not isinstance(languages, dict):
        raise InputError(
            f"{path}: expected a list under {_SOLUTIONS!r} and an object under "
            f"{_EXEMPLARS!r}, found the keys {sorted(document)!r:.80}"
        )
    number = 0
    for language, exemplars in languages.items():
        if not isinstance(exemplars, dict):
            number += 1
            reason = f"{_EXEMPLARS}.{language}: expected an object"
            yield Reject(path, number, reason, as_json(exemplars))
            continue
        for key, exemplar in exemplars.items():
            number += 1
            fields = _exemplar(key, exemplar, answers)
            if isinstance(fields, str):
                reason = f"{_EXEMPLARS}.{language}.{key}: {fields}"
                yield Reject(path, number, reason, as_json(exemplar))
            else:
                yield Row(path, number, {**fields, "language": language})


def _exemplar(
    key: str, exemplar: Any, answers: list[Any]
) -> dict[str, str] | str:
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


def _open(path: Path) -> Source:
    language = file_stem(path).rpartition("_")[2]
    family = f"mgsm_{language}" if language in _LANGUAGES else "gsm8k"
    is_json = path.name.removesuffix(".gz").endswith(".json")
    rows = _exemplar_rows(path) if is_json else _rows(path, language)
    return Source(rows, _name(path), family, "number")


def _name(path: Path) -> str:
    return task_name(path, "mgsm")


def _read(path: Path, options: Options) -> Source:
    if path.is_dir():
        raise InputError(
            f"{path}: a folder holds a task a language; import it with "
            "`import_source`, or name one file"
        )
    return _open(path)


def _parts(path: Path, options: Options) -> list[Part] | None:
    if not path.is_dir():
        return None
    files = data_files(path, ".tsv")
    return [
        Part(file, _name(file), functools.partial(_open, file))
        for file in files
    ]


IMPORTER = Importer(
    format="mgsm",
    summary="MGSM TSV, or a folder of one a language; the exemplars JSON",
    read=_read,
    origin="https://github.com/google-research/url-nlp",
    license="CC-BY-4.0",
    parts=_parts,
)
