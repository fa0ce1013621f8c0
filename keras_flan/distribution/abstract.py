"""Building a model of any size without its weights."""

import concurrent.futures
from collections.abc import Callable
from typing import TypeVar

import keras

from keras_flan.errors import InputError

Built = TypeVar("Built", bound=keras.layers.Layer)


def build_abstract(build: Callable[[], Built]) -> Built:
    """Returns what `build()` makes, without making any weights.

    Its variables have paths, shapes and dtypes, and no values: a model of
    540 billion parameters takes seconds and no memory. It can't be called,
    but with `stateless_call` on abstract values it can be traced.

    Args:
        build: A function without arguments that returns a model or layer.

    Raises:
        InputError: If a layer needs numbers when it is made.

    Example:
        >>> model = build_abstract(
        ...     lambda: PaLMBackbone.from_preset("palm_540b", False))
        >>> f"{model.count_params():,}"
        '540,356,474,880'
    """
    policy = keras.config.dtype_policy()

    def run() -> Built:
        keras.config.set_dtype_policy(policy)
        with keras.StatelessScope(initialize_variables=False):
            return _without_values(build)

    # Keras keeps a list, for each thread, of variables to give values to at
    # the next chance; that of a thread that ends is never seen again. The
    # distribution in use stays behind as well.
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        return pool.submit(run).result()


def _without_values(build: Callable[[], Built]) -> Built:
    """Calls `build` so that what it computes is not computed."""
    if keras.backend.backend() != "jax":
        return build()
    import jax

    built: list[Built] = []
    # A T5 draws its embeddings anew after Keras.
    try:
        jax.eval_shape(lambda: built.append(build()))
    except jax.errors.TracerArrayConversionError:
        raise InputError(
            "a layer of this model computes numbers when it is made, as those "
            "of keras-hub's SmolLM3 do: it can't be planned without its weights"
        ) from None
    return built[0]
