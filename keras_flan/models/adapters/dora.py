"""DoRA: LoRA for the direction of a kernel, and its length by itself."""

from collections.abc import Iterable
from typing import Any

from keras import ops

from keras_flan.models.adapters.base import Projection
from keras_flan.models.adapters.equations import axes_of, ends_of
from keras_flan.models.adapters.lora import LoRA, add_low_rank
from keras_flan.models.compression.quantised import values_of
from keras_flan.models.language_model import LanguageModel
from keras_flan.tensors import Tensor, Tensors


def add_dora(
    model: LanguageModel,
    rank: int = 8,
    alpha: float | None = None,
    targets: str | Iterable[str] = "default",
) -> None:
    """Freezes a model and adds a change of direction and length to kernels.

    A kernel W becomes m * V / ||V||, where V = W + alpha / rank * A B, the
    norm is that of each output's column, and m, a number per output, starts
    at ||W||: the model computes what it did until it is trained. As in the
    paper, no gradient goes through ||V||. Often better than `add_lora` at a
    low rank, and slower: each step makes V to take its norms.

    Args:
        model: A `keras_flan.models.T5` or `keras_flan.models.DecoderOnly`.
            Compile it afterwards.
        rank: The rank r of the change of V.
        alpha: Default: `rank`.
        targets: As for `add_lora`.

    Raises:
        InputError: If a target matches no layer, or the model has an adapter.

    Example:

    ```python
    keras_flan.models.add_dora(model, rank=4, targets="all")
    model.compile(keras.optimizers.Adam(1e-3), TokenCrossentropy())
    ```

    Source: [Liu et al., 2024](https://arxiv.org/abs/2402.09353), sections 4.1
    and 4.3.
    """
    add_low_rank(DoRA, model, rank, alpha, targets)


class DoRA(LoRA):
    """The change of one kernel, or of a stack of kernels.

    Its variables are float32: those of `LoRA`, and `magnitude`
    `(outputs...)`, `(num_layers, outputs...)` of a stack.

    Args:
        layer: The projection.
        rank: As for `add_dora`.
        alpha: As for `add_dora`.
        **kwargs: As for `keras.layers.Layer`.
    """

    kind = "dora"
    add = staticmethod(add_dora)

    def __init__(self, layer: Any, rank: int, alpha: float, **kwargs: Any):
        super().__init__(layer, rank, alpha, **kwargs)
        layers, sizes = self.sizes()
        _, kernel, y = axes_of(self.equation)
        outputs = ends_of(self.equation)[1]
        self._sum = f"...{kernel}->...{outputs}"
        self._stretch = f"{y},{outputs}->{y}"
        self._merge = f"...{kernel},...{outputs}->...{kernel}"

        def start(shape: Any, dtype: Any = None) -> Tensor:
            if layer.kernel._value is None:  # It is only looked at.
                return ops.ones(shape, dtype)
            return self.norm(ops.cast(values_of(layer.kernel), "float32"))

        self.magnitude = self.add_weight(
            name="magnitude",
            shape=(*layers, *(sizes[axis] for axis in outputs)),
            initializer=start,
            autocast=False,
        )

    def tensors(self) -> Tensors:
        magnitude = ops.convert_to_tensor(self.magnitude)
        return {**super().tensors(), "magnitude": magnitude}

    def join(self, x: Tensor, base: Projection, tensors: Tensors) -> Tensor:
        changed = ops.cast(base.kernel(), "float32") + self.product(tensors)
        norm = ops.stop_gradient(self.norm(changed))
        length = _quotient(tensors["magnitude"], norm)
        y = base.product(x)
        y = y + self.change(x, y.dtype, tensors)
        return base.biased(
            ops.einsum(self._stretch, y, ops.cast(length, y.dtype))
        )

    def norm(self, kernel: Tensor) -> Tensor:
        """Returns the length of each output's column, `(..., outputs...)`."""
        return ops.sqrt(ops.einsum(self._sum, ops.square(kernel)))

    def delta(self) -> Tensor:
        kernel = ops.cast(self.layer.kernel, "float32")
        changed = kernel + super().delta()
        length = _quotient(self.magnitude, self.norm(changed))
        return ops.einsum(self._merge, changed, length) - kernel


def _quotient(magnitude: Any, norm: Tensor) -> Tensor:
    """Returns m / ||V||; of a column of zeros, which has no direction, m."""
    return magnitude / ops.where(norm > 0, norm, ops.ones_like(norm))
