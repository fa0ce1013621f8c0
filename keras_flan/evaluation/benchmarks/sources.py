"""What benchmarks share: questions, finding files, drawing."""

import dataclasses
import json
import random
import re
import string
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from keras_flan.data.importers.base import SPLITS, folder_name
from keras_flan.errors import InputError


@dataclasses.dataclass(frozen=True)
class SourceQuestion:
    """An example of a benchmark before it is laid out.

    Args:
        id: Where it came from.
        fields: Field name to text; `answer` is the target.
        references: All right answers, where there may be several.

    Example:
        >>> SourceQuestion("a.csv:1", {"question": "1 + 1?", "answer": "2"}).id
        'a.csv:1'
    """

    id: str
    fields: Mapping[str, str]
    references: tuple[str, ...] = ()

    @property
    def options(self) -> tuple[str, ...]:
        """The texts of the answer options; empty if there are none."""
        options = self.fields.get("options", "")
        return tuple(options.split("\n")) if options else ()


def question_of(id: str, fields: Mapping[str, str]) -> SourceQuestion:
    """Returns a question; a field `references` has all right answers.

    They are a JSON list, as importers write it; without it `answer` is the
    only one.
    """
    fields = dict(fields)
    references = fields.pop("references", "")
    if not references:
        return SourceQuestion(id, fields)
    return SourceQuestion(id, fields, tuple(json.loads(references)))


def laid_out(fields: Mapping[str, str]) -> dict[str, str]:
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


def draw(population: int, number: int, seed: str, place: str) -> list[int]:
    """Returns `number` different indices, the same for the same seed.

    Raises:
        InputError: If there are fewer.
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
            f"{place}: expected {shots} exemplar{'s' * (shots > 1)}, found "
            f"{available}; give --shots {available}"
            + (" or less" if available else "")
        )


def find_tasks(
    name: str,
    data: Path,
    patterns: Sequence[str],
    splits: Sequence[str] = ("test",),
) -> tuple[list[tuple[str, Path]] | None, Path]:
    """Finds the files of a benchmark.

    Args:
        name: The benchmark.
        data: A file, or the folder to look in.
        patterns: Paths below the folder, with `{task}` and `{split}`.
        splits: The splits; of the first that is there all files are taken.

    Returns:
        Pairs of task and file, and one of the files; None instead of pairs
        if a single file holds the whole benchmark.

    Raises:
        InputError: If there are none.
    """
    several = any("{task}" in pattern for pattern in patterns)
    if data.is_file():
        if not several:
            return None, data
        for pattern in patterns:
            last = pattern.rpartition("/")[2]
            if "{task}" in last and (
                match := _shape(last).fullmatch(data.name)
            ):
                return [(match["task"], data)], data
        if any("{task}" not in pattern for pattern in patterns):
            return None, data
        stem = re.sub(r"(_(test|val|dev))?(\.\w+)+$", "", data.name)
        # A file that is called after its split is of its folder's task.
        return [
            (folder_name(data, stem) if stem in SPLITS else stem, data)
        ], data
    for split in splits:
        for pattern in patterns:
            path = pattern.replace("{split}", split)
            files = [
                file
                for end in ("", ".gz")
                for file in data.glob(path.replace("{task}", "*") + end)
                if file.is_file()
            ]
            if files and "{task}" not in path:
                return None, files[0]
            if files:
                shape = _shape(path.rpartition("/")[2])
                return [
                    (match["task"], file)
                    for file in sorted(files)
                    if (match := shape.fullmatch(file.name))
                ], files[0]
    places = ", ".join(patterns)
    if not patterns:
        raise InputError(
            f"{data}: expected a file: the protocol of {name} names no "
            "'files' of a folder"
        )
    raise InputError(
        f"{data}: expected the files of {name} ({places}; .gz too), found "
        "none; give the folder as published, or one file"
    )


def _shape(name: str) -> re.Pattern[str]:
    """Returns a pattern for file names."""
    shape = re.escape(name).replace(r"\{task\}", r"(?P<task>.+?)")
    shape = shape.replace(r"\{split\}", r"(?:test|val|dev)")
    return re.compile(shape + r"(?:\.gz)?")


def by_task(pairs: Iterable[tuple[str, Path]]) -> dict[str, Path]:
    """Returns the pairs as a dict; InputError if a task occurs twice."""
    sources: dict[str, Path] = {}
    for task, path in pairs:
        if task in sources:
            raise InputError(
                f"{path}: the task {task!r} is also in {sources[task]}; give "
                "one of them with --data"
            )
        sources[task] = path
    return sources


def first_file(
    folders: Sequence[Path], names: Sequence[str], purpose: str
) -> Path:
    """Returns the first file of these names, or says what is missing."""
    for folder in folders:
        for name in names:
            for path in (folder / name, folder / f"{name}.gz"):
                if path.is_file():
                    return path
    raise InputError(
        f"{folders[0]}: no {' or '.join(names)} (nor .gz) in it or the two "
        f"folders above, needed for {purpose}; put it there as published"
        + (", or give --shots 0" if "exemplars" in purpose else "")
    )
