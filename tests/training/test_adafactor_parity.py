"""Adafactor against that of transformers, 50 steps at a constant rate."""

import keras
import numpy as np
import pytest

from keras_flan.training import Adafactor
from tests.golden.make_adafactor import (
    FILE,
    RATE,
    WEIGHTS,
    gradients,
    start,
    trajectory,
)


def ours(name, seed=0, momentum=None):
    # transformers factors every matrix.
    optimizer = Adafactor(RATE, min_dim_to_factor=1, momentum=momentum)
    variable = keras.Variable(start(name, seed), name=name)
    made = []
    for gradient in gradients(name, seed):
        optimizer.apply([keras.ops.convert_to_tensor(gradient)], [variable])
        made.append(keras.ops.convert_to_numpy(variable))
    return np.stack(made)


def tolerance(name):
    """1e-5, and for a small weight 1e-5 of its size."""
    return 1e-5 * min(1.0, WEIGHTS[name][1])


@pytest.mark.parametrize("name", WEIGHTS)
def test_golden(name):
    with np.load(FILE) as expected:
        np.testing.assert_allclose(
            ours(name)[9::10], expected[name], rtol=0, atol=tolerance(name)
        )


@pytest.mark.parity
@pytest.mark.parametrize("momentum", [None, 0.9])
@pytest.mark.parametrize("name", WEIGHTS)
def test_live(name, momentum):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    expected = trajectory(name, seed=1, momentum=momentum)
    assert np.abs(expected[-1] - start(name, 1)).max() > 5 * tolerance(name)
    np.testing.assert_allclose(
        ours(name, 1, momentum), expected, rtol=0, atol=tolerance(name)
    )
