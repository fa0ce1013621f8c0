"""keras-hub backbones: making and copying them."""

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras

from keras_flan.tensors import Tensor


@contextlib.contextmanager
def quiet_masks() -> Iterator[None]:
    """Silences keras-hub's T5 about masks while its own graph is built.

    Its attention takes masks as arguments and warns that Keras's implicit
    ones are dropped, which is as it should be.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*destroy the mask.*")
        yield


@contextlib.contextmanager
def undrawn(when: bool = True) -> Iterator[None]:
    """Leaves weights at 0 that would be drawn, as they are read next.

    Drawing compiles a program per shape, and takes seconds for nothing.

    Args:
        when: `False` draws them as ever.

    Example:

    ```python
    with undrawn():
        backbone = keras_hub.models.T5Backbone.from_config(config)
    for weight, value in zip(backbone.weights, values, strict=True):
        weight.assign(value)
    ```
    """

    def zeros(
        self: Any, shape: Sequence[int], dtype: Any = None, **kwargs: Any
    ) -> Tensor:
        return keras.ops.zeros(shape, dtype or keras.config.floatx())

    kinds = (
        keras.initializers.RandomNormal,
        keras.initializers.RandomUniform,
        keras.initializers.TruncatedNormal,
        keras.initializers.VarianceScaling,
    )
    with contextlib.ExitStack() as undo:
        for kind in kinds if when else ():
            undo.callback(setattr, kind, "__call__", kind.__call__)
            setattr(kind, "__call__", zeros)  # noqa: B010
        yield


def copy_backbone(
    backbone: Any,
    prepare: Callable[[Any], None] = lambda _: None,
    **changes: Any,
) -> Any:
    """Returns a backbone with weights of its own, which start as the other's.

    Args:
        backbone: A backbone of keras-hub, or one like it.
        prepare: Called with the copy, before it takes the weights.
        **changes: Arguments of its class to use instead.
    """
    config = backbone.get_config()
    if "dropout" in changes and "dropout_rate" in config:
        changes["dropout_rate"] = changes.pop("dropout")
    with quiet_masks(), undrawn():
        copy = type(backbone).from_config({**config, **changes})
    prepare(copy)
    for new, old in zip(copy.weights, backbone.weights, strict=True):
        new.assign(old)
    return copy
