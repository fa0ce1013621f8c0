"""Gradient accumulation in which every target token weighs the same."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import keras
from keras import ops

from keras_flan.tensors import Tensor


class Parts:
    """Weighs the parts of a batch by their target tokens.

    Keras's optimizers take the plain mean of the parts' gradients, each the
    gradient of a mean over the part's own tokens; so the tokens of a part
    with few of them would count more. Here a part's gradient counts as much
    as its sample weights sum to, and an update is that of the whole batch.

    Args:
        optimizer: An optimizer with `gradient_accumulation_steps`. It counts
            the weights in a variable of its own, and else stays as it is.

    Source: https://github.com/huggingface/transformers/issues/34242, the same
    fault elsewhere.
    """

    def __init__(self, optimizer: keras.optimizers.Optimizer):
        self._optimizer = optimizer
        self._weight: Tensor | None = None
        self._total = optimizer.add_variable(
            shape=(), dtype="float32", name="weight_of_parts"
        )
        self._apply = optimizer._backend_apply_gradients
        optimizer._backend_apply_gradients = self._apply_part

    @contextlib.contextmanager
    def part(self, loss: Any, data: Any) -> Iterator[None]:
        """Has what is applied within weigh as a part's data say."""
        self._weight = _weight(loss, data)
        try:
            yield
        finally:
            self._weight = None

    def _apply_part(
        self, gradients: Sequence[Tensor], variables: Sequence[keras.Variable]
    ) -> None:
        weight = 1.0 if self._weight is None else self._weight
        steps = self._optimizer.gradient_accumulation_steps
        total = self._total + weight
        last = ops.equal((self._optimizer._iterations + 1) % steps, 0)
        # The optimizer divides the sum by the number of parts.
        scale = ops.where(last, steps / ops.where(total > 0, total, 1.0), 1.0)
        for variable in self._optimizer._accumulated_gradients:
            variable.assign(variable * ops.cast(scale, variable.dtype))
        self._total.assign(ops.where(last, 0.0, total))
        scale = scale * weight
        self._apply(
            [g * ops.cast(scale, g.dtype) for g in gradients], variables
        )


def weigh_parts(optimizer: Any) -> Parts | None:
    """Returns the parts of an optimizer that accumulates; else `None`."""
    # Float16 has its optimizer within another.
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    if not getattr(optimizer, "gradient_accumulation_steps", None):
        return None
    if not hasattr(optimizer, "_keras_flan_parts"):
        optimizer._keras_flan_parts = Parts(optimizer)
    return optimizer._keras_flan_parts


def _weight(loss: Any, data: Any) -> Tensor:
    """Returns what the loss of a part is divided by: float32."""
    _, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    by_weight = getattr(loss, "reduction", None) == "mean_with_sample_weight"
    if by_weight and sample_weight is not None:
        return ops.sum(ops.cast(sample_weight, "float32"))
    return ops.cast(ops.shape(y)[0], "float32")
