"""Importing many tasks: one after another, by processes, or by Beam.

A task is written by the same function wherever it runs, so the shards and
their checksums do not depend on the runner.
"""

import concurrent.futures
import dataclasses
import json
import multiprocessing
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from keras_flan.data.importers.base import Part
from keras_flan.data.importers.packages import require
from keras_flan.data.importers.writing import Settings, write_source
from keras_flan.data.records.info import INFO_FILE, RecordInfo
from keras_flan.errors import InputError
from keras_flan.storage import local_path

RUNNERS = ("local", "beam")
# A process takes seconds to import TensorFlow, in which one alone reads this
# much.
_BYTES_PER_PROCESS = 16 << 20


@dataclasses.dataclass(frozen=True)
class TaskImport:
    """A task to be imported to a folder of its own."""

    part: Part
    output: Path
    settings: Settings

    def write(self) -> RecordInfo:
        """Writes the record set; InputError if the task can't be used."""
        part = self.part
        return write_source(part.open(), part.path, self.output, self.settings)

    def run(self) -> RecordInfo | InputError:
        """As `write`, but returns the error."""
        try:
            return self.write()
        except InputError as error:
            return error


def useful_processes(tasks: Sequence[TaskImport]) -> int:
    """Returns how many processes make an import faster."""
    files = {task.part.path for task in tasks}
    size = sum(path.stat().st_size for path in files if path.is_file())
    cores = os.cpu_count() or 1
    return max(1, min(cores, len(tasks), size // _BYTES_PER_PROCESS))


def run_local(
    tasks: Sequence[TaskImport], processes: int = 1
) -> Iterator[RecordInfo | InputError]:
    """Yields what each task's `run` returns, in order."""
    if min(processes, len(tasks)) <= 1:
        yield from map(TaskImport.run, tasks)
        return
    # Not forked: TensorFlow's threads would not come along.
    context = multiprocessing.get_context("spawn")
    pool = concurrent.futures.ProcessPoolExecutor(processes, context)
    try:
        yield from pool.map(TaskImport.run, tasks)
    finally:
        pool.shutdown(cancel_futures=True)


def run_beam(
    tasks: Sequence[TaskImport], output: Path, options: Sequence[str] = ()
) -> list[RecordInfo | InputError]:
    """Returns what each task's `run` does, by an Apache Beam pipeline.

    The tasks' files, and `output`, must be in places that all workers see;
    results pass through a new folder in `output`. By default Beam's own
    runner works on this machine.
    """
    beam, output = require("apache_beam", "beam"), local_path(output)
    from apache_beam.options.pipeline_options import PipelineOptions

    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".beam-", dir=output) as folder:
        with beam.Pipeline(options=PipelineOptions(list(options))) as pipeline:
            _ = (
                pipeline
                | "Tasks" >> beam.Create(list(enumerate(tasks)))
                # Otherwise the tasks might all go to one worker.
                | "Spread" >> beam.Reshuffle()
                | "Import" >> beam.Map(_run_numbered)
                | "Note"
                >> beam.io.WriteToText(
                    os.path.join(folder, "results"), file_name_suffix=".jsonl"
                )
            )
        results = dict(
            json.loads(line)
            for path in Path(folder).glob("*.jsonl")
            for line in path.read_text("utf-8").splitlines()
        )
    return [_from_json(results[number]) for number in range(len(tasks))]


def _run_numbered(numbered: tuple[int, TaskImport]) -> str:
    number, task = numbered
    result = task.run()
    if isinstance(result, InputError):
        return json.dumps([number, str(result)])
    return json.dumps([number, result.to_dict()])


def _from_json(result: dict[str, Any] | str) -> RecordInfo | InputError:
    if isinstance(result, str):
        return InputError(result)
    return RecordInfo.from_dict(result, INFO_FILE)
