"""A model by its sizes and weights: what a plan counts with."""

import dataclasses
import math
from collections.abc import Mapping

from keras_flan.distribution.mesh import Mesh
from keras_flan.training.factoring import weight_factoring

# T5's distances: 32 buckets per head, one table for the encoder, one for the
# decoder.
_BUCKETS = 32


@dataclasses.dataclass(frozen=True)
class Weight:
    """Weights of one shape and meaning.

    Attributes:
        part: `embedding`, `logits`, `attention`, `feedforward`, `norm`,
            `bias` or `adapter`.
        shape: Of one of them, stacked layers first.
        axes: What each axis is, in the words of `roles.yaml`.
        count: How many there are.
        tokens: Which tokens are multiplied with it: `inputs`, `targets`,
            or none.
        trained: Whether it has gradients and an optimizer's state.
        wide: Whether it is float32 whatever the model is.
        each: Bytes of one number with its part of a scale, if it is in few
            bits.
        share: Of it a token passes: experts have places for few.
    """

    part: str
    shape: tuple[int, ...]
    axes: tuple[str, ...]
    count: int = 1
    tokens: tuple[str, ...] = ()
    trained: bool = True
    wide: bool = False
    each: float | None = None
    share: float = 1.0

    @property
    def numbers(self) -> int:
        """Parameters of all of them."""
        return self.count * math.prod(self.shape)


@dataclasses.dataclass(frozen=True)
class ModelShape:
    """The sizes of a model, and its weights.

    Attributes:
        family: `t5`, `palm`, `llama`, `gemma` and so on.
        decoder_only: Whether inputs and targets share a row.
        num_layers: Layers; of a T5, of the encoder and again of the decoder.
        num_heads: Query heads.
        num_key_value_heads: Heads of keys and values.
        head_dim: Width of a head.
        hidden_dim: Width of the model.
        intermediate_dim: Width inside the feed-forward block.
        vocabulary_size: Rows of the embedding.
        weights: All weights.
        dropout: The rate that the model is trained with.
        kernels: The forms of attention that it can train with, beside
            `einsum`.
        experts: Of a feed-forward block; 0 if there are none.
        crowding: Places at all experts of a block for each token.
        masks: Bytes of the masks that keep a pruned model's zeros in
            training; each device has them whole.
    """

    family: str
    decoder_only: bool
    num_layers: int
    num_heads: int
    num_key_value_heads: int
    head_dim: int
    hidden_dim: int
    intermediate_dim: int
    vocabulary_size: int
    weights: tuple[Weight, ...]
    dropout: float = 0.0
    kernels: tuple[str, ...] = ()
    experts: int = 0
    crowding: float = 0.0
    masks: int = 0

    @property
    def attention_dim(self) -> int:
        """Width of all query heads together."""
        return self.num_heads * self.head_dim

    @property
    def key_value_dim(self) -> int:
        """Width of all heads of keys together."""
        return self.num_key_value_heads * self.head_dim

    @property
    def parameters(self) -> int:
        """All parameters, frozen ones included."""
        return sum(weight.numbers for weight in self.weights)

    @property
    def trained(self) -> int:
        """Parameters that are trained."""
        return sum(w.numbers for w in self.weights if w.trained)

    @property
    def scanned(self) -> bool:
        """Whether layers are always stacked and run by a scan."""
        return self.family == "palm"


ROW = ("inputs", "targets")


def palm_shape(sizes: Mapping[str, int], dropout: float = 0.0) -> ModelShape:
    """Returns a PaLM by its sizes, as in `keras_flan.models.sizes`."""
    layers, width = sizes["num_layers"], sizes["hidden_dim"]
    heads, head = sizes["num_heads"], sizes["head_dim"]
    inner, rows = sizes["intermediate_dim"], sizes["vocabulary_size"]

    def stacked(
        part: str, shape: tuple[int, ...], axes: tuple[str, ...], count: int = 1
    ) -> Weight:
        tokens = () if part == "norm" else ROW
        shape, axes = (layers, *shape), ("layers", *axes)
        return Weight(part, shape, axes, count, tokens)

    weights = (
        Weight("logits", (rows, width), ("vocab", "embed"), tokens=ROW),
        stacked("attention", (width, heads, head), ("embed", "heads", "head")),
        stacked("attention", (heads, head, width), ("heads", "head", "embed")),
        stacked("attention", (width, head), ("embed", "head"), 2),
        stacked("feedforward", (width, inner), ("embed", "mlp"), 2),
        stacked("feedforward", (inner, width), ("mlp", "embed")),
        stacked("norm", (width,), ("norm",)),
        Weight("norm", (width,), ("norm",)),
    )
    return ModelShape(
        "palm", True, layers, heads, 1, head, width, inner, rows, weights,
        dropout,
    )  # fmt: skip


def t5_shape(sizes: Mapping[str, int], dropout: float = 0.0) -> ModelShape:
    """Returns a T5 v1.1 by its sizes, as in `keras_flan.models.sizes`."""
    layers, width = sizes["num_layers"], sizes["hidden_dim"]
    heads, head = sizes["num_heads"], sizes["key_value_dim"]
    inner, rows = sizes["intermediate_dim"], sizes["vocabulary_size"]
    weights = [
        Weight("embedding", (rows, width), ("vocab", "embed")),
        Weight("logits", (width, rows), ("embed", "vocab"), 1, ("targets",)),
        Weight("norm", (width,), ("norm",), 5 * layers + 2),
        Weight("bias", (_BUCKETS, sizes["num_heads"]), ("buckets", "heads"), 2),
    ]
    # Self attention in both stacks, cross attention in the decoder, whose
    # keys and values are those of the inputs.
    for name, ins, outs in (("inputs", 5, 1), ("targets", 4, 2)):
        for part, wide, axis, more, less in (
            ("attention", heads * head, "heads", ins, outs),
            ("feedforward", inner, "mlp", 2, 1),
        ):
            into, out = (width, wide), (wide, width)
            weights += [
                Weight(part, into, ("embed", axis), more * layers, (name,)),
                Weight(part, out, (axis, "embed"), less * layers, (name,)),
            ]
    return ModelShape(
        "t5", False, layers, heads, heads, head, width, inner, rows,
        tuple(weights), dropout,
    )  # fmt: skip


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


def part_on_device(
    weight: Weight, split: dict[str, str], mesh: Mesh
) -> tuple[int, ...]:
    """Returns the shape of the part of a weight that a device holds."""
    over = placed(weight, split, mesh)
    return tuple(
        length // (mesh.size(axis) if axis else 1)
        for length, axis in zip(weight.shape, over, strict=True)
    )


def numbers_per_device(
    weight: Weight, split: dict[str, str], mesh: Mesh
) -> int:
    """Returns how many numbers of a weight a device holds."""
    return weight.count * math.prod(part_on_device(weight, split, mesh))


def moments_per_device(
    weight: Weight, split: dict[str, str], mesh: Mesh
) -> int:
    """Returns how many numbers Adafactor keeps for a weight on a device.

    They lie as the weight does.
    """
    part = part_on_device(weight, split, mesh)
    its = weight_factoring(weight.shape, weight.axes)
    return weight.count * its.moments(part)
