"""The tasks of the Flan 2022 paper, as checked-in tables.

`paper_tasks/sub_mixtures.yaml` has the sub-mixtures of the paper. A CSV file
beside it has the tasks of each and where they come from; its header says what
could not be reproduced.
"""

import csv
import dataclasses
import functools
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keras_flan.data.records.info import read_info
from keras_flan.data.records.languages import language_name
from keras_flan.data.records.shards import find_records
from keras_flan.data.templates.library import load_family
from keras_flan.errors import InputError, did_you_mean
from keras_flan.files import read_text
from keras_flan.schema import Strict, read_yaml, validate
from keras_flan.storage import as_path

REGISTRY = Path(__file__).parent / "paper_tasks"
DEFAULT_RECORDS = Path("records")


class SubMixture(Strict):
    """A sub-mixture of the paper."""

    paper_tasks: int  # The number of its tasks in the paper.
    cap: int  # At most this many examples of a task count for its rate.
    format: str  # The format of its files.
    origin: str  # Where its files are published.
    command: str  # The command that imports them.


@dataclasses.dataclass(frozen=True)
class RegistryTask:
    """A task of the paper's mixture, or one that it holds out."""

    name: str  # Also of the folder of its records.
    mixture: str  # The sub-mixture: "muffin", "t0_sf", "niv2" or "cot".
    dataset: str  # The data set it is made of.
    category: str  # The kind of task.
    languages: tuple[str, ...]  # Their names.
    cap: int  # At most this many examples count for its rate.
    part: str | None  # A part of the sub-mixture, such as "dialog".
    held_out: str | None  # The benchmark for which it is not trained on.
    license: str | None  # The license of its data, where known.
    templates: str | None  # The family, where the importer doesn't know it.
    format: str  # The format of its files.
    origin: str  # Where they are published.

    def command(self, records: str | os.PathLike = DEFAULT_RECORDS) -> str:
        """Returns the command that imports the task.

        Capitals and `COLUMN` stand for what depends on the user's files.
        """
        about, templates = sub_mixtures()[self.mixture], self.templates
        if self.format != about.format:
            return (
                f"keras-flan import {self.format} FILES --output "
                f"{as_path(records, self.name)}"
            )
        names = load_family(templates).fields if templates else ()
        fields = " ".join(f"--map {name}=COLUMN" for name in names)
        return about.command.format(
            name=self.name, templates=templates, fields=fields, records=records
        )


@functools.cache
def sub_mixtures() -> dict[str, SubMixture]:
    """Returns the sub-mixtures of the paper, by name."""
    path = REGISTRY / "sub_mixtures.yaml"
    return {
        name: validate(SubMixture, entry, f"{path}: {name}")
        for name, entry in read_yaml(path).items()
    }


@functools.cache
def registry_tasks(mixture: str) -> tuple[RegistryTask, ...]:
    """Returns the tasks of a sub-mixture or a part, held-out ones too.

    Raises:
        InputError: If there is none of this name.

    Example:
        >>> len(registry_tasks("t0_sf"))
        193
        >>> [task.name for task in registry_tasks("muffin/dialog")]
        ['qrecc', 'task_master', 'wiki_dialog']
    """
    name, _, part = mixture.partition("/")
    if name not in sub_mixtures():
        raise InputError(
            f"no sub-mixture {name!r} in the registry."
            + did_you_mean(name, sub_mixtures())
        )
    tasks = _read_table(name)
    if not part:
        return tasks
    parts = {task.part for task in tasks if task.part}
    if part not in parts:
        raise InputError(
            f"the sub-mixture {name!r} has no part {part!r}."
            + did_you_mean(part, parts)
        )
    return tuple(task for task in tasks if task.part == part)


@functools.cache
def _read_table(mixture: str) -> tuple[RegistryTask, ...]:
    about = sub_mixtures()[mixture]
    lines = read_text(REGISTRY / f"{mixture}.csv").split("\n")
    table = csv.DictReader(
        line for line in lines if line and not line.startswith("#")
    )
    return tuple(
        RegistryTask(
            name=row["name"],
            mixture=mixture,
            dataset=row["dataset"],
            category=row["category"],
            languages=tuple(row["languages"].split("; ")),
            cap=about.cap,
            part=row.get("part") or None,
            held_out=row["held_out"] or None,
            license=row["license"] or None,
            templates=row.get("templates") or None,
            format=row.get("format") or about.format,
            origin=(row.get("origin") or about.origin).format(
                dataset=row["dataset"]
            ),
        )
        for row in table
    )


class Present:
    """The record sets that are there, found by a task's registered name.

    Tables and files don't agree on "-", "." and "_" in names.
    """

    def __init__(self, found: Mapping[str, Path]):
        self._names = {plain_name(name): name for name in found}
        self._found = found

    def get(self, name: str) -> str | None:
        """Returns the name under which the records of a task are there."""
        if name in self._found:
            return name
        return self._names.get(plain_name(name))


def plain_name(name: str) -> str:
    """Returns a task's name in the spelling that all tables agree on.

    Example:
        >>> plain_name("task075_squad1.1_Answer-generation")
        'task075_squad1_1_answer_generation'
    """
    return re.sub("[^a-z0-9]+", "_", name.lower())


def task_languages(name: str, directory: Path) -> tuple[str, ...]:
    """Returns the languages of a task, as its file or the registry says."""
    extra = read_info(directory).extra
    keys = ("input_languages", "output_languages")
    stated = [language for key in keys for language in extra.get(key, ())]
    if not stated and "language" in extra:
        stated = [language_name(extra["language"])]
    listed = _languages_by_name().get(plain_name(name), ())
    return tuple(dict.fromkeys(stated or listed))


@functools.cache
def _languages_by_name() -> dict[str, tuple[str, ...]]:
    return {
        plain_name(task.name): task.languages
        for mixture in sub_mixtures()
        for task in registry_tasks(mixture)
    }


def list_tasks(
    mixture: str | None = None,
    category: str | None = None,
    records: str | os.PathLike = DEFAULT_RECORDS,
    split: str = "train",
) -> list[dict[str, Any]]:
    """Returns the registered tasks, and whether their records are present.

    Args:
        mixture: Only tasks of this sub-mixture (or part, `"muffin/dialog"`).
        category: Only tasks of which the category contains this text.
        records: The folder of records.
        split: The split of the records.

    Returns:
        A JSON-able dict each: the attributes of `RegistryTask`, `records`
        (the folder, or `None`), `examples` (how many, or `None`), and
        `command`, which brings missing records.

    Raises:
        InputError: If there is no such sub-mixture or category.

    Example:
        >>> [row["name"] for row in list_tasks("cot", "math")]
        ['gsm8k']
    """
    names = [mixture] if mixture else list(sub_mixtures())
    tasks = [task for name in names for task in registry_tasks(name)]
    if category:
        known = {task.category for task in tasks}
        tasks = [t for t in tasks if category.lower() in t.category.lower()]
        if not tasks:
            raise InputError(
                f"no task has the category {category!r}."
                + did_you_mean(category, known)
            )
    found = find_records(records, split)
    present = Present(found)
    rows = []
    for task in tasks:
        folder = found.get(present.get(task.name) or "")
        row = {
            "records": str(folder) if folder else None,
            "examples": read_info(folder).num_examples if folder else None,
            "command": task.command(records),
        }
        rows.append(dataclasses.asdict(task) | row)
    return rows
