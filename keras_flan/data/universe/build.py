"""Writing the universe as record sets, the same bytes every time."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keras_flan.data.records import (
    Example,
    read_info,
    verify_records,
    write_records,
)
from keras_flan.data.universe.registry import TASKS
from keras_flan.data.universe.specs import Draws, TaskSpec
from keras_flan.errors import InputError
from keras_flan.progress import track

# Raise it with every change of the examples: sets on disk that carry another
# number are then made anew by `ensure_records`.
GENERATOR_VERSION = 1
SPLIT_SIZES = {"train": 2000, "test": 200}
# So many repeats in a row mean that a task has no further questions.
_PATIENCE = 2000


def generate(spec: TaskSpec, split: str) -> list[Example]:
    """Makes one split of a task; no question occurs twice in a task.

    The test split is drawn first, and the training split leaves its
    questions out, so the test examples do not depend on how many training
    examples are made.

    Args:
        spec: The task.
        split: `"train"` or `"test"`.

    Raises:
        ValueError: If the task has too few different questions.

    Example:
        >>> generate(TASKS["calendar"], "test")[0].fields["question"]
        'Today is Sunday. What day is it in 2 days?'
    """
    taken: set[str] = set()
    if split == "train":
        taken = {e.fields["question"] for e in generate(spec, "test")}
    draws = Draws(f"{spec.name}/{split}")
    return [
        Example(fields, spec.name, f"{split}/{i}")
        for i, fields in enumerate(
            _distinct(spec, draws, SPLIT_SIZES[split], taken)
        )
    ]


def _distinct(
    spec: TaskSpec, draws: Draws, number: int, taken: set[str]
) -> Iterator[dict[str, str]]:
    """Yields examples whose questions are not in `taken`, and adds them."""
    for i in range(number):
        for _ in range(_PATIENCE):
            fields = spec.make(draws)
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
    output: str | os.PathLike, *, progress: bool = False
) -> list[dict[str, Any]]:
    """Writes every set of the universe to `output/<task>/<split>`.

    Args:
        output: The folder to write; sets that are there are replaced.
        progress: Show a progress bar on stderr.

    Returns:
        The `dataset_info.json` of each set.

    Example:
        >>> infos = build_records("tf_records/quickstart")
        >>> infos[0]["name"], infos[0]["split"], infos[0]["num_examples"]
        ('one_step_arithmetic', 'train', 2000)
    """
    return _write(_sets(Path(output)), progress)


def ensure_records(
    directory: str | os.PathLike, *, progress: bool = False
) -> Path:
    """Makes the sets of the universe that are not in `directory` as built.

    Sets that are missing, damaged or of another generator version are
    written; valid ones are left alone.

    Args:
        directory: The folder to complete, as `build_records` writes it.
        progress: Show a progress bar on stderr.

    Returns:
        The folder.

    Example:
        >>> ensure_records("tf_records/quickstart")
        PosixPath('tf_records/quickstart')
    """
    directory = Path(directory)
    _write([s for s in _sets(directory) if not _valid(s[2])], progress)
    return directory


def _sets(output: Path) -> list[tuple[TaskSpec, str, Path]]:
    """Lists task, split and folder of every set."""
    return [
        (spec, split, output / spec.name / split)
        for spec in TASKS.values()
        for split in spec.splits
    ]


def _valid(directory: Path) -> bool:
    try:
        info = read_info(directory)
        verify_records(directory)
    except InputError:
        return False
    return info.get("generator_version") == GENERATOR_VERSION


def _write(
    sets: list[tuple[TaskSpec, str, Path]], progress: bool
) -> list[dict[str, Any]]:
    return [
        _write_set(*one)
        for one in track(
            sets,
            "generating tasks",
            total=len(sets),
            unit="sets",
            enabled=progress and bool(sets),
        )
    ]


def _write_set(spec: TaskSpec, split: str, directory: Path) -> dict[str, Any]:
    return write_records(
        generate(spec, split),
        directory,
        name=spec.name,
        split=split,
        source="keras_flan.data.universe",
        license="Apache-2.0",
        templates="generic",
        answer_kind=spec.answer_kind,
        extra={
            "generator_version": GENERATOR_VERSION,
            "family": spec.family,
            "summary": spec.summary,
            "reasoning": spec.reasoning,
            "held_out": spec.held_out,
            "random_baseline": round(spec.random_baseline, 4),
        },
    )
