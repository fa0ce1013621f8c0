"""Kernels and embeddings in few bits, in the place of Keras's variables.

A layer keeps its name, its place and its bias. Products make a kernel's
numbers anew each time, also in the backward pass, so that they never all
exist at once; gradients go through them to the layers below.
"""

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_flan.models.compression.codes import Form, decode, encode
from keras_flan.models.remat import rematerialise
from keras_flan.tensors import Tensor, Tensors

# What `cover` puts over the methods of a layer.
_COVERS = ("call", "save_own_variables", "load_own_variables")


class Quantised(keras.layers.Layer):
    """A kernel, or the kernels of a stack, in few bits; never trained.

    Its variables are `codes`, int8, and `scales`, with the axes of the
    kernel.

    Args:
        form: How it is held.
        shape: Of the kernel.
    """

    def __init__(self, form: Form, shape: tuple[int, ...], **kwargs: Any):
        super().__init__(trainable=False, dtype="float32", **kwargs)
        self.form = form
        self.shape = shape
        codes, scales = form.shapes(shape)
        for name, size, dtype in (
            ("codes", codes, "int8"),
            ("scales", scales, form.scale_dtype),
        ):
            weight = self.add_weight(
                name=name,
                shape=size,
                dtype=dtype,
                initializer="zeros",
                trainable=False,
                autocast=False,
            )
            setattr(self, name, weight)
        self.built = True

    @property
    def _value(self) -> Any:
        """As that of a variable: `None` in a model without weights."""
        return self.codes._value

    @property
    def bytes(self) -> int:
        """What codes and scales take."""
        codes, scales = self.form.shapes(self.shape)
        each = 4 if self.form.scale_dtype == "float32" else 2
        return math.prod(codes) + each * math.prod(scales)

    def tensors(self) -> Tensors:
        """Returns what `weight` takes; a scan may take it apart."""
        names = ("codes", "scales")
        return {n: ops.convert_to_tensor(getattr(self, n)) for n in names}

    def weight(self, tensors: Tensors) -> Tensor:
        """Returns the numbers, float32, of all tensors or of a layer's."""
        return decode(tensors["codes"], tensors["scales"], self.form)

    def give(self, kernel: np.ndarray) -> None:
        """Takes the nearest values to a kernel's."""
        codes, scales = encode(kernel, self.form)
        self.codes.assign(codes)
        self.scales.assign(scales)

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        values = ops.convert_to_numpy(self.weight(self.tensors()))
        return np.asarray(values, dtype)


def values_of(kernel: Any) -> Tensor:
    """Returns the numbers of a kernel, in few bits or not."""
    if isinstance(kernel, Quantised):
        return kernel.weight(kernel.tensors())
    return ops.convert_to_tensor(kernel)


def variables_of(kernel: Any) -> list[Any]:
    """Returns what holds a kernel: itself, or codes and scales."""
    if isinstance(kernel, Quantised):
        return [kernel.codes, kernel.scales]
    return [kernel]


def product(
    equation: str, x: Tensor, kernel: Any, tensors: Any = None
) -> Tensor:
    """Returns what a kernel makes of an input.

    Args:
        equation: As for `keras.ops.einsum`; `...` for a matrix.
        x: The input.
        kernel: A variable or a `Quantised`.
        tensors: One layer's; default: all of the kernel's.
    """
    quantised = isinstance(kernel, Quantised)
    if tensors is None:
        tensors = kernel.tensors() if quantised else kernel

    def multiply(x: Tensor, tensors: Any) -> Tensor:
        weight = kernel.weight(tensors) if quantised else tensors
        # Cast one layer at a time: a stack is never held twice.
        weight = ops.cast(weight, x.dtype)
        if equation.startswith("..."):
            return ops.matmul(x, weight)
        return ops.einsum(equation, x, weight)

    return rematerialise(multiply, quantised)(x, tensors)


def attribute_of(layer: Any) -> str:
    """Returns where a projection has its kernel."""
    return "_kernel" if hasattr(layer, "_kernel") else "kernel"


def made_like(variable: Any, form: Form) -> Quantised:
    """Returns room for a variable in few bits, below its own path."""
    *scopes, name = variable.path.split("/")
    with within(scopes):
        return Quantised(form, tuple(variable.shape), name=name)


@contextlib.contextmanager
def within(scopes: list[str]) -> Iterator[None]:
    """Has variables made within have the names of their owners in front."""
    with contextlib.ExitStack() as stack:
        for scope in scopes:
            stack.enter_context(keras.name_scope(scope))
        yield


def as_numbers(layer: Any) -> Callable[[], None]:
    """Gives a projection in few bits a kernel of numbers.

    Args:
        layer: Any projection, without an adapter.

    Returns:
        What undoes it.
    """
    attribute = attribute_of(layer)
    kernel = getattr(layer, attribute)
    if not isinstance(kernel, Quantised):
        return lambda: None
    *scopes, name, _ = kernel.codes.path.split("/")
    value = values_of(kernel)
    with within(scopes):
        new = keras.Variable(
            value, dtype=layer.variable_dtype, name=name, autocast=False
        )
    swap(layer, attribute, new)
    covers = {n: layer.__dict__.pop(n) for n in _COVERS if n in layer.__dict__}

    def undo() -> None:
        swap(layer, attribute, kernel)
        layer.__dict__.update(covers)

    return undo


def swap(layer: Any, attribute: str, new: Any) -> Any:
    """Puts a variable or a `Quantised` into the place of the other.

    Args:
        layer: Its owner.
        attribute: Its name there.
        new: What comes in.

    Returns:
        What was there.
    """
    old = getattr(layer, attribute)
    layer._tracker.unlock()
    if isinstance(old, Quantised):
        layer._tracker.untrack(old)
    else:
        layer._untrack_variable(old)
    setattr(layer, attribute, new)
    layer._tracker.lock()
    return old


def cover(layer: Any) -> None:
    """Has a layer compute with, save and load what is in few bits.

    Args:
        layer: A `Dense`, an `EinsumDense` or an embedding of Keras.
    """
    bias = getattr(layer, "bias", None)

    def save_own_variables(store: Any) -> None:
        if bias is not None:
            store["bias"] = bias

    def load_own_variables(store: Any) -> None:
        if bias is not None:
            bias.assign(store["bias"])

    projects = hasattr(layer, "_kernel")
    layer.call = _projecting(layer) if projects else _embedding(layer)
    layer.save_own_variables = save_own_variables
    layer.load_own_variables = load_own_variables


def _projecting(layer: Any) -> Callable[..., Tensor]:
    equation = getattr(layer, "equation", "...")

    def call(inputs: Tensor, training: bool | None = None) -> Tensor:
        y = product(equation, inputs, layer.kernel)
        y = y if layer.bias is None else y + layer.bias
        return y if layer.activation is None else layer.activation(y)

    return call


def _embedding(layer: Any) -> Callable[..., Tensor]:
    def call(inputs: Tensor, reverse: bool = False) -> Tensor:
        if not reverse:
            return _rows(layer, layer._embeddings, inputs)
        kept = {
            name: value
            for name in ("_embeddings", "reverse_embeddings")
            if isinstance(value := layer.__dict__.get(name), Quantised)
        }
        # The class's own way, with numbers in the place of codes.
        layer.__dict__.update({n: values_of(k) for n, k in kept.items()})
        try:
            return type(layer).call(layer, inputs, reverse=True)
        finally:
            layer.__dict__.update(kept)

    return call


def _rows(layer: Any, table: Quantised, ids: Tensor) -> Tensor:
    """Looks rows of an embedding up; only theirs become numbers."""
    rows = {
        name: ops.take(tensor, ops.cast(ids, "int32"), axis=0)
        for name, tensor in table.tensors().items()
    }
    return ops.cast(table.weight(rows), layer.compute_dtype)
