"""Meshes of devices, written as `batch=64,model=8`."""

import math
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from keras_flan.errors import InputError

if TYPE_CHECKING:
    import jax
    import keras

# What `Mesh` takes; the last stands for a `keras.distribution.DeviceMesh`.
Axes = str | Mapping[str, int] | Any

BATCH, MODEL = "batch", "model"

# Which axes of weights are split, over which axis of the mesh.
PRESETS: dict[str, dict[str, str]] = {
    "data": {},
    "fsdp": {"embed": BATCH},
    "model": dict.fromkeys(
        ("vocab", "heads", "kv_heads", "mlp", "experts"), MODEL
    ),
}
PRESETS["fsdp+model"] = {**PRESETS["fsdp"], **PRESETS["model"]}
PRESETS["experts"] = {"experts": MODEL}

_AXIS = re.compile(r"\s*([a-z][a-z_]*)\s*=\s*(-?\d+)\s*")


class Mesh(dict):
    """The axes of a mesh and their sizes, without any devices.

    Args:
        axes: `"batch=64,model=8"`, a mapping, another `Mesh`, or a
            `keras.distribution.DeviceMesh`. The batch is split over `batch`,
            weights over `model` (see `layout_map`). Either may be left out;
            one size may be -1, for whatever devices are left.
        devices: How many devices there are. Needed for a size of -1, else
            checked if given.

    Raises:
        InputError: If it isn't a mesh, or doesn't fit the devices.

    Example:
        >>> Mesh("batch=-1,model=4", devices=32)
        {'batch': 8, 'model': 4}
        >>> Mesh("batch=8").size("model")
        1
    """

    def __init__(self, axes: Axes, devices: int | None = None):
        if isinstance(axes, str):
            sizes = _parse(axes)
        elif isinstance(axes, Mapping):
            sizes = dict(axes)
        else:
            names = axes.axis_names
            sizes = dict(zip(names, axes.shape, strict=True))
        self._text = ",".join(f"{n}={s}" for n, s in sizes.items())
        for name, size in sizes.items():
            if name not in (BATCH, MODEL):
                raise self._error("the axes are called 'batch' and 'model'")
            if not isinstance(size, int) or (size < 1 and size != -1):
                raise self._error("expected sizes from 1, or -1 for the rest")
        if not sizes:
            raise self._error("expected axes such as 'batch=64,model=8'")
        # The batch comes first: neighbours in a mesh are neighbours on the
        # chip, and weights need the faster links.
        # It is always there, as Keras splits the batch over the first axis.
        super().__init__({BATCH: 1, **sizes})
        self._fill(devices)

    def _fill(self, devices: int | None) -> None:
        open_axes = [name for name, size in self.items() if size == -1]
        if len(open_axes) > 1:
            raise self._error("at most one size can be -1")
        if open_axes:
            given = math.prod(s for s in self.values() if s != -1)
            if not devices or devices % given:
                raise self._error(
                    f"{devices or 'unknown'} devices can't be divided by "
                    f"{given}"
                )
            self[open_axes[0]] = devices // given
        elif devices is not None and self.devices != devices:
            raise self._error(
                f"{self.devices} devices are asked for and {devices} found; "
                "change a size, or give one of them as -1"
            )

    @property
    def devices(self) -> int:
        """How many devices the mesh has."""
        return math.prod(self.values())

    def size(self, axis: str) -> int:
        """Returns the size of an axis; 1 for one that is left out."""
        return self.get(axis, 1)

    def __str__(self) -> str:
        return ",".join(f"{name}={size}" for name, size in self.items())

    def _error(self, problem: str) -> InputError:
        return InputError(f"mesh {self._text!r}: {problem}")


def _parse(text: str) -> dict[str, int]:
    sizes = {}
    for part in text.split(","):
        match = _AXIS.fullmatch(part)
        if match is None or match[1] in sizes:
            raise InputError(
                f"mesh {text!r}: expected axes such as 'batch=64,model=8', "
                f"found {part.strip()!r}"
            )
        sizes[match[1]] = int(match[2])
    return sizes


def default_preset(mesh: Mesh) -> str:
    """Returns the preset of a mesh for which none is named."""
    return "fsdp+model" if MODEL in mesh else "data"


def device_mesh(
    axes: Axes = "batch=-1", devices: "Iterable[jax.Device] | None" = None
) -> "keras.distribution.DeviceMesh":
    """Returns a `keras.distribution.DeviceMesh` over real devices.

    On a TPU, neighbours along an axis are neighbours in the chip's network
    where that can be had.

    Args:
        axes: See `Mesh`.
        devices: The `jax.Device`s; default all, of all hosts.

    Raises:
        InputError: If the mesh doesn't fit the devices.

    Example:
        >>> device_mesh("batch=1").axis_names
        ['batch']
    """
    import jax
    import keras
    from jax.experimental import mesh_utils

    if isinstance(axes, keras.distribution.DeviceMesh):
        return axes
    devices = jax.devices() if devices is None else list(devices)
    mesh = Mesh(axes, devices=len(devices))
    shape = tuple(mesh.values())
    placed = mesh_utils.create_device_mesh(
        shape, devices, allow_split_physical_axes=True
    )
    return keras.distribution.DeviceMesh(shape, list(mesh), placed)
