import keras
import numpy as np

from keras_flan.training import TokenCrossentropy


def example():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 5, 7)).astype("float32")
    targets = rng.integers(0, 7, (2, 5))
    weights = np.array([[1, 1, 1, 0, 0], [1, 0, 0, 0, 0]], "float32")
    return logits, targets, weights


def test_is_the_mean_over_target_tokens():
    logits, targets, weights = example()
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    picked = np.take_along_axis(log_p, targets[..., None], -1)[..., 0]
    expected = -(picked * weights).sum() / weights.sum()
    loss = TokenCrossentropy()(targets, logits, sample_weight=weights)
    np.testing.assert_allclose(float(loss), expected, rtol=1e-6)


def test_z_loss_is_added_per_token():
    logits, targets, weights = example()
    log_z = np.log(np.exp(logits).sum(-1))
    plain = TokenCrossentropy()(targets, logits, sample_weight=weights)
    loss = TokenCrossentropy(z_loss=0.1)(targets, logits, sample_weight=weights)
    expected = 0.1 * (log_z**2 * weights).sum() / weights.sum()
    np.testing.assert_allclose(float(loss) - float(plain), expected, rtol=1e-4)


def test_config_round_trip():
    loss = keras.losses.deserialize(
        keras.losses.serialize(TokenCrossentropy(z_loss=0.5))
    )
    assert loss.z_loss == 0.5


def test_token_ids_are_not_rounded():
    keras.config.set_floatx("bfloat16")
    try:
        loss = TokenCrossentropy()
    finally:
        keras.config.set_floatx("float32")
    logits = np.zeros((1, 1, 1000), "float32")
    logits[..., 777] = 50.0  # In bfloat16 this is 776.
    assert float(loss(np.array([[777]]), logits)) < 1e-3
