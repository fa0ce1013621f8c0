"""Weights as small whole numbers, and a scale for each group of them.

A weight is `code * scale`. Codes are symmetric, from -127 to 127 or from -7
to 7, and two of the latter share a byte. A group is a run of weights of one
output along an axis of inputs.
"""

from typing import NamedTuple

import numpy as np
from keras import ops

from keras_flan.errors import InputError
from keras_flan.tensors import Tensor

# What is tried for the largest weight of a group, of its true size: what is
# cut off at the ends makes all others finer.
_CUTS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7)


class Form(NamedTuple):
    """How a kernel is held.

    Args:
        bits: 8 or 4.
        group: How many weights share a scale.
        axis: Of the kernel, counted from its end; groups lie along it.
    """

    bits: int
    group: int
    axis: int

    @property
    def largest(self) -> int:
        """The largest code."""
        return 2 ** (self.bits - 1) - 1

    @property
    def scale_dtype(self) -> str:
        """Of the scales: half, where there are many."""
        return "float32" if self.bits == 8 else "float16"

    def check(self, name: str, kernel: np.ndarray) -> None:
        """Raises `InputError` for weights that no code and scale can be."""
        limit = float(np.finfo(self.scale_dtype).max) * self.largest
        if not np.isfinite(kernel).all() or float(np.abs(kernel).max()) > limit:
            raise InputError(
                f"{name}: has weights that are not finite or beyond "
                f"{limit:.3g}, which {self.bits} bits can't hold; quantise a "
                "model whose weights are whole and sound"
            )

    def shapes(
        self, shape: tuple[int, ...]
    ) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Returns the shapes of codes and scales of a kernel."""
        codes, scales = list(shape), list(shape)
        codes[self.axis] //= 8 // self.bits
        scales[self.axis] //= self.group
        return tuple(codes), tuple(scales)


def form_of(bits: int, size: int, group: int, axis: int) -> Form:
    """Returns a form that fits an axis of a size.

    Groups are as large as wanted or the next smaller size that divides the
    axis; with 8 bits all of it is one. An odd axis has no pairs: it takes 8,
    and so does one whose groups would be so small that their scales took as
    many bytes again.
    """
    if bits == 8 or size % 2:
        return Form(8, size, axis)
    found = min(group, size)
    while size % found or found % 2:
        found -= 1
    if found <= 4 < min(group, size):
        return Form(8, size, axis)
    return Form(bits, found, axis)


def scales_of(groups: np.ndarray, form: Form) -> np.ndarray:
    """Returns the scales that lose least.

    Args:
        groups: float32 `(..., group, outputs)`.
        form: How they are held.

    Returns:
        `(..., 1, outputs)`, in the dtype of scales.
    """
    whole = np.abs(groups).max(-2, keepdims=True) / form.largest
    if form.bits == 8:
        return whole.astype(form.scale_dtype)
    best = whole.astype(form.scale_dtype)
    least = np.full(whole.shape, np.inf, "float32")
    for cut in _CUTS:
        scale = (whole * cut).astype(form.scale_dtype)
        codes = rounded(groups, scale, form)
        lost = np.square(codes * scale.astype("float32") - groups)
        lost = lost.sum(-2, keepdims=True)
        best = np.where(lost < least, scale, best)
        least = np.minimum(lost, least)
    return best


def rounded(weights: np.ndarray, scale: np.ndarray, form: Form) -> np.ndarray:
    """Returns the nearest codes, as float32."""
    safe = np.where(scale == 0, 1, scale).astype("float32")
    return np.clip(np.rint(weights / safe), -form.largest, form.largest)


def encode(kernel: np.ndarray, form: Form) -> tuple[np.ndarray, np.ndarray]:
    """Returns the codes and scales of a kernel, each weight by itself.

    Example:
        >>> codes, scales = encode(kernel, Form(4, 64, -2))
    """
    last = np.moveaxis(kernel.astype("float32"), form.axis, -1)
    groups = last.reshape(*last.shape[:-1], -1, form.group)[..., None]
    scales = scales_of(groups, form)
    codes = rounded(groups, scales, form)[..., 0].reshape(last.shape)
    scales = scales[..., 0, 0]
    return (
        packed(np.moveaxis(codes, -1, form.axis), form),
        np.ascontiguousarray(np.moveaxis(scales, -1, form.axis)),
    )


def packed(codes: np.ndarray, form: Form) -> np.ndarray:
    """Returns codes as int8, two of four bits to a byte."""
    codes = codes.astype("int8")
    if form.bits == 8:
        return np.ascontiguousarray(codes)
    last = np.moveaxis(codes, form.axis, -1)
    pairs = (last[..., 0::2] & 15) | (last[..., 1::2] << 4)
    return np.ascontiguousarray(
        np.moveaxis(pairs.astype("int8"), -1, form.axis)
    )


def decode(codes: Tensor, scales: Tensor, form: Form) -> Tensor:
    """Returns the weights, float32.

    Args:
        codes: int8, as `encode` gave them.
        scales: Likewise.
        form: As it was for `encode`.
    """
    axis = len(codes.shape) + form.axis
    if form.bits == 4:
        # The shift to the right keeps the sign.
        low = ops.right_shift(ops.left_shift(codes, 4), 4)
        codes = ops.stack([low, ops.right_shift(codes, 4)], axis + 1)
    before, after = codes.shape[:axis], scales.shape[axis + 1 :]
    groups = scales.shape[axis]
    codes = ops.reshape(codes, (*before, groups, form.group, *after))
    scales = ops.expand_dims(ops.cast(scales, "float32"), axis + 1)
    values = ops.cast(codes, "float32") * scales
    return ops.reshape(values, (*before, groups * form.group, *after))
