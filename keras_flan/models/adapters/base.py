"""Small trainable parts beside a frozen model: what all kinds share.

An adapter joins a projection: a `Dense` or `EinsumDense` of keras-hub, or
the stacked kernels of all layers at once. The base model stays whole; its
own files do not change, and an adapter is saved alone.
"""

import contextlib
import os
from collections.abc import Iterator

import keras
import numpy as np
from keras import ops

from keras_flan.errors import InputError
from keras_flan.models.adapters import targets as adapter_targets
from keras_flan.models.adapters.files import read_adapter, write_adapter
from keras_flan.models.stacking import StackedKernel


class Adapter(keras.layers.Layer):
    """What joins one projection; the base of `LoRA` and `Houlsby`.

    Args:
        layer: The projection.
        **kwargs: As for `keras.layers.Layer`.
    """

    def __init__(self, layer, **kwargs):
        super().__init__(**kwargs)
        self._of = _Hidden(layer)
        self.equation = _equation(layer)
        self.stacked = isinstance(layer, StackedKernel)

    @property
    def layer(self):
        """The projection that the adapter joins."""
        return self._of.value

    def tensors(self):
        """Returns the adapter's tensors, by name; all layers' if stacked."""
        raise NotImplementedError

    def join(self, x, y, tensors):
        """Returns the output of both.

        Args:
            x: The input of the projection.
            y: Its output, before the activation.
            tensors: As `tensors` returned them; one layer's if stacked.
        """
        raise NotImplementedError

    def attach(self):
        """Makes the projection compute with the adapter.

        The layer's own methods are covered by attributes of the instance,
        and stay as they are: nothing about the base model's structure, names
        or files changes.
        """
        layer = self.layer
        if self.stacked:
            tensors, project = layer.tensors, layer.project
            layer.tensors = lambda: (tensors(), self.tensors())
            layer.project = lambda x, parts: self.join(
                x, project(x, parts[0]), parts[1]
            )
        else:

            def call(inputs, training=None):
                y = _linear(layer, inputs)
                y = self.join(inputs, y, self.tensors())
                return y if layer.activation is None else layer.activation(y)

            layer.call = call

    def detach(self):
        """Undoes `attach`."""
        for name in ("tensors", "project") if self.stacked else ("call",):
            delattr(self.layer, name)


class Adapters(keras.layers.Layer):
    """The adapters of a model, which `adapter_of(model)` returns.

    Args:
        kind: `"lora"` or `"houlsby"`.
        settings: dict, what `add_lora` or `add_houlsby` was called with.
        parts: dict of adapters, by the name of their projection.
        norms: dict of norms, or a variable of one, that are trained too.

    Attributes:
        kind: As given.
        settings: As given, with `targets` as the names of the projections.
    """

    def __init__(self, kind, settings, parts, norms=None, **kwargs):
        super().__init__(name="adapter", **kwargs)
        self.kind = kind
        self.settings = settings
        self.parts = parts
        self._norms = _Hidden(norms or {})
        self.built = True

    def freeze(self, model) -> None:
        """Leaves nothing of a model trainable but what is adapted."""
        frozen = [v for v in model.variables if v.trainable]
        own = {id(v) for v in self.state().values()}
        values = [(v, ops.convert_to_numpy(v)) for v in frozen if id(v) in own]
        self._before = _Hidden((frozen, values))
        for variable in frozen:
            variable.trainable = id(variable) in own

    def thaw(self) -> None:
        """Undoes `freeze`; norms that were trained get their old values."""
        frozen, values = self._before.value
        for variable in frozen:
            variable.trainable = True
        for variable, value in values:
            variable.assign(value)

    def state(self) -> dict:
        """Returns all that is trained, variables by stable names."""
        state = {
            f"{name}.{variable.name}": variable
            for name, part in self.parts.items()
            for variable in part.trainable_variables
        }
        for name, norm in self._norms.value.items():
            variables = [norm] if _is_variable(norm) else norm.variables
            for variable in variables:
                state[f"{name}.{variable.name}"] = variable
        return state


class _Hidden:
    """Holds what Keras must not track: the base model owns it."""

    def __init__(self, value):
        self.value = value


def install(model, adapters: Adapters) -> None:
    """Freezes a model and puts adapters into it."""
    found = adapter_of(model)
    if found is not None:
        raise InputError(
            f"{type(model).__name__}: it has a {found.kind} adapter; "
            "call merge_adapter or remove_adapter first"
        )
    adapters.freeze(model)
    # A list, because Keras forgets what is taken out of one, but not an
    # attribute.
    if not hasattr(model, "adapters"):
        model.adapters = []
    model.adapters.append(adapters)
    for part in adapters.parts.values():
        part.attach()
    _forget_programs(model)


def adapter_of(model) -> Adapters | None:
    """Returns the model's adapters, if it has any."""
    return next(iter(getattr(model, "adapters", ())), None)


def save_adapter(model, path: str | os.PathLike, base: str | None = None):
    """Writes what an adapter has learned, and its settings, to one file.

    Args:
        model: A model with an adapter.
        path: A safetensors file; it takes its place when all is written.
        base: Where the base model is, as `keras_flan.models.load` takes it,
            so that `load(path)` finds both.

    Raises:
        InputError: If the model has no adapter.

    Example:

    ```python
    keras_flan.models.save_adapter(model, "gsm8k.safetensors")
    model = keras_flan.models.load("smollm2_135m")
    keras_flan.models.load_adapter(model, "gsm8k.safetensors")
    ```
    """
    adapter = _required(model)
    settings = {
        **adapter.settings,
        "kind": adapter.kind,
        "family": type(model.backbone).__name__,
        "base": base,
    }
    state = {
        name: ops.convert_to_numpy(variable)
        for name, variable in adapter.state().items()
    }
    write_adapter(path, settings, state)


def load_adapter(model, path: str | os.PathLike) -> None:
    """Puts a saved adapter into the base model that it was trained on.

    Args:
        model: A model without an adapter.
        path: What `save_adapter` wrote.

    Raises:
        InputError: If the file is broken or belongs to another model.
    """
    from keras_flan.models.adapters.houlsby import add_houlsby
    from keras_flan.models.adapters.lora import add_lora

    settings, state = read_adapter(path)
    add = {"lora": add_lora, "houlsby": add_houlsby}[settings["kind"]]
    known = adapter_targets.projections(model.backbone)
    unknown = [t for t in settings["targets"] if t not in known]
    if unknown:
        raise InputError(
            f"{path}: made for a {settings['family']} with the layer "
            f"{unknown[0]!r}, which this {type(model.backbone).__name__} "
            "does not have; load the model that it was trained on"
        )
    arguments = {
        name: value
        for name, value in settings.items()
        if name not in ("kind", "family", "base")
    }
    try:
        add(model, **arguments)
    except TypeError:
        raise InputError(
            f"{path}: found the settings {arguments}, which no adapter of "
            "this version has"
        ) from None
    variables = _required(model).state()
    try:
        _check(path, state, variables)
    except InputError:
        remove_adapter(model)
        raise
    for name, variable in variables.items():
        variable.assign(state[name])


def merge_adapter(model) -> None:
    """Adds a LoRA adapter to the weights of its model, and removes it.

    Raises:
        InputError: If the model has no adapter, or one that is no change of
            weights (Houlsby).
    """
    adapter = _required(model)
    for part in adapter.parts.values():
        kernel = part.layer.kernel
        kernel.assign(_merged(adapter, part))
    remove_adapter(model)


def remove_adapter(model) -> None:
    """Takes an adapter out: the model is the base again, and trainable."""
    adapter = _required(model)
    for part in adapter.parts.values():
        part.detach()
    adapter.thaw()
    model.adapters.clear()
    _forget_programs(model)


@contextlib.contextmanager
def merged(model) -> Iterator[None]:
    """Lends a model merged weights, to write them in other formats.

    Without an adapter nothing happens.

    Raises:
        InputError: If the adapter can't be merged.
    """
    adapter = adapter_of(model)
    if adapter is None:
        yield
        return
    kept = {}
    try:
        for name, part in adapter.parts.items():
            kernel = part.layer.kernel
            new = _merged(adapter, part)
            kept[name] = ops.convert_to_numpy(kernel)
            kernel.assign(new)
            part.detach()
        yield
    finally:
        for name, value in kept.items():
            part = adapter.parts[name]
            part.layer.kernel.assign(value)
            part.attach()


def _forget_programs(model) -> None:
    """Drops what was compiled: the model computes something else now."""
    model.train_function = None
    model.test_function = None
    model.predict_function = None
    getattr(model, "_decoding_programs", {}).clear()


def _merged(adapter, part):
    if adapter.kind != "lora":
        raise InputError(
            f"a {adapter.kind} adapter can't be merged into weights; save it "
            "by save_adapter, or remove it by remove_adapter"
        )
    return ops.cast(
        ops.cast(part.layer.kernel, "float32") + part.delta(),
        part.layer.kernel.dtype,
    )


def _required(model) -> Adapters:
    adapter = adapter_of(model)
    if adapter is None:
        raise InputError(
            f"{type(model).__name__}: it has no adapter; call add_lora, "
            "add_houlsby or load_adapter first"
        )
    return adapter


def _check(path, state, variables) -> None:
    """Checks that a file holds just the tensors of an adapter."""
    if missing := sorted(set(variables) ^ set(state)):
        raise InputError(
            f"{path}: the tensor {missing[0]!r} is in only one of file and "
            "model; load the model that it was trained on"
        )
    for name, variable in variables.items():
        if state[name].shape != tuple(variable.shape):
            raise InputError(
                f"{path}: tensor {name!r} has the shape {state[name].shape}, "
                f"the model expects {tuple(variable.shape)}; load the model "
                "that it was trained on"
            )
        if not np.isfinite(state[name]).all():
            raise InputError(f"{path}: tensor {name!r} is not finite")


def _is_variable(value) -> bool:
    return isinstance(value, keras.Variable)


def _equation(layer) -> str:
    """What a projection computes, for `ops.einsum`."""
    if isinstance(layer, keras.layers.Dense):
        if layer.quantization_mode is not None:
            raise InputError(
                f"{layer.path}: quantised layers take no adapters; load the "
                "model without quantisation"
            )
        return "...i,io->...o"
    return layer.equation


def _linear(layer, x):
    """A `Dense` or `EinsumDense` without its activation."""
    if isinstance(layer, keras.layers.Dense):
        y = ops.matmul(x, layer.kernel)
    else:
        y = ops.einsum(layer.equation, x, layer.kernel)
    return y if layer.bias is None else y + layer.bias
