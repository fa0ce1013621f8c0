"""Importing many tasks: one after the other, by processes, or by Beam.

A task is written by the same function wherever it runs, so the shards and
their checksums do not depend on the runner.
"""

import concurrent.futures
import dataclasses
import json
import multiprocessing
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_flan.data.importers.base import Part, require
from keras_flan.data.importers.writing import write_source
from keras_flan.data.records.info import INFO_FILE, RecordInfo
from keras_flan.errors import InputError

RUNNERS = ("local", "beam")
# A process takes seconds to import TensorFlow, in which one alone reads this
# much.
_BYTES_A_PROCESS = 16 << 20


@dataclasses.dataclass(frozen=True)
class Job:
    """A task to be imported.

    Args:
        part: Where it is.
        output: The folder of its record set.
        options: Of `write_source`.
    """

    part: Part
    output: Path
    options: Mapping[str, Any]

    def run(self) -> RecordInfo | str:
        """Writes the record set; returns its facts, or why there is none."""
        try:
            source = self.part.open()
            return write_source(
                source, self.part.path, self.output, **self.options
            )
        except InputError as error:
            return str(error)


def useful_processes(jobs: Sequence[Job]) -> int:
    """Returns how many processes make an import faster."""
    files = {job.part.path for job in jobs}
    size = sum(path.stat().st_size for path in files if path.is_file())
    cores = os.cpu_count() or 1
    return max(1, min(cores, len(jobs), size // _BYTES_A_PROCESS))


def run_local(
    jobs: Sequence[Job], processes: int = 1
) -> Iterator[RecordInfo | str]:
    """Yields what each job returns, in order."""
    if processes == 1:
        yield from map(Job.run, jobs)
        return
    # Not forked: TensorFlow's threads would not come along.
    context = multiprocessing.get_context("spawn")
    pool = concurrent.futures.ProcessPoolExecutor(processes, context)
    try:
        yield from pool.map(Job.run, jobs)
    finally:
        pool.shutdown(cancel_futures=True)


def run_beam(
    jobs: Sequence[Job], output: Path, options: Sequence[str] = ()
) -> list[RecordInfo | str]:
    """Runs jobs as an Apache Beam pipeline.

    Args:
        jobs: The jobs. Their files, and `output`, must be in places that all
            workers see.
        output: A folder; what the jobs return passes through a new one in it.
        options: Options of the pipeline, such as
            `["--runner=FlinkRunner"]`; by default Beam's own runner works on
            this machine.

    Returns:
        What each job returned, in the order of `jobs`.
    """
    beam = require("apache_beam", "beam")
    from apache_beam.options.pipeline_options import PipelineOptions

    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".beam-", dir=output) as folder:
        with beam.Pipeline(options=PipelineOptions(list(options))) as pipeline:
            _ = (
                pipeline
                | "Tasks" >> beam.Create(list(enumerate(jobs)))
                # Otherwise the tasks might all go to one worker.
                | "Spread" >> beam.Reshuffle()
                | "Import" >> beam.Map(_run_numbered)
                | "Note"
                >> beam.io.WriteToText(
                    os.path.join(folder, "results"), file_name_suffix=".jsonl"
                )
            )
        lines = [
            line
            for path in Path(folder).glob("*.jsonl")
            for line in path.read_text("utf-8").splitlines()
        ]
    results = dict(json.loads(line) for line in lines)
    return [_from_json(results[number]) for number in range(len(jobs))]


def _run_numbered(numbered: tuple[int, Job]) -> str:
    number, job = numbered
    result = job.run()
    return json.dumps(
        [number, result if isinstance(result, str) else result.to_dict()]
    )


def _from_json(result: dict[str, Any] | str) -> RecordInfo | str:
    if isinstance(result, str):
        return result
    return RecordInfo.from_dict(result, INFO_FILE)
