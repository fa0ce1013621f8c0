import keras
import numpy as np
import pytest

from keras_flan.errors import InputError
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


def test_fit_rounds_no_token_ids():
    keras.config.set_floatx("bfloat16")
    try:
        bias = np.zeros(1000, "float32")
        bias[777] = 50.0
        layer = keras.layers.Dense(
            1000,
            kernel_initializer="zeros",
            bias_initializer=lambda shape, dtype: keras.ops.cast(bias, dtype),
        )
        model = keras.Sequential([layer])
        model.compile(keras.optimizers.SGD(0.0), TokenCrossentropy())
        x, y = np.ones((1, 1, 2), "float32"), np.full((1, 1), 777)
        history = model.fit(x, y, verbose=0).history
    finally:
        keras.config.set_floatx("float32")
    assert history["loss"][0] < 1e-3


@pytest.mark.parametrize("trains_head", [True, False])
def test_gathered_losses_are_exact(trains_head):
    """Through `fit`'s own step: the loss, and what it makes of each weight."""
    import keras_hub

    from keras_flan.models import DecoderOnly

    backbone = keras_hub.models.Gemma3Backbone(
        **{"vocabulary_size": 40, "image_size": None, "num_layers": 1},
        **{"num_query_heads": 2, "num_key_value_heads": 1, "head_dim": 4},
        **{"hidden_dim": 8, "intermediate_dim": 16},
        final_logit_soft_cap=5.0,
    )
    backbone.token_embedding.trainable = trains_head
    start = [np.array(weight) for weight in backbone.weights]
    rng = np.random.default_rng(1)
    ids = rng.integers(1, 40, (3, 11))
    x = {"token_ids": ids, "padding_mask": np.ones_like(ids)}
    some = (rng.random((3, 11)) < 0.3) * rng.random((3, 11))
    found = []
    for gather in (None, 4):
        model = DecoderOnly(backbone)
        loss = TokenCrossentropy(z_loss=1e-2, gather=gather)
        model.compile(keras.optimizers.SGD(1.0), loss)
        made = []
        for weight in (some, some + 1):  # Some count; then all of them do.
            for variable, value in zip(backbone.weights, start, strict=True):
                variable.assign(value)
            targets = np.roll(ids, -1, 1)
            made.append(model.train_on_batch(x, targets, weight))
            made += [np.array(weight) for weight in backbone.weights]
        found.append(made)
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_gather_leaves_positions_out(monkeypatch):
    """And takes as many parts as there are, in one program."""
    import jax
    import jax.numpy as jnp

    from keras_flan.training.gathering import gathered_losses

    seen = []

    def losses(x, y):
        jax.debug.callback(lambda: seen.append(1))
        return jnp.sum(x, -1)

    made = jax.jit(lambda x, counts: gathered_losses(losses, x, y, counts, 4))
    x, y = jnp.ones((21, 3)), jnp.zeros(21, int)
    for number, parts in ((0, 0), (1, 1), (4, 1), (5, 2), (21, 6)):
        seen.clear()
        counts = jnp.arange(21) % 21 >= 21 - number
        out = made(x, counts)
        jax.effects_barrier()
        assert len(seen) == parts
        np.testing.assert_array_equal(out, 3.0 * counts)
    assert made._cache_size() == 1


def test_one_way_at_a_time():
    with pytest.raises(InputError, match="expected one of them"):
        TokenCrossentropy(chunk=4, gather=4)
