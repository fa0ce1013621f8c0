import functools

import keras
import numpy as np
import pytest
from keras.ops import convert_to_numpy

from keras_flan.generation import sampling


def probabilities(seed=0, size=20):
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=2, size=size).astype("float32")
    return logits, np.exp(logits) / np.exp(logits).sum()


def chi_square(counts, expected):
    seen = expected > 0
    assert counts[~seen].sum() == 0
    return (
        (counts[seen] - expected[seen]) ** 2 / expected[seen]
    ).sum(), seen.sum() - 1


@functools.cache
def compiled():
    """All settings are run-time values: one program a shape."""
    if keras.backend.backend() != "jax":
        return lambda *given: sampling.choose(
            *map(keras.ops.convert_to_tensor, given)
        )
    import jax

    return jax.jit(sampling.choose)


def choose(logits, uniform, temperature, top_k=0, top_p=1.0):
    tokens, log_probabilities = compiled()(
        np.asarray(logits, "float32"),
        np.asarray(uniform, "float32"),
        np.float32(temperature),
        np.int32(top_k),
        np.float32(top_p),
    )
    return convert_to_numpy(tokens), convert_to_numpy(log_probabilities)


def kept(logits, temperature, top_k, top_p):
    """The distribution that is drawn from, by sorting; float64."""
    shares = np.exp(logits.astype("float64") / temperature)
    order = np.argsort(-shares)
    if top_k:
        shares[order[top_k:]] = 0
    shares /= shares.sum()
    before = np.cumsum(shares[order]) - shares[order]
    shares[order[before >= top_p]] = 0
    return shares / shares.sum()


@pytest.mark.parametrize(
    ("size", "temperature", "top_k", "top_p"),
    [
        (20, 1.0, 0, 1.0),
        (20, 0.5, 5, 1.0),
        (20, 1.0, 5, 0.7),
        (20, 1.5, 0, 0.8),
        (300, 1.0, 0, 1.0),
        (300, 1.0, 90, 1.0),
        (300, 1.0, 90, 0.6),
    ],
)
def test_frequencies_match_the_softmax(size, temperature, top_k, top_p):
    logits, _ = probabilities(size=size)
    expected = kept(logits, temperature, top_k, top_p)
    draws = 20_000
    uniform = np.random.default_rng(1).random(draws, dtype="float32")
    many = np.tile(logits, (draws, 1))
    tokens, log_probabilities = choose(many, uniform, temperature, top_k, top_p)
    counts = np.bincount(tokens, minlength=len(logits))
    statistic, freedom = chi_square(counts, expected * draws)
    # The mean of the statistic is `freedom`; 4 standard deviations above.
    assert statistic < freedom + 4 * np.sqrt(2 * freedom)
    model = np.log(np.exp(logits) / np.exp(logits).sum())
    np.testing.assert_allclose(log_probabilities, model[tokens], atol=1e-4)


def test_greedy_is_temperature_0_or_top_1():
    logits = np.random.default_rng(0).normal(size=(50, 30))
    uniform = np.random.default_rng(1).random(50)
    best = logits.argmax(-1).tolist()
    assert choose(logits, uniform, 0.0, 0)[0].tolist() == best
    assert choose(logits, uniform, 0.0, 9)[0].tolist() == best
    assert choose(logits, uniform, 5.0, 1)[0].tolist() == best
    assert choose(logits, uniform, 5.0, 0, 1e-6)[0].tolist() == best
    assert choose(logits, uniform, 5.0, 9, 1e-6)[0].tolist() == best


@pytest.mark.parametrize("top_k", [0, 3])
def test_extreme_uniforms_stay_inside(top_k):
    # Not quite equal: PyTorch sorts equal ones as it likes.
    logits = np.array([[-1e9, 0.0, -0.1, -1e9]] * 2)
    uniform = [0.0, np.nextafter(1, 0, dtype="float32")]
    assert choose(logits, uniform, 1.0, top_k)[0].tolist() == [1, 2]
    # The same in a vocabulary that is searched block by block.
    logits = np.full((2, 1000), -1e9)
    logits[:, [130, 400, 890]] = 0.0, -0.1, -0.2
    expected = [130, 890]
    assert choose(logits, uniform, 1.0, top_k)[0].tolist() == expected


def test_streams_are_named_by_prompt_path_and_seed():
    a = sampling.uniforms("a prompt", 2, 10, seed=1)
    longer = sampling.uniforms("a prompt", 2, 20, seed=1)
    np.testing.assert_array_equal(a, longer[:10])
    assert a.dtype == np.float32
    assert (a != sampling.uniforms("a prompt", 3, 10, seed=1)).any()
    assert (a != sampling.uniforms("a prompt", 2, 10, seed=2)).any()
    assert (a != sampling.uniforms("other", 2, 10, seed=1)).any()


def test_the_most_probable_of_many_tokens():
    """Beyond some size they are searched in groups."""
    size = 2 * sampling._GROUP * sampling.SORTED_TOP_K + 5
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 3, size)).astype("float32")
    best, tokens = map(convert_to_numpy, sampling._most_probable(logits))
    expected = np.argsort(-logits, axis=-1, kind="stable")
    expected = expected[..., : sampling.SORTED_TOP_K]
    np.testing.assert_array_equal(tokens, expected)
    np.testing.assert_array_equal(
        best, np.take_along_axis(logits, expected, axis=-1)
    )


@pytest.mark.parametrize("top_k", [0, 5, 200])
def test_a_small_temperature_is_greedy(top_k):
    logits = np.stack([40 * probabilities(seed, 300)[0] for seed in range(8)])
    tokens, _ = choose(logits, [0.999] * 8, 1e-37, top_k)
    assert tokens.tolist() == logits.argmax(-1).tolist()
