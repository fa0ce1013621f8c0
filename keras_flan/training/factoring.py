"""Which axes of a weight are rows and columns to Adafactor; needs no Keras."""

import dataclasses
import math
from collections.abc import Sequence

Axes = tuple[int, ...]
# With fewer rows or columns all of a second moment is kept: it is small.
SHORTEST = 128


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

    rows: Axes = ()
    columns: Axes = ()
    layers: Axes = ()

    def moments(self, shape: Sequence[int]) -> int:
        """Returns how many numbers are kept of a second moment.

        Args:
            shape: Of the weight, or of the part of it that a device has.

        Example:
            >>> Factoring(rows=(0,), columns=(1,)).moments((256, 512))
            768
        """
        if not self.rows:
            return math.prod(shape)
        sides = [(*self.layers, *side) for side in (self.rows, self.columns)]
        return sum(math.prod(shape[i] for i in side) for side in sides)


def weight_factoring(
    shape: Sequence[int], names: Sequence[str] | None, least: int = SHORTEST
) -> Factoring:
    """Returns how the second moment of a weight is factored.

    The axis of the model's width is the rows, all others together are the
    columns (heads and their width are one), and stacked layers are apart. So
    a weight is factored alike whether it is stored as a matrix, with an axis
    of heads, or for all layers at once. Of weights that are not known, the
    two longest axes are rows and columns.

    Args:
        shape: Of the weight.
        names: What each axis is, as in `keras_flan/models/roles.yaml`;
            `None` if that is not known.
        least: Rows and columns there must be.

    Source: the factor rules of T5X,
    https://github.com/google-research/t5x/blob/main/t5x/adafactor.py.
    """
    if names is None:
        longest = sorted(range(len(shape)), key=lambda i: shape[i])[-2:]
        found = Factoring(tuple(longest[1:]), tuple(longest[:1]))
    else:
        layers = tuple(i for i, n in enumerate(names) if n == "layers")
        inner = tuple(i for i in range(len(shape)) if i not in layers)
        rows = tuple(i for i in inner if names[i] == "embed") or inner[:1]
        columns = tuple(i for i in inner if i not in rows)
        found = Factoring(rows, columns, layers)
    sides = found.rows, found.columns
    lengths = [math.prod(shape[i] for i in axes) for axes in sides]
    if not all(sides) or min(lengths) < least:
        return Factoring(layers=found.layers)
    return found
