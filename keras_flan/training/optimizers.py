"""Optimizers that also measure the norm of the gradients."""

import keras
from keras import ops


class GradientNorm:
    """Makes an optimizer measure the norm of all gradients at each step.

    Goes before a `keras.optimizers.Optimizer` among the base classes. The
    norm is that before any clipping, and with gradient accumulation that of
    the latest part of the batch.

    Attributes:
        gradient_norm: A float32 variable, or `None` before the first step.
    """

    gradient_norm = None

    def build(self, variables):
        if not self.built:
            super().build(variables)
            self.gradient_norm = self.add_variable(
                shape=(), dtype="float32", name="gradient_norm"
            )

    def apply(self, grads, trainable_variables=None):
        grads = list(grads)
        if not self.built:
            self.build(trainable_variables)
        # TensorFlow gives the embedding's gradient as sparse slices.
        squares = [
            ops.sum(ops.square(ops.cast(ops.convert_to_tensor(g), "float32")))
            for g in grads
            if g is not None
        ]
        self.assign(self.gradient_norm, ops.sqrt(sum(squares)))
        return super().apply(grads, trainable_variables)


@keras.saving.register_keras_serializable(package="keras_flan")
class Adam(GradientNorm, keras.optimizers.Adam):
    """`keras.optimizers.Adam`, which also measures `gradient_norm`."""
