"""A tensor of a checkpoint, and the variable that it is here."""

import dataclasses
import math
from typing import Any

import numpy as np

from keras_flan.models.adapters.base import equation_of


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A tensor of a checkpoint and its variable.

    Checkpoints hold matrices as (outputs, inputs), with the heads and their
    widths in one axis.

    Attributes:
        name: Its name in the checkpoint.
        variable: The `keras.Variable`, or an array.
        axes: Those of the variable in the order of the checkpoint, the
            outputs first; `None` as they are.
        outputs: How many of `axes` are outputs.

    Example:
        >>> kernel = np.zeros((32, 4, 8))  # width, heads, head
        >>> Tensor("q_proj.weight", kernel, (1, 2, 0), 2).shape
        (32, 32)
    """

    name: str
    variable: Any
    axes: tuple[int, ...] | None = None
    outputs: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape in the checkpoint."""
        sizes = self._sizes()
        if self.axes is None:
            return sizes
        parts = sizes[: self.outputs], sizes[self.outputs :]
        return tuple(math.prod(part) for part in parts if part)

    def given(self, array: np.ndarray) -> np.ndarray:
        """Returns a value of the variable as the checkpoint holds it."""
        if self.axes is not None:
            array = array.transpose(self.axes).reshape(self.shape)
        return np.ascontiguousarray(array)

    def taken(self, array: np.ndarray) -> np.ndarray:
        """Returns what `given` got."""
        if self.axes is None:
            return array
        return array.reshape(self._sizes()).transpose(np.argsort(self.axes))

    def _sizes(self) -> tuple[int, ...]:
        shape = tuple(self.variable.shape)
        axes = range(len(shape)) if self.axes is None else self.axes
        return tuple(shape[axis] for axis in axes)


def kernel_tensor(name: str, layer: Any) -> Tensor:
    """Returns the kernel of a projection, `name.weight`.

    Args:
        name: Of the projection in the checkpoint.
        layer: A `Dense` or `EinsumDense`.
    """
    axes, outputs = kernel_axes(layer)
    return Tensor(f"{name}.weight", layer.kernel, axes, outputs)


def kernel_axes(layer: Any) -> tuple[tuple[int, ...], int]:
    """Returns the axes of a projection's kernel, outputs first, and of those.

    Args:
        layer: A `Dense` or `EinsumDense`.
    """
    equation = equation_of(layer).replace("...", "")
    _, kernel, result = equation.replace("->", ",").split(",")
    outputs = [i for i, axis in enumerate(kernel) if axis in result]
    inputs = [i for i in range(len(kernel)) if i not in outputs]
    return (*outputs, *inputs), len(outputs)
