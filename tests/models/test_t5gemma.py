"""T5Gemma against keras-hub's forward pass, packed, decoded, adapted."""

import keras
import keras_hub
import numpy as np
import pytest

from keras_flan.distribution.layouts import layout_map
from keras_flan.errors import InputError
from keras_flan.models import T5Gemma, add_lora, load, merge_adapter, save
from keras_flan.models.adapters.base import adapter_of
from keras_flan.models.adapters.targets import norms, projections
from keras_flan.planning.shapes import shape_of
from keras_flan.testing import check_model
from keras_flan.training import TokenCrossentropy
from tests.conftest import LetterVocabulary, slow
from tests.models.decoders import forward, numpy

TYPES = ["sliding_attention", "full_attention"]
# The two sides have heads of their own sizes.
SIZES = {
    "vocabulary_size": 64,
    "encoder_hidden_dim": 32,
    "encoder_intermediate_dim": 48,
    "encoder_num_layers": 2,
    "encoder_num_attention_heads": 4,
    "encoder_num_key_value_heads": 2,
    "encoder_head_dim": 8,
    "encoder_layer_types": TYPES,
    "decoder_hidden_dim": 24,
    "decoder_intermediate_dim": 40,
    "decoder_num_layers": 2,
    "decoder_num_attention_heads": 2,
    "decoder_num_key_value_heads": 1,
    "decoder_head_dim": 16,
    "decoder_layer_types": TYPES,
    "query_pre_attn_scalar": 11.0,
    "sliding_window": 64,
    "attn_logit_softcapping": 3.0,
    "final_logit_softcapping": 5.0,
}


def make_backbone(seed=0, **sizes):
    keras.utils.set_random_seed(seed)
    backbone = keras_hub.models.T5GemmaBackbone(**{**SIZES, **sizes})
    rng = np.random.default_rng(seed)
    for weight in backbone.trainable_weights:
        noise = rng.normal(scale=0.2, size=weight.shape)
        weight.assign(numpy(weight) + noise.astype("float32"))
    return backbone


def batch(seed=0):
    """One example a row, as keras-hub's inputs; targets begin with 2."""
    rng = np.random.default_rng(seed)
    x = {}
    for side, lengths, width in (
        ("encoder", (7, 12, 3), 14),
        ("decoder", (5, 9, 2), 10),
    ):
        tokens = np.zeros((3, width), "int32")
        for row, length in enumerate(lengths):
            tokens[row, :length] = rng.integers(3, 60, length)
        if side == "decoder":
            tokens[:, 0] = 2
        x[f"{side}_token_ids"] = tokens
        x[f"{side}_padding_mask"] = (tokens > 0).astype("int32")
    return x


def test_agrees_with_keras_hub():
    hub = keras_hub.models.T5GemmaSeq2SeqLM(
        backbone=make_backbone(), preprocessor=None
    )
    x = batch()
    real = x["decoder_padding_mask"] > 0
    ours = T5Gemma(hub, LetterVocabulary())
    logits = forward(ours, x)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(
        logits[real], forward(hub, x)[real], rtol=1e-4, atol=1e-4
    )
    # The rows of the pipeline begin targets with 0.
    shifted = {**x, "decoder_token_ids": x["decoder_token_ids"].copy()}
    shifted["decoder_token_ids"][:, 0] = 0
    np.testing.assert_array_equal(forward(ours, shifted), logits)


@pytest.mark.parametrize("wide", [3, *slow(64)])
def test_keeps_examples_apart_and_decodes_as_it_reads(wide):
    check_model(T5Gemma(make_backbone(sliding_window=wide), LetterVocabulary()))


@pytest.mark.slow
def test_windows_are_those_of_transformers():
    """Of width 3: the encoder sees 3 places both ways, the decoder 2 back."""
    model = T5Gemma(
        make_backbone(
            sliding_window=3,
            encoder_num_layers=1,
            decoder_num_layers=1,
            decoder_layer_types=TYPES[:1],
            encoder_layer_types=TYPES[:1],
        )
    )
    tokens = np.arange(3, 15, dtype="int32")[None]
    ones = np.ones_like(tokens)
    rows = np.concatenate([tokens, tokens])
    rows[1, 5] = 40  # another token in the middle
    segments = np.concatenate([ones, ones])
    encoded = numpy(model.encode(rows, segments))
    seen = np.abs(encoded[1] - encoded[0]).max(axis=-1) > 1e-6
    assert np.flatnonzero(seen).tolist() == [2, 3, 4, 5, 6, 7, 8]
    same = np.repeat(encoded[:1], 2, axis=0)
    decoded = numpy(model.decode(rows, segments, same, segments))
    seen = np.abs(decoded[1] - decoded[0]).max(axis=-1) > 1e-6
    assert np.flatnonzero(seen).tolist() == [5, 6, 7]


@pytest.mark.slow
def test_is_adapted_saved_and_laid_out(tmp_path):
    model = T5Gemma(make_backbone(), separate=False, start_id=7)
    backbone = model.backbone
    found = [id(layer.kernel) for layer in projections(backbone).values()]
    found += [id(norm.scale) for norm in norms(backbone).values()]
    rest = [w.path for w in backbone.weights if id(w) not in found]
    assert len(found) == len(set(found))
    assert all("token_embedding" in path for path in rest)
    assert not layout_map(model, "batch=4,model=2", "fsdp+model").unknown
    # A LoRA of all kernels, merged when the model is saved.
    x = batch()
    add_lora(model, rank=3, targets="all")
    rng = np.random.default_rng(1)
    for variable in adapter_of(model).state().values():
        noise = rng.normal(scale=0.1, size=variable.shape)
        variable.assign(numpy(variable) + noise.astype("float32"))
    assert not layout_map(model, "batch=4,model=2", "fsdp+model").unknown
    tuned = forward(model, x)
    save(model, tmp_path / "model")
    again = load(tmp_path / "model")
    assert isinstance(again, T5Gemma)
    assert (again.separate, again.start_id) == (False, 7)
    np.testing.assert_allclose(forward(again, x), tuned, rtol=1e-4, atol=1e-4)
    merge_adapter(model)
    np.testing.assert_allclose(forward(model, x), tuned, rtol=1e-4, atol=1e-4)
    # In plain keras-hub too.
    plain = keras_hub.models.T5GemmaBackbone.from_preset(
        str(tmp_path / "model")
    )
    for one, other in zip(plain.weights, again.weights, strict=True):
        np.testing.assert_array_equal(numpy(one), numpy(other))


@pytest.mark.slow
def test_dropout_is_a_setting_and_drops_the_same_when_computed_again():
    x, losses = batch(), []
    y = np.roll(x["decoder_token_ids"], -1, axis=1)
    for remat in (False, True):
        model = T5Gemma(make_backbone(attention_dropout=0.2))
        model = model.with_settings(dropout=0.3, remat=remat)
        assert model.backbone.dropout_rate == 0.3
        model.seed_generator = keras.random.SeedGenerator(1)
        model.compile(keras.optimizers.SGD(0.1), TokenCrossentropy())
        weight = x["decoder_padding_mask"].astype("float32")
        history = model.fit(x, y, sample_weight=weight, epochs=2, verbose=0)
        losses.append(history.history["loss"])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)
    assert losses[0][1] < losses[0][0]


def test_a_plan_wants_sides_of_one_size():
    with pytest.raises(InputError, match="different sizes"):
        shape_of(T5Gemma(make_backbone()))
    same = {
        key.replace("encoder", "decoder"): value
        for key, value in SIZES.items()
        if key.startswith("encoder")
    }
    shape = shape_of(T5Gemma(make_backbone(**same)))
    assert (shape.family, shape.num_layers, shape.num_heads) == (
        "t5gemma",
        2,
        4,
    )
    parts = {weight.part for weight in shape.weights}
    assert parts == {"embedding", "logits", "attention", "feedforward", "norm"}
    assert shape.parameters == sum(
        int(np.prod(w.shape)) for w in make_backbone(**same).weights
    )
