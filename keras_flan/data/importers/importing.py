"""Importing a source: one task as a record set, or many tasks."""

import dataclasses
import functools
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_flan.data.importers.base import Importer, Part, open_with_origin
from keras_flan.data.importers.formats import IMPORTERS, existing, find_importer
from keras_flan.data.importers.many import (
    RUNNERS,
    TaskImport,
    run_beam,
    run_local,
    useful_processes,
)
from keras_flan.data.importers.writing import Settings
from keras_flan.data.records.info import RecordInfo
from keras_flan.data.records.writing import REJECTS_FILE
from keras_flan.errors import InputError, did_you_mean
from keras_flan.files import write_jsonl
from keras_flan.locks import Busy, locked
from keras_flan.outputs import head_of
from keras_flan.progress import track
from keras_flan.storage import as_path

_Described = list[dict[str, str]]
_Run = Callable[[Sequence[TaskImport]], Iterable[RecordInfo | InputError]]


@dataclass(frozen=True)
class Imported:
    """What `import_source` did.

    Args:
        tasks: The facts of each record set that was written.
        rejected: Tasks that can't be used: `name`, `source` and `reason`.
        left_out: Tasks that were not wanted: the same.
        mixture: The mixture of the library that the tasks belong to, or `""`.
    """

    tasks: list[RecordInfo]
    rejected: list[dict[str, str]]
    left_out: list[dict[str, str]]
    mixture: str = ""


def import_file(
    format: str | Importer,
    source: str | os.PathLike,
    output: str | os.PathLike,
    *,
    name: str | None = None,
    split: str = "train",
    limit: int | None = None,
    shards: int = 1,
    strict: bool = False,
    columns: Mapping[str, str | Sequence[str]] | None = None,
    labels: Mapping[str, str] | None = None,
    templates: str | None = None,
    delimiter: str | None = None,
    encoding: str | None = None,
    replace: bool = False,
    overwrite: bool = False,
    progress: bool = False,
) -> RecordInfo:
    """Imports a file (or folder) of a known format as a record set.

    Rows that can't be used are listed with the reason in `rejects.jsonl` in
    the output folder. If the import fails, the folder stays as it was.

    Args:
        format: A name in `IMPORTERS`, an importer, or a `.py` file (run as a
            program) that defines `IMPORTER`.
        source: The file, `.gz` too; for some formats a folder.
        output: The folder of the record set; replaced if there is one of the
            same task and split.
        name: Task name; default: from the file.
        split: Name of the split.
        limit: Import only this number of usable rows, the first.
        shards: Number of TFRecord files.
        strict: Fail at the first row that can't be used.
        columns: Field name to column name, for formats of any content;
            default: every column is a field. `options` may have several.
        labels: The file's answers to names for them, such as
            `{"0": "negative", "1": "positive"}`. The names also become the
            field `options`, unless there is one.
        templates: Template family: a name or a YAML file, of which the
            records get a copy; default: the format's own.
        delimiter: What stands between the columns of a CSV file; default: a
            comma, or what is found, with a message.
        encoding: The encoding of a file of any content, as Python names it;
            default: UTF-8, or what is found, with a message.
        replace: Replace another task or split in the folder.
        overwrite: Write among files that are none of records.
        progress: Show a progress bar, if stderr is a terminal.

    Raises:
        InputError: If the source is missing or broken, no row is usable, or
            the output holds something else.

    Example:
        >>> info = import_file("gsm8k", "train.jsonl.gz", "records/gsm8k")
        >>> info.num_examples, info.num_rejected
        (7473, 0)
    """
    settings = Settings(
        name=name,
        columns=columns,
        split=split,
        limit=limit,
        shards=shards,
        strict=strict,
        labels=labels,
        templates=templates,
        delimiter=delimiter,
        encoding=encoding,
        replace=replace,
        overwrite=overwrite,
        progress=progress,
    )
    importer, path = find_importer(format, settings), existing(source)
    return _single_task(importer, path, as_path(output), settings).write()


def import_source(
    format: str | Importer,
    source: str | os.PathLike,
    output: str | os.PathLike,
    *,
    keep_mmlu: bool = False,
    runner: str = "local",
    processes: int | None = 1,
    beam_options: Sequence[str] = (),
    **options: Any,
) -> Imported:
    """Imports all tasks of a source, each into a folder of its own.

    A source of one task is imported as `import_file` does. The tasks of a
    folder of Natural Instructions go to `output/<task>`, or, where the file
    says the split, to `output/<task>/<split>`. A task that can't be used is
    listed in `output/rejects.jsonl`, and the others are imported.

    Args:
        format: As in `import_file`.
        source: The file or folder.
        output: The folder of the record sets.
        keep_mmlu: Keep the Natural Instructions tasks made of MMLU, which
            the paper takes out of its training mixture.
        runner: `"local"`, or `"beam"` for Apache Beam (extra `[beam]`); the
            files that are written are the same.
        processes: How many tasks are imported at once, each by a process of
            its own; `None` takes as many as make it faster. A script that
            wants more than 1 needs the usual `if __name__ == "__main__":`.
        beam_options: Options of the Beam pipeline, such as
            `["--runner=FlinkRunner"]`; source and output must then be in
            places that all workers see.
        **options: As in `import_file`. `name` is for a source of one task;
            `split` holds where the files don't say theirs.

    Raises:
        InputError: If no task is usable.

    Example:
        >>> imported = import_source(
        ...     "natural-instructions", "natural-instructions/tasks", "records"
        ... )
        >>> len(imported.tasks), len(imported.left_out)
        (128, 4)
    """
    settings = Settings(keep_mmlu=keep_mmlu, **options)
    importer, path = find_importer(format, settings), existing(source)
    parts = importer.parts(path, settings)
    folder = as_path(output)
    run = _runner(runner, importer, processes, beam_options, folder)
    if parts is not None:
        with locked(folder):
            return _import_parts(importer, path, parts, folder, settings, run)
    [result] = run([_single_task(importer, path, folder, settings)])
    if isinstance(result, InputError):
        raise result
    return Imported([result], [], [])


def _single_task(
    importer: Importer, path: Path, output: Path, settings: Settings
) -> TaskImport:
    if path.is_dir() and importer.parts(path, settings) is not None:
        raise InputError(
            f"{path}: a folder holds many tasks; import it with "
            "`import_source`, or name one file"
        )
    read = functools.partial(importer.read, path, settings)
    part = Part(path, path.name, read)
    return _task(importer, part, output, settings)


def _task(
    importer: Importer, part: Part, output: Path, settings: Settings
) -> TaskImport:
    read = functools.partial(open_with_origin, part.open, importer)
    return TaskImport(dataclasses.replace(part, open=read), output, settings)


def _import_parts(
    importer: Importer,
    path: Path,
    parts: Iterable[Part],
    output: Path,
    settings: Settings,
    run: _Run,
) -> Imported:
    if settings.name is not None:
        raise InputError(
            f"--name {settings.name!r}: {path} holds many tasks, which have "
            "their own names"
        )
    tasks, rejected, left_out = _plan(importer, parts, output, settings)
    if settings.strict and rejected:
        raise InputError(rejected[0]["reason"])
    rejects_file = output / REJECTS_FILE
    if rejects_file.is_file() and not settings.overwrite:
        _check_rejects(rejects_file)
    results = run(tasks)
    if settings.progress and sys.stderr.isatty():
        results = track(results, path.name, total=len(tasks), unit="tasks")
    done = []
    for task, result in zip(tasks, results, strict=True):
        if isinstance(result, RecordInfo):
            done.append(result)
        elif settings.strict or isinstance(result, Busy):
            raise result
        else:
            rejected.append(_describe(task.part, str(result)))
    if not done:
        found = rejected or left_out
        raise InputError(
            found[0]["reason"] + f" (none of the {len(found)} tasks of {path} "
            "can be used)"
            if found
            else f"{path}: no tasks to import; the folder has no such files"
        )
    if rejected:
        write_jsonl(rejects_file, rejected)
    else:
        rejects_file.unlink(missing_ok=True)
    return Imported(done, rejected, left_out, importer.mixture)


def _check_rejects(file: Path) -> None:
    if not {"source", "reason"} <= head_of(file).keys():
        raise InputError(
            f"{file}: not a list of rejects, which it would become; give a "
            "new folder, or write over it with --overwrite (in Python: "
            "overwrite=True)"
        )


def _plan(
    importer: Importer, parts: Iterable[Part], output: Path, settings: Settings
) -> tuple[list[TaskImport], _Described, _Described]:
    """Returns the tasks to import, those that can't be, those not wanted."""
    settings = dataclasses.replace(settings, progress=False)
    tasks: dict[Path, TaskImport] = {}
    rejected, left_out = [], []
    for part in parts:
        folder = as_path(output, part.name, part.split or "")
        if part.left_out:
            left_out.append(_describe(part, part.left_out))
        elif folder in tasks:
            reason = (
                f"{part.path}: {folder} is written from "
                f"{tasks[folder].part.path}; rename one of the files"
            )
            rejected.append(_describe(part, reason))
        else:
            tasks[folder] = _task(importer, part, folder, settings)
    return list(tasks.values()), rejected, left_out


def _runner(
    runner: str,
    importer: Importer,
    processes: int | None,
    beam_options: Sequence[str],
    output: Path,
) -> _Run:
    """Returns what runs imports of tasks."""
    if runner not in RUNNERS:
        raise InputError(
            f"unknown runner {runner!r}." + did_you_mean(runner, RUNNERS)
        )
    if runner == "beam":
        return lambda tasks: run_beam(tasks, output, beam_options)
    if beam_options:
        raise InputError("options of Beam need the runner 'beam'")
    # The functions of a user's own file are unknown to other processes.
    alone = IMPORTERS.get(importer.format) is not importer
    return lambda tasks: run_local(
        tasks, 1 if alone else processes or useful_processes(tasks)
    )


def _describe(part: Part, reason: str) -> dict[str, str]:
    return {"name": part.name, "source": str(part.path), "reason": reason}
