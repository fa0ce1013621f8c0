"""Writing the universe as record sets, the same bytes every time."""

import dataclasses
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from keras_flan.data.records.example import Example
from keras_flan.data.records.info import RecordInfo, read_info
from keras_flan.data.records.shards import verify_records
from keras_flan.data.records.writing import write_records
from keras_flan.errors import InputError, did_you_mean
from keras_flan.miniature.universe.catalogue import ALL, CORE
from keras_flan.miniature.universe.specs import Draws, TaskSpec
from keras_flan.progress import track
from keras_flan.storage import as_path

# Raise it with every change of the examples: sets on disk that carry another
# number are then made anew by `ensure_records`.
GENERATOR_VERSION = 4
SPLIT_SIZES = {"train": 2000, "test": 200}
# What the repository ships, of the tasks of `CORE`.
SAMPLE_SIZES = {"train": 200, "test": 50}
# Repeats in a row after which a task has no further questions.
_PATIENCE = 2000


def generate(
    spec: TaskSpec,
    split: str,
    number: int | None = None,
    templates: int | None = None,
    other_ways: bool = False,
) -> list[Example]:
    """Makes one split of a task; no question occurs twice in a task.

    The test split is drawn first, and the training split leaves its
    questions out, so the test examples do not depend on how many training
    examples are made. A smaller split is the beginning of a larger one.

    Args:
        spec: The task.
        split: `"train"` or `"test"`.
        number: How many; default: that of `SPLIT_SIZES`.
        templates: How many of the task's own ways of asking are used.
        other_ways: See `TaskSpec.example`.

    Raises:
        ValueError: If the task has too few different questions.

    Example:
        >>> generate(TASKS["calendar"], "test")[0].fields["question"]
        'Today is Sunday. What day is it in 2 days?'
    """
    if number is None:
        number = SPLIT_SIZES[split]
    taken: set[str] = set()
    if split == "train":
        taken = {e.fields["question"] for e in generate(spec, "test")}
    draws = Draws(f"{spec.name}/{split}")
    return [
        Example(fields, spec.name, f"{split}/{i}")
        for i, fields in enumerate(
            _distinct(spec, draws, number, taken, templates, other_ways)
        )
    ]


def _distinct(
    spec: TaskSpec,
    draws: Draws,
    number: int,
    taken: set[str],
    templates: int | None,
    other_ways: bool,
) -> Iterator[dict[str, str]]:
    """Yields examples whose questions are not in `taken`, and adds them."""
    for i in range(number):
        for _ in range(_PATIENCE):
            fields = spec.example(draws, templates, other_ways)
            if fields["question"] not in taken:
                break
        else:
            raise ValueError(
                f"{spec.name}: found no question beyond the first {i} in "
                f"{_PATIENCE} draws; add phrasings, or ask for fewer"
            )
        taken.add(fields["question"])
        yield fields


def build_records(
    output: str | os.PathLike,
    *,
    tasks: Iterable[str] | None = None,
    sizes: Mapping[str, int] = SPLIT_SIZES,
    templates: int | None = None,
    progress: bool = False,
) -> list[RecordInfo]:
    """Writes sets of the universe to `output/<task>/<split>`.

    Args:
        output: The folder to write; sets that are there are replaced.
        tasks: Names of tasks; default: those of `CORE`.
        sizes: Examples of each split. (Few tasks have more than 2,000
            different training questions.)
        templates: How many of each task's own ways of asking are used.
        progress: Show a progress bar on stderr.

    Returns:
        The facts of each set.

    Raises:
        InputError: If a task is unknown.

    Example:
        >>> infos = build_records("runs/records")
        >>> infos[0].name, infos[0].split, infos[0].num_examples
        ('one_step_arithmetic', 'train', 2000)
    """
    sets = _sets(as_path(output), tasks, sizes, templates, other_ways=False)
    return _write(sets, progress)


def ensure_records(
    directory: str | os.PathLike,
    *,
    tasks: Iterable[str] | None = None,
    sizes: Mapping[str, int] = SPLIT_SIZES,
    templates: int | None = None,
    other_ways: bool = False,
    splits: Iterable[str] | None = None,
    progress: bool = False,
) -> Path:
    """Makes the sets of the universe that are not in `directory` as built.

    Sets that are missing, damaged or of another size, generator version,
    number of templates or of ways are written; valid ones are left alone.

    Args:
        directory: The folder to complete.
        tasks: See `build_records`; so are the others.
        sizes: Examples of each split.
        templates: A bound on each task's own ways of asking.
        other_ways: Whether half of the examples have another way of
            reasoning, where the task has one; see `TaskSpec.example`.
        splits: Which; default: those of each task. (The `"train"` split of
            a held-out task is for exemplars; keep it away from mixtures.)
        progress: Show a progress bar on stderr.

    Returns:
        The folder.

    Example:
        >>> ensure_records("tf_records/quickstart", sizes=SAMPLE_SIZES)
        PosixPath('tf_records/quickstart')
    """
    folder = as_path(directory)
    sets = _sets(folder, tasks, sizes, templates, other_ways, splits)
    _write([one for one in sets if not one.valid()], progress)
    return folder


@dataclasses.dataclass(frozen=True)
class _Set:
    """A set to be written."""

    spec: TaskSpec
    split: str
    number: int
    templates: int | None
    other_ways: bool
    directory: Path

    def valid(self) -> bool:
        """Whether it is on disk as `write` leaves it."""
        try:
            info = read_info(self.directory)
            verify_records(self.directory)
        except InputError:
            return False
        extra = info.extra
        return (
            info.num_examples == self.number
            and extra.get("other_ways", False) == self.other_ways
            and all(extra.get(key) == x for key, x in self._origin().items())
        )

    def write(self) -> RecordInfo:
        spec = self.spec
        examples = generate(
            spec, self.split, self.number, self.templates, self.other_ways
        )
        if spec.check is not None:
            spec.check(examples)
        return write_records(
            examples,
            self.directory,
            name=spec.name,
            split=self.split,
            # Where the universe once was: it is part of the records' bytes.
            source="keras_flan.data.universe",
            license="Apache-2.0",
            templates="generic",
            answer_kind=spec.answer_kind,
            extra={
                **self._origin(),
                "family": spec.family,
                "summary": spec.summary,
                "reasoning": spec.reasoning,
                "held_out": spec.held_out,
                "random_baseline": round(spec.random_baseline, 4),
            },
        )

    def _origin(self) -> dict[str, Any]:
        return {
            "generator_version": GENERATOR_VERSION,
            "own_templates": self.templates,
            **({"other_ways": True} if self.other_ways else {}),
        }


def _sets(
    output: Path,
    tasks: Iterable[str] | None,
    sizes: Mapping[str, int],
    templates: int | None,
    other_ways: bool,
    splits: Iterable[str] | None = None,
) -> list[_Set]:
    """Lists the sets of tasks."""
    names = list(CORE if tasks is None else tasks)
    splits = None if splits is None else list(splits)
    for name in names:
        if name not in ALL:
            raise InputError(
                f"{name}: no such task of the universe."
                + did_you_mean(name, ALL)
            )
    return [
        _Set(
            ALL[name],
            split,
            sizes[split],
            templates,
            other_ways,
            output / name / split,
        )
        for name in names
        for split in splits or ALL[name].splits
    ]


def _write(sets: list[_Set], progress: bool) -> list[RecordInfo]:
    return [
        one.write()
        for one in track(
            sets,
            "generating tasks",
            total=len(sets),
            unit="sets",
            enabled=progress and bool(sets),
        )
    ]
