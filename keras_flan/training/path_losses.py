"""The losses of paths: token cross-entropy with weights, and of pairs.

Targets are float32 `(batch, length, columns)`: the first column has the token
ids (exact up to 16 million), the others what is known of each token. The
weights of tokens come as `sample_weight`, and are summed: whoever makes the
batches divides.
"""

from collections.abc import Callable
from typing import Any, Literal

import keras
from keras import ops

from keras_flan.tensors import Tensor
from keras_flan.training.losses import TokenCrossentropy

PairLoss = Literal["dpo", "ipo"]
# What the columns of targets are, from 1 on.
PATH_COLUMNS = ("advantage", "old", "reference")
# Padding has no log-probability to compare with; infinity times 0 is no 0.
_MOST = 20.0


@keras.saving.register_keras_serializable(package="keras_flan")
class PathLoss(TokenCrossentropy):
    """The loss of sampled tokens, each weighed by its path's advantage.

    Without `clip` it is `-A log p`, the cross-entropy weighed by `A`, whose
    gradient is GRPO's for the first update after sampling. With `clip`
    it is `-min(s A, clip(s, 1 - low, 1 + high) A)` for `s = p / p_old`; with
    `kl` there is added `kl * (exp(d) - d - 1)` for `d = log p_ref - log p`.

    Args:
        clip: How far below and above 1 the ratio counts.
        kl: Weight of the divergence from a reference.
        chunk: See `TokenCrossentropy`.
        name: The name of the loss.

    Call arguments:
        y_true: float32 `(batch, length, 4)`: token id, advantage, and the
            log-probabilities when it was sampled and of the reference.
        y_pred: Logits, as for `TokenCrossentropy`.
        sample_weight: float `(batch, length)`, see `token_scales`.

    Example:

    ```python
    model.compile(Adam(1e-5), PathLoss(clip=(0.2, 0.28), kl=0.04))
    ```

    Source: arXiv:2402.03300, equations 3 and 4; arXiv:2503.14476.
    """

    def __init__(
        self,
        clip: tuple[float, float] | None = None,
        kl: float = 0.0,
        chunk: int | None = None,
        name: str = "path_loss",
        **kwargs: Any,
    ):
        kwargs = {"reduction": "sum", **kwargs}
        kwargs.pop("z_loss", None)
        super().__init__(chunk=chunk, name=name, **kwargs)
        self.clip = None if clip is None else tuple(clip)
        self.kl = kl

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        if len(y_pred.shape) == 2:
            return y_pred  # `by_chunks` has computed it
        _, advantage, old, reference = ops.unstack(y_true, 4, axis=-1)
        log_p = -super().call(y_true[..., 0], y_pred)
        loss = -advantage * log_p
        if self.clip is not None:
            low, high = self.clip
            ratio = ops.exp(ops.minimum(log_p - old, _MOST))
            near = ops.clip(ratio, 1 - low, 1 + high)
            loss = -ops.minimum(ratio * advantage, near * advantage)
        if self.kl:
            apart = reference - log_p
            grown = ops.exp(ops.minimum(apart, _MOST))
            loss = loss + self.kl * (grown - apart - 1)
        return loss

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "clip": self.clip, "kl": self.kl}


@keras.saving.register_keras_serializable(package="keras_flan")
class PreferenceLoss(TokenCrossentropy):
    """The loss of pairs, a chosen text and a rejected one.

    With the margin `m`, the log-probability of the chosen text over that of
    the reference less the same of the rejected one, it is `dpo`:
    `-log sigmoid(beta m)`, or `ipo`: `(m - 1 / (2 beta)) ** 2`. Both texts
    of a pair have to be in the same batch.

    Args:
        kind: `dpo` or `ipo`.
        beta: How strongly the reference binds.
        chunk: See `TokenCrossentropy`.
        name: The name of the loss.

    Call arguments:
        y_true: float32 `(batch, length, 4)`: token id, number of the pair in
            the batch, what the token adds to the margin (1 if chosen, -1 if
            rejected, divided by the length for means; 0 elsewhere), and the
            reference's log-probability.
        y_pred: Logits, as for `TokenCrossentropy`.
        sample_weight: float `(batch, length)`; place p of the flattened
            array has the weight of pair p.

    Example:
        >>> PreferenceLoss("ipo", beta=0.2).get_config()["kind"]
        'ipo'

    Source: arXiv:2305.18290 (DPO), arXiv:2310.12036 (IPO).
    """

    def __init__(
        self,
        kind: PairLoss = "dpo",
        beta: float = 0.1,
        chunk: int | None = None,
        name: str = "preference_loss",
        **kwargs: Any,
    ):
        kwargs = {"reduction": "sum", **kwargs}
        kwargs.pop("z_loss", None)
        super().__init__(chunk=chunk, name=name, **kwargs)
        self.kind = kind
        self.beta = beta

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        _, pair, share, reference = ops.unstack(y_true, 4, axis=-1)
        if len(y_pred.shape) == 3:
            y_pred = super().call(y_true[..., 0], y_pred)
        margins = share * (-y_pred - reference)
        # The rows are known only when it runs, on TensorFlow.
        rows, length = ops.shape(pair)
        margins = ops.segment_sum(
            ops.reshape(margins, (-1,)),
            ops.reshape(ops.cast(pair, "int32"), (-1,)),
            num_segments=rows * length,
        )
        if self.kind == "ipo":
            losses = ops.square(margins - 1 / (2 * self.beta))
        else:
            losses = ops.softplus(-self.beta * margins)
        return ops.reshape(losses, (rows, length))

    def by_chunks(
        self,
        y_true: Tensor,
        hidden: Tensor,
        project: Callable[[Tensor], Tensor],
        sample_weight: Tensor | None = None,
    ) -> Tensor:
        # The weights are those of pairs, not of tokens.
        tokens = TokenCrossentropy(chunk=self.chunk)
        return tokens.by_chunks(y_true[..., 0], hidden, project)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "kind": self.kind, "beta": self.beta}


@keras.saving.register_keras_serializable(package="keras_flan")
class SoftLoss(TokenCrossentropy):
    """Cross-entropy against a teacher's distribution over its best tokens.

    Args:
        top: How many tokens the teacher names in each place.
        chunk: See `TokenCrossentropy`.
        name: The name of the loss.

    Call arguments:
        y_true: float32 `(batch, length, 1 + 2 * top)`: token id, the
            teacher's token ids, and their probabilities.
        y_pred: Logits, as for `TokenCrossentropy`.
        sample_weight: float `(batch, length)`.

    Example:
        >>> SoftLoss(top=8).get_config()["top"]
        8

    Source: on-policy distillation, arXiv:2306.13649.
    """

    def __init__(
        self,
        top: int = 16,
        chunk: int | None = None,
        name: str = "soft_loss",
        **kwargs: Any,
    ):
        kwargs = {"reduction": "sum", **kwargs}
        kwargs.pop("z_loss", None)
        super().__init__(chunk=chunk, name=name, **kwargs)
        self.top = top

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        if len(y_pred.shape) == 2:
            return y_pred
        log_p = ops.log_softmax(ops.cast(y_pred, "float32"), axis=-1)
        tokens = ops.cast(y_true[..., 1 : 1 + self.top], "int32")
        shares = y_true[..., 1 + self.top :]
        picked = ops.take_along_axis(log_p, tokens, axis=-1)
        return -ops.sum(shares * picked, axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "top": self.top}
