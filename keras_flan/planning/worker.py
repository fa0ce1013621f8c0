"""Compiles one job with the TPU's compiler: `python -m` this, in a process.

Reads a job as JSON on stdin, writes what the compiler said as the last line of
stdout. A process of its own, since the compiler takes memory and minutes, may
be stopped, and JAX must be told of the platform before it starts. See
`keras_flan.planning.compiler`.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

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


def main() -> None:
    """Compiles the program of a job."""
    from keras_flan.planning.jobs import PlannedJob

    job = PlannedJob.model_validate_json(sys.stdin.read())
    program = _train(job) if job.side == "train" else _decode(job)
    print(json.dumps([verdict(job.side, *program)]))


def _setting(job: PlannedJob) -> ModelParallel:
    """Returns the distribution of a job, on devices that aren't there."""
    from keras_flan.distribution.layouts import layout_map
    from keras_flan.distribution.mesh import default_preset
    from keras_flan.distribution.parallel import ModelParallel

    mesh = topology_mesh(job.topology, job.axes)
    place = job.distribution
    preset = place.preset or default_preset(job.axes)
    layouts = layout_map(job.family, mesh, preset, sequence=place.sequence)
    return ModelParallel(layouts)


def _model(job: PlannedJob, dtype: str) -> LanguageModel:
    """Returns the model of a job, as this package trains it, weightless."""
    import keras

    from keras_flan.models import T5, DecoderOnly, PaLMBackbone

    settings = {**job.size.model_dump(), **job.model.settings()}
    with keras.StatelessScope(initialize_variables=False):
        if job.family == "t5":
            return T5.from_config_values(**settings, dtype=dtype)
        settings["head_dim"] = settings.pop("key_value_dim")
        attention = settings.pop("attention", "auto")
        backbone = PaLMBackbone(**settings, dtype=dtype)
        return DecoderOnly(backbone, attention=attention)


def _train(job: PlannedJob) -> JitCall:
    from keras_flan.training import Adafactor, TokenCrossentropy

    # Its counters and rates are real, so it comes before the devices that
    # aren't.
    optimizer = Adafactor(1e-3)
    loss = TokenCrossentropy(chunk=job.optimizer.loss_chunk)
    model = _model(job, "mixed_bfloat16")
    model.compile(optimizer=optimizer, loss=loss, jit_compile=False)
    distribution = _setting(job)
    data = job.data
    shape = data.batch_size, data.input_length, data.target_length
    batch = packed_rows(model, shape, distribution)
    return train_program(model, batch, distribution)


def _decode(job: PlannedJob) -> JitCall:
    data = job.data
    lengths = data.input_length, data.target_length
    places = data.batch_size, job.paths, *lengths
    return decode_program(_model(job, "bfloat16"), places, _setting(job))


if __name__ == "__main__":
    for key, value in SETTINGS.items():
        os.environ[key] = value
    main()
