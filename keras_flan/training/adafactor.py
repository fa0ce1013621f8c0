"""Adafactor as T5X and the Flan paper use it."""

import dataclasses
import math

import keras
from keras import ops

from keras_flan.errors import InputError
from keras_flan.training.optimizers import GradientNorm


@keras.saving.register_keras_serializable(package="keras_flan")
class Adafactor(GradientNorm, keras.optimizers.Optimizer):
    """Adafactor with factored second moments and no full-size slots.

    For a matrix of shape `(n, m)` it keeps a row and a column statistic,
    `n + m` numbers instead of Adam's `2 * n * m`. Which axes of a weight are
    rows and columns follows from their meaning (see `factorings`), and layers
    that are stacked are handled one by one. The update at step t is

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
        min_dim_to_factor: int. A weight with fewer rows or columns keeps a
            full second moment (it is small anyway); see `factorings`.
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

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self._factoring = factorings(variables, self.min_dim_to_factor)
        self._moments = []
        self._first_moments = []
        for variable, factoring in zip(variables, self._factoring, strict=True):
            if factoring.rows:
                rows, columns = factoring.rows, factoring.columns
                moments = (
                    self._slot(variable, "row_moment", lost=columns),
                    self._slot(variable, "column_moment", lost=rows),
                )
            else:
                moments = (self._slot(variable, "second_moment"),)
            self._moments.append(moments)
            self._first_moments.append(
                None
                if self.momentum is None
                else self._slot(variable, "first_moment")
            )

    def _slot(self, variable, name, lost=()):
        """Makes a slot without the axes `lost`, on its variable's devices."""
        path = variable.path.replace("/", "_")
        layout = _layout(variable)
        if layout is not None and lost:
            layout = keras.distribution.TensorLayout(
                _without(layout.axes, lost), layout.device_mesh
            )
        return self.add_variable(
            shape=_without(tuple(variable.shape), lost),
            dtype="float32",
            name=f"{path}_{name}",
            layout=layout,
        )

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        gradient = ops.cast(gradient, "float32")
        weight = ops.cast(variable, "float32")
        step = ops.cast(self.iterations + 1 - self.step_offset, "float32")
        beta2 = 1.0 - ops.power(step, -self.decay_rate)
        factoring = self._factoring[index]

        update = gradient * self._inverse_root(
            self._moments[index],
            ops.square(gradient) + self.epsilon1,
            beta2,
            factoring,
        )
        size = _rms(update, factoring.layers)
        update = update / ops.maximum(1.0, size / self.clip_threshold)
        scale = ops.cast(learning_rate, "float32")
        if self.scale_by_parameter:
            size = _rms(weight, factoring.layers)
            scale = scale * ops.maximum(size, self.epsilon2)
        update = scale * update
        first = self._first_moments[index]
        if first is not None:
            update = self.momentum * first + (1.0 - self.momentum) * update
            self.assign(first, update)
        self.assign_sub(variable, ops.cast(update, variable.dtype))

    def _inverse_root(self, moments, squared, beta2, factoring):
        """Updates the second moment; returns its inverse square root."""
        shape = tuple(squared.shape)

        def decay(moment, mean_over):
            """The new statistic, with axes of one where it is a mean."""
            new = squared
            if mean_over:
                new = ops.mean(squared, axis=mean_over)
            new = beta2 * moment + (1.0 - beta2) * new
            self.assign(moment, new)
            return ops.reshape(
                new,
                [1 if i in mean_over else n for i, n in enumerate(shape)],
            )

        if not factoring.rows:
            return ops.rsqrt(decay(moments[0], ()))
        row = decay(moments[0], factoring.columns)
        column = decay(moments[1], factoring.rows)
        mean = ops.mean(row, axis=factoring.rows, keepdims=True)
        return ops.rsqrt(row / mean) * ops.rsqrt(column)

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


@dataclasses.dataclass(frozen=True)
class Factoring:
    """What the axes of a weight are to Adafactor.

    Attributes:
        rows: Axes of the rows of the matrix that it is; empty if its second
            moment is kept whole.
        columns: Axes of the columns.
        layers: Axes that number layers, each of which is a weight of its
            own.
    """

    rows: tuple[int, ...] = ()
    columns: tuple[int, ...] = ()
    layers: tuple[int, ...] = ()


def factorings(variables, least: int) -> list[Factoring]:
    """Returns how the second moments of variables are factored.

    The axis of the model's width is the rows, all others together are the
    columns (heads and their width are one), and stacked layers are apart. So
    a weight is factored alike whether it is stored as a matrix, with an axis
    of heads, or for all layers at once. Of weights that are not known, the
    two longest axes are rows and columns.

    Args:
        variables: What is trained.
        least: Rows and columns there must be.

    Source: the factor rules of T5X,
    https://github.com/google-research/t5x/blob/main/t5x/adafactor.py.
    """
    # What axes mean is known where weights are laid out on devices.
    from keras_flan.models.roles import Roles

    roles = Roles()
    return [_factoring(roles, variable, least) for variable in variables]


def _factoring(roles, variable, least) -> Factoring:
    shape = tuple(variable.shape)
    try:
        names = roles.axes(variable.path, shape)
    except InputError:
        names = None  # another model's, of a like name
    layers = ()
    if names is None:
        longest = sorted(range(len(shape)), key=lambda i: shape[i])[-2:]
        rows, columns = tuple(longest[1:]), tuple(longest[:1])
    else:
        layers = tuple(i for i, n in enumerate(names) if n == "layers")
        inner = [i for i in range(len(shape)) if i not in layers]
        rows = [i for i in inner if names[i] == "embed"] or inner[:1]
        columns = tuple(i for i in inner if i not in rows)
        rows = tuple(rows)
    if not (rows and columns):
        return Factoring(layers=layers)
    sizes = [math.prod(shape[i] for i in axes) for axes in (rows, columns)]
    if min(sizes) < least:
        return Factoring(layers=layers)
    return Factoring(rows, columns, layers)


def _layout(variable):
    """Returns the layout of a variable, if there is a distribution."""
    distribution = keras.distribution.distribution()
    if distribution is None:
        return None
    layout = distribution.get_variable_layout(variable)
    # The alternative is a layout of the backend's, given by hand.
    is_axes = isinstance(layout, keras.distribution.TensorLayout)
    return layout if is_axes else None


def _without(shape, lost):
    return tuple(n for i, n in enumerate(shape) if i not in lost)


def _rms(x, layers):
    """The root of the mean square; of each layer, if there are any."""
    axes = tuple(i for i in range(len(x.shape)) if i not in layers)
    return ops.sqrt(ops.mean(ops.square(x), axis=axes, keepdims=True))
