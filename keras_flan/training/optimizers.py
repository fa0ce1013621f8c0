"""Optimizers that measure the norm of the gradients."""

from collections.abc import Iterable, Sequence

import keras
from keras import ops

from keras_flan.tensors import Tensor
from keras_flan.training.schedules import Warmdown as Warmdown  # As before.

# How keras-hub and this package call biases and the scales of norms.
_SPARED = r"^(.*bias|beta|gamma|scale|weight)$"


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
    """`keras.optimizers.Adam`, which also measures `gradient_norm`.

    Example:
        >>> Adam(1e-4, global_clipnorm=1.0).beta_2
        0.999
    """


@keras.saving.register_keras_serializable(package="keras_flan")
class AdamW(GradientNorm, keras.optimizers.AdamW):
    """`keras.optimizers.AdamW`, which also measures `gradient_norm`.

    Example:
        >>> AdamW(5e-5, weight_decay=0.01).weight_decay
        0.01

    Source: arXiv:1711.05101, algorithm 2; as in PyTorch, a step takes
    `learning_rate * weight_decay` of a weight away.
    """


def spare_norms(optimizer: keras.optimizers.Optimizer) -> None:
    """Has weight decay leave out biases and the scales of norms.

    Args:
        optimizer: One that is not built yet.
    """
    optimizer.exclude_from_weight_decay(var_names=[_SPARED])
