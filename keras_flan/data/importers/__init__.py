"""Importers: public task files to records.

Each format is one small module with an `Importer`. A format of your own is
such a module too: pass its importer to `import_file`, or name the file on
the command line (docs/adding_a_format.md shows one).

Imports `records`, `templates` and `mixtures`.
"""

import functools
import os
import runpy
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from keras_flan.data.importers import (
    bbh,
    bigbench,
    esnli,
    flan2022,
    flan_cot,
    gsm8k,
    libraries,
    mgsm,
    mmlu,
    natural_instructions,
    qed,
    squad,
    t0,
    tables,
    tagging,
    tydiqa,
    word_problems,
)
from keras_flan.data.importers.base import (
    Importer,
    Options,
    Part,
    Reject,
    Row,
    Source,
    task_name,
)
from keras_flan.data.importers.runners import (
    RUNNERS,
    Job,
    run_beam,
    run_local,
    useful_processes,
)
from keras_flan.data.importers.writing import with_progress, write_source
from keras_flan.data.records.info import RecordInfo
from keras_flan.data.records.shards import REJECTS_FILE
from keras_flan.errors import InputError, did_you_mean
from keras_flan.files import write_jsonl

__all__ = [
    "IMPORTERS",
    "Imported",
    "Importer",
    "Options",
    "Part",
    "Reject",
    "Row",
    "Source",
    "describe_formats",
    "import_file",
    "import_source",
    "task_name",
]

IMPORTERS: dict[str, Importer] = {
    importer.format: importer
    for importer in (
        flan2022.IMPORTER,
        gsm8k.IMPORTER,
        flan_cot.IMPORTER,
        natural_instructions.IMPORTER,
        t0.IMPORTER,
        squad.IMPORTER,
        tydiqa.IMPORTER,
        mgsm.IMPORTER,
        esnli.IMPORTER,
        qed.IMPORTER,
        bbh.IMPORTER,
        mmlu.IMPORTER,
        bigbench.IMPORTER,
        word_problems.MATH_PROBLEMS,
        word_problems.ASDIV,
        tagging.CONLL,
        tagging.SLOTS,
        tables.CSV,
        tables.TSV,
        tables.JSONL,
        tables.JSON,
        tables.LABELLED_LINES,
        libraries.HF,
        libraries.TFDS,
    )
}


def describe_formats() -> list[dict[str, str]]:
    """Returns `[{"format": name, "summary": one line}, ...]`."""
    return [
        {"format": name, "summary": importer.summary}
        for name, importer in IMPORTERS.items()
    ]


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
    progress: bool = False,
) -> RecordInfo:
    """Imports a file (or folder) of a known format as a record set.

    Rows that can't be used are listed with the reason in `rejects.jsonl` in
    the output folder. If the import fails, the folder stays as it was.

    Args:
        format: A name in `IMPORTERS`, an importer, or a `.py` file (run as a
            program) that defines `IMPORTER`.
        source: The file, `.gz` too; for some formats a folder.
        output: The folder of the record set; replaced if there is one.
        name: Task name; default: from the file.
        split: Name of the split.
        limit: Import only the first so many usable rows.
        shards: Number of TFRecord files.
        strict: Fail at the first row that can't be used.
        columns: Field name to column name, for formats of any content;
            default: every column is a field. `options` may have several.
        labels: The file's answers to names for them, such as
            `{"0": "negative", "1": "positive"}`. The names also become the
            field `options`, unless there is one.
        templates: Template family: a name or a YAML file; default: the
            format's own.
        progress: Show a progress bar, if stderr is a terminal.

    Raises:
        InputError: If the source is missing or broken, or no row is usable.

    Example:
        >>> info = import_file("gsm8k", "train.jsonl.gz", "records/gsm8k")
        >>> info.num_examples, info.num_rejected
        (7473, 0)
    """
    importer, path = _importer(format), _existing(source)
    _check_columns(importer, columns)
    return write_source(
        importer.read(path, Options(name, columns, split)),
        path,
        output,
        origin=importer.origin,
        license=importer.license,
        name=name,
        split=split,
        limit=limit,
        shards=shards,
        strict=strict,
        labels=labels,
        templates=templates,
        progress=progress,
    )


def import_source(
    format: str | Importer,
    source: str | os.PathLike,
    output: str | os.PathLike,
    *,
    name: str | None = None,
    split: str = "train",
    limit: int | None = None,
    strict: bool = False,
    columns: Mapping[str, str | Sequence[str]] | None = None,
    keep_mmlu: bool = False,
    progress: bool = False,
    runner: str = "local",
    processes: int | None = 1,
    beam_options: Sequence[str] = (),
    **options,
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
        name: Task name; only for a source of one task.
        split: Name of the split, where the files don't say it.
        limit: Import only the first so many usable rows of each task.
        strict: Fail at the first row or task that can't be used.
        columns: As in `import_file`.
        keep_mmlu: Keep the Natural Instructions tasks made of MMLU, which
            the paper takes out of its training mixture.
        progress: Show a progress bar, if stderr is a terminal.
        runner: `"local"`, or `"beam"` for Apache Beam (extra `[beam]`); the
            files that are written are the same.
        processes: How many tasks are imported at once, each by a process of
            its own; `None` takes as many as make it faster. A script that
            wants more than 1 needs the usual `if __name__ == "__main__":`.
        beam_options: Options of the Beam pipeline, such as
            `["--runner=FlinkRunner"]`; source and output must then be in
            places that all workers see.
        **options: As in `import_file`: `shards`, `labels`, `templates`.

    Raises:
        InputError: If no task is usable.

    Example:
        >>> imported = import_source(
        ...     "natural-instructions", "natural-instructions/tasks", "records"
        ... )
        >>> len(imported.tasks), len(imported.left_out)
        (128, 4)
    """
    importer, path = _importer(format), _existing(source)
    _check_columns(importer, columns)
    parts = importer.parts(path, Options(name, columns, split, keep_mmlu))
    options |= {"split": split, "limit": limit, "strict": strict}
    run = _runner(runner, importer, processes, beam_options, Path(output))
    if parts is None and runner == "local":
        options |= {"name": name, "columns": columns, "progress": progress}
        return Imported(
            [import_file(importer, path, output, **options)], [], []
        )
    options |= {"origin": importer.origin, "license": importer.license}
    if parts is None:
        read = functools.partial(
            importer.read, path, Options(name, columns, split)
        )
        part = Part(path, path.name, read)
        [result] = run([Job(part, Path(output), options | {"name": name})])
        if isinstance(result, str):
            raise InputError(result)
        return Imported([result], [], [])
    if name is not None:
        raise InputError(
            f"--name {name!r}: {path} holds many tasks, which have their own "
            "names"
        )
    jobs, rejected, left_out = {}, [], []
    for part in parts:
        folder = Path(output, part.name, part.split or "")
        if part.left_out:
            left_out.append(_describe(part, part.left_out))
        elif folder not in jobs:
            jobs[folder] = Job(part, folder, options)
        else:
            reason = (
                f"{part.path}: {folder} is written from "
                f"{jobs[folder].part.path}; rename one of the files"
            )
            rejected.append(_describe(part, reason))
    if strict and rejected:
        raise InputError(rejected[0]["reason"])
    results = run(list(jobs.values()))
    if progress and sys.stderr.isatty():
        results = with_progress(results, path.name, len(jobs))
    done = []
    for job, result in zip(jobs.values(), results, strict=True):
        if isinstance(result, RecordInfo):
            done.append(result)
        elif strict:
            raise InputError(result)
        else:
            rejected.append(_describe(job.part, result))
    if not done:
        found = rejected or left_out
        raise InputError(
            found[0]["reason"] + f" (none of the {len(found)} tasks of {path} "
            "can be used)"
            if found
            else f"{path}: no tasks to import; the folder has no such files"
        )
    rejects_file = Path(output, REJECTS_FILE)
    if rejected:
        write_jsonl(rejects_file, rejected)
    else:
        rejects_file.unlink(missing_ok=True)
    return Imported(done, rejected, left_out, importer.mixture)


def _runner(
    runner: str,
    importer: Importer,
    processes: int | None,
    beam_options: Sequence[str],
    output: Path,
) -> Callable[[Sequence[Job]], Iterable[RecordInfo | str]]:
    """Returns what runs jobs."""
    if runner not in RUNNERS:
        raise InputError(
            f"unknown runner {runner!r}." + did_you_mean(runner, RUNNERS)
        )
    if runner == "beam":
        return lambda jobs: run_beam(jobs, output, beam_options)
    if beam_options:
        raise InputError("options of Beam need the runner 'beam'")
    # The functions of a user's own file are unknown to other processes.
    alone = IMPORTERS.get(importer.format) is not importer
    return lambda jobs: run_local(
        jobs, 1 if alone else processes or useful_processes(jobs)
    )


def _describe(part: Part, reason: str) -> dict[str, str]:
    return {"name": part.name, "source": str(part.path), "reason": reason}


def _existing(source: str | os.PathLike) -> Path:
    path = Path(source)
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    return path


def _check_columns(importer: Importer, columns) -> None:
    if columns and not importer.has_columns:
        with_columns = [f for f, i in IMPORTERS.items() if i.has_columns]
        raise InputError(
            f"the format {importer.format!r} has its own columns; only "
            f"{', '.join(with_columns)} take a mapping"
        )
    for field, column in (columns or {}).items():
        if not isinstance(column, str) and field != "options":
            raise InputError(
                f"the field {field!r} has the columns {', '.join(column)}; "
                "only 'options' can have several"
            )


def _importer(format: str | Importer) -> Importer:
    if isinstance(format, Importer):
        return format
    if format.endswith(".py"):
        return _own_importer(_existing(format))
    if format not in IMPORTERS:
        raise InputError(
            f"unknown format {format!r}." + did_you_mean(format, IMPORTERS)
        )
    return IMPORTERS[format]


def _own_importer(path: Path) -> Importer:
    """Returns the importer that a user's Python file defines."""
    importer = runpy.run_path(str(path)).get("IMPORTER")
    if not isinstance(importer, Importer):
        raise InputError(
            f"{path}: expected an `Importer` under the name IMPORTER, found "
            f"{importer!r:.40}"
        )
    return importer
