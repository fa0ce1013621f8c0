"""Compiles one job with the TPU's compiler: `python -m` this, in a process.

Reads a job as JSON on stdin, writes what the compiler said as the last line of
stdout. A process of its own, since the compiler takes memory and minutes, may
be stopped, and JAX must be told of the platform before it starts. See
`keras_flan.planning.compiler`.
"""

import json
import os
import sys

from keras_flan.planning.programs import (
    SETTINGS,
    decode_program,
    rows_on,
    topology_mesh,
    train_program,
    verdict,
)


def main():
    """Compiles the program of a job."""
    from keras_flan.planning.jobs import Job

    job = Job.model_validate_json(sys.stdin.read())
    program = _train(job) if job.side == "train" else _decode(job)
    print(json.dumps([verdict(job.side, *program)]))


def _setting(job):
    """Returns the distribution of a job, on devices that aren't there."""
    from keras_flan.distribution.layouts import layout_map
    from keras_flan.distribution.parallel import ModelParallel

    mesh = topology_mesh(job.topology, job.axes)
    layouts = layout_map(job.family, mesh, job.layout, sequence=job.sequence)
    return ModelParallel(layouts)


def _model(job, dtype):
    """Returns the model of a job, without weights."""
    import keras

    from keras_flan.planning.models import build

    with keras.StatelessScope(initialize_variables=False):
        return build(job, dtype)


def _train(job):
    from keras_flan.training import Adafactor, TokenCrossentropy

    # Its counters and rates are real, so it comes before the devices that
    # aren't.
    optimizer = Adafactor(1e-3)
    loss = TokenCrossentropy(chunk=job.loss_chunk or None)
    model = _model(job, "mixed_bfloat16")
    model.compile(optimizer=optimizer, loss=loss, jit_compile=False)
    distribution = _setting(job)

    def rows(length, dtype="int32"):
        return rows_on((job.batch, length), dtype, distribution)

    if job.family == "palm":
        length = job.input_length + job.target_length
        x = {"token_ids": rows(length), "segment_ids": rows(length)}
        y, weight = rows(length), rows(length, "float32")
    else:
        x = {
            f"{side}_{name}": rows(length)
            for side, length in (
                ("encoder", job.input_length),
                ("decoder", job.target_length),
            )
            for name in ("token_ids", "segment_ids")
        }
        y, weight = rows(job.target_length), rows(job.target_length, "float32")
    return train_program(model, (x, y, weight), distribution)


def _decode(job):
    return decode_program(
        _model(job, "bfloat16"),
        job.batch,
        job.paths,
        job.input_length,
        job.target_length,
        _setting(job),
    )


if __name__ == "__main__":
    for key, value in SETTINGS.items():
        os.environ[key] = value
    main()
