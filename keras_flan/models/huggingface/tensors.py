"""A tensor of a checkpoint, and the variable that it is here."""

import dataclasses
import math
from typing import Any

import numpy as np
from keras import ops

from keras_flan.models.adapters.equations import equation_of


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


class Bank:
    """The kernels of all experts of a layer, which are one variable here.

    Args:
        variable: `(experts, inputs, outputs)`.
        parts: How many kernels lie side by side in the outputs of an expert.
    """

    def __init__(self, variable: Any, parts: int = 1):
        self._variable, self._parts = variable, parts
        self._read: dict[tuple[int, int], np.ndarray] = {}
        experts, inputs, outputs = variable.shape
        self.experts, self.shape = experts, (inputs, outputs // parts)

    def tensor(self, name: str, expert: int, part: int = 0) -> Tensor:
        """Returns the kernel of one expert, `name.weight`."""
        kernel = _Kernel(self, (expert, part))
        return Tensor(f"{name}.weight", kernel, (1, 0), 1)

    def get(self, key: tuple[int, int]) -> np.ndarray:
        """Returns a kernel."""
        expert = np.asarray(ops.convert_to_numpy(self._variable[key[0]]))
        return np.split(expert, self._parts, axis=-1)[key[1]]

    def put(self, key: tuple[int, int], kernel: np.ndarray) -> None:
        """Takes a kernel; the variable is assigned when all are there."""
        self._read[key] = kernel
        if len(self._read) < self.experts * self._parts:
            return
        rows = [
            np.concatenate(
                [self._read.pop((e, part)) for part in range(self._parts)], -1
            )
            for e in range(self.experts)
        ]
        self._variable.assign(np.stack(rows))


class _Kernel:
    """A kernel in a `Bank`, used as a variable is."""

    def __init__(self, bank: Bank, key: tuple[int, int]):
        self._bank, self._key, self.shape = bank, key, bank.shape

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self._bank.get(self._key)

    def assign(self, value: np.ndarray) -> None:
        self._bank.put(self._key, value)


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
