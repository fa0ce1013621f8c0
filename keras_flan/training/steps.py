"""Optimizer steps, and the calls of the training step that make them."""

import dataclasses
import re
from typing import Literal

from keras_flan.errors import InputError

# What becomes of a learning rate; see `keras_flan.training.Schedule`.
Shape = Literal["constant", "linear", "cosine", "rsqrt"]


@dataclasses.dataclass(frozen=True)
class Accumulation:
    """Gradient accumulation: an optimizer step takes `parts` calls.

    Whatever a person sets or reads is in optimizer steps; Keras counts calls
    of its training step, in `fit` and in an optimizer's `iterations`. This is
    the one place that knows of both. A call has a part of the batch.
    """

    parts: int = 1

    def calls(self, steps: int) -> int:
        """Returns the calls that make optimizer steps."""
        return steps * self.parts

    def steps(self, calls: int) -> int:
        """Returns the optimizer steps that calls have made."""
        return calls // self.parts

    def rows(self, batch_size: int) -> int:
        """Returns the rows of one call."""
        return batch_size // self.parts


def profiled_steps(text: str) -> tuple[int, int]:
    """Returns the steps that `100:110` names: after the 100th, to the 110th.

    Raises:
        InputError: If it isn't two numbers, the second of them larger.
    """
    found = re.fullmatch(r"(\d+):(\d+)", text)
    first, last = map(int, found.groups()) if found else (0, 0)
    if first >= last:
        raise InputError(
            f"found {text!r}; expected two numbers of steps, the first of "
            "them smaller, such as 100:110"
        )
    return first, last


def check_warmdown(shape: str, warmdown: float) -> None:
    """Checks that only a constant rate has a warmdown.

    Raises:
        InputError: If another one has.
    """
    if shape != "constant" and warmdown:
        raise InputError(
            f"warmdown: found {warmdown} with the schedule {shape!r}, which "
            "falls anyway; leave out one of them"
        )
