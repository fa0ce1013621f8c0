"""Asking for the layout of an activation by its name."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from keras_flan.tensors import Tensor

Axes = tuple[str | None, ...]


def constrain(x: Tensor, *names: str) -> Tensor:
    """Lays a tensor out as the distribution in use says for its name.

    Models name the activations that matter (`"residual"`, `"queries"`, ...);
    a layout map says how to split each, under the key `activations/NAME`, as
    Keras does for the outputs of layers. Without such a key, or without a
    `keras.distribution.ModelParallel`, nothing happens. A mesh axis that
    doesn't divide its dimension is left out, so that one map serves training
    and decoding, where the length is a single token.

    Args:
        x: A tensor. Dimensions in front of those that its name speaks of,
            such as stacked layers, are not split.
        *names: Its name; if several, the first whose mesh axes all divide
            their dimensions, or else the last.

    Returns:
        `x`.

    Example:

    ```python
    layout_map["activations/residual"] = ("batch", "model", None)
    ```
    """
    layout = activation_layout(x.shape, *names)
    if layout is None:
        return x
    return keras.distribution.distribute_tensor(x, layout)


def activation_layout(shape: Sequence[int | None], *names: str) -> Any:
    """Returns where a tensor lies, or `None`; see `constrain`.

    Args:
        shape: The tensor's shape.
        *names: Its names.
    """
    distribution = keras.distribution.distribution()
    if not isinstance(distribution, keras.distribution.ModelParallel):
        return None
    for name in names:
        layout = distribution.get_tensor_layout(f"activations/{name}")
        if layout is None:
            return None
        mesh = layout.device_mesh
        sizes = dict(zip(mesh.axis_names, mesh.shape, strict=True))
        wanted = (None,) * (len(shape) - len(layout.axes)) + (*layout.axes,)
        axes = dividing_axes(wanted, shape, sizes)
        if axes == wanted:
            break
    return keras.distribution.TensorLayout(axes, mesh)


def dividing_axes(
    axes: Axes, shape: Sequence[int | None], sizes: Mapping[str, int]
) -> Axes:
    """Leaves out the mesh axes that don't divide their dimension.

    Args:
        axes: A mesh axis or `None` for each dimension.
        shape: The sizes of the dimensions.
        sizes: Mesh axis to its size.

    Example:
        >>> dividing_axes(("batch", "model"), (8, 1), {"batch": 4, "model": 2})
        ('batch', None)
    """
    return tuple(
        axis if axis and size is not None and size % sizes[axis] == 0 else None
        for axis, size in zip(axes, shape, strict=True)
    )
