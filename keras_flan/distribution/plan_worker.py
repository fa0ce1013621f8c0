"""Compiles one job with the TPU's compiler: `python -m` this, in a process.

Reads a job as JSON on stdin, writes what the compiler said as the last line of
stdout. A process of its own, since the compiler takes memory and minutes, may
be stopped, and JAX must be told of the platform before it starts. See
`keras_flan.distribution.plan_compile`.
"""

import json
import os
import re
import sys
import time

# Before JAX: no TPU is here, none shall be looked for, and several such
# processes may run.
SETTINGS = {
    "JAX_PLATFORMS": "cpu",
    "KERAS_BACKEND": "jax",
    "TPU_SKIP_MDS_QUERY": "1",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_MIN_LOG_LEVEL": "3",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}
# Little effort for the speed of the program and for packing its memory: then
# compiling takes a quarter of the time, and the memory is rather more.
_OPTIONS = {
    "exec_time_optimization_effort": -1.0,
    "memory_fitting_effort": -1.0,
}


def main():
    """Compiles the programs of a job, one after the other."""
    from keras_flan.distribution.plan_jobs import Job

    job = Job.model_validate_json(sys.stdin.read())
    programs = _train(job) if job.side == "train" else _decode(job)
    results = [_compile(name, *program) for name, program in programs]
    print(json.dumps(results))


def _setting(job):
    """Returns the distribution of a job, on devices that aren't there."""
    import keras
    from jax.experimental import topologies

    from keras_flan.distribution.layouts import layout_map
    from keras_flan.distribution.parallel import ModelParallel

    devices = topologies.get_topology_desc(job.topology, platform="tpu").devices
    # In the order of the cores: JAX can't place two cores of a chip.
    mesh = keras.distribution.DeviceMesh(
        tuple(job.axes.values()), list(job.axes), devices
    )
    layouts = layout_map(job.family, mesh, job.layout, sequence=job.sequence)
    return ModelParallel(layouts)


def _model(job, dtype, **settings):
    """Returns the model of a job, without weights."""
    import keras

    from keras_flan.distribution.plan_models import build

    with keras.StatelessScope(initialize_variables=False):
        return build(job, dtype, **settings)


def _abstract(variables, distribution):
    """Returns the shapes of variables and where they lie."""
    import jax
    import keras

    made = []
    for variable in variables:
        layout = distribution.get_variable_layout(variable)
        made.append(
            jax.ShapeDtypeStruct(
                variable.shape,
                keras.backend.standardize_dtype(variable.dtype),
                sharding=layout.backend_layout,
            )
        )
    return made


def _batch(shape, dtype, distribution):
    import jax

    layout = distribution.get_data_layout(shape)
    return jax.ShapeDtypeStruct(shape, dtype, sharding=layout.backend_layout)


def _train(job):
    """Yields the training step: what `fit` runs."""
    import jax
    import keras

    from keras_flan.training import Adafactor, TokenCrossentropy

    distribution = _setting(job)
    # Their counters and rates are real, so they come before the devices that
    # aren't.
    optimizer = Adafactor(1e-3)
    loss = TokenCrossentropy(chunk=job.loss_chunk or None)
    model = _model(job, "mixed_bfloat16")
    model.compile(optimizer=optimizer, loss=loss, jit_compile=False)
    metrics = model.metrics_variables
    keras.distribution.set_distribution(distribution)
    with keras.StatelessScope(initialize_variables=False):
        optimizer.build(model.trainable_variables)
    state = tuple(
        _abstract(variables, distribution)
        for variables in (
            model.trainable_variables,
            model.non_trainable_variables,
            optimizer.variables,
            metrics,
        )
    )

    def rows(length, dtype="int32"):
        return _batch((job.batch, length), dtype, distribution)

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
    where = jax.tree.map(lambda leaf: leaf.sharding, state)
    step = jax.jit(
        model.train_step, donate_argnums=0, out_shardings=(None, where)
    )
    yield "train", (step, (state, (x, y, weight)))


def _decode(job):
    """Yields the reading of the prompts, and the next token of each path."""
    import jax
    import keras

    from keras_flan.generation.engine import decoding

    distribution = _setting(job)
    model = _model(job, "bfloat16")
    keras.distribution.set_distribution(distribution)
    weights = _abstract(model.variables, distribution)
    module = decoding(model)

    def stateless(function):
        def run(values, *arguments):
            mapping = zip(model.variables, values, strict=True)
            with keras.StatelessScope(state_mapping=mapping):
                return function(model, *arguments)

        return run

    prompts = _batch((job.batch, job.input_length), "int32", distribution)
    lengths = _batch((job.batch,), "int32", distribution)

    def start(model, prompts, lengths):
        return module.start(
            model, prompts, lengths, job.paths, job.target_length
        )

    def step(model, state, tokens, index):
        logits, state = module.step(model, state, tokens, index)
        return keras.ops.argmax(logits, axis=-1), state

    read = jax.jit(stateless(start))
    yield "prefill", (read, (weights, prompts, lengths))
    traced = read.trace(weights, prompts, lengths)
    state = jax.tree.map(
        lambda leaf: _batch(leaf.shape, leaf.dtype, distribution),
        traced.out_info,
    )
    tokens = _batch((job.batch, job.paths), "int32", distribution)
    index = jax.ShapeDtypeStruct((), "int32")
    say = jax.jit(stateless(step), donate_argnums=1)
    yield "step", (say, (weights, state, tokens, index))


def _compile(name, function, arguments):
    """Returns the compiler's verdict on one program."""
    begin, spent = time.monotonic(), time.process_time()
    result = {"program": name, "fits": False, "message": ""}
    try:
        lowered = function.lower(*arguments)
        result["lowering_seconds"] = round(time.monotonic() - begin, 1)
        compiled = lowered.compile(compiler_options=_OPTIONS)
    except Exception as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        result["message"] = str(error)
        result["bytes_per_device"] = {"total": _wanted(str(error))}
    else:
        memory = compiled.memory_analysis()
        held = {
            "arguments": memory.argument_size_in_bytes,
            "outputs": memory.output_size_in_bytes - memory.alias_size_in_bytes,
            "temporaries": memory.temp_size_in_bytes,
            "program": memory.generated_code_size_in_bytes,
        }
        result["fits"] = True
        # Temporaries are added up over the kinds of memory on the chip, and
        # whether or not they are there at once; the peak isn't.
        result["bytes_per_device"] = {
            **held,
            "total": memory.peak_memory_in_bytes,
        }
        if os.environ.get("KERAS_FLAN_PLAN_DUMP"):
            with open(os.environ["KERAS_FLAN_PLAN_DUMP"], "w") as file:
                file.write(compiled.as_text())
    result["seconds"] = round(time.monotonic() - begin, 1)
    result["cpu_seconds"] = round(time.process_time() - spent, 1)
    return result


_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def _wanted(message):
    """Returns the bytes that a program that didn't fit would have taken."""
    found = re.search(r"Used ([\d.]+)([KMGT]) of", message)
    return round(float(found[1]) * _UNITS[found[2]]) if found else None


if __name__ == "__main__":
    for key, value in SETTINGS.items():
        os.environ[key] = value
    main()
