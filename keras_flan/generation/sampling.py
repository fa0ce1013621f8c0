"""Choosing the next token.

Sampling is by inverse distribution function from uniform numbers that are
drawn outside the compiled program, one stream per path. So temperature, top-k,
top-p and seed are ordinary arguments, all backends draw the same tokens, and
a path depends on its prompt, its number and the seed alone: not on the other
prompts of its batch, nor on how many paths are drawn.
"""

import hashlib
from collections.abc import Callable

import numpy as np
from keras import ops

from keras_flan.tensors import Tensor

# Up to this k, the most probable tokens are sorted out; beyond, and without
# top-k, the whole vocabulary is weighed.
SORTED_TOP_K = 64

# A long distribution is searched block by block.
_BLOCK = 128
# The most probable tokens are searched in the best of such groups.
_GROUP = 16


def uniforms(prompt: str, number: int, length: int, seed: int) -> np.ndarray:
    """Returns the float32 uniform numbers in [0, 1) of a path, `(length)`.

    Args:
        prompt: The text of the prompt; it names the stream.
        number: The number of the path.
        length: Tokens of the path. A longer draw begins with the shorter.
        seed: Any int.
    """
    name = f"{seed}\n{prompt}".encode("utf-8", "surrogatepass")
    digest = hashlib.sha256(name).digest()
    key = int.from_bytes(digest[:8], "little")
    generator = np.random.Generator(np.random.Philox(key=[key, number]))
    return generator.random(length, dtype=np.float32)


def choose(
    logits: Tensor,
    uniform: Tensor,
    temperature: Tensor,
    top_k: Tensor,
    top_p: Tensor,
) -> tuple[Tensor, Tensor]:
    """Chooses a token of each row; all settings are run-time values.

    First `top_k` of the tokens are kept, then of these the fewest, most
    probable first, whose share reaches `top_p`; one of them is drawn.

    Args:
        logits: float32 `(..., vocabulary_size)`.
        uniform: float32 `(...)` in [0, 1).
        temperature: float32 scalar tensor; 0 takes the most probable token.
        top_k: int32 scalar tensor; 0 keeps all.
        top_p: float32 scalar tensor, above 0; 1 keeps all.

    Returns:
        int32 token ids `(...)`, and their float32 log-probabilities (at
        temperature 1, of the whole vocabulary) `(...)`.
    """
    best = ops.logical_or(temperature == 0, top_k == 1)
    few = ops.logical_and(top_k > 0, top_k <= SORTED_TOP_K)
    temperature = ops.where(temperature == 0, 1.0, temperature)
    tokens, top = ops.switch(
        ops.where(best, 0, ops.where(few, 1, 2)),
        [lambda logits, *_: _greedy(logits), _sample_sorted, _sample_all],
        logits,
        uniform,
        temperature,
        top_k,
        top_p,
    )
    # The highest logit is known by now: one pass less than `logsumexp`.
    total = ops.sum(ops.exp(logits - top[..., None]), axis=-1)
    return tokens, _at(logits, tokens) - top - ops.log(total)


def _at(values: Tensor, index: Tensor) -> Tensor:
    return ops.take_along_axis(values, index[..., None], axis=-1)[..., 0]


# Each returns the tokens and the highest logits.


def _greedy(logits: Tensor) -> tuple[Tensor, Tensor]:
    tokens = ops.cast(ops.argmax(logits, axis=-1), "int32")
    return tokens, _at(logits, tokens)


def _sample_sorted(
    logits: Tensor, uniform: Tensor, *limits: Tensor
) -> tuple[Tensor, Tensor]:
    """Draws among the first few tokens, most probable first."""
    temperature, top_k, top_p = limits
    best, tokens = _most_probable(logits)
    # A slice of them would keep XLA from its fast way to find them.
    top = ops.max(best, axis=-1)
    kept = ops.arange(best.shape[-1]) < top_k
    # Before the division, or a small temperature makes infinities of them.
    best = ops.where(kept, (best - top[..., None]) / temperature, -np.inf)
    shares = ops.softmax(best, axis=-1)
    # A token is kept if those before it don't reach the share yet.
    before = ops.cumsum(shares, axis=-1) - shares
    shares = ops.where(before < top_p, shares, 0.0)
    rank = _inverse_cdf(shares, uniform)
    return ops.cast(_at(tokens, rank), "int32"), top


def _most_probable(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the highest logits, highest first, and their tokens.

    Each of them is in a group whose maximum is among as many highest; to sort
    out groups and then their members is half the work.
    """
    size = logits.shape[-1]
    if size < 2 * _GROUP * SORTED_TOP_K:
        return ops.top_k(logits, min(SORTED_TOP_K, size))
    count = -(-size // _GROUP)
    padding = [(0, 0)] * (len(logits.shape) - 1) + [(0, count * _GROUP - size)]
    logits = ops.pad(logits, padding, constant_values=-np.inf)
    members = ops.reshape(logits, (*logits.shape[:-1], _GROUP, count))
    _, groups = ops.top_k(ops.max(members, axis=-2), SORTED_TOP_K)
    groups = ops.sort(groups, axis=-1)
    members = ops.take_along_axis(members, groups[..., None, :], axis=-1)
    best, place = ops.top_k(
        ops.reshape(members, (*logits.shape[:-1], -1)), SORTED_TOP_K
    )
    group = ops.take_along_axis(groups, place % SORTED_TOP_K, axis=-1)
    return best, place // SORTED_TOP_K * count + group


def _sample_all(
    logits: Tensor, uniform: Tensor, *limits: Tensor
) -> tuple[Tensor, Tensor]:
    """Draws from the whole vocabulary, in its order."""
    temperature, top_k, top_p = limits
    top = ops.max(logits, axis=-1)
    shares = ops.softmax((logits - top[..., None]) / temperature, axis=-1)
    limited = ops.logical_or(top_k > 0, top_p < 1)
    shares = ops.cond(
        limited, lambda: _limit(shares, top_k, top_p), lambda: shares
    )
    return _inverse_cdf(shares, uniform), top


def _limit(shares: Tensor, top_k: Tensor, top_p: Tensor) -> Tensor:
    """Keeps the shares of the first tokens by `top_k` and `top_p`.

    The smallest share that is kept is found by bisection, which is cheaper
    than to sort a vocabulary. Tokens of equal share are kept or dropped
    together.
    """
    size = shares.shape[-1]
    most = ops.where(top_k > 0, ops.minimum(top_k, size), size)

    def at_least(shares: Tensor, threshold: Tensor) -> Tensor:
        return ops.where(shares >= threshold[..., None], shares, 0.0)

    def by_count(threshold: Tensor) -> Tensor:
        kept = ops.cast(shares >= threshold[..., None], "int32")
        return ops.sum(kept, axis=-1) >= most

    shares = at_least(shares, _bisect(by_count, shares))
    wanted = top_p * ops.sum(shares, axis=-1)

    def by_share(threshold: Tensor) -> Tensor:
        return ops.sum(at_least(shares, threshold), axis=-1) >= wanted

    return at_least(shares, _bisect(by_share, shares))


def _bisect(holds: Callable[[Tensor], Tensor], shares: Tensor) -> Tensor:
    """The largest threshold that `holds`, one per row.

    Args:
        holds: A function of thresholds to bools: true at 0, false above the
            largest share.
        shares: float32 `(..., vocabulary_size)`.
    """
    low = ops.zeros_like(shares[..., 0])
    high = ops.max(shares, axis=-1) * 1.000001

    # Down by hundredths until one holds, then by halves: 50 steps reach the
    # last bit of any share above 1e-30.
    def narrow(
        _: Tensor, bounds: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        low, high = bounds
        middle = ops.where(
            low > 0, (low + high) / 2, ops.maximum(high * 1e-2, 1e-38)
        )
        held = holds(middle)
        return ops.where(held, middle, low), ops.where(held, high, middle)

    low, _ = ops.fori_loop(0, 50, narrow, (low, high))
    return low


def _inverse_cdf(shares: Tensor, uniform: Tensor) -> Tensor:
    """Index of the first entry whose cumulated share passes `uniform`.

    The total is cumulated too (not taken as 1), so that rounding can't lead
    past the last entry with any share.
    """
    size = shares.shape[-1]
    if size <= 2 * _BLOCK:
        cumulated = ops.cumsum(shares, axis=-1)
        return _passed(cumulated, uniform * cumulated[..., -1])
    # First the block, then the place in it: long sums are slow, and inexact.
    short = -size % _BLOCK
    padding = [(0, 0)] * (len(shares.shape) - 1) + [(0, short)]
    shape = (*shares.shape[:-1], (size + short) // _BLOCK, _BLOCK)
    blocks = ops.reshape(ops.pad(shares, padding), shape)
    sums = ops.sum(blocks, axis=-1)
    cumulated = ops.cumsum(sums, axis=-1)
    target = uniform * cumulated[..., -1]
    block = _passed(cumulated, target)
    inside = ops.take_along_axis(blocks, block[..., None, None], axis=-2)
    within = ops.cumsum(inside[..., 0, :], axis=-1)
    # What is left of the target; never the whole of the block.
    share = _at(sums, block)
    rest = (target - _at(cumulated, block) + share) / share
    rest = ops.clip(rest, 0.0, 1 - 2.0**-24)
    return block * _BLOCK + _passed(within, rest * within[..., -1])


def _passed(cumulated: Tensor, target: Tensor) -> Tensor:
    """The number of entries, int32, that don't pass the target."""
    passed = ops.cast(cumulated <= target[..., None], "int32")
    return ops.sum(passed, axis=-1)
