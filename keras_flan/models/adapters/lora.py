"""LoRA: a low-rank change beside frozen kernels."""

import math
import string
from collections.abc import Iterable
from typing import Any

import keras
from keras import ops

from keras_flan.errors import InputError
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


def add_lora(
    model: LanguageModel,
    rank: int = 8,
    alpha: float | None = None,
    targets: str | Iterable[str] = "default",
) -> None:
    """Freezes a model and adds a low-rank change to some of its kernels.

    A kernel W becomes W + alpha / rank * A B. A is drawn, B starts at zero,
    so the model computes what it did until it is trained. The product is
    applied to activations (x A) B: no gradient of a whole kernel is ever
    made, which saves a third of a training step. Works for packed batches,
    stacked and scanned layers, and generation.

    Args:
        model: A `keras_flan.models.T5` or `keras_flan.models.DecoderOnly`.
            Compile it afterwards.
        rank: The rank r of the change.
        alpha: Default: `rank`.
        targets: What to adapt: `"default"` (query and value, as in the
            paper), `"attention"`, `"feedforward"`, `"all"`, or a pattern
            such as `"query"` or `"decoder.*.feedforward.*"`, or several.

    Raises:
        InputError: If a target matches no layer, or the model has an adapter.

    Example:

    ```python
    model = keras_flan.models.load("smollm2_135m")
    keras_flan.models.add_lora(model, rank=8)
    model.compile(keras.optimizers.Adam(1e-3), TokenCrossentropy())
    model.fit(dataset, steps_per_epoch=1000)
    keras_flan.models.save_adapter(model, "tuned.safetensors")
    ```

    Source: [Hu et al., 2021](https://arxiv.org/abs/2106.09685), section 4.
    """
    add_low_rank(LoRA, model, rank, alpha, targets)


def add_low_rank(
    kind: "type[LoRA]",
    model: LanguageModel,
    rank: int,
    alpha: float | None,
    targets: str | Iterable[str],
) -> None:
    """Adds adapters of `LoRA` or a class of it; see `add_lora`."""
    if rank < 1:
        raise InputError(f"rank: expected at least 1, got {rank}")
    chosen = choose(model.backbone, targets, kind.default_targets)
    alpha = float(rank if alpha is None else alpha)
    parts = {
        name: kind(layer, rank, alpha, name=name.replace(".", "_"))
        for name, layer in chosen.items()
    }
    settings = {"rank": rank, "alpha": alpha, "targets": list(parts)}
    install(model, Adapters(kind, settings, parts))


class LoRA(Adapter):
    """A low-rank change of one kernel, or of a stack of kernels.

    Its variables are float32, whatever the model's dtype, and called
    `lora_a` `(inputs..., rank)` and `lora_b` `(rank, outputs...)`; a stack
    has `(num_layers, ...)` of both.

    Args:
        layer: The projection.
        rank: As for `add_lora`.
        alpha: As for `add_lora`.
        **kwargs: As for `keras.layers.Layer`.
    """

    kind = "lora"
    default_targets = ("*attention.query", "*attention.value")
    add = staticmethod(add_lora)
    mergeable = True

    def __init__(self, layer: Any, rank: int, alpha: float, **kwargs: Any):
        super().__init__(layer, dtype="float32", **kwargs)
        self.scale = alpha / rank
        self._down, self._up, self._product, inputs, outputs = _factor(
            self.equation
        )
        layers, sizes = self.sizes()
        down = [sizes[axis] for axis in inputs]
        up = [sizes[axis] for axis in outputs]
        self.a = self.add_weight(
            name="lora_a",
            shape=(*layers, *down, rank),
            initializer=keras.initializers.RandomNormal(
                stddev=math.prod(down) ** -0.5
            ),
            autocast=False,
        )
        self.b = self.add_weight(
            name="lora_b",
            shape=(*layers, rank, *up),
            initializer="zeros",
            autocast=False,
        )
        self.built = True

    def tensors(self) -> Tensors:
        return {
            "a": ops.convert_to_tensor(self.a),
            "b": ops.convert_to_tensor(self.b),
        }

    def join(self, x: Tensor, base: Projection, tensors: Tensors) -> Tensor:
        y = base.apply(x)
        return y + self.change(x, y.dtype, tensors)

    def change(self, x: Tensor, dtype: Any, tensors: Tensors) -> Tensor:
        """Returns what the low rank adds to an output."""
        a, b = (ops.cast(tensors[name], dtype) for name in "ab")
        x = ops.cast(x, dtype)
        change = ops.einsum(self._up, ops.einsum(self._down, x, a), b)
        return change * ops.cast(self.scale, dtype)

    def delta(self) -> Tensor:
        return self.product({"a": self.a, "b": self.b})

    def product(self, tensors: Tensors) -> Tensor:
        """Returns the change of a kernel, or of all of a stack."""
        change = ops.einsum(self._product, tensors["a"], tensors["b"])
        return change * self.scale


def _factor(equation: str) -> tuple[str, str, str, str, str]:
    """Splits an equation by a rank in the middle.

    Returns:
        Equations of x and A, of that and B, and of A and B (a stack's axis
        may stand in front), and the kernel's input and output axes.

    Example:
        >>> _factor("btd,hdw->bthw")
        ("btd,dr->btr", "btr,rhw->bthw", "...dr,...rhw->...hdw", "d", "hw")
    """
    x, kernel, y = axes_of(equation)
    inputs, outputs = ends_of(equation)
    rank = next(axis for axis in string.ascii_lowercase if axis not in equation)
    kept = "".join(axis for axis in x if axis not in inputs)
    return (
        f"{x},{inputs}{rank}->{kept}{rank}",
        f"{kept}{rank},{rank}{outputs}->{y}",
        f"...{inputs}{rank},...{rank}{outputs}->...{kernel}",
        inputs,
        outputs,
    )
