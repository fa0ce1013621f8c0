"""Activations that are computed again in the backward pass."""

from collections.abc import Callable
from typing import Literal

import keras

from keras_flan.errors import InputError

_CHOICES = (False, True, "products")
Remat = bool | Literal["products"] | None


def check_remat(remat: Remat) -> Remat:
    """Returns `remat`, or raises `InputError` if it is no known choice.

    Example:
        >>> check_remat("products")
        'products'
    """
    if remat not in (None, *_CHOICES):
        raise InputError(
            f"Expected remat to be one of {_CHOICES}. Received: remat={remat!r}"
        )
    return remat


def rematerialise(function: Callable, remat: Remat) -> Callable:
    """Makes a layer keep less for its backward pass.

    Args:
        function: Of tensors to tensors, a layer.
        remat: `False` or `None` keeps what the backward pass wants. `True`
            keeps the arguments alone: the least memory, about a third more
            time. `"products"` also keeps the results of products with
            weights, on JAX; attention and what is done number by number is
            computed again. Other backends take it as `True`.

    Returns:
        A function that gives the same.
    """
    if not remat:
        return function
    if remat == "products" and keras.backend.backend() == "jax":
        import jax

        # Products of weights have no dimension in common with activations,
        # those of attention have: batch and heads.
        policies = jax.checkpoint_policies
        return jax.checkpoint(
            function, policy=policies.dots_with_no_batch_dims_saveable
        )
    return keras.remat(function)
