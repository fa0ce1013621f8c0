"""What chips can do: one table, for plans and for telemetry."""

import functools
from pathlib import Path

from keras_flan.schema import Strict, read_yaml, validate

_CHIPS = Path(__file__).with_name("chips.yaml")


class Chip(Strict):
    """What a chip can do; see `chips.yaml` for units and sources."""

    flops: float
    usable: int
    bandwidth: float
    network: float
    slices: tuple[str, ...]
    kind: str | None = None
    names: tuple[str, ...] = ()
    name_counts: int = 1
    config: str | None = None
    gpu: bool = False


@functools.cache
def chips() -> dict[str, Chip]:
    """Returns the chips by name."""
    return {
        name: validate(Chip, values, f"{_CHIPS.name}: {name}")
        for name, values in read_yaml(_CHIPS).items()
    }
