"""Cached decoding of many paths for each prompt with a decoder-only model.

The keys and values of a prompt are computed and stored once; its paths are
queries of the same memory. Only what a path itself has said is stored per
path, see `keras_flan.models.path_attention`. The last token of the prompt is
the first that a path is fed: its key and value in the prompt's memory stay
hidden, and are the first of each path's own.
"""

from keras import ops

from keras_flan.models.attention import MASKED, block_causal
from keras_flan.models.path_attention import (
    attend_paths,
    each_layer,
    prompt_memory,
    write_past,
)


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


def first_token(model, token_ids):
    """Returns what a path is fed first: the prompt's last token."""
    return token_ids[-1]


def read(model, token_ids, lengths):
    """Computes the keys and values of prompts.

    Args:
        model: A `keras_flan.models.DecoderOnly`.
        token_ids: int `(batch, input_length)`.
        lengths: int `(batch)`, tokens of each prompt; the rest is padding.

    Returns:
        Keys `(batch, key_heads, width, input_length)` and values `(batch,
        key_heads, input_length, width)`: a list of them, one a layer, or,
        where a family stacks its layers, `(num_layers, batch, ...)`.
    """
    place = ops.arange(token_ids.shape[1])
    segments = ops.cast(place[None] < lengths[:, None], "int32")
    prefix = segments if model.bidirectional_prefix else None
    mask = block_causal(segments, prefix)
    _, prompt = model.run_packed(token_ids, mask, keep=True)
    return each_layer(lambda pair: prompt_memory(*pair), prompt)


def prepare(model, length):
    """Returns what all steps share: nothing."""
    return None


def step(model, state, prepared, lengths, tokens, ages, clock):
    """Feeds one token a path; returns the logits of the next one.

    Args:
        model: A `keras_flan.models.DecoderOnly`.
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
    family = model.family
    before = ops.maximum(lengths - 1, 0)  # what is seen of the prompt

    def attention(query, key, value, caches, scale, **settings):
        memory, *past = caches
        out = attend_paths(
            query,
            past,
            ages,
            clock,
            adjust=_adjustment(scale, **settings),
            prompt=(*memory, before),
            new=(key, value),
        )
        return out, (key, value)

    x, new = family.run(
        family.embed(tokens),
        before[:, None] + ages,
        attention,
        family.join(state["memory"], *state["past"]),
    )
    # Written when all layers are done: where they are stacked and scanned,
    # handing out whole caches would copy them.
    newest = each_layer(
        lambda block, pair: write_past(block, *pair, clock),
        state["past"][0],
        new,
    )
    return model.logits(family.normalise(x)), newest


def _adjustment(scale, soft_cap=None, window=None, dropout=None):
    """Returns what a family's settings make of scores at distances."""

    def adjust(scores, distance):
        scores = scores * scale
        if soft_cap is not None:
            scores = ops.tanh(scores / soft_cap) * soft_cap
        if window is not None:
            scores = ops.where(distance < window, scores, MASKED)
        return scores

    return adjust
