"""Mixture: tasks, caps and proportions, turned into sampling rates."""

import dataclasses
import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import pydantic

from keras_flan.data.records import INFO_FILE, read_info
from keras_flan.data.tasks import Task
from keras_flan.data.templates import BASIC_FORMATS, Format
from keras_flan.errors import InputError, did_you_mean
from keras_flan.schema import Strict, read_yaml, validate

DEFAULT_FORMATS = dict.fromkeys(BASIC_FORMATS, 1.0)


@dataclasses.dataclass(frozen=True)
class MixtureGroup:
    """Tasks that share a proportion of the mixture, such as "cot".

    Args:
        name: The name of the group.
        tasks: Its tasks.
        proportion: The group's share of the mixture, relative to the other
            groups'; `None`, in all groups alike, shares by examples.
        cap: At most so many examples of a task count for its rate.
        caps: Caps of single tasks, by name.
        formats: Relative weights of the formats; by default the four basic
            ones alike. Those that a task lacks are left out for that task.
    """

    name: str
    tasks: Sequence[Task]
    proportion: float | None = None
    cap: int | None = None
    caps: Mapping[str, int] = dataclasses.field(default_factory=dict)
    formats: Mapping[Format | str, float] = dataclasses.field(
        default_factory=lambda: DEFAULT_FORMATS
    )


@dataclasses.dataclass(frozen=True)
class MixtureTask:
    """A task as part of a mixture.

    Args:
        task: The task.
        group: The name of its group.
        cap: At most so many examples count for the rate.
        weight: The number of examples that count.
        rate: The probability that a training example is of this task.
        formats: The probability of each format, given the task.
    """

    task: Task
    group: str
    cap: int | None
    weight: int
    rate: float
    formats: dict[Format, float]


class Mixture:
    """Tasks with the rates at which training draws from them.

    A task of `n` usable examples in a group of cap `K` and proportion `P`
    weighs `w = min(n, K)`, and is drawn with the probability

        p = P * w / (sum of w over the group),

    the proportions being normalised over the groups.

    Args:
        name: The name of the mixture.
        groups: Its groups of tasks.
        shots: Exemplars in few-shot prompts; 0 leaves those formats out.

    Raises:
        InputError: If names repeat, a group is empty, proportions are given
            for a part of the groups only, or a task has no allowed format.

    Example:
        >>> mixture = Mixture(
        ...     "two", [MixtureGroup("all", [gsm8k, aqua], cap=30_000)]
        ... )
        >>> mixture.rates()
        {'gsm8k': 0.7331..., 'aqua': 0.2669...}

    Source: arXiv:2210.11416, table 23 and section 2.1.
    """

    def __init__(
        self, name: str, groups: Sequence[MixtureGroup], shots: int = 3
    ):
        self.name = name
        self.groups = tuple(groups)
        self.shots = shots
        _check_names(name, self.groups)
        self._shares = _shares(name, self.groups)
        self.tasks: tuple[MixtureTask, ...] = tuple(
            part
            for group, share in zip(self.groups, self._shares, strict=True)
            for part in _weigh(name, group, share, shots)
        )

    @classmethod
    def from_yaml(cls, path: str | os.PathLike) -> "Mixture":
        """Reads a mixture from a YAML file.

        Paths in the file are relative to it. `tasks: "*"` takes all tasks
        found in the folder of records that the file doesn't name elsewhere.

        Raises:
            InputError: If a key is unknown or wrong, or a task isn't there.

        Example of a file:
            name: small
            records: ../records     # <records>/<task>/[<split>/]
            split: train
            shots: 3
            groups:
              cot:
                proportion: 0.4
                cap: 100000
                formats: {zero_shot_cot: 1, few_shot_cot: 1}
                tasks: [gsm8k, {name: qasc, cap: 500}]
              direct:
                proportion: 0.6
                tasks: [{name: mine, records: ../mine, templates: mine.yaml}]
        """
        path = Path(path)
        config = validate(_MixtureFile, read_yaml(path), str(path))
        groups = _Finder(path, config).groups()
        try:
            return cls(config.name or path.stem, groups, config.shots)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None

    def rates(self) -> dict[str, float]:
        """Returns the sampling probability of each task; they sum to 1."""
        return {part.task.name: part.rate for part in self.tasks}

    def summary(self) -> dict:
        """Returns the groups, tasks, weights and rates, ready for JSON."""
        return {
            "name": self.name,
            "shots": self.shots,
            "groups": [
                {
                    "name": group.name,
                    "proportion": share,
                    "tasks": [
                        _describe(p)
                        for p in self.tasks
                        if p.group == group.name
                    ],
                }
                for group, share in zip(self.groups, self._shares, strict=True)
            ],
        }


def _describe(part: MixtureTask) -> dict:
    return {
        "name": part.task.name,
        "examples": part.task.num_examples,
        "usable": part.task.num_usable,
        "cap": part.cap,
        "weight": part.weight,
        "rate": part.rate,
        "formats": {f.value: share for f, share in part.formats.items()},
    }


def _check_names(name: str, groups: Sequence[MixtureGroup]) -> None:
    if not groups:
        raise InputError(f"{name}: a mixture needs at least one group")
    seen: dict[str, str] = {}
    for group in groups:
        if not group.tasks:
            raise InputError(f"{name}: the group {group.name!r} has no tasks")
        for task in group.tasks:
            if task.name in seen:
                raise InputError(
                    f"{name}: the task {task.name!r} is in the mixture twice "
                    f"(groups {seen[task.name]!r} and {group.name!r}); keep "
                    "one of them"
                )
            seen[task.name] = group.name


def _shares(name: str, groups: Sequence[MixtureGroup]) -> list[float]:
    """Returns the groups' shares of the mixture; they sum to 1."""
    without = [g.name for g in groups if g.proportion is None]
    if without and len(without) < len(groups):
        raise InputError(
            f"{name}: the group {without[0]!r} has no proportion, but others "
            "have; give all groups one, or none"
        )
    shares = [
        sum(_weight(g, t) for t in g.tasks) if without else g.proportion
        for g in groups
    ]
    return [share / sum(shares) for share in shares]


def _weight(group: MixtureGroup, task: Task) -> int:
    cap = group.caps.get(task.name, group.cap)
    return min(task.num_usable, cap) if cap else task.num_usable


def _weigh(name: str, group: MixtureGroup, share: float, shots: int):
    total = sum(_weight(group, task) for task in group.tasks)
    for task in group.tasks:
        weight = _weight(group, task)
        yield MixtureTask(
            task=task,
            group=group.name,
            cap=group.caps.get(task.name, group.cap),
            weight=weight,
            rate=share * weight / total,
            formats=_formats(f"{name}: {group.name}", group, task, shots),
        )


def _formats(
    place: str, group: MixtureGroup, task: Task, shots: int
) -> dict[Format, float]:
    wanted = {
        Format(format): weight
        for format, weight in group.formats.items()
        if weight > 0 and (shots > 0 or not Format(format).few_shot)
    }
    weights = {f: wanted[f] for f in task.formats if f in wanted}
    if not weights:
        raise InputError(
            f"{place}: the task {task.name!r} can be asked in "
            f"{', '.join(f.value for f in task.formats)}, but the group "
            f"allows {', '.join(f.value for f in wanted) or 'nothing'}; "
            "change `formats` or move the task to another group"
        )
    total = sum(weights.values())
    return {f: weight / total for f, weight in weights.items()}


class _TaskEntry(Strict):
    name: str
    records: Path | None = None
    templates: str | None = None
    cap: pydantic.PositiveInt | None = None


def _as_entry(value):
    return {"name": value} if isinstance(value, str) else value


def _as_list(value):
    return [value] if value == "*" else value


class _GroupEntry(Strict):
    proportion: pydantic.PositiveFloat | None = None
    cap: pydantic.PositiveInt | None = None
    formats: dict[Format, pydantic.NonNegativeFloat] = DEFAULT_FORMATS
    tasks: Annotated[
        list[Annotated[_TaskEntry, pydantic.BeforeValidator(_as_entry)]],
        pydantic.BeforeValidator(_as_list),
    ]


class _MixtureFile(Strict):
    name: str | None = None
    records: Path | None = None
    split: str = "train"
    shots: pydantic.NonNegativeInt = 3
    groups: dict[str, _GroupEntry]


class _Finder:
    """Finds the tasks of a mixture file on disk."""

    def __init__(self, path: Path, config: _MixtureFile):
        self._path = path
        self._config = config
        self._root = config.records and path.parent / config.records

    def groups(self) -> list[MixtureGroup]:
        groups = []
        for name, group in self._config.groups.items():
            tasks, caps = [], {}
            for i, entry in enumerate(group.tasks):
                place = f"{self._path}: groups.{name}.tasks.{i}"
                for one in self._expand(entry, place):
                    tasks.append(self._task(one, place))
                    if one.cap:
                        caps[one.name] = one.cap
            groups.append(
                MixtureGroup(
                    name,
                    tasks,
                    group.proportion,
                    group.cap,
                    caps,
                    group.formats,
                )
            )
        return groups

    def _expand(self, entry: _TaskEntry, place: str) -> list[_TaskEntry]:
        """Turns `*` into the tasks that the mixture doesn't name."""
        if entry.name != "*":
            return [entry]
        return [
            entry.model_copy(update={"name": name})
            for name in self._others(place)
        ]

    @functools.cached_property
    def _found(self) -> dict[str, Path]:
        """Tasks of the mixture's split in the folder of records."""
        if self._root is None or not self._root.is_dir():
            return {}
        folders = {
            path.name: self._folder(path)
            for path in sorted(self._root.iterdir())
            if path.is_dir()
        }
        return {name: folder for name, folder in folders.items() if folder}

    def _folder(self, path: Path) -> Path | None:
        """Returns where under `path` the records of the split are."""
        split = self._config.split
        for folder in (path / split, path):
            if (folder / INFO_FILE).is_file() and (
                read_info(folder)["split"] == split
            ):
                return folder
        return None

    def _others(self, place: str) -> list[str]:
        named = {
            entry.name
            for group in self._config.groups.values()
            for entry in group.tasks
        }
        others = [name for name in self._found if name not in named]
        if not others:
            raise InputError(
                f"{place}: '*' finds no tasks of the split "
                f"{self._config.split!r} in {self._root or '(no `records`)'}; "
                "write some there with `keras-flan import`"
            )
        return others

    def _task(self, entry: _TaskEntry, place: str) -> Task:
        if entry.records is not None:
            path = self._path.parent / entry.records
            folder = self._folder(path)
        else:
            path = self._root and self._root / entry.name
            folder = self._found.get(entry.name)
        split = self._config.split
        if folder is None:
            where = f"in {path}" if path else "(the mixture has no `records`)"
            hint = (
                did_you_mean(entry.name, self._found)
                if entry.records is None and self._found
                else ""
            )
            raise InputError(
                f"{place}: no records of the task {entry.name!r}, split "
                f"{split!r}, {where}.{hint} Write them with `keras-flan "
                f"import ... --output {path or 'DIR'} --split {split}`"
            )
        templates = entry.templates
        if templates and Path(templates).suffix in (".yaml", ".yml"):
            templates = self._path.parent / templates
        try:
            task = Task.from_directory(folder, templates)
        except InputError as error:
            raise InputError(f"{place}: {error}") from None
        return dataclasses.replace(task, name=entry.name)
