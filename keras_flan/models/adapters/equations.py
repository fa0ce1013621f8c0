"""What a projection computes, as an equation of `keras.ops.einsum`."""

from typing import Any

import keras

from keras_flan.errors import InputError


def equation_of(layer: Any) -> str:
    """Returns what a projection computes, for `ops.einsum`."""
    if isinstance(layer, keras.layers.Dense):
        if layer.quantization_mode is not None:
            raise InputError(
                f"{layer.path}: layers that Keras quantised take no adapters; "
                "load the model without quantisation, and call its quantize"
            )
        return "...i,io->...o"
    return layer.equation


def axes_of(equation: str) -> list[str]:
    """`"btd,dhw->bthw"` to the axes of input, kernel and output."""
    return equation.replace("->", ",").split(",")


def ends_of(equation: str) -> tuple[str, str]:
    """`"btd,dhw->bthw"` to the kernel's axes of inputs and outputs."""
    _, kernel, y = axes_of(equation)
    inputs = "".join(axis for axis in kernel if axis not in y)
    return inputs, "".join(axis for axis in kernel if axis in y)
