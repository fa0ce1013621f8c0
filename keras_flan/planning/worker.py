"""Compiles one job with the TPU's compiler: `python -m` this, in a process.

Reads a job as JSON on stdin, writes what the compiler said as the last line of
stdout; with `--count` also what a training step costs. A process of its own,
since the compiler takes memory and minutes, may be stopped, and JAX must be
told of the platform before it starts. See `keras_flan.planning.compiler`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any

from keras_flan.planning.programs import (
    SETTINGS,
    JitCall,
    decode_program,
    packed_rows,
    topology_mesh,
    train_program,
    verdict,
)

if TYPE_CHECKING:
    from keras_flan.distribution.parallel import ModelParallel
    from keras_flan.models.language_model import LanguageModel
    from keras_flan.planning.jobs import PlannedJob


# Into how many chunks queries or a loss are taken apart at most, to count.
_CHUNKS = 4


def main() -> None:
    """Compiles the program of a job."""
    from keras_flan.planning.jobs import PlannedJob

    job = PlannedJob.model_validate_json(sys.stdin.read())
    if job.side == "decode":
        print(json.dumps([verdict(job.side, *_decode(job))]))
        return
    said = verdict(job.side, *_train(job))
    # What it counts in the program's loops is not what they do.
    said.pop("cost", None)
    # Also of what does not fit: one layer may.
    counted = _cost(job) if "--count" in sys.argv else {}
    print(json.dumps([{**said, **counted}]))


def _cost(job: PlannedJob) -> dict[str, Any]:
    """Returns what a call of the step costs, without its kernels.

    By programs of one layer and of two, without loops, each of which the
    compiler counts whole; every further layer is as the second.
    """
    from keras_flan.models.stacking import unrolled

    begin, counted, job = time.monotonic(), [], _in_few_chunks(job)
    for layers in (1, 2):
        with unrolled():
            said = verdict("layers", *_train(job, layers))
        if not said["fits"] or said["cost"]["seconds"] <= 0:
            return {}
        counted.append(said["cost"])
    one, two = counted
    more = job.shape.num_layers - 1
    cost = {name: one[name] + more * (two[name] - one[name]) for name in one}
    seconds = round(time.monotonic() - begin, 1)
    return {"cost": cost, "cost_seconds": seconds}


def _in_few_chunks(job: PlannedJob) -> PlannedJob:
    """Returns the job with chunks that are large enough to be traced whole.

    All of them together do the same.
    """
    data, change = job.data, {}
    longest = data.input_length
    length = data.target_length
    if job.shape.decoder_only:
        length += data.input_length
    for key, chunk, places in (
        ("optimizer.loss_chunk", job.optimizer.loss_chunk, length),
        ("model.query_chunk", job.model.query_chunk, longest),
    ):
        if chunk is not None:
            change[key] = max(chunk, -(-places // _CHUNKS))
    return job.changed(change)


def _setting(job: PlannedJob, model: LanguageModel) -> ModelParallel:
    """Returns the distribution of a job, on devices that aren't there."""
    from keras_flan.distribution.layouts import layout_map
    from keras_flan.distribution.parallel import ModelParallel

    mesh = topology_mesh(job.topology, job.axes)
    sequence = job.distribution.sequence
    return ModelParallel(layout_map(model, mesh, job.preset, sequence=sequence))


def _train(job: PlannedJob, layers: int | None = None) -> JitCall:
    import keras

    from keras_flan.training.start import compile_model, weightless_model

    # Counters and rates of the optimizer are real, so it is made before the
    # devices that aren't.
    keras.distribution.set_distribution(None)
    model = weightless_model(job, layers)
    compile_model(model, job, jit_compile=False)
    distribution = _setting(job, model)
    data = job.data
    rows = job.optimizer.accumulation.rows(data.batch_size)
    shape = rows, data.input_length, data.target_length
    return train_program(
        model, packed_rows(model, shape, distribution), distribution
    )


def _decode(job: PlannedJob) -> JitCall:
    from keras_flan.training.start import weightless_model

    data = job.data
    model = weightless_model(job.changed({"precision": "bfloat16"}))
    places = data.batch_size, job.paths, data.input_length, data.target_length
    return decode_program(model, places, _setting(job, model))


if __name__ == "__main__":
    for key, value in SETTINGS.items():
        os.environ[key] = value
    main()
