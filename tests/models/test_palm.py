"""PaLM: its sizes, its block by hand, and keras-hub's tasks on it."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_flan.errors import InputError
from keras_flan.models import PaLMBackbone, PaLMCausalLM
from keras_flan.models.decoder_only import palm as palm_module
from keras_flan.models.stacking import unroll_layers
from tests.models.decoders import forward, make_hub, numpy


def inputs(rng, batch=2, length=9):
    return {
        "token_ids": rng.integers(2, 64, (batch, length)),
        "padding_mask": np.ones((batch, length), "int32"),
    }


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("palm_8b", 8_632_012_800),
        ("palm_62b", 62_495_662_080),
        ("palm_540b", 540_356_474_880),
    ],
)
def test_parameters_are_those_of_the_paper(name, parameters):
    """arXiv:2204.02311, table 1, and its arithmetic."""
    try:
        with keras.StatelessScope(initialize_variables=False):
            backbone = PaLMBackbone.from_preset(name, load_weights=False)
        assert backbone.count_params() == parameters
    finally:
        # Keras would draw the weights at the end of the next scope.
        keras.utils.clear_session()


def test_weights_are_drawn_as_in_the_paper():
    backbone = PaLMBackbone.from_preset("palm_test", load_weights=False)
    decoder = backbone.decoder
    fan_in = {"attention_output": 3 * 16, "feedforward_output": 128}
    for name, layer in decoder.kernels.items():
        kernel = numpy(layer.kernel)
        assert kernel.shape[0] == 2
        expected = fan_in.get(name, 32) ** -0.5
        assert abs(kernel.std() / expected - 1) < 0.1, name
    assert abs(numpy(backbone.token_embedding.embeddings).std() - 1) < 0.05
    assert not [w for w in backbone.weights if "bias" in w.path]


def rotated(x, positions):
    """Rotary embedding of `(length, width)` in plain NumPy."""
    half = x.shape[-1] // 2
    angle = positions[:, None] * 10000.0 ** (-np.arange(half) / half)
    cos, sin = np.cos(angle), np.sin(angle)
    a, b = x[:, :half], x[:, half:]
    return np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)


def test_forward_pass_by_hand():
    hub = make_hub("palm")
    backbone = hub.backbone
    x = inputs(np.random.default_rng(0), batch=1)
    weights = {k: numpy(v.kernel) for k, v in backbone.decoder.kernels.items()}
    scale = numpy(backbone.decoder.scale)
    embeddings = numpy(backbone.token_embedding.embeddings)

    def norm(h, gamma):
        h = h - h.mean(-1, keepdims=True)
        return h / np.sqrt((h**2).mean(-1, keepdims=True) + 1e-6) * gamma

    h = embeddings[x["token_ids"][0]]
    place = np.arange(len(h))
    for i in range(2):
        w = {name: kernel[i] for name, kernel in weights.items()}
        normed = norm(h, scale[i])
        key, value = rotated(normed @ w["key"], place), normed @ w["value"]
        added = 0
        for head in range(3):
            query = rotated(normed @ w["query"][:, head], place)
            scores = query @ key.T / 4  # the root of the head's width
            scores = np.where(place[:, None] >= place, scores, -np.inf)
            share = np.exp(scores - scores.max(-1, keepdims=True))
            share /= share.sum(-1, keepdims=True)
            added = added + share @ value @ w["attention_output"][head]
        gate = normed @ w["feedforward_gate"]
        hidden = normed @ w["feedforward_intermediate"]
        swiglu = gate / (1 + np.exp(-gate)) * hidden
        h = h + added + swiglu @ w["feedforward_output"]
    h = norm(h, numpy(backbone.layer_norm.gamma))
    expected = h @ embeddings.T / np.sqrt(32)
    np.testing.assert_allclose(
        forward(hub, x)[0], expected, rtol=1e-4, atol=1e-4
    )


def test_scanned_layers_equal_unrolled_ones(monkeypatch):
    hub = make_hub("palm", num_layers=3)
    x = inputs(np.random.default_rng(1))
    scanned = forward(hub, x)
    monkeypatch.setattr(palm_module, "scan_layers", unroll_layers)
    # Anew, so that nothing compiled is used again.
    unrolled = forward(make_hub("palm", num_layers=3), x)
    np.testing.assert_allclose(unrolled, scanned, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() != "jax", reason="scans on JAX")
def test_the_program_does_not_grow_with_depth():
    import jax

    def equations(num_layers):
        hub = make_hub("palm", num_layers=num_layers)
        weights = [v.value for v in hub.trainable_variables]
        rest = [v.value for v in hub.non_trainable_variables]
        x = inputs(np.random.default_rng(2))
        program = jax.make_jaxpr(
            lambda w: hub.stateless_call(w, rest, x)[0].sum()
        )(weights)
        return str(program).count("\n")

    assert equations(2) == equations(12)


@pytest.mark.slow
def test_dropout_differs_by_layer_and_call():
    backbone = PaLMBackbone.from_preset(
        "palm_test", load_weights=False, dropout=0.5
    )
    seeds = numpy(backbone.decoder._seeds())
    again = numpy(backbone.decoder._seeds())
    assert len({tuple(s) for s in [*seeds, *again]}) == 4
    x = inputs(np.random.default_rng(3))
    dropped = numpy(backbone(x, training=True))
    assert np.abs(dropped - forward(backbone, x)).max() > 0.1


def test_mixed_precision_keeps_weights_and_logits_in_float32():
    hub = make_hub("palm")
    low = PaLMCausalLM(
        PaLMBackbone.from_config(
            {**hub.backbone.get_config(), "dtype": "mixed_bfloat16"}
        )
    )
    low.backbone.set_weights(hub.backbone.get_weights())
    x = inputs(np.random.default_rng(4))
    logits = low(x)
    assert logits.dtype == "float32"
    assert keras.backend.standardize_dtype(low.backbone(x).dtype) == "bfloat16"
    np.testing.assert_allclose(numpy(logits), forward(hub, x), atol=0.2)


def test_config_and_preset_round_trip(tmp_path):
    hub = make_hub("palm", dropout=0.1, remat=True)
    again = PaLMBackbone.from_config(hub.backbone.get_config())
    assert again.get_config() == hub.backbone.get_config()
    hub.save_to_preset(str(tmp_path / "palm"))
    again = PaLMCausalLM.from_preset(str(tmp_path / "palm"))
    x = inputs(np.random.default_rng(5))
    np.testing.assert_array_equal(forward(again, x), forward(hub, x))


def test_weights_that_were_never_published_are_refused():
    with pytest.raises(InputError, match="load_weights=False"):
        PaLMBackbone.from_preset("palm_8b")


def test_generate_of_keras_hub():
    hub = make_hub("palm")
    hub.compile(sampler="greedy")
    ids = np.random.default_rng(6).integers(2, 64, (2, 12))
    mask = np.arange(12)[None] < np.array([[4], [6]])
    made = hub.generate(
        {"token_ids": ids * mask, "padding_mask": mask}, stop_token_ids=None
    )["token_ids"]
    x = {"token_ids": made, "padding_mask": np.ones((2, 12), "int32")}
    best = forward(hub, x).argmax(-1)
    for row, length in enumerate((4, 6)):
        np.testing.assert_array_equal(made[row, :length], ids[row, :length])
        np.testing.assert_array_equal(
            made[row, length:], best[row, length - 1 : -1]
        )
    # A stop token ends the mask behind its first place.
    stop = int(made[0, 4])
    ended = hub.generate(
        {"token_ids": ids * mask, "padding_mask": mask}, stop_token_ids=(stop,)
    )
    assert ops.convert_to_numpy(ended["padding_mask"])[0].sum() == 5
