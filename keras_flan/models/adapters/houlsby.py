"""Houlsby adapters: small bottlenecks behind the blocks of a frozen model."""

import math
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
from keras_flan.models.adapters.targets import choose, norms
from keras_flan.models.language_model import LanguageModel
from keras_flan.tensors import Tensor, Tensors


def add_houlsby(
    model: LanguageModel,
    width: int = 64,
    activation: str = "gelu",
    targets: str | Iterable[str] = "default",
    train_norms: bool = True,
) -> None:
    """Freezes a model and adds a bottleneck behind each of its blocks.

    What a block adds, h, becomes h + U f(D h) before it is added. U starts at
    zero, so the model computes what it did until it is trained.

    Args:
        model: A `keras_flan.models.T5` or `keras_flan.models.DecoderOnly`.
            Compile it afterwards.
        width: Width of the bottleneck.
        activation: The name of f in `keras.activations`.
        targets: What to adapt: `"default"` (behind attention and behind the
            feed-forward block, as in the paper), or as for `add_lora`.
        train_norms: Whether the norms are trained too, as in the
            paper. They are saved with the adapter.

    Raises:
        InputError: If a target matches no layer, or the model has an adapter.

    Example:

    ```python
    keras_flan.models.add_houlsby(model, width=32)
    model.compile(keras.optimizers.Adam(1e-3), TokenCrossentropy())
    ```

    Source: [Houlsby et al., 2019](https://arxiv.org/abs/1902.00751),
    section 2.1.
    """
    if width < 1:
        raise InputError(f"width: expected at least 1, got {width}")
    chosen = choose(model.backbone, targets, Houlsby.default_targets)
    parts = {
        name: Houlsby(layer, width, activation, name=name.replace(".", "_"))
        for name, layer in chosen.items()
    }
    settings = {
        "width": width,
        "activation": activation,
        "targets": list(parts),
        "train_norms": train_norms,
    }
    trained = norms(model.backbone) if train_norms else {}
    install(model, Adapters(Houlsby, settings, parts, trained))


class Houlsby(Adapter):
    """A bottleneck behind one projection, or one behind each of a stack.

    Its variables are float32, whatever the model's dtype.

    Args:
        layer: The projection, whose output has one axis for features.
        width: Of the bottleneck.
        activation: As for `add_houlsby`.
        **kwargs: As for `keras.layers.Layer`.
    """

    kind = "houlsby"
    default_targets = ("*attention.output", "feedforward.output")
    add = staticmethod(add_houlsby)

    def __init__(self, layer: Any, width: int, activation: str, **kwargs: Any):
        super().__init__(layer, dtype="float32", **kwargs)
        _, kernel, y = self.equation.replace("->", ",").split(",")
        if [axis for axis in kernel if axis in y] != [y[-1]]:
            raise InputError(
                f"targets: {layer.path} splits its output into heads; a "
                "Houlsby adapter goes behind 'attention.output' or "
                "'feedforward.output'"
            )
        if activation not in dir(keras.activations):
            raise InputError(f"activation: keras has no {activation!r}")
        self.activation = keras.activations.get(activation)
        shape = tuple(layer.kernel.shape)
        layers, features = shape[:1] if self.stacked else (), shape[-1]
        normal = keras.initializers.RandomNormal(stddev=1 / math.sqrt(features))
        for name, own, initializer in (
            ("down", (features, width), normal),
            ("down_bias", (width,), "zeros"),
            ("up", (width, features), "zeros"),
            ("up_bias", (features,), "zeros"),
        ):
            weight = self.add_weight(
                name=name,
                shape=(*layers, *own),
                initializer=initializer,
                autocast=False,
            )
            setattr(self, name, weight)
        self.built = True

    def tensors(self) -> Tensors:
        return {
            name: ops.convert_to_tensor(getattr(self, name))
            for name in ("down", "down_bias", "up", "up_bias")
        }

    def join(self, x: Tensor, base: Projection, tensors: Tensors) -> Tensor:
        y = base.apply(x)
        t = {name: ops.cast(value, y.dtype) for name, value in tensors.items()}
        hidden = self.activation(ops.matmul(y, t["down"]) + t["down_bias"])
        return y + ops.matmul(hidden, t["up"]) + t["up_bias"]
