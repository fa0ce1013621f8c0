"""Losses of paths and pairs against formulas written by hand, in float64."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_flan.improvement import advantages, token_scales
from keras_flan.training import PathLoss, PreferenceLoss, SoftLoss

BATCH, LENGTH, SIZE = 4, 6, 9
# Tokens of each path; the rest is padding.
LENGTHS = np.array([6, 3, 5, 2])
MASK = np.arange(LENGTH) < LENGTHS[:, None]


def log_softmax(logits):
    top = logits.max(-1, keepdims=True)
    return logits - top - np.log(np.exp(logits - top).sum(-1, keepdims=True))


def example(seed=0):
    """Logits, tokens, and log-probabilities near those of the logits."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=2, size=(BATCH, LENGTH, SIZE))
    tokens = rng.integers(0, SIZE, (BATCH, LENGTH))
    log_p = np.take_along_axis(log_softmax(logits), tokens[..., None], -1)
    old, reference = log_p[..., 0] + rng.normal(
        scale=0.3, size=(2, *MASK.shape)
    )
    return logits, tokens, log_p[..., 0], old * MASK, reference * MASK


def through(logits, tokens, by_log_p):
    """The gradient of logits, from that of the tokens' log-probabilities."""
    hot = np.eye(SIZE)[tokens]
    return by_log_p[..., None] * (hot - np.exp(log_softmax(logits)))


def value_and_gradient(loss, y, logits, weight):
    y, weight = y.astype("float32"), weight.astype("float32")
    logits = logits.astype("float32")

    def call(logits):
        return loss(y, logits, sample_weight=weight)

    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        value, gradient = jax.value_and_grad(call)(logits)
    elif backend == "tensorflow":
        import tensorflow as tf

        # As `fit` runs it: how many rows there are is not known.
        parts = [tf.constant(part) for part in (y, logits, weight)]
        rows = [tf.TensorSpec((None, *part.shape[1:])) for part in parts]
        graph = tf.function(
            lambda y, logits, weight: loss(y, logits, sample_weight=weight),
            input_signature=rows,
        )
        logits = parts[1]
        with tf.GradientTape() as tape:
            tape.watch(logits)
            value = graph(*parts)
        gradient = tape.gradient(value, logits)
    else:
        import torch

        logits = torch.tensor(logits, requires_grad=True)
        value = call(logits)
        value.backward()
        value, gradient = value.detach(), logits.grad
    return float(value), ops.convert_to_numpy(gradient)


def check(loss, y, logits, weight, expected, by_logits):
    value, gradient = value_and_gradient(loss, y, logits, weight)
    np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(gradient, by_logits, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kl", [0.0, 0.04])
@pytest.mark.parametrize("sharing", ["grpo", "dr_grpo", "dapo"])
def test_advantages_as_in_the_papers(sharing, kl):
    logits, tokens, log_p, old, reference = example()
    rewards = np.array([1.0, 0.0, 0.0, 1.0])
    centred = rewards - rewards.mean()
    advantage = centred
    if sharing != "dr_grpo":
        advantage = centred / (rewards.std(ddof=1) + 1e-4)
    lengths = LENGTHS[:, None]
    share = {
        "grpo": MASK / (BATCH * lengths),
        "dr_grpo": MASK / (BATCH * 8),
        "dapo": MASK / LENGTHS.sum(),
    }[sharing]
    a = np.broadcast_to(advantage[:, None], MASK.shape)
    ratio, d = np.exp(log_p - old), reference - log_p
    near = np.clip(ratio, 0.8, 1.28)
    counts = ratio * a <= near * a
    by_token = -np.where(counts, ratio * a, near * a)
    by_token = by_token + kl * (np.exp(d) - d - 1)
    slope = -np.where(counts, ratio * a, 0) + kl * (1 - np.exp(d))
    assert counts[MASK].any() and not counts[MASK].all()

    found = advantages(rewards.tolist(), spread=sharing != "dr_grpo")
    scales = token_scales(LENGTHS.tolist(), sharing, longest=8)
    y = np.zeros((*MASK.shape, 4))
    y[..., 0] = tokens
    y[..., 1] = np.array(found)[:, None] * MASK
    y[..., 2], y[..., 3] = old, reference
    check(
        PathLoss((0.2, 0.28), kl),
        y,
        logits,
        np.array(scales)[:, None] * MASK,
        (share * by_token).sum(),
        through(logits, tokens, share * slope),
    )


def test_on_policy_it_is_weighted_crossentropy():
    logits, tokens, log_p, *_ = example()
    y = np.zeros((*MASK.shape, 4))
    y[..., 0], y[..., 1], y[..., 2] = tokens, [[1], [-2], [0.5], [3]], log_p
    weight = MASK / MASK.sum()
    clipped = value_and_gradient(PathLoss((0.2, 0.2)), y, logits, weight)
    plain = value_and_gradient(PathLoss(), y, logits, weight)
    np.testing.assert_allclose(clipped[1], plain[1], rtol=1e-5, atol=1e-6)


def test_padding_is_no_infinity_where_nothing_is_likely():
    y = np.zeros((1, 2, 4))
    logits = np.array([[[0.0, 200.0], [200.0, 0.0]]])
    value, gradient = value_and_gradient(
        PathLoss((0.2, 0.2), 0.1), y, logits, np.array([[0.0, 1.0]])
    )
    assert np.isfinite(value) and np.isfinite(gradient).all()


@pytest.mark.parametrize("mean", [False, True])
@pytest.mark.parametrize("kind", ["dpo", "ipo"])
def test_pairs_as_in_the_papers(kind, mean):
    logits, tokens, log_p, _, reference = example(1)
    beta, pairs = 0.3, np.array([0, 0, 1, 1])
    signs = np.array([1.0, -1, -1, 1])
    share = signs[:, None] * MASK / (LENGTHS[:, None] if mean else 1)
    apart = (share * (log_p - reference)).sum(-1)
    margins = np.array([apart[pairs == p].sum() for p in (0, 1)])
    if kind == "dpo":
        losses = np.log1p(np.exp(-beta * margins))
        slopes = -beta / (1 + np.exp(beta * margins))
    else:
        losses = (margins - 1 / (2 * beta)) ** 2
        slopes = 2 * (margins - 1 / (2 * beta))
    by_token = slopes[pairs][:, None] * share / 2

    y = np.zeros((*MASK.shape, 4))
    y[..., 0] = tokens
    y[..., 1] = pairs[:, None] * MASK
    y[..., 2], y[..., 3] = share, reference
    weight = np.zeros(MASK.shape)
    weight[0, :2] = 0.5
    check(
        PreferenceLoss(kind, beta),
        y,
        logits,
        weight,
        losses.mean(),
        through(logits, tokens, by_token),
    )


def test_a_teacher_s_distribution():
    logits, tokens, *_ = example(2)
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.ones(SIZE), MASK.shape)
    order = np.argsort(-shares, -1)
    y = np.concatenate(
        [tokens[..., None], order, np.take_along_axis(shares, order, -1)], -1
    )
    weight = MASK / MASK.sum()
    log_p = log_softmax(logits)
    check(
        SoftLoss(top=SIZE),
        y,
        logits,
        weight,
        -(weight * (shares * log_p).sum(-1)).sum(),
        weight[..., None] * (np.exp(log_p) - shares),
    )


@pytest.mark.parametrize("chunk", [4, 8])
@pytest.mark.parametrize(
    "loss", [PathLoss((0.2, 0.2), 0.1), PreferenceLoss(), SoftLoss(top=1)]
)
def test_chunks_of_the_projection_change_nothing(loss, chunk):
    logits, tokens, _, old, reference = example()
    y = np.zeros((*MASK.shape, 1 + (2 if loss.name == "soft_loss" else 3)))
    y[..., 0] = tokens
    y[..., 1], y[..., 2] = old < -1, 0.5
    if y.shape[-1] == 4:
        y[..., 3] = reference
    y, logits = y.astype("float32"), logits.astype("float32")
    weight = MASK.astype("float32")
    whole = float(loss(y, logits, sample_weight=weight))
    again = type(loss).from_config({**loss.get_config(), "chunk": chunk})
    hidden = ops.convert_to_tensor(logits)
    parts = again.by_chunks(y, hidden, lambda x: x, weight)
    found = float(again(y, parts, sample_weight=weight))
    assert found == pytest.approx(whole, rel=1e-5)
