"""Cached decoding of k paths for each prompt with a decoder-only model.

The keys and values of a prompt are computed and stored once; its k paths are
k queries of the same memory. Only what a path itself has said is stored per
path. The last token of the prompt is the first that is fed: its key and value
in the prompt's memory stay hidden, and are the first of each path's own.
"""

from keras import ops, tree

from keras_flan.models.attention import attend, block_causal, within_window


def frame(model, token_ids, limit):
    """Returns a prompt as the packed rows have it.

    Args:
        model: A `keras_flan.models.DecoderOnly`.
        token_ids: A list of the text's ids.
        limit: The most tokens; the beginning of a longer text is dropped.
    """
    vocabulary = model.vocabulary
    first = getattr(vocabulary, "bos_id", None)
    head = [] if first is None else [first]
    tail = [vocabulary.eos_id] if model.separate else []
    room = max(1, limit - len(head) - len(tail))
    # Nothing at all can't be continued.
    return [*head, *token_ids[-room:], *tail] or [vocabulary.eos_id]


def start(model, token_ids, lengths, paths, length):
    """Reads the prompts and makes empty caches.

    Args:
        model: A `keras_flan.models.DecoderOnly`.
        token_ids: int `(batch, prompt_length)`.
        lengths: int `(batch)`, tokens of each prompt; the rest is padding.
        paths: int. Paths a prompt, k.
        length: int. The largest number of new tokens.

    Returns:
        A dictionary: `token` int `(batch, paths)`, the first to feed;
        `lengths`; `prompt`, keys and values `(batch, prompt_length,
        key_heads, width)` of each layer; `past`, the same `(batch, paths,
        length, key_heads, width)`.
    """
    place = ops.arange(ops.shape(token_ids)[1])
    segments = ops.cast(place[None] < lengths[:, None], "int32")
    prefix = segments if model.bidirectional_prefix else None
    mask = block_causal(segments, prefix)
    _, prompt = model.run_packed(token_ids, mask, keep=True)

    def empty(cache):
        shape = ops.shape(cache)
        shape = (*shape[:-3], paths, length, *shape[-2:])
        return ops.zeros(shape, cache.dtype)

    last = ops.maximum(lengths - 1, 0)
    token = ops.take_along_axis(token_ids, last[:, None], axis=1)
    return {
        "token": ops.tile(token, (1, paths)),
        "lengths": lengths,
        "prompt": prompt,
        "past": tree.map_structure(empty, prompt),
    }


def step(model, state, tokens, index):
    """Feeds one token a path; returns the logits of the next one.

    Args:
        model: A `keras_flan.models.DecoderOnly`.
        state: From `start`, or from the step before.
        tokens: int `(batch, paths)`; at first `state["token"]`.
        index: int scalar tensor, the number of the step, from 0.

    Returns:
        float32 logits `(batch, paths, vocabulary_size)`, and the new state.
    """
    family = model.family
    before = state["lengths"] - 1  # what is visible of the prompt
    positions = ops.tile((before + index)[:, None], (1, tokens.shape[1]))

    def attention(query, key, value, cache, window=None, **settings):
        sources = []
        for (keys, values), first, seen in zip(
            cache,
            (0 * before, before),
            (before, index + 0 * before),
            strict=True,
        ):
            place = ops.arange(ops.shape(keys)[-3])[None]
            mask = (place < seen[:, None])[:, None]
            place = place + first[:, None]
            mask = within_window(mask, positions, place, window)
            sources.append((keys, values, mask))
        own = (key[:, :, None], value[:, :, None], ops.ones((1, 1, 1), "bool"))
        return attend(query, [*sources, own], **settings), (key, value)

    x, new = family.run(
        family.embed(tokens),
        positions,
        attention,
        family.join(state["prompt"], state["past"]),
    )

    def store(cache, item):
        where = [0] * len(cache.shape)
        where[-3] = index
        return ops.slice_update(cache, where, ops.expand_dims(item, -3))

    past = tree.map_structure(store, state["past"], new)
    return model.logits(family.normalise(x)), {**state, "past": past}
