"""The layers of a T5 as functions, for any that have keras-hub's parts.

A layer is a keras-hub `T5TransformerLayer`, or what `stacked.T5Stack.view`
makes of one layer's tensors: projectors to call, and norms with a `weight`.
"""

from typing import Any, NamedTuple

from keras import ops

from keras_flan.models.activation_layouts import constrain
from keras_flan.models.attention import attend_by_chunks
from keras_flan.models.dropout import Dropout
from keras_flan.tensors import Tensor

_BUCKETS, _FARTHEST = 32, 128
_KEEP = Dropout()

# Where a layer drops numbers.
_SELF_WEIGHTS, _SELF, _CROSS_WEIGHTS, _CROSS, _INNER, _OUTER = range(6)


class Seen(NamedTuple):
    """What a side sees of itself, and how it attends.

    Args:
        mask: bool `(batch, length, length)`, the keys that a query sees.
        bias: `(heads, 2 * length - 1)`, of `distance_bias`.
        drop: A `Dropout`.
        chunk: Queries that attend at a time; `None` for all.
    """

    mask: Tensor
    bias: Tensor
    drop: Dropout = _KEEP
    chunk: int | None = None


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
    x = x + feed_forward(layer, x, own.drop)
    return constrain(x, "residual")


def decoder_layer(
    layer: Any, x: Tensor, own: Seen, encoded: Tensor, cross_mask: Tensor
) -> Tensor:
    """Runs one layer of the decoder.

    Args:
        layer: See the module.
        x: `(batch, length, hidden_dim)`.
        own: Of the decoder.
        encoded: `(batch, input_length, hidden_dim)`.
        cross_mask: bool `(batch, length, input_length)`.

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
        cross_mask,
        dropout=lambda w, *where: drop(w, _CROSS_WEIGHTS, *where),
        chunk=own.chunk,
    )
    x = x + drop(attended, _CROSS)
    x = x + feed_forward(layer, x, drop)
    return constrain(x, "residual")


def _self_attention(layer: Any, x: Tensor, own: Seen) -> Tensor:
    x = rms_norm(layer.self_attention_layer_norm, x)
    x = constrain(x, "block_input")
    attended = _attention(
        layer.self_attention,
        x,
        x,
        own.mask,
        bias=own.bias,
        dropout=lambda w, *where: own.drop(w, _SELF_WEIGHTS, *where),
        chunk=own.chunk,
    )
    return own.drop(attended, _SELF)


def _attention(
    attention: Any, x: Tensor, source: Tensor, mask: Tensor, **settings: Any
) -> Tensor:
    """T5's attention: its scores are not scaled by 1/sqrt(width)."""
    query = split_heads(attention, attention.query_projector(x))
    output = attend_by_chunks(
        constrain(query, "queries"),
        split_heads(attention, attention.key_projector(source)),
        split_heads(attention, attention.value_projector(source)),
        mask,
        **settings,
    )
    return attention.output_projector(merge_heads(output))


def feed_forward(layer: Any, x: Tensor, drop: Dropout = _KEEP) -> Tensor:
    """The (gated) feed-forward block of a layer.

    Args:
        layer: See the module.
        x: `(batch, length, hidden_dim)`.
        drop: A `Dropout`.
    """
    x = constrain(rms_norm(layer.layer_norm, x), "block_input")
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
