"""Readers of benchmark files: a path to its questions.

Importers read the files; where needed, their rows are made into questions
here. A score counts every question, so a row that can't be used is an error.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from keras_flan.data.importers import benchmark_files
from keras_flan.data.importers.base import Options, Reject, RejectCode
from keras_flan.data.importers.formats import IMPORTERS
from keras_flan.data.importers.writing import name_answer
from keras_flan.errors import InputError
from keras_flan.evaluation.benchmarks.protocols import Columns
from keras_flan.evaluation.benchmarks.sources import (
    SourceQuestion,
    laid_out,
    question_of,
)
from keras_flan.extensions import Registry

_LABELS = "ABCDEFGHIJ"
_IMPORTERS = IMPORTERS | benchmark_files.IMPORTERS


def read_questions(
    reader: str,
    path: Path,
    task: str = "",
    columns: Columns | None = None,
    labels: Mapping[str, str] | None = None,
) -> list[SourceQuestion]:
    """Returns the questions of a file.

    Args:
        reader: A name in `READERS`, or of an importer.
        path: The file.
        task: The task, for files that hold several.
        columns: Field to column, for importers that read any content.
        labels: Answers of the file to names for them.

    Raises:
        InputError: If a row can't be used, or there is none.
    """
    importer = None if reader in READERS else _IMPORTERS.get(reader)
    if (columns or labels) and not (importer and importer.has_columns):
        takers = [name for name, i in _IMPORTERS.items() if i.has_columns]
        raise InputError(
            f"columns, labels: the reader {reader!r} has its own; only "
            f"{', '.join(takers)} take some"
        )
    if importer is None:
        questions = list(READERS.named(reader)(path, task))
    else:
        questions = _import(reader, path, task, None, columns, labels)
    if not questions:
        raise InputError(f"{path}: the file is empty; download it again")
    for question in questions:
        _check(question, reader, path)
    return questions


def _check(question: SourceQuestion, reader: str, path: Path) -> None:
    if not isinstance(question, SourceQuestion):
        raise InputError(
            f"{path}: the reader {reader!r} returned a "
            f"{type(question).__name__}; expected a SourceQuestion for each row"
        )
    if "answer" not in question.fields:
        raise InputError(
            f"{path}: {question.id}: expected a field 'answer' to compare "
            f"with, found {', '.join(question.fields)}; name its column under "
            "'columns'"
        )


def _import(
    format: str,
    path: Path,
    task: str | None = None,
    left_out: RejectCode | None = None,
    columns: Columns | None = None,
    labels: Mapping[str, str] | None = None,
) -> list[SourceQuestion]:
    """Reads a file with the importer of its format."""
    importer = _IMPORTERS[format]
    questions = []
    for row in importer.read(path, Options(task, columns or None)).rows:
        row = name_answer(row, labels) if labels else row
        if isinstance(row, Reject):
            if row.code == left_out:
                continue
            raise InputError(
                f"{path}:{row.number}: {row.reason}; mend the row: a score "
                "counts every one"
            )
        source_id = row.source_id or f"{path.name}:{row.number}"
        questions.append(question_of(source_id, laid_out(row.fields)))
    return questions


def _asdiv(path: Path, task: str) -> list[SourceQuestion]:
    """ASDiv; as usual without the answers that are no single number."""
    return _import("asdiv", path, left_out=RejectCode.NO_NUMBER)


def _yes_no(path: Path, task: str) -> list[SourceQuestion]:
    """StrategyQA, of which BIG-bench gives Yes and No as options."""
    return [
        SourceQuestion(
            q.id,
            {
                "question": q.fields["question"],
                "answer": q.fields["answer"].lower(),
            },
        )
        for q in _import("bigbench", path)
    ]


def _flan_cot(path: Path, task: str) -> list[SourceQuestion]:
    """Flan's rationales; options in the question become options."""
    questions = []
    for question in _import("flan-cot", path):
        stem, found, block = question.fields["question"].partition(
            "\nOptions:\n"
        )
        answer = question.fields["answer"]
        if not found:
            questions.append(question)
            continue
        options = [
            re.sub(r"^(?:\([A-Z]\)|-) ?", "", line)
            for line in re.split(r"\n(?=\([A-Z]\)|- )", block)
        ]
        letter = re.fullmatch(r"\(([A-Z])\)", answer)
        if not letter and answer in options:
            answer = _LABELS[options.index(answer)]
        fields = benchmark_files.multiple_choice(
            stem, options, letter[1] if letter else answer
        )
        if rationale := question.fields["rationale"].strip():
            fields["rationale"] = rationale
        questions.append(SourceQuestion(question.id, laid_out(fields)))
    return questions


def _mgsm_exemplars(path: Path, task: str) -> list[SourceQuestion]:
    """The worked questions of MGSM in a language, without their labels."""
    return [q for q in _import("mgsm", path) if q.fields["language"] == task]


def _worked(path: Path, task: str) -> list[SourceQuestion]:
    """The English ones; the last sentence, the answer, is left to a layout."""
    questions = []
    for q in _mgsm_exemplars(path, "en"):
        ending = f"The answer is {q.fields['answer']}."
        rationale = q.fields["rationale"].removesuffix(ending).rstrip()
        questions.append(
            SourceQuestion(q.id, {**q.fields, "rationale": rationale})
        )
    return questions


def _squad(path: Path, task: str) -> list[SourceQuestion]:
    """Passages, questions and all reference answers of a SQuAD file.

    The ids of TyDiQA begin with the language, and its training file holds
    all of them.
    """
    return [
        dataclasses.replace(q, references=q.references or (q.fields["answer"],))
        for q in _import("squad", path)
        if LANGUAGES.get(q.id.partition("-")[0], task) == task
    ]


def squad_languages(path: Path) -> list[str]:
    """Returns the languages in a SQuAD file whose ids begin with them."""
    ids = (q.id.partition("-")[0] for q in _import("squad", path))
    found = sorted({LANGUAGES[name] for name in ids if name in LANGUAGES})
    if not found:
        raise InputError(
            f"{path}: expected ids such as 'arabic-...', found none; give a "
            "folder of one file per language"
        )
    return found


LANGUAGES = {
    "arabic": "ar",
    "bengali": "bn",
    "english": "en",
    "finnish": "fi",
    "indonesian": "id",
    "korean": "ko",
    "russian": "ru",
    "swahili": "sw",
    "telugu": "te",
}
# A file and the task's name to its questions.
Reader = Callable[[Path, str], list[SourceQuestion]]
_READERS: Mapping[str, Reader] = {
    "asdiv": _asdiv,
    "flan-cot": _flan_cot,
    "mgsm-exemplars": _mgsm_exemplars,
    "squad": _squad,
    "strategyqa": _yes_no,
    "worked-problems": _worked,
}
READERS: Registry[Reader] = Registry("reader", "READERS", None, _READERS)


def same_place(question: SourceQuestion, asked: SourceQuestion) -> bool:
    """Whether a question is the asked one, or is on the same passage."""
    passage = asked.fields.get("context")
    if "question" not in asked.fields:
        return question.fields == asked.fields
    return question.fields.get("question") == asked.fields["question"] or (
        passage is not None and question.fields.get("context") == passage
    )
