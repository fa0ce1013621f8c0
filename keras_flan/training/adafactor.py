"""Adafactor as T5X and the Flan paper use it."""

from collections.abc import Iterable, Sequence
from typing import Any

import keras
from keras import ops

from keras_flan.errors import InputError

# What axes mean is known where weights are laid out on devices.
from keras_flan.models.roles import Roles
from keras_flan.tensors import Tensor
from keras_flan.training.factoring import (
    SHORTEST,
    Axes,
    Factoring,
    weight_factoring,
)
from keras_flan.training.optimizers import GradientNorm


@keras.saving.register_keras_serializable(package="keras_flan")
class Adafactor(GradientNorm):
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
        learning_rate: float
        | keras.optimizers.schedules.LearningRateSchedule = 1e-3,
        decay_rate: float = 0.8,
        step_offset: int = 0,
        clip_threshold: float = 1.0,
        scale_by_parameter: bool = True,
        min_dim_to_factor: int = SHORTEST,
        momentum: float | None = None,
        epsilon1: float = 1e-30,
        epsilon2: float = 1e-3,
        name: str = "adafactor",
        **kwargs: Any,
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

    def build(self, variables: Sequence[keras.Variable]) -> None:
        if self.built:
            return
        super().build(variables)
        self._factoring = factorings(variables, self.min_dim_to_factor)
        self._moments: list[tuple[keras.Variable, ...]] = []
        self._first_moments: list[keras.Variable | None] = []
        for variable, factoring in zip(variables, self._factoring, strict=True):
            slots: dict[str, Axes] = {"second_moment": ()}
            if factoring.rows:
                slots = {
                    "row_moment": factoring.columns,
                    "column_moment": factoring.rows,
                }
            self._moments.append(
                tuple(self._slot(variable, *slot) for slot in slots.items())
            )
            first = None
            if self.momentum is not None:
                first = self._slot(variable, "first_moment")
            self._first_moments.append(first)

    def _slot(
        self, variable: keras.Variable, name: str, lost: Axes = ()
    ) -> keras.Variable:
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

    def update_step(
        self, gradient: Tensor, variable: keras.Variable, learning_rate: Tensor
    ) -> None:
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
        if first is not None and self.momentum is not None:
            update = self.momentum * first + (1.0 - self.momentum) * update
            self.assign(first, update)
        self.assign_sub(variable, ops.cast(update, variable.dtype))

    def _inverse_root(
        self,
        moments: tuple[keras.Variable, ...],
        squared: Tensor,
        beta2: Tensor,
        factoring: Factoring,
    ) -> Tensor:
        """Updates the second moment; returns its inverse square root."""
        shape = tuple(squared.shape)

        def decay(moment: keras.Variable, mean_over: Axes) -> Tensor:
            """The new statistic, with axes of one where it is a mean."""
            new = squared
            if mean_over:
                new = ops.mean(squared, axis=mean_over)
            new = beta2 * moment + (1.0 - beta2) * new
            self.assign(moment, new)
            return ops.reshape(
                new, [1 if i in mean_over else n for i, n in enumerate(shape)]
            )

        if not factoring.rows:
            return ops.rsqrt(decay(moments[0], ()))
        row = decay(moments[0], factoring.columns)
        column = decay(moments[1], factoring.rows)
        mean = ops.mean(row, axis=factoring.rows, keepdims=True)
        return ops.rsqrt(row / mean) * ops.rsqrt(column)

    def get_config(self) -> dict[str, Any]:
        names = (
            "decay_rate", "step_offset", "clip_threshold",
            "scale_by_parameter", "min_dim_to_factor", "momentum", "epsilon1",
            "epsilon2",
        )  # fmt: skip
        own = {name: getattr(self, name) for name in names}
        return {**super().get_config(), **own}


def factorings(
    variables: Iterable[keras.Variable], least: int
) -> list[Factoring]:
    """Returns how the second moments of variables are factored.

    Args:
        variables: What is trained.
        least: Rows and columns there must be; see `weight_factoring`.
    """
    roles = Roles()
    return [_factoring(roles, variable, least) for variable in variables]


def _factoring(roles: Roles, variable: keras.Variable, least: int) -> Factoring:
    shape = tuple(variable.shape)
    try:
        names = roles.axes(variable.path, shape)
    except InputError:
        names = None  # another model's, of a like name
    return weight_factoring(shape, names, least)


def _layout(variable: keras.Variable) -> keras.distribution.TensorLayout | None:
    """Returns the layout of a variable, if there is a distribution."""
    distribution = keras.distribution.distribution()
    if distribution is None:
        return None
    layout = distribution.get_variable_layout(variable)
    # The alternative is a layout of the backend's, given by hand.
    is_axes = isinstance(layout, keras.distribution.TensorLayout)
    return layout if is_axes else None


def _without(shape: Sequence, lost: Axes) -> tuple:
    return tuple(n for i, n in enumerate(shape) if i not in lost)


def _rms(x: Tensor, layers: Axes) -> Tensor:
    """The root of the mean square; of each layer, if there are any."""
    axes = tuple(i for i in range(len(x.shape)) if i not in layers)
    return ops.sqrt(ops.mean(ops.square(x), axis=axes, keepdims=True))
