"""Functions of a model and arrays, compiled by the backend in use."""

import contextlib
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_flan.models.language_model import LanguageModel
from keras_flan.progress import left_out
from keras_flan.runtime.xla import plain_sums


def compiled(
    model: LanguageModel, function: Callable, uses_up: bool = False
) -> tuple[Callable, Callable | None]:
    """Compiles a function of arrays, or trees of them.

    Args:
        model: Whose weights the function reads.
        function: The function.
        uses_up: Whether the first argument is changed in place, on JAX.

    Returns:
        The function to call; and on JAX one that lowers it for arguments or
        their shapes, else `None`.
    """
    backend = keras.backend.backend()
    if backend == "torch":
        import torch

        call = torch.no_grad()(function)
        return lambda *arguments: call(*_tensors(arguments)), None

    compiling = contextlib.ExitStack()

    def traced(*arguments: Any) -> Any:
        # This is Python: it runs to be compiled, before the call comes back.
        compiling.enter_context(left_out("compiling"))
        return function(*arguments)

    if backend == "jax":
        import jax

        weights = keras.backend.standardize_dtype(model.variable_dtype)
        # The weights are an argument: after more training the same program
        # runs on the new ones.
        jitted = jax.jit(
            of_values(model, traced),
            donate_argnums=1 if uses_up else (),
            # In float32 the last digit, and so a path, would be another.
            compiler_options=plain_sums() if weights == "bfloat16" else None,
        )

        def given(*arguments: Any) -> tuple[Any, ...]:
            return [v.value for v in model.variables], *arguments

        def call(*arguments: Any) -> Any:
            with compiling:
                return jitted(*given(*arguments))

        def lower(*arguments: Any) -> Any:
            with compiling:
                return jitted.lower(*given(*arguments))

        return call, lower

    import tensorflow as tf

    graph = tf.function(traced, reduce_retracing=False)

    def run(*arguments: Any) -> Any:
        with compiling:
            return graph(*_tensors(arguments))

    return run, None


def power_of_four(number: int) -> int:
    """Returns the next power of four: of few sizes there are few programs."""
    return 4 ** (((number - 1).bit_length() + 1) // 2)


def shaped(model: LanguageModel, function: Callable) -> Callable:
    """Returns the function with results that have shape and dtype only."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        # The weights need not exist.
        values = [
            jax.ShapeDtypeStruct(
                v.shape, keras.backend.standardize_dtype(v.dtype)
            )
            for v in model.variables
        ]
        run = of_values(model, function)
        return lambda *arguments: jax.eval_shape(run, values, *arguments)
    if backend == "torch":
        import torch

        function = torch.no_grad()(function)
    return lambda *arguments: function(*_tensors(arguments))


def of_values(model: LanguageModel, function: Callable) -> Callable:
    """Makes the values of the model's variables the first argument."""

    def run(values: list[Any], *arguments: Any) -> Any:
        mapping = zip(model.variables, values, strict=True)
        with keras.StatelessScope(state_mapping=mapping):
            return function(*arguments)

    return run


def _tensors(arguments: tuple[Any, ...]) -> Any:
    return keras.tree.map_structure(ops.convert_to_tensor, arguments)
