"""Adafactor as T5X and the Flan paper use it."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_flan")
class Adafactor(keras.optimizers.Optimizer):
    """Adafactor with factored second moments and no full-size slots.

    For a matrix of shape `(n, m)` it keeps a row and a column statistic,
    `n + m` numbers instead of Adam's `2 * n * m`. The update at step t is

    ```
    beta2   = 1 - t ** -decay_rate
    v       = beta2 * v + (1 - beta2) * (g ** 2 + epsilon1)      # factored
    u       = g / sqrt(v)
    u       = u / max(1, rms(u) / clip_threshold)
    w      -= learning_rate * max(rms(w), epsilon2) * u
    ```

    Unlike `keras.optimizers.Adafactor`, the rate is used as given (not
    capped at `1 / sqrt(t)`), nothing of the weight's own size is stored, and
    momentum is available.

    Args:
        learning_rate: float or schedule. Relative to the size of each
            weight; the paper keeps it constant (5e-4 for Flan-T5, table 22).
        decay_rate: float. Exponent of the second moment's decay.
        step_offset: int. Subtracted from the step, to restart the decay.
        clip_threshold: float. Largest RMS of an update.
        scale_by_parameter: bool. Whether the step is relative to
            `max(rms(w), epsilon2)`.
        min_dim_to_factor: int. A weight whose second largest axis is shorter
            keeps a full second moment (it is small anyway).
        momentum: float or `None`. Decay of a first moment (full size).
        epsilon1: float. Added to the squared gradient.
        epsilon2: float. Smallest parameter scale.
        **kwargs: As for `keras.optimizers.Optimizer`.

    Example:

    ```python
    model.compile(optimizer=Adafactor(5e-4), loss=TokenCrossentropy())
    ```

    References: [Shazeer and Stern, 2018](https://arxiv.org/abs/1804.04235);
    "Scaling Instruction-Finetuned Language Models", section 2.2.
    """

    def __init__(
        self,
        learning_rate=1e-3,
        decay_rate=0.8,
        step_offset=0,
        clip_threshold=1.0,
        scale_by_parameter=True,
        min_dim_to_factor=128,
        momentum=None,
        epsilon1=1e-30,
        epsilon2=1e-3,
        name="adafactor",
        **kwargs,
    ):
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.decay_rate = decay_rate
        self.step_offset = step_offset
        self.clip_threshold = clip_threshold
        self.scale_by_parameter = scale_by_parameter
        self.min_dim_to_factor = min_dim_to_factor
        self.momentum = momentum
        self.epsilon1 = epsilon1
        self.epsilon2 = epsilon2

    def factored_axes(self, shape):
        """Returns the (row, column) axes that are factored, or `None`.

        The two longest axes are factored if both have at least
        `min_dim_to_factor` entries. Other axes (heads, stacked layers) keep
        statistics of their own.
        """
        if len(shape) < 2:
            return None
        by_length = sorted(range(len(shape)), key=lambda i: shape[i])
        if shape[by_length[-2]] < self.min_dim_to_factor:
            return None
        return tuple(sorted(by_length[-2:]))

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self._moments = []
        self._first_moments = []
        for variable in variables:
            shape = tuple(variable.shape)
            axes = self.factored_axes(shape)
            if axes is None:
                moments = (self._slot(shape, variable, "second_moment"),)
            else:
                row, column = axes
                moments = (
                    self._slot(shape, variable, "row_moment", lost=column),
                    self._slot(shape, variable, "column_moment", lost=row),
                )
            self._moments.append(moments)
            self._first_moments.append(
                None
                if self.momentum is None
                else self._slot(shape, variable, "first_moment")
            )

    def _slot(self, shape, variable, name, lost=None):
        """Makes a slot without the axis `lost`, on its variable's devices."""
        path = variable.path.replace("/", "_")
        layout = _layout(variable)
        if lost is not None:
            shape = _without(shape, lost)
        if layout is not None and lost is not None:
            layout = keras.distribution.TensorLayout(
                _without(layout.axes, lost), layout.device_mesh
            )
        return self.add_variable(
            shape=shape, dtype="float32", name=f"{path}_{name}", layout=layout
        )

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        # TensorFlow gives the embedding's gradient as sparse slices.
        gradient = ops.cast(ops.convert_to_tensor(gradient), "float32")
        weight = ops.cast(variable, "float32")
        step = ops.cast(self.iterations + 1 - self.step_offset, "float32")
        beta2 = 1.0 - ops.power(step, -self.decay_rate)

        update = gradient * self._inverse_root(
            self._moments[index],
            ops.square(gradient) + self.epsilon1,
            beta2,
            self.factored_axes(tuple(variable.shape)),
        )
        update = update / ops.maximum(1.0, _rms(update) / self.clip_threshold)
        scale = ops.cast(learning_rate, "float32")
        if self.scale_by_parameter:
            scale = scale * ops.maximum(_rms(weight), self.epsilon2)
        update = scale * update
        first = self._first_moments[index]
        if first is not None:
            update = self.momentum * first + (1.0 - self.momentum) * update
            self.assign(first, update)
        self.assign_sub(variable, ops.cast(update, variable.dtype))

    def _inverse_root(self, moments, squared, beta2, axes):
        """Updates the second moment; returns its inverse square root."""

        def decay(moment, new):
            new = beta2 * moment + (1.0 - beta2) * new
            self.assign(moment, new)
            return new

        if axes is None:
            return ops.rsqrt(decay(moments[0], squared))
        row_axis, column_axis = axes
        row = decay(moments[0], ops.mean(squared, axis=column_axis))
        column = decay(moments[1], ops.mean(squared, axis=row_axis))
        # `row` has lost the column axis, which lies after the row axis.
        mean = ops.mean(row, axis=row_axis, keepdims=True)
        return ops.expand_dims(
            ops.rsqrt(row / mean), column_axis
        ) * ops.expand_dims(ops.rsqrt(column), row_axis)

    def get_config(self):
        config = super().get_config()
        config.update(
            {
                "decay_rate": self.decay_rate,
                "step_offset": self.step_offset,
                "clip_threshold": self.clip_threshold,
                "scale_by_parameter": self.scale_by_parameter,
                "min_dim_to_factor": self.min_dim_to_factor,
                "momentum": self.momentum,
                "epsilon1": self.epsilon1,
                "epsilon2": self.epsilon2,
            }
        )
        return config


def _layout(variable):
    """Returns the layout of a variable, if there is a distribution."""
    distribution = keras.distribution.distribution()
    if distribution is None:
        return None
    layout = distribution.get_variable_layout(variable)
    # The alternative is a layout of the backend's, given by hand.
    is_axes = isinstance(layout, keras.distribution.TensorLayout)
    return layout if is_axes else None


def _without(shape, axis):
    return shape[:axis] + shape[axis + 1 :]


def _rms(x):
    return ops.sqrt(ops.mean(ops.square(x)))
