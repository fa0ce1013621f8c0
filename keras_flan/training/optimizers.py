"""Optimizers that measure the norm of the gradients; a rate that falls."""

from collections.abc import Iterable, Sequence
from typing import Any

import keras
from keras import ops

from keras_flan.tensors import Tensor


class GradientNorm(keras.optimizers.Optimizer):
    """An optimizer that measures the norm of all gradients at each step.

    Goes before another optimizer among the base classes. The norm is that
    before any clipping, and with gradient accumulation that of the latest
    part of the batch.

    Attributes:
        gradient_norm: A float32 variable, or `None` before the first step.
    """

    gradient_norm: keras.Variable | None = None

    def build(self, variables: Sequence[keras.Variable]) -> None:
        if not self.built:
            super().build(variables)
            self.gradient_norm = self.add_variable(
                shape=(), dtype="float32", name="gradient_norm"
            )

    def apply(
        self,
        grads: Iterable[Tensor | None],
        trainable_variables: Sequence[keras.Variable] | None = None,
    ) -> None:
        variables = trainable_variables or self._trainable_variables
        if not self.built:
            self.build(variables)
        grads = list(map(_dense, grads, variables))
        squares = [
            ops.sum(ops.square(ops.cast(g, "float32")))
            for g in grads
            if g is not None
        ]
        self.assign(self.gradient_norm, ops.sqrt(sum(squares)))
        super().apply(grads, trainable_variables)


def _dense(gradient: Tensor | None, variable: keras.Variable) -> Tensor | None:
    """Returns a gradient with the variable's shape.

    TensorFlow gives the embedding's as slices, or of unknown shape.
    """
    if keras.backend.backend() != "tensorflow" or gradient is None:
        return gradient
    import tensorflow as tf

    return tf.ensure_shape(tf.convert_to_tensor(gradient), variable.shape)


@keras.saving.register_keras_serializable(package="keras_flan")
class Adam(GradientNorm, keras.optimizers.Adam):
    """`keras.optimizers.Adam`, which also measures `gradient_norm`."""


@keras.saving.register_keras_serializable(package="keras_flan")
class Warmdown(keras.optimizers.schedules.LearningRateSchedule):
    """A constant rate that falls in a line to a tenth in the last steps.

    The paper's rate is constant; a short training of a small model gains from
    an end in small steps.

    Args:
        learning_rate: The rate before it falls.
        steps: Steps in all (of the optimizer's `iterations`, which with
            gradient accumulation count each part of a batch).
        share: Share of the steps in which it falls, above 0.

    Raises:
        ValueError: If `steps` or `share` is not above 0.

    Example:

    ```python
    model.compile(optimizer=Adafactor(Warmdown(5e-3, steps=1000)))
    ```

    Source: the "warmup-stable-decay" of MiniCPM (arXiv:2404.06395),
    section 4, without its warmup.
    """

    def __init__(self, learning_rate: float, steps: int, share: float = 0.25):
        if steps <= 0 or share <= 0:
            raise ValueError(
                f"Warmdown: expected steps and share above 0, found {steps} "
                f"and {share}; give a plain rate to keep it constant"
            )
        self.learning_rate = learning_rate
        self.steps = steps
        self.share = share

    def __call__(self, step: Tensor) -> Tensor:
        left = 1.0 - ops.cast(step, "float32") / self.steps
        return self.learning_rate * (
            0.1 + 0.9 * ops.clip(left / self.share, 0.0, 1.0)
        )

    def get_config(self) -> dict[str, Any]:
        return {
            "learning_rate": self.learning_rate,
            "steps": self.steps,
            "share": self.share,
        }
