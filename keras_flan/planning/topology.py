"""Slices of chips, as people write them."""

import math
import re

from keras_flan.distribution.chips import chips
from keras_flan.errors import InputError, did_you_mean

_MACHINE = re.compile(r"([a-z]\w*)-(\d+)")


class Topology:
    """A slice of a TPU, or some GPUs.

    Args:
        text: The chip's name and the slice's shape in chips, `v4:2x2x4`; or
            what Google calls such a machine, `v4-32` (cores), `v5litepod-8`,
            `v5p-8` (cores), `v6e-8`; or GPUs and their number, `a100-80:8`.

    Raises:
        InputError: If the chip or the shape aren't known.

    Attributes:
        name: The chip's name.
        chip: The `Chip`.
        shape: Such as `2x2x4`.
        chips: How many chips it has.
        devices: How many devices JAX shows: one per chip.

    Example:
        >>> slice = Topology("v4-32")
        >>> str(slice), slice.chips, slice.devices
        ('v4:2x2x4', 16, 16)
    """

    def __init__(self, text: str):
        name, colon, shape = text.partition(":")
        machine = _MACHINE.fullmatch(text)
        if not colon and machine and name not in chips():
            name, shape = _machine(text, machine[1], int(machine[2]))
        if name not in chips():
            raise InputError(
                f"topology {text!r}: chip {name!r} is not known."
                f"{did_you_mean(name, chips())}"
            )
        self.name, self.chip, self.shape = name, chips()[name], shape
        sides = self.chip.slices[0].count("x") + 1
        parts = shape.split("x")
        if len(parts) != sides or not all(
            p.isascii() and p.isdigit() and int(p) > 0 for p in parts
        ):
            what = f"{sides} sides" if sides > 1 else "a number"
            raise InputError(
                f"topology {text!r}: expected {what}, such as "
                f"'{name}:{self.chip.slices[0]}'"
            )
        self.chips = self.devices = math.prod(map(int, parts))

    def __str__(self) -> str:
        return f"{self.name}:{self.shape}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Topology) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))


def slices(name: str, max_chips: int) -> list[Topology]:
    """Returns the slices of a chip that can be had, smallest first.

    Args:
        name: The chip's name, as in `chips`.
        max_chips: The largest.
    """
    found = [Topology(f"{name}:{shape}") for shape in chips()[name].slices]
    return [slice for slice in found if slice.chips <= max_chips]


def _machine(text: str, name: str, number: int) -> tuple[str, str]:
    """Returns chip and shape of what Google calls `v4-32`."""
    for chip, its in chips().items():
        if name not in (chip, *its.names) or its.gpu:
            continue
        known = {
            math.prod(map(int, shape.split("x"))) * its.name_counts: shape
            for shape in its.slices
        }
        if number in known:
            return chip, known[number]
        names = ", ".join(f"{name}-{n}" for n in known)
        raise InputError(
            f"topology {text!r}: expected one of {names}, or a shape such as "
            f"'{chip}:{its.slices[0]}'"
        )
    return name, ""
