"""Readers of benchmark files: a path to its questions.

Most files have an importer, which is used; the others are read here. A score
counts every question, so a row that can't be used is an error.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from keras_flan.data.importers import IMPORTERS, Options, Reject
from keras_flan.errors import InputError, did_you_mean
from keras_flan.evaluation.benchmarks.protocols import parse_exemplars
from keras_flan.evaluation.benchmarks.sources import Question, laid_out
from keras_flan.files import read_json_object, read_jsonl, read_text

_LABELS = "ABCDEFGHIJ"


def read_questions(reader: str, path: Path, task: str = "") -> list[Question]:
    """Returns the questions of a file.

    Args:
        reader: A name in `READERS`, or of an importer.
        path: The file.
        task: The task, for files that hold several.

    Raises:
        InputError: If a row can't be used, or there is none.
    """
    if reader in READERS:
        questions = READERS[reader](path, task)
    else:
        questions = _import(reader, path)
    if not questions:
        raise InputError(f"{path}: the file is empty; download it again")
    return questions


def _import(
    format: str, path: Path, left_out: Callable[[Reject], bool] = lambda _: 0
) -> list[Question]:
    """Reads a file with the importer of its format."""
    questions = []
    for row in IMPORTERS[format].read(path, Options()).rows:
        if isinstance(row, Reject):
            if left_out(row):
                continue
            raise InputError(
                f"{path}:{row.number}: {row.reason}; mend the row: a score "
                "counts every one"
            )
        source_id = row.source_id or f"{path.name}:{row.number}"
        questions.append(Question(source_id, laid_out(row.fields)))
    return questions


def _asdiv(path: Path, task: str) -> list[Question]:
    """ASDiv; as usual without the answers that are no single number."""
    return _import(
        "asdiv", path, lambda row: row.reason.startswith("expected a number")
    )


def _yes_no(path: Path, task: str) -> list[Question]:
    """StrategyQA, of which BIG-bench gives Yes and No as options."""
    return [
        Question(
            q.id,
            {
                "question": q.fields["question"],
                "answer": q.fields["answer"].lower(),
            },
        )
        for q in _import("bigbench", path)
    ]


def _aqua(path: Path, task: str) -> list[Question]:
    """AQuA: options such as "A)300", the letter as answer."""
    return [
        _multiple_choice(
            f"{path.name}:{number}",
            _get(row, path, number, "question"),
            [
                option[2:].strip() or option
                for option in _get(row, path, number, "options", list)
            ],
            _get(row, path, number, "correct", None, "answer"),
            _get(row, path, number, "rationale"),
        )
        for number, row in enumerate(read_jsonl(path), 1)
    ]


def _commonsenseqa(path: Path, task: str) -> list[Question]:
    """CommonsenseQA: a stem, labelled choices, the letter as answer."""
    questions = []
    for number, row in enumerate(read_jsonl(path), 1):
        inner = _get(row, path, number, "question", dict)
        choices = _get(inner, path, number, "choices", list)
        questions.append(
            _multiple_choice(
                str(row.get("id", f"{path.name}:{number}")),
                _get(inner, path, number, "stem"),
                [_get(c, path, number, "text") for c in choices],
                _get(row, path, number, "answerKey"),
            )
        )
    return questions


def _listed(path: Path, task: str) -> list[Question]:
    """Last letters and coin flip: `{"examples": [question, answer]}`."""
    rows = read_json(path).get("examples")
    if not isinstance(rows, list):
        raise InputError(f"{path}: expected a list under 'examples'")
    return [
        Question(
            f"{path.name}:{number}",
            {
                key: _get(row, path, number, key)
                for key in ("question", "answer")
            },
        )
        for number, row in enumerate(rows, 1)
    ]


def _flan_cot(path: Path, task: str) -> list[Question]:
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
        questions.append(
            _multiple_choice(
                question.id,
                stem,
                options,
                letter[1] if letter else answer,
                question.fields["rationale"],
            )
        )
    return questions


def _mgsm_exemplars(path: Path, task: str) -> list[Question]:
    """The worked questions of MGSM in a language, without their labels."""
    return [q for q in _import("mgsm", path) if q.fields["language"] == task]


def _worked(path: Path, task: str) -> list[Question]:
    """The English ones; the last sentence, the answer, is left to a layout."""
    questions = []
    for q in _mgsm_exemplars(path, "en"):
        ending = f"The answer is {q.fields['answer']}."
        rationale = q.fields["rationale"].removesuffix(ending).rstrip()
        questions.append(Question(q.id, {**q.fields, "rationale": rationale}))
    return questions


def _squad(path: Path, task: str) -> list[Question]:
    """Passages, questions and all reference answers of a SQuAD file.

    The ids of TyDiQA begin with the language, and its training file holds
    all of them.
    """
    document = read_json(path)
    references = {
        str(item.get("id", "")): tuple(
            dict.fromkeys(answer["text"].strip() for answer in item["answers"])
        )
        for article in document.get("data", [])
        for paragraph in article.get("paragraphs", [])
        for item in paragraph.get("qas", [])
        if item.get("answers")
    }
    return [
        Question(q.id, q.fields, references.get(q.id) or (q.fields["answer"],))
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
            "folder of one file a language"
        )
    return found


def _bbh_prompt(path: Path, task: str) -> list[Question]:
    """The exemplars of a BBH task, each with the task's description."""
    # The file opens with a canary and a dashed line.
    _, dashes, text = read_text(path).partition("\n-----\n")
    if not dashes:
        raise InputError(
            f"{path}: expected a canary line and a line '-----' before "
            "the prompt; restore the file as it was published"
        )
    description, exemplars = parse_exemplars(text, str(path))
    return [
        Question(f"{path.name}:{n}", {**e, "description": description})
        for n, e in enumerate(exemplars, 1)
    ]


def _mmlu_cot(path: Path, task: str) -> list[Question]:
    """The exemplars of an MMLU subject in `mmlu-cot.json`."""
    prompts = read_json(path)
    if not isinstance(prompts.get(task), str):
        raise InputError(
            f"{path}: no prompt for {task!r}." + did_you_mean(task, prompts)
        )
    place = f"{path}: {task}"
    _, exemplars = parse_exemplars(prompts[task], place)
    return [
        Question(f"{task}:{number}", exemplar)
        for number, exemplar in enumerate(exemplars, 1)
    ]


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
READERS: dict[str, Callable[[Path, str], list[Question]]] = {
    "asdiv": _asdiv,
    "aqua": _aqua,
    "bbh-prompt": _bbh_prompt,
    "commonsenseqa": _commonsenseqa,
    "examples": _listed,
    "flan-cot": _flan_cot,
    "mgsm-exemplars": _mgsm_exemplars,
    "mmlu-cot": _mmlu_cot,
    "squad": _squad,
    "strategyqa": _yes_no,
    "worked-problems": _worked,
}


def _multiple_choice(
    id: str,
    question: str,
    options: Sequence[str],
    answer: str,
    rationale: str = "",
) -> Question:
    fields = {
        "question": question.strip(),
        "options": "\n".join(" ".join(o.split()) for o in options),
        "answer": answer.strip(),
    }
    if rationale:
        fields["rationale"] = rationale.strip()
    return Question(id, laid_out(fields))


def _get(
    row: Any,
    path: Path,
    number: int,
    key: str,
    kind: type | None = str,
    other: str | None = None,
) -> Any:
    """Returns what a row has under a key, or says what is wrong."""
    value = row.get(key, row.get(other)) if isinstance(row, dict) else None
    kind = kind or str
    if not isinstance(value, kind) or not value:
        raise InputError(
            f"{path}:{number}: expected a {kind.__name__} under {key!r}, "
            f"found {value!r:.60}; mend the row: a score counts every one"
        )
    return value


def read_json(path: Path) -> dict[str, Any]:
    """Returns the object in a JSON file; InputError if there is none."""
    return read_json_object(path, remedy="download it again")


def same_place(question: Question, asked: Question) -> bool:
    """Whether a question is the asked one, or is on the same passage."""
    passage = asked.fields.get("context")
    return question.fields["question"] == asked.fields["question"] or (
        passage is not None and question.fields.get("context") == passage
    )
