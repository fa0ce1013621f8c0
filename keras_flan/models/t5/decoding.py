"""Cached decoding of many paths for each prompt with a T5.

The prompt is encoded once, and its cross-attention keys and values are
stored once: the paths of a prompt are queries of the same memory. Only the
self-attention cache is per path, see `keras_flan.models.path_attention`.
"""

from keras import ops

from keras_flan.models.attention import MASKED
from keras_flan.models.path_attention import (
    attend_paths,
    prompt_memory,
    write_past,
)
from keras_flan.models.t5.layers import (
    feed_forward,
    merge_heads,
    rms_norm,
    split_heads,
)


def frame(model, token_ids, limit):
    """Returns a prompt as the encoder knows it: text, then end of text.

    Args:
        model: A `keras_flan.models.T5`.
        token_ids: A list of the text's ids.
        limit: The most tokens; the beginning of a longer text is dropped.
    """
    kept = token_ids[-(limit - 1) :]
    return [*kept, model.vocabulary.eos_id]


def first_token(model, token_ids):
    """Returns what a path is fed first: the padding id."""
    return 0


def read(model, token_ids, lengths):
    """Encodes prompts.

    Args:
        model: A `keras_flan.models.T5`.
        token_ids: int `(batch, input_length)`.
        lengths: int `(batch)`, tokens of each prompt; the rest is padding.

    Returns:
        A list (one a layer) of keys `(batch, heads, width, input_length)`
        and values `(batch, heads, input_length, width)`.
    """
    place = ops.arange(token_ids.shape[1])
    segments = ops.cast(place[None] < lengths[:, None], "int32")
    encoded = model.encode(token_ids, segments)
    memory = []
    for layer in model.backbone.decoder_transformer_layers:
        attention = layer.cross_attention
        key = split_heads(attention, attention.key_projector(encoded))
        value = split_heads(attention, attention.value_projector(encoded))
        memory.append(prompt_memory(key, value))
    return memory


def prepare(model, length):
    """Returns what all steps share: the bias by distance, `(heads, length)`."""
    # From the farthest back to the place itself.
    bias = model.distance_bias("decoder", length)[:, :length]
    return ops.flip(ops.cast(bias, "float32"), axis=-1)


def step(model, state, prepared, lengths, tokens, ages, clock):
    """Feeds one token a path; returns the logits of the next one.

    Args:
        model: A `keras_flan.models.T5`.
        state: `{"memory": ..., "past": ...}`, see
            `keras_flan.models.path_attention.cache_shapes`.
        prepared: From `prepare`.
        lengths: int `(slots)`, tokens of each prompt.
        tokens: int `(slots, lanes)`.
        ages: int `(slots, lanes)`, tokens each path was fed before.
        clock: int scalar tensor, steps since the caches were empty.

    Returns:
        float32 logits `(slots, lanes, vocabulary_size)`, and the newest
        block of the past.
    """
    backbone = model.backbone

    def biased(scores, distance):
        bias = ops.take(prepared, distance, axis=-1)
        return scores + bias[None, None, :, None]

    newest = []
    x = backbone.token_embedding(tokens)
    for layer, memory, block, *older in zip(
        backbone.decoder_transformer_layers,
        state["memory"],
        *state["past"],
        strict=True,
    ):
        attention = layer.self_attention
        hidden = rms_norm(layer.self_attention_layer_norm, x)
        query, key, value = (
            split_heads(attention, projector(hidden))
            for projector in (
                attention.query_projector,
                attention.key_projector,
                attention.value_projector,
            )
        )
        newest.append(write_past(block, key, value, clock))
        past = [newest[-1], *older]
        hidden = attend_paths(query, past, ages, clock, adjust=biased)
        x = x + attention.output_projector(merge_heads(hidden))
        x = x + _cross_attention(layer, x, memory, lengths)
        x = x + feed_forward(layer, x)
    x = rms_norm(backbone.decoder_layer_norm, x)
    return model.logits(x), newest


def _cross_attention(layer, x, memory, lengths):
    attention = layer.cross_attention
    hidden = rms_norm(layer.cross_attention_layer_norm, x)
    query = split_heads(attention, attention.query_projector(hidden))
    keys, values = memory
    # All paths of a prompt are queries of one product.
    query = ops.swapaxes(query, 1, 2)
    scores = ops.cast(ops.matmul(query, keys), "float32")
    seen = ops.arange(keys.shape[-1]) < lengths[:, None]
    scores = ops.where(seen[:, None, None], scores, MASKED)
    weights = ops.cast(ops.softmax(scores, axis=-1), values.dtype)
    hidden = ops.swapaxes(ops.matmul(weights, values), 1, 2)
    return attention.output_projector(merge_heads(hidden))
