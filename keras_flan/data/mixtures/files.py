"""Mixtures as YAML files, and the library of the paper's mixtures.

A file has `groups`, or a `mixture` whose groups it takes, or `stages` that
follow each other:

```yaml
name: small
records: ../records     # <records>/<task>/[<split>/], relative to this file
split: train
shots: 3                # exemplars in few-shot prompts
missing: error          # or skip: leave out tasks without records
flan_rounds: false      # true: whole rounds of templates only, as in the paper
groups:
  cot:
    proportion: 0.4
    cap: 100000
    formats: {zero_shot_cot: 1, few_shot_cot: 1}
    tasks: [gsm8k, {name: qasc, cap: 500}]
  direct:
    proportion: 0.6
    tasks:
    - {name: mine, records: ../mine, split: dev, templates: mine.yaml}
```

A task may have its own `records`, `split`, `templates`, `cap` and `language`.
With `language_temperature: T` the languages of a group share by `n^(1/T)`; the
formats `zero_shot_localised` and the like ask in the language of the records.
`tasks: "*"` takes all tasks of the folder of records that the groups don't
name elsewhere (`{name: "*", records: ../niv2}` those of another folder), and
`tasks: {registry: niv2}` those of a sub-mixture of the paper (`keras-flan
tasks` lists them), except held-out ones.

```yaml
mixture: flan2022_paper_b     # a name of the library, or a file
missing: skip
```

```yaml
stages:
- steps: 500            # batches
  groups: {direct: {tasks: [mine]}}
- mixture: flan2022_paper_b   # a name or a file, instead of groups
```
"""

import dataclasses
import functools
import os
from pathlib import Path

from keras_flan.data.mixtures.entries import (
    GroupEntry,
    Groups,
    Missing,
    MixtureFile,
    Stage,
    TaskEntry,
)
from keras_flan.data.mixtures.groups import MixtureGroup
from keras_flan.data.mixtures.task_registry import (
    DEFAULT_RECORDS,
    Present,
    registry_tasks,
)
from keras_flan.data.records.shards import find_records, records_folder
from keras_flan.data.templates.library import is_library_name
from keras_flan.data.templates.own import is_python
from keras_flan.data.templates.task import Task
from keras_flan.errors import InputError, did_you_mean
from keras_flan.files import atomic_write
from keras_flan.schema import read_yaml, validate
from keras_flan.storage import as_path

LIBRARY = Path(__file__).parent / "mixture_library"


def library_mixtures() -> list[str]:
    """Returns the names of the mixtures in the library."""
    return sorted(path.stem for path in LIBRARY.glob("*.yaml"))


@dataclasses.dataclass(frozen=True)
class FileStage:
    """A stage of a file's mixture: what `Mixture` takes, from disk."""

    file: Path
    name: str
    groups: list[MixtureGroup]
    shots: int
    steps: int | None


def read_stages(
    source: str | os.PathLike,
    records: str | os.PathLike | None = None,
    missing: str | None = None,
) -> list[FileStage]:
    """Reads the stages of a mixture, see `Mixture.from_yaml`."""
    path = _find(source)
    config = validate(MixtureFile, read_yaml(path), str(path))
    root = DEFAULT_RECORDS if is_library_name(source) else None
    if records is not None:
        root = as_path(records)
    elif config.records is not None:
        root = as_path(path.parent, config.records)
    if missing is not None:
        config = config.model_copy(update={"missing": _missing(missing)})
    found = find_records(root, config.split) if root else {}
    stages = []
    for i, stage in enumerate(config.all_stages):
        name = config.name or path.stem
        if config.stages:
            name += f", stage {i + 1}"
        file, entries, rounds = _groups(path, stage)
        if config.flan_rounds is not None:
            rounds = config.flan_rounds
        skip = config.missing is Missing.skip
        finder = _Finder(file, entries, root, found, config.split, skip, rounds)
        stages.append(
            FileStage(path, name, finder.groups(), config.shots, stage.steps)
        )
    return stages


def start_mixture_file(folder: str | os.PathLike, mixture: str) -> Path:
    """Writes a file for a mixture of those tasks whose records are there.

    A file that is there already stays as it is: it may have been edited.
    The mixture is one of the library; the file, of which the path is
    returned, goes to the folder of records.

    Example:
        >>> start_mixture_file("records", "flan2022_paper_b")
        PosixPath('records/flan2022_paper_b.yaml')
    """
    path = as_path(folder, f"{mixture}.yaml")
    if not path.exists():
        with atomic_write(path) as file:
            file.write(
                f"# {mixture}, of the tasks that have records in this folder.\n"
                f"mixture: {mixture}\nrecords: .\nmissing: skip\n"
            )
    return path


def _missing(choice: str) -> Missing:
    if choice not in list(Missing):
        raise InputError(
            f"missing: expected error or skip, found {str(choice)!r}"
        )
    return Missing(choice)


def _find(source: str | os.PathLike) -> Path:
    if not is_library_name(source):
        return as_path(source)
    path = LIBRARY / f"{source}.yaml"
    if not path.is_file():
        raise InputError(
            f"no mixture {str(source)!r} in the library."
            + did_you_mean(str(source), library_mixtures())
            + " A file of your own is given by its path, ending in .yaml."
        )
    return path


def _groups(path: Path, stage: Stage) -> tuple[Path, Groups, bool]:
    """Returns a stage's groups, their file, and its `flan_rounds`."""
    name = stage.mixture
    if name is None:
        return path, stage.groups or {}, False
    file = _find(name if is_library_name(name) else as_path(path.parent, name))
    config = validate(MixtureFile, read_yaml(file), str(file))
    if config.groups is None:
        raise InputError(
            f"{path}: the mixture {name!r} has no groups of its own; name one "
            "that has"
        )
    return file, config.groups, bool(config.flan_rounds)


@dataclasses.dataclass
class _Finder:
    """Finds the tasks of a stage on disk."""

    path: Path  # The file that the groups are in.
    entries: Groups
    root: Path | None  # The folder of records.
    found: dict[str, Path]  # The record sets in there.
    split: str
    skip: bool  # Whether to leave out tasks without records.
    rounds: bool  # Whether only whole rounds of templates are used.
    # The record sets that `*` stands for, and those of other splits.
    _starred: dict[str, Path] = dataclasses.field(default_factory=dict)
    _splits: dict[str, dict[str, Path]] = dataclasses.field(
        default_factory=dict
    )

    def groups(self) -> list[MixtureGroup]:
        """Returns the groups with their tasks.

        Raises:
            InputError: If a task is not there; names its place in the file.
        """
        return [self._group(name, one) for name, one in self.entries.items()]

    def _group(self, name: str, group: GroupEntry) -> MixtureGroup:
        tasks: list[Task] = []
        caps: dict[str, int] = {}
        skipped: list[str] = []
        for i, entry in enumerate(group.tasks):
            place = f"{self.path}: groups.{name}.tasks.{i}"
            for one in self._expand(entry, place):
                folder = self._folder(one)
                if folder is None and self.skip:
                    skipped.append(one.name)
                    continue
                if folder is None:
                    raise InputError(self._missing(one, entry, place))
                tasks.append(self._task(one, folder, place))
                if one.cap:
                    caps[one.name] = one.cap
        about = (group.proportion, group.cap, caps, group.formats, skipped)
        temperature = group.language_temperature
        return MixtureGroup(name, tasks, *about, temperature)

    def _expand(self, entry: TaskEntry, place: str) -> list[TaskEntry]:
        """Turns `*` and `registry` into tasks."""
        if entry.registry:
            try:
                return [
                    TaskEntry(name=self._present.get(task.name) or task.name)
                    for task in registry_tasks(entry.registry)
                    if not task.held_out
                ]
            except InputError as error:
                raise InputError(f"{place}.registry: {error}") from None
        if entry.name == "*":
            others = self._others(entry, place)
            self._starred |= others
            return [entry.model_copy(update={"name": name}) for name in others]
        return [entry]

    @functools.cached_property
    def _present(self) -> Present:
        return Present(self.found)

    def _others(self, entry: TaskEntry, place: str) -> dict[str, Path]:
        """Returns the tasks that the groups don't name, and their folders."""
        root, split, found = self.root, entry.split or self.split, self.found
        if entry.records is not None:
            root = as_path(self.path.parent, entry.records)
        if root is not None and (entry.records or entry.split):
            found = find_records(root, split)
        named = {
            one.name
            for group in self.entries.values()
            for entry in group.tasks
            if entry.name != "*"
            for one in self._expand(entry, place)
        }
        others = {n: path for n, path in found.items() if n not in named}
        if not others and not self.skip:
            raise InputError(
                f"{place}: '*' finds no tasks of the split "
                f"{split!r} in {root or '(no `records`)'}; "
                "write some there with `keras-flan import`"
            )
        return others

    def _folder(self, entry: TaskEntry) -> Path | None:
        if entry.name in self._starred:
            return self._starred[entry.name]
        split = entry.split or self.split
        if entry.records is not None:
            path = as_path(self.path.parent, entry.records)
            return records_folder(path, split)
        if split == self.split:
            return self.found.get(entry.name)
        if split not in self._splits:
            root = self.root
            self._splits[split] = find_records(root, split) if root else {}
        return self._splits[split].get(entry.name)

    def _missing(self, one: TaskEntry, entry: TaskEntry, place: str) -> str:
        """Returns what to say about a task that isn't there."""
        if entry.registry:
            tasks = self._expand(entry, place)
            number = sum(self._folder(task) is None for task in tasks)
            return (
                f"{place}: {number:,} of the {len(tasks):,} tasks of "
                f"{entry.registry!r} have no records in {self.root}, such as "
                f"{one.name!r}. `keras-flan tasks` says how to get them; "
                "`missing: skip` (`--missing skip`) leaves them out"
            )
        split = one.split or self.split
        hint, path = "", self.root and self.root / one.name
        if one.records is not None:
            path = as_path(self.path.parent, one.records)
        elif self.found:
            hint = did_you_mean(one.name, self.found)
        where = f"in {path}" if path else "(the mixture has no `records`)"
        return (
            f"{place}: no records of the task {one.name!r}, split "
            f"{split!r}, {where}.{hint} Write them with `keras-flan "
            f"import ... --output {path or 'DIR'} --split {split}`"
        )

    def _task(self, entry: TaskEntry, folder: Path, place: str) -> Task:
        templates: str | Path | None = entry.templates
        if entry.templates and (
            as_path(entry.templates).suffix in (".yaml", ".yml")
            or (is_python(entry.templates) and ".py:" in entry.templates)
        ):
            templates = as_path(self.path.parent, entry.templates)
        try:
            task = Task.from_directory(folder, templates, entry.language)
        except InputError as error:
            raise InputError(f"{place}: {error}") from None
        return dataclasses.replace(
            task, name=entry.name, flan_rounds=self.rounds
        )
