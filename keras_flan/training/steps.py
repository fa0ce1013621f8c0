"""Optimizer steps, and the calls of the training step that make them."""

import dataclasses


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
