"""The weights of a model by arithmetic: shapes, and parts on a device."""

import dataclasses
import math
from collections.abc import Sequence

from keras_flan.distribution.mesh import Mesh
from keras_flan.planning.jobs import ModelSize

# Weights are kept in float32 for training, in bfloat16 for decoding.
FLOAT32, BFLOAT16 = 4, 2
# T5's distances: 32 buckets per head, one table for the encoder, one for the
# decoder.
_BUCKETS = 32
# Adafactor keeps all of a second moment if there are fewer rows or columns.
_SHORTEST = 128


@dataclasses.dataclass(frozen=True)
class Weight:
    """Weights of one shape and meaning.

    Attributes:
        part: `embedding`, `logits`, `attention`, `feedforward`, `norm` or
            `bias` (of distances).
        shape: Of one of them, stacked layers first.
        axes: What each axis is, in the words of `roles.yaml`.
        count: How many there are.
    """

    part: str
    shape: tuple[int, ...]
    axes: tuple[str, ...]
    count: int = 1

    @property
    def numbers(self) -> int:
        """Parameters of all of them."""
        return self.count * math.prod(self.shape)


def weights(family: str, size: ModelSize) -> list[Weight]:
    """Returns all weights of a model.

    Args:
        family: `t5` or `palm`.
        size: Its size.

    Example:
        >>> sum(w.numbers for w in weights("palm", palm_540b))
        540356474880
    """
    return {"palm": _palm, "t5": _t5}[family](size)


def _palm(size: ModelSize) -> list[Weight]:
    layers, width = size.num_layers, size.hidden_dim
    heads, head, inner = (
        size.num_heads,
        size.key_value_dim,
        size.intermediate_dim,
    )

    def stacked(
        part: str, shape: tuple[int, ...], axes: tuple[str, ...], count: int = 1
    ) -> Weight:
        return Weight(part, (layers, *shape), ("layers", *axes), count)

    return [
        Weight("embedding", (size.vocabulary_size, width), ("vocab", "embed")),
        stacked("attention", (width, heads, head), ("embed", "heads", "head")),
        stacked("attention", (heads, head, width), ("heads", "head", "embed")),
        stacked("attention", (width, head), ("embed", "head"), 2),
        stacked("feedforward", (width, inner), ("embed", "mlp"), 2),
        stacked("feedforward", (inner, width), ("mlp", "embed")),
        stacked("norm", (width,), ("norm",)),
        Weight("norm", (width,), ("norm",)),
    ]


def _t5(size: ModelSize) -> list[Weight]:
    layers, width = size.num_layers, size.hidden_dim
    heads, inner = size.attention_dim, size.intermediate_dim
    # Self attention in both stacks, cross attention in the decoder.
    attentions = 3 * layers
    return [
        Weight("embedding", (size.vocabulary_size, width), ("vocab", "embed")),
        Weight("logits", (width, size.vocabulary_size), ("embed", "vocab")),
        Weight("attention", (width, heads), ("embed", "heads"), 3 * attentions),
        Weight("attention", (heads, width), ("heads", "embed"), attentions),
        Weight("feedforward", (width, inner), ("embed", "mlp"), 4 * layers),
        Weight("feedforward", (inner, width), ("mlp", "embed"), 2 * layers),
        Weight("norm", (width,), ("norm",), 5 * layers + 2),
        Weight("bias", (_BUCKETS, size.num_heads), ("buckets", "heads"), 2),
    ]


def placed(
    weight: Weight, split: dict[str, str], mesh: Mesh
) -> tuple[str | None, ...]:
    """Returns the mesh axis of each axis of a weight, or `None`.

    As `keras_flan.distribution.Layouts` does: an axis that can't be divided
    is not split, but for heads the width of the head is.

    Args:
        weight: The weight.
        split: Axis of weights to mesh axis, as in `PRESETS`.
        mesh: The mesh.
    """
    sizes = dict(zip(weight.axes, weight.shape, strict=True))
    found: dict[str, str] = {}
    for axis, length in sizes.items():
        over = split.get(axis)
        if over is None or over not in mesh:
            continue
        if length % mesh.size(over) == 0:
            found[axis] = over
        elif axis == "heads" and sizes.get("head", 1) % mesh.size(over) == 0:
            found["head"] = over
    return tuple(found.get(axis) for axis in weight.axes)


def numbers_per_device(
    weight: Weight, split: dict[str, str], mesh: Mesh
) -> int:
    """Returns how many numbers of a weight a device holds."""
    over = placed(weight, split, mesh)
    return weight.numbers // math.prod(mesh.size(axis) for axis in over if axis)


def moments_per_device(
    weight: Weight, split: dict[str, str], mesh: Mesh
) -> int:
    """Returns how many numbers Adafactor keeps for a weight on a device.

    One per row and one per column of the matrix that it is, as `Adafactor` has
    it: the model's width is the rows, all other axes together the columns,
    and stacked layers are apart. They lie as the weight does.
    """
    over = placed(weight, split, mesh)
    parts = [
        length // (mesh.size(axis) if axis else 1)
        for length, axis in zip(weight.shape, over, strict=True)
    ]
    places = range(len(parts))
    layers = [i for i in places if weight.axes[i] == "layers"]
    inner = [i for i in places if i not in layers]
    rows = [i for i in inner if weight.axes[i] == "embed"] or inner[:1]
    sides = rows, [i for i in inner if i not in rows]

    def numbers(lengths: Sequence[int], of: list[int]) -> int:
        return math.prod(lengths[i] for i in of)

    if min(numbers(weight.shape, side) for side in sides) < _SHORTEST:
        return weight.count * math.prod(parts)
    return weight.count * sum(numbers(parts, layers + side) for side in sides)
