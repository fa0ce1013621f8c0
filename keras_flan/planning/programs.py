"""Programs for devices that aren't there, and the compiler's word on them.

A model without weights (`build_abstract`, or built in a `StatelessScope` that
initialises nothing) is enough to trace what `fit` or `generate` would run.
For the TPU's compiler the process has to be started with `SETTINGS`, see
`keras_flan.planning.worker`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import jax
    import keras
    from keras.distribution import Distribution

    from keras_flan.distribution.mesh import Axes
    from keras_flan.models.language_model import LanguageModel

# A function of `jax.jit`, and its arguments or their shapes and places.
JitCall = tuple[Any, tuple]
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


_COUNTED = {
    "flops": "flops",
    "bytes": "bytes accessed",
    "seconds": "optimal_seconds",
}


def topology_mesh(topology: str, mesh: Axes) -> keras.distribution.DeviceMesh:
    """Returns the mesh of a slice's devices, as JAX shows them there.

    Args:
        topology: Such as `"v4:2x2x1"`, one device per chip.
        mesh: What `keras_flan.distribution.Mesh` takes.
    """
    from jax.experimental import topologies

    from keras_flan.distribution.mesh import device_mesh
    from keras_flan.planning.topology import Topology

    slice = Topology(topology)
    settings: dict[str, Any] = {}
    if slice.chip.config is not None:
        settings["chip_config_name"] = slice.chip.config
    if slice.chips == 1:
        # Else the smallest is a host of four.
        settings["chips_per_host_bounds"] = [1, 1, 1]
    found = topologies.get_topology_desc(str(slice), platform="tpu", **settings)
    return device_mesh(mesh, found.devices)


def variables_on(
    variables: Iterable[keras.Variable], distribution: Distribution
) -> list[jax.ShapeDtypeStruct]:
    """Returns shapes of variables, and where a distribution lays them."""
    import jax
    import keras

    return [
        jax.ShapeDtypeStruct(
            variable.shape,
            keras.backend.standardize_dtype(variable.dtype),
            sharding=distribution.get_variable_layout(variable).backend_layout,
        )
        for variable in variables
    ]


def packed_rows(
    model: LanguageModel,
    shape: tuple[int, int, int],
    distribution: Distribution,
) -> tuple:
    """Returns `(x, y, sample_weight)`: shapes, and where they are laid.

    Args:
        model: The model that it is for.
        shape: Rows over all devices, tokens of inputs and of targets per row.
        distribution: As for `train_program`.
    """
    import jax

    batch_size, input_length, target_length = shape

    def rows(length: int, dtype: str = "int32") -> jax.ShapeDtypeStruct:
        shape = (batch_size, length)
        place = distribution.get_data_layout(shape).backend_layout
        return jax.ShapeDtypeStruct(shape, dtype, sharding=place)

    lengths = {"encoder_": input_length, "decoder_": target_length}
    if model.decoder_only:
        lengths = {"": input_length + target_length}
    x = {
        f"{side}{name}": rows(length)
        for side, length in lengths.items()
        for name in ("token_ids", "segment_ids")
    }
    *_, length = lengths.values()
    return x, rows(length), rows(length, "float32")


def train_program(
    model: LanguageModel, batch: tuple, distribution: Distribution
) -> JitCall:
    """Returns the training step that `fit` runs, and its arguments.

    Args:
        model: A compiled model without weights.
        batch: `(x, y, sample_weight)`, of `packed_rows`.
        distribution: The `keras.distribution.Distribution`; it becomes the
            one in use. Optimizers and metrics have real counters, which have
            to be made before.
    """
    import jax
    import keras

    metrics, optimizer = model.metrics_variables, model.optimizer
    keras.distribution.set_distribution(distribution)
    with keras.StatelessScope(initialize_variables=False):
        optimizer.build(model.trainable_variables)
    state = tuple(
        variables_on(variables, distribution)
        for variables in (
            model.trainable_variables,
            model.non_trainable_variables,
            optimizer.variables,
            metrics,
        )
    )
    where = jax.tree.map(lambda leaf: leaf.sharding, state)
    step = jax.jit(
        model.train_step, donate_argnums=0, out_shardings=(None, where)
    )
    return step, (state, batch)


def decode_program(
    model: LanguageModel,
    places: tuple[int, int, int, int],
    distribution: Distribution,
) -> JitCall:
    """Returns the round of decoding that `generate` runs, and its arguments.

    It reads prompts, and then feeds and chooses tokens of all paths.

    Args:
        model: A `keras_flan.models.T5` or `DecoderOnly` without weights.
        places: Prompts at a time, paths of each, places for a prompt, and
            for the generated tokens of a path.
        distribution: As for `train_program`.
    """
    import jax
    import keras

    from keras_flan.generation.compiling import of_values
    from keras_flan.generation.rounds import Bucket, DecodingProgram, Grid
    from keras_flan.generation.sampling_settings import Sampling
    from keras_flan.models.activation_layouts import activation_layout

    keras.distribution.set_distribution(distribution)
    bucket = Bucket(*places)
    program = DecodingProgram(model, bucket)

    def cache(name: str, shape: tuple, dtype: str) -> jax.ShapeDtypeStruct:
        layout = activation_layout(shape, name)
        where = layout and layout.backend_layout
        return jax.ShapeDtypeStruct(shape, dtype, sharding=where)

    state = program.empty_state(cache)
    grid = vars(Grid.empty(bucket, Sampling(), ends=[1]))
    run = jax.jit(of_values(model, program.trace), donate_argnums=1)
    return run, (variables_on(model.variables, distribution), state, grid)


def verdict(
    name: str, function: Any, arguments: tuple, fast: bool = True
) -> dict[str, Any]:
    """Compiles a program; returns the compiler's word.

    Args:
        name: What to call it.
        function: What `jax.jit` returned.
        arguments: Its arguments, or their shapes and places.
        fast: Whether to compile with little effort.

    Returns:
        A dictionary: `program`, `fits`, `message`, `bytes_per_device`,
        `seconds`, `cpu_seconds`, and `cost`, what `cost_analysis` counts on a
        device: `flops`, `bytes` and `seconds`; see
        `keras_flan.planning.compiler.compile_job`.
    """
    begin, spent = time.monotonic(), time.process_time()
    result: dict[str, Any] = {"program": name, "fits": False, "message": ""}
    try:
        lowered = function.lower(*arguments)
        result["lowering_seconds"] = round(time.monotonic() - begin, 1)
        compiled = lowered.compile(compiler_options=_OPTIONS if fast else None)
    except Exception as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        result["message"] = str(error)
        result["bytes_per_device"] = {"total": _wanted(str(error))}
    else:
        memory = compiled.memory_analysis()
        result["fits"] = True
        result["cost"] = _counted(compiled)
        # Temporaries are added up over the kinds of memory on the chip, and
        # whether or not they are there at once; the peak isn't.
        result["bytes_per_device"] = {
            "arguments": memory.argument_size_in_bytes,
            "outputs": memory.output_size_in_bytes - memory.alias_size_in_bytes,
            "temporaries": memory.temp_size_in_bytes,
            "program": memory.generated_code_size_in_bytes,
            "total": memory.peak_memory_in_bytes,
        }
    result["seconds"] = round(time.monotonic() - begin, 1)
    result["cpu_seconds"] = round(time.process_time() - spent, 1)
    return result


def _counted(compiled: Any) -> dict[str, float]:
    """Returns what the compiler counts of a program, see `verdict`."""
    counted = compiled.cost_analysis()
    cost = {ours: counted.get(its, 0.0) for ours, its in _COUNTED.items()}
    # Each of these stands for a place in the chip, takes no time, and is
    # counted as a second less.
    free = compiled.as_text().count('custom_call_target="ConcatBitcast"')
    cost["seconds"] += free
    return cost


# What it would have taken, in the two ways that it is refused; the second
# leaves out the arguments.
_USED = re.compile(r"(?:Used |temporaries \()([\d.]+)([KMGT])")
_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def _wanted(message: str) -> int | None:
    """Returns the bytes that a program that didn't fit would have taken."""
    found = _USED.search(message)
    return round(float(found[1]) * _UNITS[found[2]]) if found else None
