"""The shape of the model that a job trains."""

import collections
import dataclasses
import functools
import math
from typing import TYPE_CHECKING, Any

from keras_flan.errors import InputError
from keras_flan.models.adapters.targets import projections
from keras_flan.models.compression.places import in_few_bits
from keras_flan.models.compression.pruning import is_pruned
from keras_flan.models.experts import upcycling
from keras_flan.models.sizes import palm_sizes, t5_sizes
from keras_flan.planning.weights import (
    ROW,
    ModelShape,
    Weight,
    palm_shape,
    t5_shape,
)
from keras_flan.training.config import JobConfig
from keras_flan.training.recipe_table import recipes

if TYPE_CHECKING:
    import keras

    from keras_flan.models.language_model import LanguageModel

# What the axes of a weight say of what it is for, the first that is among
# them.
_PARTS = {
    "rank": "adapter",
    "bottleneck": "adapter",
    "buckets": "bias",
    "norm": "norm",
    "mlp": "feedforward",
    "experts": "feedforward",
    "heads": "attention",
    "kv_heads": "attention",
    "head": "attention",
}


def model_shape(job: JobConfig) -> ModelShape:
    """Returns the shape of the model that a job trains.

    The paper's models, without an adapter, are known by their sizes. Of all
    others the weights are looked up in the model itself, which is built
    without them and from its config alone.

    Args:
        job: The job; only its model, adapter, precision and vocabulary count.

    Raises:
        InputError: If there is no such model, or it has no such setting.
    """
    named = _by_name(job)
    if named is not None:
        return named
    settings = job.model_dump_json(
        include={"model", "adapter", "precision", "vocabulary"}
    )
    return _looked_up(settings)


def _by_name(job: JobConfig) -> ModelShape | None:
    init, dropout = job.model.init, job.model.dropout
    plain = job.adapter is None and job.model.experts is None
    if init is None or not plain:
        return None
    if init in palm_sizes():
        shape = palm_shape(palm_sizes()[init], dropout)
        # cuDNN's needs half precision.
        whole = job.precision == "float32"
        kernels = ("splash",) if whole else ("splash", "cudnn")
        return dataclasses.replace(shape, kernels=kernels)
    for recipe in recipes().values():
        if recipe.init == init:
            shape = t5_shape(t5_sizes()[recipe.size], dropout)
            return dataclasses.replace(shape, kernels=("pallas",))
    return None


@functools.lru_cache(16)
def _looked_up(settings: str) -> ModelShape:
    from keras_flan.training.start import weightless_model

    return shape_of(weightless_model(JobConfig.model_validate_json(settings)))


def shape_of(model: "LanguageModel") -> ModelShape:
    """Returns the shape of a built model; its weights need not exist.

    Example:
        >>> shape_of(keras_flan.models.load("flan_nano")).family
        't5'
    """
    backbone, wide = model.backbone, set()
    for part in getattr(model, "adapters", ()):
        wide = {id(v) for v in part.state().values()} - {
            id(v) for v in backbone.variables
        }
    found: collections.Counter[Weight] = collections.Counter()
    small, routing = in_few_bits(backbone), upcycling.record_of(backbone)
    crowding = routing.get("capacity", 0.0) * routing.get("top_k", 0)
    for variable, axes in _axes(model):
        key = _weight(model, variable, axes, id(variable) in wide)
        if routing and "expert_mlp" in axes:
            key = dataclasses.replace(key, share=crowding / routing["experts"])
        kernel = small.get(id(variable))
        if kernel is None:
            found[key] += 1
        elif variable is kernel.codes:  # Its scales are in the bytes.
            each = kernel.bytes / math.prod(kernel.shape)
            key = dataclasses.replace(key, shape=kernel.shape, each=each)
            found[key] += 1
    weights = tuple(
        Weight(**{**vars(weight), "count": count})
        for weight, count in found.items()
    )
    sizes: dict[str, int] = {}
    for weight in weights:
        for axis, length in zip(weight.axes, weight.shape, strict=True):
            sizes[axis] = max(length, sizes.get(axis, 0))
    if "experts" in sizes and not routing:
        raise InputError(
            f"{type(backbone).__name__}: its layers have experts, which a plan "
            "can't count with"
        )
    of_decoder = ("decoder_num_layers", "decoder_num_attention_heads")
    named = ("num_query_heads", "num_heads", "num_attention_heads")
    heads = _first(backbone, *named, of_decoder[1])
    _check_sides(backbone)
    return ModelShape(
        family=type(backbone)
        .__name__.removeprefix("Stacked")
        .removesuffix("Backbone")
        .lower(),
        decoder_only=model.decoder_only,
        num_layers=_first(backbone, "num_layers", of_decoder[0]),
        num_heads=heads,
        num_key_value_heads=getattr(
            backbone,
            "num_key_value_heads",
            heads if "head" not in sizes else sizes.get("kv_heads", 1),
        ),
        head_dim=sizes.get("head") or backbone.key_value_dim,
        hidden_dim=sizes["embed"],
        intermediate_dim=sizes.get("mlp") or sizes["expert_mlp"],
        vocabulary_size=sizes["vocab"],
        weights=weights,
        dropout=getattr(backbone, "dropout", 0.0),
        kernels=tuple(
            kernel
            for kernel in model.kernels
            if not model.kernel_obstacle(kernel, None, training=True)
        ),
        experts=routing.get("experts", 0),
        crowding=crowding,
        masks=_masks(backbone),
    )


def _masks(backbone: Any) -> int:
    """Returns the bytes of what keeps zeros: one per number that is trained."""
    if not is_pruned(backbone):
        return 0
    kernels = [layer.kernel for layer in projections(backbone).values()]
    return sum(math.prod(one.shape) for one in kernels if one.trainable)


def _axes(model: Any) -> "list[tuple[keras.Variable, tuple[str, ...]]]":
    """Returns the weights of a model, and what their axes are."""
    import keras

    from keras_flan.models.roles import Roles

    roles, found = Roles(), []
    for variable in model.variables:
        shape = tuple(variable.shape)
        number = keras.backend.is_float_dtype(variable.dtype)
        if not shape or not (number or variable.path.endswith("/codes")):
            continue  # Counters and seeds.
        axes = roles.axes(variable.path, shape)
        if axes is not None:
            found.append((variable, axes))
    return found


def _weight(
    model: Any, variable: "keras.Variable", axes: tuple[str, ...], wide: bool
) -> Weight:
    path, shape = variable.path, tuple(variable.shape)
    part = next((name for axis, name in _PARTS.items() if axis in axes), "")
    if not part:
        tied = not any("reverse_embeddings" in v.path for v in model.variables)
        is_head = "reverse" in path or (tied and "encoder_token" not in path)
        part = "logits" if is_head else "embedding"
    tokens: tuple[str, ...] = ROW
    if part in ("embedding", "bias", "norm") or len(shape) < 2:
        tokens = ()
    elif not model.decoder_only:
        read = (
            "encoder_layer" in path
            or path.split("/")[-2].startswith("encoder_")
            or "cross_attention/key" in path
            or "cross_attention/value" in path
            or "cross_attention_key" in path
            or "cross_attention_value" in path
        )
        tokens = ("inputs",) if read else ("targets",)
    if path.endswith("/bias"):
        part, tokens = "bias", ()
    if wide and part != "adapter":  # A number per feature, as IA3's.
        part, tokens = "adapter", ()
    return Weight(part, shape, axes, 1, tokens, bool(variable.trainable), wide)


def _check_sides(backbone: Any) -> None:
    """Refuses an encoder and a decoder of different sizes."""
    for name in ("num_layers", "hidden_dim", "intermediate_dim"):
        sizes = [
            getattr(backbone, f"{side}_{name}", None)
            for side in ("encoder", "decoder")
        ]
        if sizes[0] != sizes[1]:
            raise InputError(
                f"{type(backbone).__name__}: its encoder and its decoder have "
                f"different sizes ({name}: {sizes[0]} and {sizes[1]}), which a "
                "plan can't count with"
            )


def _first(backbone: Any, *names: str) -> int:
    return next(getattr(backbone, n) for n in names if hasattr(backbone, n))
