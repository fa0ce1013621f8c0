"""Kernels on many devices: each device runs its own rows and heads."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import keras
from jax.sharding import PartitionSpec

from keras_flan.models.activation_layouts import activation_layout

_QUERIES = "queries"


class Place(NamedTuple):
    """Where a device's part lies in the whole.

    Attributes:
        first_row: int scalar.
        first_head: int scalar.
    """

    first_row: Any
    first_head: Any


def placed(
    function: Callable[..., jax.Array],
    heads: Sequence[jax.Array],
    rows: Sequence[jax.Array],
    shared: Sequence[jax.Array] = (),
    by_head: Sequence[jax.Array] = (),
) -> jax.Array:
    """Runs a function of each device's rows and heads.

    The compiler can't split a kernel by itself. Rows are split as the
    distribution in use splits batches, heads as it splits queries.

    Args:
        function: Takes a `Place` and the tensors, in this order.
        heads: `(rows, length, heads, width)`, queries first, which have the
            shape of the result. Of others, heads that can't be divided are
            on every device.
        rows: `(rows, ...)`.
        shared: The same on every device.
        by_head: `(heads, ...)`, as many as the queries.
    """
    tensors = [*heads, *rows, *shared, *by_head]
    layout = _query_layout(heads[0].shape)
    if layout is None:
        zero = jnp.zeros((), "int32")
        return function(Place(zero, zero), *tensors)
    row, _, head, _ = layout.axes
    mesh = layout.device_mesh.backend_mesh

    def whole(x: jax.Array) -> PartitionSpec:
        split = head is not None and x.shape[2] % mesh.shape[head] == 0
        return PartitionSpec(row, None, head if split else None, None)

    def start(axis: str | None, count: int) -> jax.Array:
        if axis is None:
            return jnp.zeros((), "int32")
        return jax.lax.axis_index(axis) * count

    def local(*tensors: jax.Array) -> jax.Array:
        count, _, own, _ = tensors[0].shape
        return function(Place(start(row, count), start(head, own)), *tensors)

    return jax.shard_map(
        local,
        mesh=mesh,
        in_specs=(
            *map(whole, heads),
            *(PartitionSpec(row) for _ in rows),
            *(PartitionSpec() for _ in shared),
            *(PartitionSpec(head) for _ in by_head),
        ),
        out_specs=whole(heads[0]),
        # Kernels don't say on which devices their results are the same.
        check_vma=False,
    )(*tensors)


def head_parts() -> int:
    """Returns into how many parts the distribution in use splits heads."""
    distribution = keras.distribution.distribution()
    if not isinstance(distribution, keras.distribution.ModelParallel):
        return 1
    layout = distribution.get_tensor_layout(f"activations/{_QUERIES}")
    if layout is None or layout.axes[2] is None:
        return 1
    return layout.device_mesh.backend_mesh.shape[layout.axes[2]]


def _query_layout(shape: Sequence[int]) -> Any:
    """Returns where queries `(rows, length, heads, width)` lie, or `None`."""
    distribution = keras.distribution.distribution()
    if not isinstance(distribution, keras.distribution.DataParallel):
        return activation_layout(shape, _QUERIES)
    layout = distribution.get_data_layout(shape)
    mesh = layout.device_mesh
    if shape[0] % mesh.shape[0]:
        # As small as that in decoding only.
        axes = (None,) * len(shape)
        return keras.distribution.TensorLayout(axes, mesh)
    return layout
