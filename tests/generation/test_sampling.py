import numpy as np
import pytest

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


@pytest.mark.parametrize(("top_k", "temperature"), [(0, 1.0), (0, 0.5), (5, 1)])
def test_frequencies_match_the_softmax(top_k, temperature):
    logits, _ = probabilities()
    scaled = logits / temperature
    if top_k:
        scaled[np.argsort(-logits)[top_k:]] = -np.inf
    expected = np.exp(scaled - scaled.max())
    expected /= expected.sum()
    draws = 20_000
    uniform = np.random.default_rng(1).random(draws, dtype="float32")
    many = np.tile(logits, (draws, 1))
    if top_k:
        tokens = sampling.sample_top_k(many, uniform, temperature, top_k)
    else:
        tokens = sampling.sample(many, uniform, temperature)
    counts = np.bincount(np.asarray(tokens), minlength=len(logits))
    statistic, freedom = chi_square(counts, expected * draws)
    # The mean of the statistic is `freedom`; 4 standard deviations above.
    assert statistic < freedom + 4 * np.sqrt(2 * freedom)


def test_extreme_uniforms_stay_inside():
    logits = np.array([[-1e9, 0.0, 0.0, -1e9]] * 2, "float32")
    uniform = np.array([0.0, np.nextafter(1, 0, dtype="float32")], "float32")
    assert np.asarray(sampling.sample(logits, uniform, 1.0)).tolist() == [1, 2]


def test_streams_are_named_by_prompt_path_and_seed():
    a = sampling.uniforms("a prompt", 3, 10, seed=1)
    np.testing.assert_array_equal(
        a, sampling.uniforms("a prompt", 8, 20, seed=1)[:3, :10]
    )
    assert (a[0] != a[1]).any()
    assert (a != sampling.uniforms("a prompt", 3, 10, seed=2)).any()
    assert (a != sampling.uniforms("other", 3, 10, seed=1)).any()
