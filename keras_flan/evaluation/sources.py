"""What benchmarks share: finding files, reading questions, drawing."""

import dataclasses
import json
import random
import re
import string
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from keras_flan.data.importers import IMPORTERS, Options, Reject
from keras_flan.errors import InputError
from keras_flan.files import read_text
from keras_flan.generation.answers import answer_kind


@dataclasses.dataclass(frozen=True)
class Question:
    """An example of a benchmark before it is laid out.

    Args:
        id: Where it came from.
        fields: Field name to text; `answer` is the target.
    """

    id: str
    fields: Mapping[str, str]

    @property
    def options(self) -> tuple[str, ...]:
        """The texts of the answer options; empty if there are none."""
        options = self.fields.get("options", "")
        return tuple(options.split("\n")) if options else ()


def read_questions(format: str, path: Path) -> list[Question]:
    """Returns the questions of a file, read by the importer of the format.

    Raises:
        InputError: If a row can't be used: a score must not leave it out.
    """
    questions = []
    for row in IMPORTERS[format].read(path, Options()).rows:
        if isinstance(row, Reject):
            raise InputError(
                f"{path}:{row.number}: {row.reason}; mend the row: a score "
                "counts every one"
            )
        source_id = row.source_id or f"{path.name}:{row.number}"
        questions.append(Question(source_id, _layout_fields(row.fields)))
    if not questions:
        raise InputError(f"{path}: the file is empty; download it again")
    return questions


def _layout_fields(fields: Mapping[str, str]) -> dict[str, str]:
    r"""Adds the options as lines "A. ..." and as a row "(A) ... (B) ..."."""
    if "options" not in fields:
        return dict(fields)
    options = list(
        zip(string.ascii_uppercase, fields["options"].split("\n"), strict=False)
    )
    return {
        **fields,
        "option_lines": "\n".join(f"{letter}. {o}" for letter, o in options),
        "option_row": " ".join(f"({letter}) {o}" for letter, o in options),
    }


def task_kind(benchmark: str, task: str, questions: Sequence[Question]) -> str:
    """Returns the answer kind of a task: text if its targets look mixed."""
    kinds = {
        answer_kind(benchmark, task, question.fields["answer"])
        for question in questions
    }
    return kinds.pop() if len(kinds) == 1 else "text"


def draw(population: int, number: int, seed: str, place: str) -> list[int]:
    """Returns `number` different indices, the same for the same seed.

    Raises:
        InputError: If there are not so many.
    """
    require_shots(number, population, place)
    # Python promises a stable sequence for random() alone.
    generator = random.Random(seed)
    keys = [generator.random() for _ in range(population)]
    return sorted(range(population), key=keys.__getitem__)[:number]


def require_shots(shots: int, available: int, place: str) -> None:
    """Raises InputError if there are fewer exemplars than asked for."""
    if shots > available:
        raise InputError(
            f"{place}: {shots} exemplars asked for, found {available}; give "
            f"--shots {available} or less"
        )


def list_tasks(path: Path, suffix: str) -> dict[str, Path]:
    """Returns task and file for a file, or for each file of a folder.

    The task is the file's name without suffixes and split.
    """
    names = (f"*.{suffix}", f"*.{suffix}.gz")
    files = (
        [path] if path.is_file() else [f for n in names for f in path.glob(n)]
    )
    if not files:
        raise InputError(
            f"{path}: expected .{suffix} or .{suffix}.gz files, found none; "
            "give the folder as published, or one file"
        )
    return by_task(
        (re.sub(r"(_(test|val|dev))?(\.\w+)+$", "", file.name), file)
        for file in sorted(files)
    )


def by_task(pairs: Iterable[tuple[str, Path]]) -> dict[str, Path]:
    """Returns the pairs as a dict; InputError if a task occurs twice."""
    sources = {}
    for task, path in pairs:
        if task in sources:
            raise InputError(
                f"{path}: the task {task!r} is also in {sources[task]}; give "
                "one of them with --data"
            )
        sources[task] = path
    return sources


def first_file(folders: Sequence[Path], name: str, purpose: str) -> Path:
    """Returns the first `name` or `name.gz`, or says what is missing."""
    for folder in folders:
        for path in (folder / name, folder / f"{name}.gz"):
            if path.is_file():
                return path
    places = " or ".join(str(folder) for folder in folders)
    raise InputError(
        f"{places}: no {name} (nor {name}.gz), needed for {purpose}; put it "
        "there as published"
        + (", or give --shots 0" if "exemplars" in purpose else "")
    )


def read_json(path: Path) -> dict:
    """Returns the object in a JSON file; InputError if there is none."""
    try:
        value = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path}:{error.lineno}: not JSON ({error.msg}); download it again"
        ) from None
    if not isinstance(value, dict):
        raise InputError(
            f"{path}: expected a JSON object, subject to prompt, found a "
            f"{type(value).__name__}; download it again"
        )
    return value
