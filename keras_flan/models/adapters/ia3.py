"""IA3: learned scales of keys, values and inner activations."""

from collections.abc import Iterable
from typing import Any

from keras import ops

from keras_flan.models.adapters.base import (
    Adapter,
    Adapters,
    Projection,
    install,
)
from keras_flan.models.adapters.equations import axes_of, ends_of
from keras_flan.models.adapters.targets import choose
from keras_flan.models.language_model import LanguageModel
from keras_flan.tensors import Tensor, Tensors

# The projections whose input is scaled; of all others it is the output.
_INNER = "feedforward.output"


def add_ia3(
    model: LanguageModel, targets: str | Iterable[str] = "default"
) -> None:
    """Freezes a model and adds scales to some of its activations.

    A number per feature, 1 at first, is multiplied with what a projection
    gives, or, of the projection out of a feed-forward block, with what it
    takes: the block's inner activations. By far the fewest weights of all
    adapters, and nothing to choose.

    Args:
        model: A `keras_flan.models.T5` or `keras_flan.models.DecoderOnly`.
            Compile it afterwards.
        targets: What to scale: `"default"` (keys, values and inner
            activations, as in the paper), or as for `add_lora`.

    Raises:
        InputError: If a target matches no layer, or the model has an adapter.

    Example:

    ```python
    keras_flan.models.add_ia3(model)
    model.compile(keras.optimizers.Adam(3e-3), TokenCrossentropy())
    ```

    Source: [Liu et al., 2022](https://arxiv.org/abs/2205.05638), section 3.3.
    """
    chosen = choose(model.backbone, targets, IA3.default_targets)
    parts = {
        name: IA3(layer, name.endswith(_INNER), name=name.replace(".", "_"))
        for name, layer in chosen.items()
    }
    install(model, Adapters(IA3, {"targets": list(parts)}, parts))


class IA3(Adapter):
    """The scales of one projection, or of each of a stack.

    Its variable is float32, whatever the model's dtype, and called
    `input_scale` `(inputs...)` or `output_scale` `(outputs...)`, with
    `num_layers` in front if stacked.

    Args:
        layer: The projection.
        inner: Whether its input is scaled, not its output.
        **kwargs: As for `keras.layers.Layer`.
    """

    kind = "ia3"
    default_targets = ("*attention.key", "*attention.value", _INNER)
    add = staticmethod(add_ia3)
    mergeable = True

    def __init__(self, layer: Any, inner: bool, **kwargs: Any):
        super().__init__(layer, dtype="float32", **kwargs)
        self.inner = inner
        layers, sizes = self.sizes()
        self._axes = ends_of(self.equation)[0 if inner else 1]
        self.scale = self.add_weight(
            name="input_scale" if inner else "output_scale",
            shape=(*layers, *(sizes[axis] for axis in self._axes)),
            initializer="ones",
            autocast=False,
        )
        self.built = True

    def tensors(self) -> Tensors:
        return {"scale": ops.convert_to_tensor(self.scale)}

    def join(self, x: Tensor, base: Projection, tensors: Tensors) -> Tensor:
        if self.inner:
            return base.apply(self._scaled(x, tensors["scale"], 0))
        return self._scaled(base.apply(x), tensors["scale"], 2)

    def _scaled(self, x: Tensor, scale: Tensor, place: int) -> Tensor:
        """Scales an input (place 0 of the equation) or an output (2)."""
        axes = axes_of(self.equation)[place]
        equation = f"{axes},{self._axes}->{axes}"
        return ops.einsum(equation, x, ops.cast(scale, x.dtype))

    def delta(self) -> Tensor:
        kernel = axes_of(self.equation)[1]
        return ops.einsum(
            f"...{kernel},...{self._axes}->...{kernel}",
            ops.cast(self.layer.kernel, "float32"),
            self.scale - 1,
        )

    def merged(self) -> list[tuple[Any, Tensor]]:
        changed = super().merged()
        bias = getattr(self.layer, "bias", None)
        if bias is not None and not self.inner:
            changed.append((bias, ops.cast(bias, "float32") * self.scale))
        return changed
