"""What each axis of a weight means, whatever the path's numbers are.

Paths of keras-hub can't be trusted to name a weight: norms carry numbers
that count the whole process, encoder and decoder share names, and a LoRA
weight made later has lost what its layer is in. The names that the layers
are given in code can; they say what a weight is for, which is all that a
layout needs.
"""

import functools
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from keras_flan.errors import InputError, did_you_mean
from keras_flan.schema import read_yaml

Axes = tuple[str, ...]

_ROLES = Path(__file__).with_name("roles.yaml")
_NUMBER = re.compile(r"_\d+$")
# Keras's own LoRA: the second factor has the last axis of the weight it is
# for, the first one all others.
_KERAS_LORA = re.compile(r"lora_(?:kernel|embeddings)_([ab])")
# Adapters of `keras_flan.models`: what they join and what the weight is.
_ADAPTER = re.compile(
    r"(?:encoder|decoder)_(?:\d+_)?(?:self_|cross_)?"
    r"((?:attention|feedforward)_\w+)/(\w+)"
)


@functools.cache
def _tables() -> dict[str, dict[str, Axes]]:
    return {
        family: {role: tuple(axes) for role, axes in table.items()}
        for family, table in read_yaml(_ROLES).items()
    }


def roles() -> dict[str, dict[str, Axes]]:
    """Returns the axes of each role, for each family."""
    tables = dict(_tables())
    del tables["lora"], tables["houlsby"]
    return tables


def family_roles(family: str | None = None) -> dict[str, Axes]:
    """Returns the roles of a family, or of all.

    Args:
        family: `"t5"`, `"t5gemma"`, `"palm"`, `"llama"`, `"mistral"`,
            `"qwen"`, `"smollm3"`, `"gemma"`, or `None` for all: no role means
            one thing in one family and another in the next.

    Raises:
        InputError: If there is no such family.
    """
    if family is None:
        return {r: a for table in roles().values() for r, a in table.items()}
    if family not in roles():
        raise InputError(
            f"family {family!r} has no layouts.{did_you_mean(family, roles())}"
        )
    return roles()[family]


class Roles:
    """Finds the axes of weights by path and shape.

    A LoRA weight has the axes of the weight that it is for, which therefore
    has to be looked up first (it is made first, too).

    Args:
        family: As for `family_roles`.

    Example:
        >>> find = Roles("t5").axes
        >>> find("transformer_decoder_layer_3/t5_layer_norm_71/weight", (8,))
        ('norm',)
        >>> find("transformer_decoder_layer_3/output_projector/kernel", (2, 8))
        ('mlp', 'embed')
    """

    def __init__(self, family: str | None = None):
        self._table = family_roles(family)
        # A layer's name and the shape of its kernel, of what was looked up,
        # to the kernel's axes.
        self._kernels: dict[tuple[str, tuple[int, ...]], Axes] = {}

    def axes(self, path: str, shape: Iterable[int]) -> Axes | None:
        """Returns what each axis of a weight is; `None` for an unknown one.

        Args:
            path: The variable's `path`.
            shape: The variable's `shape`. `layers` is put in front of the
                axes of a weight that holds all layers.

        Raises:
            InputError: If the path is known, but has another number of axes.
        """
        shape = tuple(shape)
        head, _, last = path.rpartition("/")
        if last in ("codes", "scales"):
            return self._axes_in_few_bits(head, shape, last)
        names = [_NUMBER.sub("", name) for name in path.split("/")]
        if len(names) < 2:
            return None
        adapter = _ADAPTER.fullmatch("/".join(path.split("/")[-2:]))
        if adapter:
            return self._adapter_axes(adapter[1], adapter[2], shape)
        lora = _KERAS_LORA.fullmatch(names[-1])
        if lora:
            return self._keras_lora_axes(names[-2], lora[1], shape)
        found = {
            axes
            for role, axes in self._table.items()
            if names[-role.count("/") - 1 :] == role.split("/")
        }
        if not found:
            return None
        (axes,) = found  # The tests hold the table to it.
        axes = _stacked(axes, shape, path)
        self._kernels[names[-2], shape] = axes
        return axes

    def _axes_in_few_bits(
        self, path: str, shape: tuple[int, ...], held: str
    ) -> Axes | None:
        """The axes of a kernel's codes or scales, which are the kernel's."""
        axes = self.axes(path, shape)
        name = _NUMBER.sub("", path.split("/")[-2])
        if axes is not None:
            del self._kernels[name, shape]
        if axes is not None and held == "codes":
            # What an adapter goes by: a byte may hold two along any axis.
            for i in range(-1, len(shape)):
                whole = [n * (1 + (i == j)) for j, n in enumerate(shape)]
                self._kernels[name, tuple(whole)] = axes
        return axes

    def _adapter_axes(
        self, joined: str, weight: str, shape: tuple[int, ...]
    ) -> Axes | None:
        if weight in _tables()["houlsby"]:
            return _stacked(_tables()["houlsby"][weight], shape, joined)
        layers = _tables()["lora"].get(joined, ())
        for (name, kernel_shape), axes in self._kernels.items():
            if name not in layers:
                continue
            # A kernel ends at the width of the model if it is an output's.
            ends = joined.endswith("_output")
            named = list(zip(axes, kernel_shape, strict=True))
            stack = [part for part in named if part[0] == "layers"]
            rest = [part for part in named if part[0] != "layers"]
            inputs = [part for part in rest if (part[0] == "embed") != ends]
            outputs = [part for part in rest if part not in inputs]
            known: dict[str, list[Any]] = {
                "lora_a": [*stack, *inputs, ("rank", None)],
                "lora_b": [*stack, ("rank", None), *outputs],
                "magnitude": [*stack, *outputs],
                "input_scale": [*stack, *inputs],
                "output_scale": [*stack, *outputs],
            }
            full = known.get(weight, [])
            if len(full) == len(shape) and all(
                wanted in (None, size)
                for (_, wanted), size in zip(full, shape, strict=True)
            ):
                return tuple(axis for axis, _ in full)
        return None

    def _keras_lora_axes(
        self, layer: str, factor: str, shape: tuple[int, ...]
    ) -> Axes | None:
        for (name, kernel_shape), axes in self._kernels.items():
            if name != layer:
                continue
            if factor == "a" and kernel_shape[:-1] == shape[:-1]:
                return (*axes[:-1], "rank")
            if factor == "b" and kernel_shape[-1] == shape[-1]:
                return ("rank", axes[-1])
        return None


def _stacked(axes: Axes, shape: tuple[int, ...], path: str) -> Axes:
    """Returns the axes with `layers` in front if the shape has one more."""
    if len(shape) == len(axes) + 1:
        axes = ("layers", *axes)
    if len(shape) != len(axes):
        raise InputError(
            f"{path}: expected the axes {axes}, found shape {shape}; give "
            "this weight a layout of its own"
        )
    return axes
