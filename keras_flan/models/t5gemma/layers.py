"""The layers of a T5Gemma as functions, around masks of packed rows."""

from typing import Any, NamedTuple

from keras import ops

from keras_flan.models.activation_layouts import constrain
from keras_flan.models.attention import attend_by_chunks, within_window
from keras_flan.models.decoder_only.rotary import rotate
from keras_flan.models.dropout import Dropout
from keras_flan.tensors import Tensor

_KEEP = Dropout()

# Where a layer drops numbers.
_SELF_WEIGHTS, _SELF, _CROSS_WEIGHTS, _CROSS, _INNER, _OUTER = range(6)


class Seen(NamedTuple):
    """What a side sees of itself or of the other, and how it attends.

    Args:
        mask: bool `(batch, queries, keys)`.
        drop: Dropout of what goes from layer to layer.
        drop_weights: Dropout of attention weights.
        chunk: Queries that attend at a time; `None` for all.
    """

    mask: Tensor
    drop: Dropout = _KEEP
    drop_weights: Dropout = _KEEP
    chunk: int | None = None


def encoder_layer(layer: Any, x: Tensor, own: Seen) -> Tensor:
    """Runs one layer of the encoder.

    Args:
        layer: keras-hub's `T5GemmaEncoderLayer`.
        x: `(batch, length, hidden_dim)`.
        own: Of the encoder.

    Returns:
        `(batch, length, hidden_dim)`.
    """
    # Keys in both directions, and as far away as the window is wide, as in
    # transformers; keras-hub's encoder has no window.
    wide = window(layer)
    x = x + _self_attention(layer, x, own, wide and wide + 1)
    x = x + feed_forward(layer, x, own.drop)
    return constrain(x, "residual")


def decoder_layer(
    layer: Any, x: Tensor, own: Seen, encoded: Tensor, other: Seen
) -> Tensor:
    """Runs one layer of the decoder.

    Args:
        layer: keras-hub's `T5GemmaDecoderLayer`.
        x: `(batch, length, hidden_dim)`.
        own: Of the decoder.
        encoded: `(batch, input_length, encoder_hidden_dim)`.
        other: What it sees of the encoder.

    Returns:
        `(batch, length, hidden_dim)`.
    """
    x = x + _self_attention(layer, x, own, window(layer))
    attention = layer.cross_attn
    query = attention.query_dense(
        constrain(layer.pre_cross_attn_layernorm(x), "block_input")
    )
    key, value = attention.key_dense(encoded), attention.value_dense(encoded)
    query = constrain(query, "queries")
    attended = _attend(
        attention, query, key, value, other, other.mask, _CROSS_WEIGHTS
    )
    x = x + other.drop(layer.post_cross_attn_layernorm(attended), _CROSS)
    x = x + feed_forward(layer, x, own.drop)
    return constrain(x, "residual")


def window(layer: Any) -> int | None:
    """How many places a layer's decoder looks back, or `None`."""
    sliding = layer.layer_type == "sliding_attention"
    return layer.sliding_window if sliding else None


def _self_attention(
    layer: Any, x: Tensor, own: Seen, wide: int | None
) -> Tensor:
    attention = layer.self_attn
    x = constrain(layer.pre_self_attn_layernorm(x), "block_input")
    place = ops.arange(ops.shape(x)[1])
    query = rotate(
        attention.rotary_embedding,
        constrain(attention.query_dense(x), "queries"),
        place[None],
    )
    key = rotate(
        attention.rotary_embedding, attention.key_dense(x), place[None]
    )
    mask = within_window(own.mask, place, place, wide)
    value = attention.value_dense(x)
    attended = _attend(attention, query, key, value, own, mask, _SELF_WEIGHTS)
    return own.drop(layer.post_self_attn_layernorm(attended), _SELF)


def _attend(
    attention: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    seen: Seen,
    mask: Tensor,
    site: int,
) -> Tensor:
    drop = seen.drop_weights
    attended = attend_by_chunks(
        query,
        key,
        value,
        mask,
        scale=attention.scaling,
        soft_cap=attention.logit_soft_cap,
        chunk=seen.chunk,
        dropout=lambda w, *where: drop(w, site, *where),
    )
    return attention.output_dense(attended)


def feed_forward(layer: Any, x: Tensor, drop: Dropout = _KEEP) -> Tensor:
    """The gated feed-forward block of a layer, with its norms.

    Args:
        layer: Of either side.
        x: `(batch, length, hidden_dim)`.
        drop: A `Dropout`.
    """
    mlp = layer.mlp
    x = constrain(layer.pre_feedforward_layernorm(x), "block_input")
    hidden = mlp.act_fn(mlp.gate_proj(x)) * mlp.up_proj(x)
    out = layer.post_feedforward_layernorm(mlp.down_proj(drop(hidden, _INNER)))
    return drop(out, _OUTER)
