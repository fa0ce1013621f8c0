"""Logits of bfloat16 weights: bfloat16 products, float32 sums."""

import jax
import keras
import numpy as np
import pytest

from keras_flan.models.projecting import project

WIDTH = 64


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("shape", [(5,), (2, 30)])
def test_sums_are_not_rounded(tied, compiled, shape):
    keras.utils.set_random_seed(0)
    embedding = keras.layers.ReversibleEmbedding(
        400,
        WIDTH,
        tie_weights=tied,
        embeddings_initializer=keras.initializers.RandomNormal(),
        dtype="bfloat16",
    )
    embedding.build()
    x = keras.random.normal((*shape, WIDTH), stddev=4.0, dtype="bfloat16")
    table = embedding.embeddings if tied else embedding.reverse_embeddings
    table = np.asarray(table, "float64")
    expected = np.asarray(x, "float64") @ (table.T if tied else table)

    def run(x):
        return project(embedding, x)

    found = (jax.jit(run) if compiled else run)(x)
    assert str(found.dtype) == "float32"
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    # The layer is as it was: to others its products are bfloat16.
    rounded = embedding(x, reverse=True)
    assert str(rounded.dtype) == "bfloat16"
    assert np.abs(np.asarray(rounded, "float64") - expected).max() > 1e-3


def test_float32_stays_float32():
    embedding = keras.layers.ReversibleEmbedding(40, WIDTH)
    embedding.build()
    x = keras.random.normal((3, WIDTH))
    np.testing.assert_array_equal(
        project(embedding, x), embedding(x, reverse=True)
    )
