"""Which token goes to which expert, and what it costs if they are not even."""

from typing import Any, NamedTuple

from keras import ops

from keras_flan.tensors import Tensor


class Routing(NamedTuple):
    """How tokens are sent to experts; see `upcycle`."""

    experts: int
    top_k: int
    capacity: float
    balance: float
    z_loss: float

    def places(self, length: int) -> int:
        """Returns the places of an expert for the tokens of a row.

        Example:
            >>> Routing(8, 2, 1.25, 0, 0).places(512)
            160
        """
        wanted = self.capacity * self.top_k * length / self.experts
        return max(1, min(length, int(-(-wanted // 1))))


def choose(logits: Tensor, how: Routing) -> tuple[Tensor, Tensor]:
    """Returns the experts of each token, and what each counts.

    The gates of a token sum to 1. So a block of equal experts is one expert;
    with a single choice, whose gate is always 1, the router still learns: its
    gradient is that of the logarithm of the probability.

    Args:
        logits: float32 `(..., experts)`.
        how: The settings.

    Returns:
        float32 one-hot `(..., top_k, experts)`, the likeliest first, and
        gates `(..., top_k)`.
    """
    likely = ops.softmax(logits, axis=-1)
    gates, found = ops.top_k(likely, how.top_k)
    whole = ops.sum(gates, axis=-1, keepdims=True)
    if how.top_k == 1:
        whole = ops.stop_gradient(whole)
    return ops.one_hot(found, how.experts, dtype="float32"), gates / whole


def place(chosen: Tensor, gates: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Gives the tokens of each row places at their experts.

    All first choices of a row come before all second ones, and earlier tokens
    before later ones. Who finds no place is left out.

    Args:
        chosen: float32 `(batch, length, top_k, experts)`, 0 at padding, which
            takes no place.
        gates: float32 `(batch, length, top_k)`.
        count: Places of an expert.

    Returns:
        Where each token is, 0 or 1, and the same times its gate, both
        `(batch, length, experts, count)`.
    """
    taken: Any = 0.0
    here, gated = [], []
    for choice in range(chosen.shape[2]):
        own = chosen[:, :, choice]
        # Counted in float32, which is exact far beyond any row.
        before = ops.cumsum(own, axis=1) - own + taken
        taken = taken + ops.sum(own, axis=1, keepdims=True)
        at = ops.one_hot(ops.cast(before, "int32"), count, dtype="float32")
        here.append(own[..., None] * at)
        gated.append(here[-1] * gates[:, :, choice, None, None])
    return sum(here), sum(gated)


def losses(
    logits: Tensor, chosen: Tensor, real: Tensor, how: Routing
) -> Tensor:
    """Returns what uneven experts and large logits of a batch cost.

    Args:
        logits: float32 `(batch, length, experts)`.
        chosen: As of `choose`, before any is left out.
        real: float32 `(batch, length)`, 0 at padding, which counts nothing.
        how: The settings.

    Returns:
        A float32 scalar: `balance * experts * sum(f * p)`, with f the share
        of choices and p the mean probability of each expert, which is
        `balance` if all are even; and `z_loss` times the mean of the squared
        logarithms of what the softmax divides by.

    Source: [Fedus et al., 2021](https://arxiv.org/abs/2101.03961), equation
    4; [Zoph et al., 2022](https://arxiv.org/abs/2202.08906), equation 5.
    """
    count = ops.maximum(ops.sum(real), 1.0)
    each = real[..., None]
    shares = ops.sum(chosen * each[..., None], (0, 1, 2)) / how.top_k / count
    likely = ops.sum(ops.softmax(logits, axis=-1) * each, (0, 1)) / count
    uneven = how.experts * ops.sum(ops.stop_gradient(shares) * likely)
    z = ops.sum(real * ops.square(ops.logsumexp(logits, axis=-1))) / count
    return how.balance * uneven + how.z_loss * z


@ops.custom_gradient
def with_loss(x: Tensor, loss: Tensor) -> Any:
    """Returns `x`; in the backward pass `loss` is as if added to the loss.

    So what a layer costs needs no way out of scans and of layers that are
    computed again, and the loss that is shown stays that of the tokens.
    """

    def grad(*args: Tensor, upstream: Any = None) -> tuple[Tensor, Tensor]:
        (upstream,) = args if upstream is None else (upstream,)
        return upstream, ops.ones_like(loss)

    return x, grad
