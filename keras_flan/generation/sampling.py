"""Choosing the next token.

Sampling is by inverse distribution function from uniform numbers that are
drawn outside the compiled program, one stream a path. So temperature, top-k
and seed are ordinary arguments, all backends draw the same tokens, and a
path depends on its prompt, its number and the seed alone: not on the other
prompts of its batch, nor on how many paths are drawn.
"""

import hashlib

import numpy as np
from keras import ops

# Top-k sampling looks at this many logits, so that k can vary at run time.
MAX_TOP_K = 64


def uniforms(prompt: str, paths: int, length: int, seed: int) -> np.ndarray:
    """Returns float32 uniform numbers in [0, 1) of shape `(paths, length)`.

    Args:
        prompt: The text of the prompt; it names the stream.
        paths: How many paths.
        length: Tokens a path. A longer draw begins with the shorter one.
        seed: Any int.
    """
    name = f"{seed}\n{prompt}".encode("utf-8", "surrogatepass")
    digest = hashlib.sha256(name).digest()
    key = int.from_bytes(digest[:8], "little")
    rows = [
        np.random.Generator(np.random.Philox(key=[key, path])).random(
            length, dtype=np.float32
        )
        for path in range(paths)
    ]
    return np.stack(rows)


def greedy(logits):
    """Returns the most probable token of each row, int32."""
    return ops.cast(ops.argmax(logits, axis=-1), "int32")


def sample(logits, uniform, temperature):
    """Samples from the softmax at a temperature.

    Args:
        logits: float32 `(..., vocabulary_size)`.
        uniform: float32 `(...)` in [0, 1).
        temperature: float scalar tensor, above 0.

    Returns:
        int32 token ids `(...)`.
    """
    return _inverse_cdf(ops.softmax(logits / temperature, axis=-1), uniform)


def sample_top_k(logits, uniform, temperature, top_k):
    """Samples from the `top_k` most probable tokens.

    Args:
        logits: float32 `(..., vocabulary_size)`.
        uniform: float32 `(...)` in [0, 1).
        temperature: float scalar tensor, above 0.
        top_k: int scalar tensor, 1 to `MAX_TOP_K`.

    Returns:
        int32 token ids `(...)`.
    """
    size = min(MAX_TOP_K, logits.shape[-1])
    best, tokens = ops.top_k(logits, size)
    kept = ops.arange(size) < top_k
    best = ops.where(kept, best / temperature, -np.inf)
    rank = _inverse_cdf(ops.softmax(best, axis=-1), uniform)
    token = ops.take_along_axis(tokens, ops.expand_dims(rank, -1), axis=-1)
    return ops.cast(ops.squeeze(token, -1), "int32")


def _inverse_cdf(probabilities, uniform):
    """Index of the first entry whose cumulated probability passes `uniform`.

    The total is cumulated too (not taken as 1), so that rounding can't lead
    past the last entry with any probability.
    """
    cumulated = ops.cumsum(probabilities, axis=-1)
    target = ops.expand_dims(uniform, -1) * cumulated[..., -1:]
    passed = ops.cast(cumulated <= target, "int32")
    return ops.sum(passed, axis=-1)
