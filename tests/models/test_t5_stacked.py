"""Scanned, rematerialised and chunked T5s against the plain one."""

import functools

import keras
import keras_hub
import numpy as np
import pytest

from keras_flan.models import T5
from keras_flan.models.attention import spread_distances
from keras_flan.models.backbones import quiet_masks
from keras_flan.models.decoding import Fed
from keras_flan.models.t5.layers import distance_bias
from keras_flan.models.t5.stacked import StackedT5Backbone
from keras_flan.training import TokenCrossentropy
from tests.conftest import make_t5
from tests.models.decoders import numpy
from tests.models.test_language_model import rows

RATE = 0.3


def remade(model, **switches):
    """The same weights in a model with other switches."""
    with quiet_masks():
        backbone = keras_hub.models.T5Backbone.from_config(
            model.backbone.get_config()
        )
    backbone.set_weights(model.backbone.get_weights())
    return T5(backbone, **switches)


@functools.cache
def stepped(**switches):
    """The loss of a step with dropout, one after it, and the weights."""
    model = remade(make_t5(dropout=RATE), **switches)
    model.seed_generator.state.assign([5, 0])
    x, y, weight = rows(model)
    model.compile(keras.optimizers.SGD(0.1), TokenCrossentropy())
    losses = [model.train_on_batch(x, y, weight) for _ in range(2)]
    weights = [numpy(w) for w in model.hub_backbone().trainable_weights]
    return losses, weights


@pytest.mark.parametrize(
    "switches",
    [
        pytest.param(
            {"scan": True, "remat": True, "query_chunk": 4},
            marks=pytest.mark.slow,
        ),
        pytest.param({"scan": True}, marks=pytest.mark.slow),
        pytest.param(
            {"scan": True, "remat": "products"}, marks=pytest.mark.slow
        ),
        pytest.param({"remat": True}, marks=pytest.mark.slow),
        pytest.param({"remat": "products"}, marks=pytest.mark.slow),
        pytest.param({"query_chunk": 4}, marks=pytest.mark.slow),
    ],
)
def test_switches_change_nothing_with_dropout_on(switches):
    """The same masks too, when computed again or by parts."""
    plain, weights = stepped()
    losses, switched = stepped(**switches)
    np.testing.assert_allclose(losses, plain, rtol=1e-5)
    assert abs(plain[0] - plain[1]) > 1e-3
    for one, other in zip(switched, weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_dropout_is_on_in_training_only():
    model = make_t5(dropout=RATE)
    x, _, _ = rows(model)
    segments = x["encoder_segment_ids"]
    encode = functools.partial(model.encode, x["encoder_token_ids"], segments)
    still, again = numpy(encode()), numpy(encode())
    dropped, other = numpy(encode(training=True)), numpy(encode(training=True))
    np.testing.assert_array_equal(still, again)
    assert np.abs(dropped - still).max() > 0.1
    assert np.abs(dropped - other).max() > 0.1


@pytest.mark.parametrize(
    "tie", [False, pytest.param(True, marks=pytest.mark.slow)]
)
def test_stacked_weights_go_back_to_keras_hub(tie, tmp_path):
    from keras_flan.models import load

    plain = make_t5(tie_embedding_weights=tie)
    model = remade(plain, scan=True)
    assert isinstance(model.backbone, StackedT5Backbone)
    assert model.backbone.count_params() == plain.backbone.count_params()
    model.save_to_preset(tmp_path / "model")
    hub = keras_hub.models.T5Backbone.from_preset(str(tmp_path / "model"))
    again = load(tmp_path / "model", scan=True)
    assert again.scan
    for one, other, third in zip(
        hub.trainable_weights,
        plain.backbone.trainable_weights,
        again.hub_backbone().trainable_weights,
        strict=True,
    ):
        np.testing.assert_array_equal(numpy(one), numpy(other))
        np.testing.assert_array_equal(numpy(one), numpy(third))


@pytest.mark.slow
def test_a_stacked_model_has_the_config_and_draws_of_a_plain_one():
    sizes = {
        "vocabulary_size": 512,
        "num_layers": 2,
        "num_heads": 4,
        "hidden_dim": 64,
        "intermediate_dim": 128,
    }
    keras.utils.set_random_seed(0)
    plain = T5.from_config_values(**sizes)
    model = T5.from_config_values(**sizes, scan=True, remat=True, query_chunk=8)
    hub = model.hub_backbone()
    ours = dict(hub.get_config(), name="")
    theirs = dict(plain.backbone.get_config(), name="")
    assert ours == theirs
    for one, other in zip(
        hub.trainable_weights, plain.backbone.trainable_weights, strict=True
    ):
        assert abs(numpy(one).std() - numpy(other).std()) < 0.05 * (
            0.02 + numpy(other).std()
        ) + 0.02 * (one.shape[0] == 32), one.path
    again = T5.from_config(model.get_config())
    assert again.scan
    assert (again.remat, again.query_chunk) == (True, 8)


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="scans on JAX")
def test_the_program_does_not_grow_with_depth():
    import jax

    from keras_flan.distribution.abstract import build_abstract

    def equations(num_layers):
        model = build_abstract(
            lambda: T5.from_config_values(
                vocabulary_size=64,
                num_layers=num_layers,
                num_heads=4,
                hidden_dim=32,
                intermediate_dim=48,
                scan=True,
                remat=True,
                query_chunk=4,
            )
        )
        x, _, _ = rows(model)
        shapes = [
            jax.ShapeDtypeStruct(v.shape, v.dtype)
            for v in model.trainable_variables
        ]
        rest = [
            jax.ShapeDtypeStruct(v.shape, v.dtype)
            for v in model.non_trainable_variables
        ]
        program = jax.make_jaxpr(
            lambda w, r: model.stateless_call(w, r, x, training=True)
        )(shapes, rest)
        return str(program).count(" = ")

    assert equations(2) == equations(12)


@pytest.mark.slow
def test_no_attention_weights_of_all_queries():
    model = make_t5(num_layers=1, query_chunk=4)
    whole = make_t5(num_layers=1)
    shapes = set()
    original = keras.ops.softmax

    def softmax(x, axis=-1):
        shapes.add(tuple(x.shape[-2:]))
        return original(x, axis=axis)

    x, _, _ = rows(model)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("keras_flan.models.attention.ops.softmax", softmax)
        chunked = numpy(model(x))
    np.testing.assert_allclose(chunked, numpy(whole(x)), rtol=1e-5, atol=1e-5)
    assert {shape[0] for shape in shapes} == {4, 2, 3}


@pytest.mark.parametrize(
    "bidirectional", [True, pytest.param(False, marks=pytest.mark.slow)]
)
def test_the_bias_is_that_of_keras_hub(bidirectional):
    """Also at the edges of the buckets, and far away."""
    model = make_t5(num_layers=1)
    side = "encoder" if bidirectional else "decoder"
    layers = getattr(model.backbone, f"{side}_transformer_layers")
    attention = layers[0].self_attention
    bias = model.distance_bias(side, 300)
    expected = numpy(attention.compute_bias(300, 300))
    spread = numpy(spread_distances(bias, 300, 300))
    np.testing.assert_array_equal(spread, expected)
    assert len(np.unique(expected[0, 0])) > 15
    table = attention.relative_attention_bias
    assert distance_bias(table, 1, bidirectional).shape == (4, 1)


@pytest.mark.slow
def test_decoding_from_a_stacked_model():
    plain = make_t5()
    ids = np.array([[5, 6, 7, 0], [8, 9, 10, 11]])
    lengths = np.array([3, 4])
    # For each layer keys and values of 2 prompts, 1 path, 4 heads, 3 places.
    empty = (np.zeros((2, 1, 4, 3, 8), "f"),) * 2
    logits = []
    for one in (plain, remade(plain, scan=True)):
        memory = one.decoding.read(ids, lengths)
        prepared = one.decoding.prepare(3)
        newest, ages = [empty, empty], np.zeros((2, 1), "int32")
        for clock in range(2):
            tokens = np.full((2, 1), 7 * clock)
            made, newest = one.decoding.step(
                {"memory": memory, "past": [newest]},
                prepared,
                Fed(lengths, tokens, ages + clock, clock),
            )
        logits.append(numpy(made))
    np.testing.assert_allclose(*logits, rtol=1e-5, atol=1e-5)
