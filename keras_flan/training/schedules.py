"""Learning rates that rise at the beginning and fall towards the end."""

import math
from collections.abc import Mapping
from typing import Any, get_args

import keras
from keras import ops

from keras_flan.errors import InputError, did_you_mean
from keras_flan.tensors import Tensor
from keras_flan.training.steps import Accumulation, Shape, check_warmdown

# Where a fall by the root begins, if nothing warms up: T5's.
_RSQRT_STEPS = 10_000


@keras.saving.register_keras_serializable(package="keras_flan")
class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """A rate that warms up in a line, and then goes by its shape.

    | shape | after the warmup, at step n of N |
    |---|---|
    | `constant` | the rate; in the last `warmdown` of N a line to a tenth |
    | `linear` | a line from the rate, to 0 after the last step |
    | `cosine` | half a wave of the cosine, to 0 after the last step |
    | `rsqrt` | the rate times `sqrt(w / n)`, once n is above w: the steps of
      the warmup, or without one 10,000, as T5 was pretrained |

    The first step of a warmup of w steps has 1/w of the rate, the w-th all
    of it.

    Args:
        learning_rate: The rate at its highest.
        steps: Optimizer steps in all.
        shape: See the table.
        warmup: Steps in which the rate rises, or a share of all below 1.
        warmdown: Share of the steps in which a constant rate falls.
        accumulate: Calls of the training step per step: the optimizer's
            `iterations`, from which the rate is, count these.

    Raises:
        InputError: If the shape is unknown, a number is too small, or
            another shape than `constant` has a warmdown.

    Example:
        >>> rate = Schedule(0.1, steps=100, shape="linear", warmup=10)
        >>> [round(float(rate(step)), 4) for step in (0, 9, 10, 55, 99)]
        [0.01, 0.1, 0.1, 0.05, 0.0011]

    Source: arXiv:1910.10683, section 3.1.2 (rsqrt); arXiv:1608.03983,
    section 3 (cosine, one wave); arXiv:2404.06395, section 4
    ("warmup-stable-decay").
    """

    def __init__(
        self,
        learning_rate: float,
        steps: int,
        shape: Shape = "constant",
        warmup: float = 0,
        warmdown: float = 0.0,
        accumulate: int = 1,
    ):
        if shape not in get_args(Shape):
            raise InputError(
                f"schedule: there is no {shape!r}."
                + did_you_mean(shape, get_args(Shape))
            )
        if steps < 1 or warmup < 0 or not 0 <= warmdown <= 1:
            raise InputError(
                "schedule: expected steps from 1, a warmup from 0 and a "
                f"warmdown from 0 to 1, found {steps}, {warmup} and {warmdown}"
            )
        check_warmdown(shape, warmdown)
        self.learning_rate = learning_rate
        self.steps = steps
        self.shape = shape
        self.warmup = warmup
        self.warmdown = warmdown
        self.accumulate = accumulate

    def __call__(self, step: Tensor) -> Tensor:
        step = Accumulation(self.accumulate).steps(step)
        step = ops.cast(step, "float32")
        rate = self.learning_rate * self._fall(step)
        if self._rise:
            rate = rate * ops.minimum((step + 1.0) / self._rise, 1.0)
        return rate

    @property
    def _rise(self) -> int:
        """The steps of the warmup."""
        share = self.warmup if self.warmup < 1 else 0
        return math.ceil(share * self.steps) or int(self.warmup)

    def _fall(self, step: Tensor) -> Tensor:
        """The share of the rate that is left, without the warmup."""
        if self.shape == "constant":
            if not self.warmdown:
                return ops.ones_like(step)
            left = 1.0 - step / self.steps
            return 0.1 + 0.9 * ops.clip(left / self.warmdown, 0.0, 1.0)
        if self.shape == "rsqrt":
            begin = self._rise or _RSQRT_STEPS
            return ops.sqrt(begin / ops.maximum(step + 1.0, begin))
        falling = max(self.steps - self._rise, 1)
        left = ops.clip((self.steps - step) / falling, 0.0, 1.0)
        if self.shape == "linear":
            return left
        return 0.5 - 0.5 * ops.cos(math.pi * left)

    def get_config(self) -> Mapping[str, Any]:
        names = ("learning_rate", "steps", "shape", "warmup", "warmdown")
        values = {name: getattr(self, name) for name in names}
        return {**values, "accumulate": self.accumulate}


@keras.saving.register_keras_serializable(package="keras_flan")
class Warmdown(Schedule):
    """What `Schedule(learning_rate, steps, warmdown=share)` was before.

    With it, `.keras` files of then are read.
    """

    def __init__(self, learning_rate: float, steps: int, share: float = 0.25):
        super().__init__(learning_rate, steps, warmdown=share)

    def get_config(self) -> Mapping[str, Any]:
        return {
            "learning_rate": self.learning_rate,
            "steps": self.steps,
            "share": self.warmdown,
        }
