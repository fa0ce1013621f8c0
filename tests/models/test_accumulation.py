"""An update of many parts is that of the whole batch, token for token."""

import keras
import numpy as np
import pytest

from keras_flan.models import T5
from keras_flan.training import Adafactor, TokenCrossentropy

ROWS = 8


def batch(targets):
    """Rows of which each part has `targets` real target tokens."""
    rng = np.random.default_rng(0)
    tokens = rng.integers(3, 64, (ROWS, 12))
    ones = np.ones_like(tokens)
    weights = np.zeros((ROWS, 12))
    for part, count in zip(
        np.split(weights, len(targets)), targets, strict=True
    ):
        part.reshape(-1)[:count] = 1
    x = {
        f"{side}_{kind}_ids": value
        for side in ("encoder", "decoder")
        for kind, value in (("token", tokens), ("segment", ones))
    }
    return x, tokens, weights


def updates(optimizer, parts, targets, chunk=None, epochs=1):
    """What training a T5 in parts changes, flat."""
    keras.utils.set_random_seed(0)
    model = T5.from_config_values(
        vocabulary_size=64,
        num_layers=1,
        num_heads=2,
        hidden_dim=16,
        intermediate_dim=16,
        dropout=0.0,
    )
    steps = parts if parts > 1 else None
    model.compile(
        optimizer(gradient_accumulation_steps=steps),
        TokenCrossentropy(chunk=chunk),
    )
    before = [np.array(v) for v in model.trainable_variables]
    x, y, weights = batch(targets)
    model.fit(
        x,
        y,
        sample_weight=weights,
        batch_size=ROWS // parts,
        epochs=epochs,
        shuffle=False,
        verbose=0,
    )
    pairs = zip(model.trainable_variables, before, strict=True)
    return np.concatenate([(np.array(v) - b).ravel() for v, b in pairs])


def sgd(**settings):
    return keras.optimizers.SGD(1.0, **settings)


@pytest.mark.parametrize(
    ("optimizer", "targets", "settings"),
    [
        (sgd, (48, 12), {}),
        pytest.param(sgd, (30, 0, 1, 7), {"chunk": 5}, marks=pytest.mark.slow),
        pytest.param(
            lambda **settings: Adafactor(0.1, clipnorm=0.5, **settings),
            (48, 12),
            {"epochs": 3},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_every_target_token_weighs_the_same(optimizer, targets, settings):
    whole = updates(optimizer, 1, targets, **settings)
    parts = updates(optimizer, len(targets), targets, **settings)
    assert np.abs(whole).max() > 0.01
    difference = np.linalg.norm(parts - whole)
    assert difference < 1e-6 * np.linalg.norm(whole)
