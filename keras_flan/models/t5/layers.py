"""The layers of a T5 as functions, for any that have keras-hub's parts.

A layer is a keras-hub `T5TransformerLayer`, or what `stacked.T5Stack.view`
makes of one layer's tensors: projectors to call, and norms with a `weight`.
"""

from typing import Any, NamedTuple

from keras import ops

from keras_flan.models.activation_layouts import constrain
from keras_flan.models.attention import attend_by_chunks
from keras_flan.models.dropout import Dropout
from keras_flan.models.experts.layer import Experts
from keras_flan.tensors import Tensor

_BUCKETS, _FARTHEST = 32, 128
_KEEP = Dropout()

# Where a layer drops numbers.
_SELF_WEIGHTS, _SELF, _CROSS_WEIGHTS, _CROSS, _INNER, _OUTER = range(6)


class Seen(NamedTuple):
    """What a side sees of itself or of the other, and how it attends.

    Args:
        segments: int `(batch, queries)` and `(batch, keys)`; 0 is padding.
        causal: Whether keys behind their query are hidden.
        mask: bool `(batch, queries, keys)`, the keys that a query sees, which
            is what the two say.
        bias: `(heads, 2 * length - 1)`, of `distance_bias`, or `None`.
        drop: A `Dropout`.
        chunk: Queries that attend at a time; `None` for all.
        form: `pallas`, or `einsum`, which alone reads `mask` and `chunk`.
        training: Whether experts have no more places than in training.
    """

    segments: tuple[Tensor, Tensor]
    causal: bool
    mask: Tensor
    bias: Tensor | None = None
    drop: Dropout = _KEEP
    chunk: int | None = None
    form: str = "einsum"
    training: bool = False


def encoder_layer(layer: Any, x: Tensor, own: Seen) -> Tensor:
    """Runs one layer of the encoder.

    Args:
        layer: See the module.
        x: `(batch, length, hidden_dim)`.
        own: Of the encoder.

    Returns:
        `(batch, length, hidden_dim)`.
    """
    x = x + _self_attention(layer, x, own)
    x = x + feed_forward(layer, x, own)
    return constrain(x, "residual")


def decoder_layer(
    layer: Any, x: Tensor, own: Seen, encoded: Tensor, other: Seen
) -> Tensor:
    """Runs one layer of the decoder.

    Args:
        layer: See the module.
        x: `(batch, length, hidden_dim)`.
        own: Of the decoder.
        encoded: `(batch, input_length, hidden_dim)`.
        other: What it sees of the encoder.

    Returns:
        `(batch, length, hidden_dim)`.
    """
    drop = own.drop
    x = x + _self_attention(layer, x, own)
    normed = rms_norm(layer.cross_attention_layer_norm, x)
    attended = _attention(
        layer.cross_attention,
        constrain(normed, "block_input"),
        encoded,
        other,
        _CROSS_WEIGHTS,
    )
    x = x + drop(attended, _CROSS)
    x = x + feed_forward(layer, x, own)
    return constrain(x, "residual")


def _self_attention(layer: Any, x: Tensor, own: Seen) -> Tensor:
    x = rms_norm(layer.self_attention_layer_norm, x)
    x = constrain(x, "block_input")
    attended = _attention(layer.self_attention, x, x, own, _SELF_WEIGHTS)
    return own.drop(attended, _SELF)


def _attention(
    attention: Any, x: Tensor, source: Tensor, seen: Seen, site: int
) -> Tensor:
    """T5's attention: its scores are not scaled by 1/sqrt(width)."""
    query = split_heads(attention, attention.query_projector(x))
    query = constrain(query, "queries")
    key = split_heads(attention, attention.key_projector(source))
    value = split_heads(attention, attention.value_projector(source))
    if seen.form == "pallas":
        # Imports JAX, which other backends need not have started.
        from keras_flan.models.kernels.flash import flash_attention

        output = flash_attention(
            query,
            key,
            value,
            *seen.segments,
            causal=seen.causal,
            bias=seen.bias,
            drop=seen.drop.at(site),
        )
    else:
        output = attend_by_chunks(
            query,
            key,
            value,
            seen.mask,
            bias=seen.bias,
            dropout=lambda w, *where: seen.drop(w, site, *where),
            chunk=seen.chunk,
        )
    return attention.output_projector(merge_heads(output))


def feed_forward(layer: Any, x: Tensor, own: Seen | None = None) -> Tensor:
    """The (gated) feed-forward block of a layer.

    Args:
        layer: See the module.
        x: `(batch, length, hidden_dim)`.
        own: Of its side; `None` in decoding.
    """
    drop = _KEEP if own is None else own.drop
    x = constrain(rms_norm(layer.layer_norm, x), "block_input")
    experts = layer.input_projector
    if own is not None and own.training and isinstance(experts, Experts):
        real = own.segments[0] > 0
        y = experts.routed(x, real, lambda inner: drop(inner, _INNER))
        return drop(y, _OUTER)
    hidden = layer.input_projector(x)
    if layer.use_gated_activation:
        hidden = hidden * layer.gate_projector(x)
    return drop(layer.output_projector(drop(hidden, _INNER)), _OUTER)


def rms_norm(layer: Any, x: Tensor) -> Tensor:
    """T5's norm: scale only, statistics in float32, `x`'s dtype out."""
    wide = ops.cast(x, "float32")
    variance = ops.mean(ops.square(wide), axis=-1, keepdims=True)
    wide = wide * ops.rsqrt(variance + layer.epsilon)
    return ops.cast(wide * ops.cast(layer.weight, "float32"), x.dtype)


def split_heads(attention: Any, x: Tensor) -> Tensor:
    """`(batch, length, heads * width)` to `(batch, length, heads, width)`."""
    shape = ops.shape(x)
    return ops.reshape(
        x, (*shape[:-1], attention.num_heads, attention.key_value_dim)
    )


def merge_heads(x: Tensor) -> Tensor:
    """`(batch, length, heads, width)` to `(batch, length, heads * width)`."""
    *shape, heads, width = ops.shape(x)
    return ops.reshape(x, (*shape, heads * width))


def distance_bias(table: Tensor, length: int, bidirectional: bool) -> Tensor:
    """Returns what each distance from query to key adds to the scores.

    Args:
        table: `(buckets, heads)`, learned.
        length: Of the row.
        bidirectional: Whether keys ahead differ from each other, as
            in the encoder.

    Returns:
        `(heads, 2 * length - 1)`, for distances from `1 - length` on.

    Source: arXiv:1910.10683, section 2.1; the buckets are those of T5's own
    code.
    """
    distance = ops.arange(1 - length, length)
    count, bucket = _BUCKETS, 0
    if bidirectional:
        count //= 2
        bucket = ops.cast(distance > 0, "int32") * count
        distance = ops.abs(distance)
    else:
        distance = -ops.minimum(distance, 0)
    # Half of the buckets are one distance each, the others grow.
    exact = count // 2
    ratio = ops.cast(ops.maximum(distance, 1), "float32") / exact
    far = ops.log(ratio) / ops.log(float(_FARTHEST / exact)) * (count - exact)
    far = ops.minimum(exact + ops.cast(far, "int32"), count - 1)
    bucket = bucket + ops.where(distance < exact, distance, far)
    return ops.transpose(ops.take(ops.convert_to_tensor(table), bucket, axis=0))
