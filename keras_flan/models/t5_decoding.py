"""Cached decoding of k paths for each prompt with a T5.

The prompt is encoded once, and its cross-attention keys and values are
stored once: the k paths of a prompt are k queries of the same memory. Only
the self-attention cache is per path. Caches are one array a layer, so that
an update touches one position of one array.
"""

from keras import ops

from keras_flan.models.attention import MASKED
from keras_flan.models.t5 import attend, feed_forward, rms_norm, split_heads


def frame(model, token_ids, limit):
    """Returns a prompt as the encoder knows it: text, then end of text.

    Args:
        model: A `keras_flan.models.T5`.
        token_ids: A list of the text's ids.
        limit: The most tokens; the beginning of a longer text is dropped.
    """
    kept = token_ids[-(limit - 1) :]
    return [*kept, model.vocabulary.eos_id]


def start(model, token_ids, lengths, paths, length):
    """Encodes the prompts and makes empty caches.

    Args:
        model: A `keras_flan.models.T5`.
        token_ids: int `(batch, input_length)`.
        lengths: int `(batch)`, tokens of each prompt; the rest is padding.
        paths: int. Paths a prompt, k.
        length: int. The largest number of new tokens.

    Returns:
        A dictionary of arrays: `token` int `(batch, paths)`, the first to
        feed; `mask` bool `(batch, 1, input_length)`,
        `cross` a list (one a layer) of key and value
        `(batch, input_length, heads, width)`, `past` a list of key and value
        `(batch, paths, length, heads, width)`, `bias` `(length, heads,
        length)`.
    """
    place = ops.arange(ops.shape(token_ids)[1])
    segments = ops.cast(place[None] < lengths[:, None], "int32")
    encoded = model.encode(token_ids, segments)
    layers = model.backbone.decoder_transformer_layers
    cross, past = [], []
    for layer in layers:
        attention = layer.cross_attention
        key = split_heads(attention, attention.key_projector(encoded))
        value = split_heads(attention, attention.value_projector(encoded))
        cross.append((key, value))
        shape = (
            ops.shape(token_ids)[0],
            paths,
            length,
            attention.num_heads,
            attention.key_value_dim,
        )
        zeros = ops.zeros(shape, dtype=key.dtype)
        past.append((zeros, zeros))
    bias = layers[0].self_attention.compute_bias(length, length)
    return {
        # The decoder's texts start with the padding id.
        "token": ops.zeros((ops.shape(token_ids)[0], paths), "int32"),
        "mask": ops.cast(segments, "bool")[:, None, :],
        "cross": cross,
        "past": past,
        "bias": ops.transpose(ops.cast(bias[0], "float32"), (1, 0, 2)),
    }


def step(model, state, tokens, index):
    """Feeds one token a path; returns the logits of the next one.

    Args:
        model: A `keras_flan.models.T5`.
        state: From `start`, or from the step before.
        tokens: int `(batch, paths)`, the tokens at position `index`.
        index: int scalar tensor, the position, from 0.

    Returns:
        float32 logits `(batch, paths, vocabulary_size)`, and the new state.
    """
    backbone = model.backbone
    bias = ops.take(state["bias"], index, axis=0)
    length = ops.shape(bias)[-1]
    visible = ops.arange(length) <= index
    bias = ops.where(visible, bias, MASKED)
    past = []
    x = backbone.token_embedding(tokens)
    for layer, cross, cache in zip(
        backbone.decoder_transformer_layers,
        state["cross"],
        state["past"],
        strict=True,
    ):
        hidden = rms_norm(layer.self_attention_layer_norm, x)
        hidden, cache = _past_attention(
            layer.self_attention, hidden, cache, bias, index
        )
        past.append(cache)
        x = x + hidden
        attention = layer.cross_attention
        hidden = rms_norm(layer.cross_attention_layer_norm, x)
        query = split_heads(attention, attention.query_projector(hidden))
        hidden = attend(query, *cross, None, state["mask"])
        x = x + attention.output_projector(hidden)
        x = x + feed_forward(layer, x)
    x = rms_norm(backbone.decoder_layer_norm, x)
    return model.logits(x), {**state, "past": past}


def _past_attention(attention, x, cache, bias, index):
    """Attends from one new position to the path's own past.

    Args:
        attention: A keras-hub `T5MultiHeadAttention`.
        x: `(batch, paths, hidden_dim)`.
        cache: Key and value `(batch, paths, length, heads, width)`.
        bias: `(heads, length)`, already masked.
        index: int scalar tensor, where the new key and value go.

    Returns:
        `(batch, paths, hidden_dim)` and the updated cache.
    """
    query = split_heads(attention, attention.query_projector(x))
    key = split_heads(attention, attention.key_projector(x))
    value = split_heads(attention, attention.value_projector(x))
    where = (0, 0, index, 0, 0)
    keys = ops.slice_update(cache[0], where, key[:, :, None])
    values = ops.slice_update(cache[1], where, value[:, :, None])
    scores = ops.cast(ops.einsum("bpnd,bptnd->bpnt", query, keys), "float32")
    weights = ops.cast(ops.softmax(scores + bias, axis=-1), values.dtype)
    output = ops.einsum("bpnt,bptnd->bpnd", weights, values)
    batch, paths, heads, width = ops.shape(output)
    output = ops.reshape(output, (batch, paths, heads * width))
    return attention.output_projector(output), (keys, values)
