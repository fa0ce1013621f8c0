"""What variables held at a time, to come back to."""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from keras import ops


class KeptValues:
    """The values of variables as they are now.

    Args:
        variables: Such as `model.trainable_variables`: of a model with an
            adapter only the adapter's numbers are held twice then.

    Example:
        >>> start = KeptValues(model.variables)
        >>> model.fit(dataset, steps_per_epoch=100)
        >>> start.restore()
    """

    def __init__(self, variables: Iterable[Any]):
        self._variables = list(variables)
        self._values = self._now()

    def restore(self) -> None:
        """Gives the variables their old values."""
        self._assign(self._values)

    @contextlib.contextmanager
    def lent(self) -> Iterator[None]:
        """Gives the variables their old values for a while."""
        now = self._now()
        self.restore()
        try:
            yield
        finally:
            self._assign(now)

    def _now(self) -> list[np.ndarray]:
        # A copy: on some backends it would be the variable's own memory.
        return [ops.convert_to_numpy(v).copy() for v in self._variables]

    def _assign(self, values: list[np.ndarray]) -> None:
        for variable, value in zip(self._variables, values, strict=True):
            variable.assign(value)
