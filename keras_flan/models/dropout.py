"""Dropout that is a function of its seed.

`keras.layers.Dropout` draws from a generator that changes at each call: a
layer that is run again in the backward pass would drop other numbers, and a
scan can't change a variable at all. Here a mask is a cheap hash of each
number's place and a key, so it can be made again anywhere: in the backward
pass, for some queries of a row, and the same on every backend.
"""

from typing import Any, NamedTuple

import keras
from keras import ops

from keras_flan.tensors import Tensor

# Odd constants of two rounds, "lowbias32" of Chris Wellons's hash prospector.
_FIRST, _SECOND = 0x7FEB352D, 0x846CA68B
_GOLDEN = 0x9E3779B9


class Dropout:
    """Dropout at the sites of one layer, in one step.

    Args:
        rate: Which part of the numbers becomes 0; the rest is scaled
            up by `1 / (1 - rate)`.
        key: int32 `(2,)`, of `layer_keys`; `None` drops nothing.
    """

    def __init__(self, rate: float = 0.0, key: Tensor | None = None):
        self.rate = rate
        self.key = key

    def __call__(
        self,
        x: Tensor,
        site: int,
        start: Tensor | int = 0,
        rows: int | None = None,
    ) -> Tensor:
        """Returns `x` with some numbers dropped.

        Args:
            x: A tensor of two axes or more.
            site: Which place of the layer this is; each has its mask.
            start: The place of the first of `x`'s rows
                (its last axis but one), if `x` is a part of a larger tensor.
            rows: The rows of that tensor.
        """
        drop = self.at(site)
        if drop is None:
            return x
        place = _places(ops.shape(x), start, rows)
        kept = is_kept(place, drop.key, drop.rate)
        scaled = x * ops.cast(1.0 / (1.0 - self.rate), x.dtype)
        return ops.where(kept, scaled, ops.zeros_like(x))

    def at(self, site: int) -> "Drop | None":
        """Returns what a kernel needs to drop the same numbers itself."""
        if self.key is None or not self.rate:
            return None
        # Of each round one key: masks of two keys are not shifts of each other.
        key = _mix(self.key + _signed((site + 1) * _GOLDEN))
        return Drop(self.rate, key)


class Drop(NamedTuple):
    """Dropout at one site.

    Attributes:
        rate: Which part is dropped.
        key: int32 `(2,)`, for `is_kept`.
    """

    rate: float
    key: Tensor


def is_kept(place: Tensor, key: Any, rate: float) -> Tensor:
    """Which numbers stay; for kernels that make a tensor in parts.

    Args:
        place: int32, where each number lies in its flat tensor, modulo 2**32.
        key: Two int32, of `Drop`.
        rate: Which part is dropped.
    """
    x = (place ^ key[0]) * _FIRST
    x = (x ^ _shifted(x, 15)) + key[1]
    # The high bits decide; they need no last shift.
    x = x * _signed(_SECOND)
    # Signed numbers: the lowest `rate` of 2**32 of them are dropped.
    return x >= _signed(round(rate * 2**32) - 2**31)


def layer_keys(seed: Tensor, num_layers: int) -> Tensor:
    """Returns a key for each layer, int32 `(num_layers, 2)`.

    Args:
        seed: int `(2,)`, of `keras.random.SeedGenerator.next`.
        num_layers: How many.
    """
    seed = ops.cast(seed, "int32")
    layers = ops.arange(num_layers, dtype="int32")
    first = _mix(seed[0] + layers * _signed(_GOLDEN))
    second = _mix(_mix(seed[1] + 1) + layers * _signed(_GOLDEN))
    return ops.stack([first ^ second, second], axis=1)


def _places(shape: Any, start: Tensor | int, rows: int | None) -> Tensor:
    """Where each number of a tensor lies, int32."""
    *lead, count, width = shape
    rows = count if rows is None else rows
    place = ops.arange(width, dtype="int32")
    stride = width
    index = (ops.arange(count, dtype="int32") + start)[:, None] * wrapped(
        stride
    )
    place = place + index
    stride = stride * rows
    for size in reversed(lead):
        axes = (1,) * len(place.shape)
        index = ops.arange(size, dtype="int32") * wrapped(stride)
        place = place[None] + ops.reshape(index, (-1, *axes))
        stride = stride * size
    return place


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shifted(x, 16)) * _FIRST
    x = (x ^ _shifted(x, 15)) * _signed(_SECOND)
    return x ^ _shifted(x, 16)


def _shifted(x: Tensor, places: int) -> Tensor:
    """Shifts right as if without a sign."""
    return ops.right_shift(x, places) & ((1 << (32 - places)) - 1)


def _signed(value: int) -> int:
    """An int32 of the same low 32 bits."""
    return (value + 2**31) % 2**32 - 2**31


def wrapped(stride: Tensor | int) -> Tensor | int:
    """A stride that may pass 32 bits, or be known at run time only."""
    return _signed(stride) if isinstance(stride, int) else stride


def seed_generator(rate: float) -> keras.random.SeedGenerator | None:
    """Returns a generator for `layer_keys`; `None` if nothing is dropped."""
    return keras.random.SeedGenerator() if rate else None
