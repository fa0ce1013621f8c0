"""Small trainable parts beside a frozen model: what all kinds share.

An adapter joins a projection: a `Dense` or `EinsumDense` of keras-hub, or
the stacked kernels of all layers at once. The base model stays whole; its
own files do not change, and an adapter is saved alone.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, NamedTuple

import keras
from keras import ops

from keras_flan.errors import InputError
from keras_flan.models.adapters.equations import axes_of, equation_of
from keras_flan.models.compression.keep_zeros import KeepZeros
from keras_flan.models.compression.quantised import (
    as_numbers,
    product,
    values_of,
)
from keras_flan.models.language_model import LanguageModel
from keras_flan.models.programs import forget_programs
from keras_flan.models.stacking import StackedKernel
from keras_flan.tensors import Tensor, Tensors


class Projection(NamedTuple):
    """A frozen projection, or one layer's part of a stack of them.

    Args:
        product: What its kernel makes of an input.
        kernel: Returns the kernel.
        bias: What is added, or `None`.
    """

    product: Callable[[Tensor], Tensor]
    kernel: Callable[[], Tensor]
    bias: Tensor | None = None

    def apply(self, x: Tensor) -> Tensor:
        """Returns its output, before the activation."""
        return self.biased(self.product(x))

    def biased(self, y: Tensor) -> Tensor:
        """Adds the bias, if there is one."""
        return y if self.bias is None else y + self.bias


class Adapter(keras.layers.Layer):
    """What joins one projection; the base of `LoRA`, `Houlsby` and so on.

    Args:
        layer: The projection.
        **kwargs: As for `keras.layers.Layer`.

    Attributes:
        kind: The name in files and in `train.yaml`.
        default_targets: Patterns of what is adapted if nothing is said.
        add: Puts adapters of the kind into a model: `add(model, **settings)`.
        mergeable: Whether the adapter is a change of its projection's kernel.
    """

    kind: ClassVar[str]
    default_targets: ClassVar[tuple[str, ...]]
    add: ClassVar[Callable[..., None]]
    mergeable: ClassVar[bool] = False

    def __init__(self, layer: Any, **kwargs: Any):
        super().__init__(**kwargs)
        self._of = _Hidden(layer)
        self.equation = equation_of(layer)
        self.stacked = isinstance(layer, StackedKernel)

    @property
    def layer(self) -> Any:
        """The projection that the adapter joins."""
        return self._of.value

    def sizes(self) -> tuple[tuple[int, ...], dict[str, int]]:
        """Returns the stack's axis `(num_layers,)`, or `()`; the other axes."""
        shape = tuple(self.layer.kernel.shape)
        layers = shape[:1] if self.stacked else ()
        axes = axes_of(self.equation)[1]
        return layers, dict(zip(axes, shape[len(layers) :], strict=True))

    def tensors(self) -> Tensors:
        """Returns the adapter's tensors, by name; all layers' if stacked."""
        raise NotImplementedError

    def join(self, x: Tensor, base: Projection, tensors: Tensors) -> Tensor:
        """Returns the output of both.

        Args:
            x: The input of the projection.
            base: The projection.
            tensors: As `tensors` returned them; one layer's if stacked.
        """
        raise NotImplementedError

    def delta(self) -> Tensor:
        """Returns the change of the kernel, float32, if it is one."""
        raise NotImplementedError

    def merged(self) -> list[tuple[Any, Tensor]]:
        """Returns variables of the projection, and what merging makes them."""
        kernel = self.layer.kernel
        return [(kernel, ops.cast(kernel, "float32") + self.delta())]

    def merge(self) -> Callable[[], None]:
        """Adds the change to the weights of the projection, detached.

        A kernel in few bits becomes one of numbers, and one that was pruned
        has no zeros any more that training would keep.

        Returns:
            What undoes it.
        """
        undo = as_numbers(self.layer)
        kept = []
        for variable, value in self.merged():
            limit = getattr(variable, "constraint", None)
            kept.append((variable, ops.convert_to_numpy(variable), limit))
            variable.assign(ops.cast(value, variable.dtype))
            if isinstance(limit, KeepZeros):
                variable.constraint = None

        def unmerge() -> None:
            for variable, value, limit in kept:
                variable.assign(value)
                variable.constraint = limit
            undo()

        return unmerge

    def attach(self) -> None:
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
                x,
                Projection(
                    lambda inputs: project(inputs, parts[0]),
                    lambda: layer.weight(parts[0]),
                ),
                parts[1],
            )
        else:
            base = Projection(
                lambda inputs: product(self.equation, inputs, layer.kernel),
                lambda: values_of(layer.kernel),
                layer.bias,
            )

            def call(inputs: Tensor, training: bool | None = None) -> Tensor:
                y = self.join(inputs, base, self.tensors())
                return y if layer.activation is None else layer.activation(y)

            self._covered = layer.__dict__.get("call")
            layer.call = call

    def detach(self) -> None:
        """Undoes `attach`."""
        for name in ("tensors", "project") if self.stacked else ("call",):
            delattr(self.layer, name)
        if not self.stacked and self._covered is not None:
            self.layer.call = self._covered


class Adapters(keras.layers.Layer):
    """The adapters of a model, which `adapter_of(model)` returns.

    Args:
        kind: The class of all of them.
        settings: What its `add` was called with, and `targets` as the names
            of the projections.
        parts: Adapters, by the name of their projection.
        norms: Norms, or a variable of one, that are trained too.
    """

    def __init__(
        self,
        kind: type[Adapter],
        settings: dict[str, Any],
        parts: dict[str, Adapter],
        norms: dict[str, Any] | None = None,
        **kwargs: Any,
    ):
        super().__init__(name="adapter", **kwargs)
        self.kind = kind
        self.settings = settings
        self.parts = parts
        self._norms = _Hidden(norms or {})
        self.built = True

    def get_config(self) -> dict[str, Any]:
        """Returns what puts the like into another model of the family."""
        return {"kind": self.kind.kind, "settings": self.settings}

    def freeze(self, model: LanguageModel) -> None:
        """Leaves nothing of a model trainable but what is adapted."""
        frozen = [v for v in model.variables if v.trainable]
        own = {id(v) for v in self.state().values()}
        values = [
            (v, ops.convert_to_numpy(v))
            for v in frozen
            # A model that is only looked at has none.
            if id(v) in own and v._value is not None
        ]
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

    def state(self) -> dict[str, Any]:
        """Returns all that is trained, variables by stable names."""
        state = {
            f"{name}.{variable.name}": variable
            for name, part in self.parts.items()
            for variable in part.trainable_variables
        }
        for name, norm in self._norms.value.items():
            alone = isinstance(norm, keras.Variable)
            for variable in [norm] if alone else norm.variables:
                state[f"{name}.{variable.name}"] = variable
        return state


class _Hidden:
    """Holds what Keras must not track: the base model owns it."""

    def __init__(self, value: Any):
        self.value = value


def install(model: LanguageModel, adapters: Adapters) -> None:
    """Freezes a model and puts adapters into it."""
    found = adapter_of(model)
    if found is not None:
        raise InputError(
            f"{type(model).__name__}: it has a {found.kind.kind} adapter; "
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
    model.backbone.save_to_preset = _refuse_to_save
    forget_programs(model)


def _refuse_to_save(*_: Any, **__: Any) -> None:
    raise InputError(
        "backbone.save_to_preset: the model has an adapter, which it would "
        "leave out; call keras_flan.models.save(model, folder), or "
        "merge_adapter first"
    )


def adapter_of(model: LanguageModel) -> Adapters | None:
    """Returns the model's adapters, if it has any."""
    return next(iter(getattr(model, "adapters", ())), None)


def merge_adapter(model: LanguageModel) -> None:
    """Adds an adapter to the weights of its model, and removes it.

    Raises:
        InputError: If the model has no adapter, or one that is no change of
            weights (Houlsby).

    Example:

    ```python
    load_adapter(model, "runs/lora/adapter")
    merge_adapter(model)
    keras_flan.models.save(model, "tuned")
    ```
    """
    adapter = required(model)
    _check_mergeable(adapter)
    for part in adapter.parts.values():
        part.detach()
        part.merge()
    _take_out(model, adapter)


def remove_adapter(model: LanguageModel) -> None:
    """Takes an adapter out: the model is the base again, and trainable.

    Example:
        >>> add_lora(model, rank=4)
        >>> remove_adapter(model)
        >>> len(model.trainable_variables) == len(model.variables)
        True
    """
    adapter = required(model)
    for part in adapter.parts.values():
        part.detach()
    _take_out(model, adapter)


def _check_mergeable(adapter: Adapters) -> None:
    if not adapter.kind.mergeable:
        raise InputError(
            f"a {adapter.kind.kind} adapter can't be merged into weights; save "
            "it by save_adapter, or remove it by remove_adapter"
        )


def _take_out(model: LanguageModel, adapter: Adapters) -> None:
    """Forgets adapters that are detached."""
    del model.backbone.save_to_preset
    adapter.thaw()
    model.adapters.clear()
    forget_programs(model)


@contextlib.contextmanager
def merged(model: LanguageModel) -> Iterator[None]:
    """Lends a model merged weights, to write them in other formats.

    Without an adapter nothing happens.

    Raises:
        InputError: If the adapter can't be merged.
    """
    adapter = adapter_of(model)
    if adapter is None:
        yield
        return
    _check_mergeable(adapter)
    undo = []
    del model.backbone.save_to_preset
    try:
        for part in adapter.parts.values():
            part.detach()
            # The last ones first.
            undo.append(part.attach)
            undo.append(part.merge())
        yield
    finally:
        for restore in reversed(undo):
            restore()
        model.backbone.save_to_preset = _refuse_to_save


def required(model: LanguageModel) -> Adapters:
    """Returns the model's adapters.

    Raises:
        InputError: If it has none.
    """
    adapter = adapter_of(model)
    if adapter is None:
        raise InputError(
            f"{type(model).__name__}: it has no adapter; call add_lora, "
            "add_dora, add_ia3, add_houlsby or load_adapter first"
        )
    return adapter
