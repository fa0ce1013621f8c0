"""Running layers whose weights are stacked, `(num_layers, ...)`."""

import contextlib
import contextvars
import math
from collections.abc import Callable, Iterator
from typing import Any

import keras
from keras import ops, tree

from keras_flan.models.compression.quantised import Quantised, product
from keras_flan.tensors import Tensor

_unrolled = contextvars.ContextVar("unrolled", default=False)


class StackedKernel(keras.layers.Layer):
    """The kernels of the same name of all layers, drawn from N(0, 1 / fan_in).

    A scan takes `tensors()` apart, and each layer gives its own part to
    `project`. An adapter (`keras_flan.models.adapters.base`) takes the place of
    both, so nothing else need know of it.

    Args:
        shape: Of the stack, `(num_layers, ...)`.
        equation: What a layer computes, as for `keras.ops.einsum`: of its
            inputs and its kernel, such as `"btd,dhw->bthw"`.
        gain: What the drawn numbers are multiplied by.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        equation: str,
        gain: float = 1.0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.gain = gain
        self.shape = shape
        self.equation = equation

    def build(self, input_shape: Any = None) -> None:
        _, axes, output = self.equation.replace("->", ",").split(",")
        summed = [
            size
            for axis, size in zip(axes, self.shape[1:], strict=True)
            if axis not in output
        ]
        normal = keras.initializers.RandomNormal(
            stddev=self.gain * math.prod(summed) ** -0.5
        )
        self.kernel = self.add_weight(
            name="kernel", shape=self.shape, initializer=normal, autocast=False
        )

    def tensors(self) -> Any:
        """Returns what `project` needs, of all layers."""
        if isinstance(self.kernel, Quantised):
            return self.kernel.tensors()
        return ops.convert_to_tensor(self.kernel)

    def project(self, x: Tensor, tensors: Any) -> Tensor:
        """Returns a layer's output for its part of `tensors`."""
        return product(self.equation, x, self.kernel, tensors)

    def weight(self, tensors: Any) -> Tensor:
        """Returns a layer's kernel, of its part of `tensors`."""
        if isinstance(self.kernel, Quantised):
            return self.kernel.weight(tensors)
        return tensors


def scan_layers(step: Callable, x: Tensor, stacked: Any) -> tuple[Tensor, Any]:
    """Runs `step` once for each layer.

    Args:
        step: A function of x and a layer's tensors, to the next x and
            tensors to hand out.
        x: What goes through the layers.
        stacked: A nest of tensors `(num_layers, ...)`.

    Returns:
        The last x, and what the layers handed out, stacked.
    """
    if keras.backend.backend() == "jax" and not _unrolled.get():
        return ops.scan(step, x, stacked)
    # keras.ops.scan of the other backends can only hand out what looks like
    # x; their graphs are built fast anyway.
    return unroll_layers(step, x, stacked)


@contextlib.contextmanager
def unrolled() -> Iterator[None]:
    """Has `scan_layers` trace every layer.

    The compiler counts the body of a loop once, however often it runs; a
    program without loops is counted whole.
    """
    token = _unrolled.set(True)
    try:
        yield
    finally:
        _unrolled.reset(token)


def unroll_layers(
    step: Callable, x: Tensor, stacked: Any
) -> tuple[Tensor, Any]:
    """Does what `scan_layers` does, by a loop that is traced whole."""
    outs = []
    for i in range(tree.flatten(stacked)[0].shape[0]):
        # `i` is called now, so the late binding is none.
        x, out = step(x, tree.map_structure(lambda w: w[i], stacked))  # noqa: B023
        outs.append(out)
    return x, tree.map_structure(lambda *parts: ops.stack(parts), *outs)
