"""The packed T5 against keras-hub's own, and against itself unpacked."""

import keras
import keras_hub
import numpy as np
import pytest

from keras_flan.models import T5
from keras_flan.testing import check_model
from keras_flan.training import Adafactor, TokenCrossentropy
from tests.conftest import make_t5


def numpy(x):
    return np.asarray(keras.ops.convert_to_numpy(x))


def unpacked(rng, lengths, width=12, target_width=9):
    """One example a row, as keras-hub's inputs; and the targets."""
    rows = len(lengths)
    x = {
        "encoder_token_ids": np.zeros((rows, width), "int32"),
        "decoder_token_ids": np.zeros((rows, target_width), "int32"),
    }
    y = np.zeros((rows, target_width), "int32")
    for i, (n, m) in enumerate(lengths):
        x["encoder_token_ids"][i, :n] = rng.integers(2, 60, n)
        y[i, :m] = rng.integers(2, 60, m)
        x["decoder_token_ids"][i, 1:m] = y[i, : m - 1]
    x["encoder_padding_mask"] = (x["encoder_token_ids"] > 0).astype("int32")
    x["decoder_padding_mask"] = (y > 0).astype("int32")
    return x, y


def packed(x, y, lengths, width, target_width):
    """The same examples, all in one row."""
    row = {
        f"{side}_{part}": np.zeros(
            (1, width if side == "encoder" else target_width), "int32"
        )
        for side in ("encoder", "decoder")
        for part in ("token_ids", "segment_ids")
    }
    targets = np.zeros((1, target_width), "int32")
    at = to = 0
    for i, (n, m) in enumerate(lengths):
        row["encoder_token_ids"][0, at : at + n] = x["encoder_token_ids"][i, :n]
        row["encoder_segment_ids"][0, at : at + n] = i + 1
        row["decoder_token_ids"][0, to : to + m] = x["decoder_token_ids"][i, :m]
        row["decoder_segment_ids"][0, to : to + m] = i + 1
        targets[0, to : to + m] = y[i, :m]
        at, to = at + n, to + m
    return row, targets


LENGTHS = [(7, 5), (12, 9), (3, 2)]


@pytest.mark.parametrize(
    "tie", [False, pytest.param(True, marks=pytest.mark.slow)]
)
def test_agrees_with_keras_hub(tie):
    model = make_t5(tie_embedding_weights=tie)
    x, _ = unpacked(np.random.default_rng(0), LENGTHS)
    reference = keras_hub.models.T5Seq2SeqLM(model.backbone)
    np.testing.assert_allclose(
        numpy(model(x)), numpy(reference(x)), rtol=1e-5, atol=1e-5
    )


def test_keeps_the_promises_of_a_model(tiny_t5):
    check_model(tiny_t5)


def test_packed_and_unpacked_losses_agree(tiny_t5):
    x, y = unpacked(np.random.default_rng(2), LENGTHS)
    row, targets = packed(x, y, LENGTHS, 24, 20)
    loss = TokenCrossentropy()
    alone = loss(y, tiny_t5(x), sample_weight=(y > 0).astype("float32"))
    together = loss(
        targets, tiny_t5(row), sample_weight=(targets > 0).astype("float32")
    )
    assert abs(float(alone) - float(together)) < 1e-4


@pytest.mark.parametrize("side", ["encoder", "decoder"])
def test_neighbours_do_not_see_a_changed_example(tiny_t5, side):
    """Encoder, decoder and cross attention keep packed examples apart."""
    x, y = unpacked(np.random.default_rng(3), LENGTHS)
    row, _ = packed(x, y, LENGTHS, 24, 20)
    changed = {key: value.copy() for key, value in row.items()}
    tokens = changed[f"{side}_token_ids"]
    segment = changed[f"{side}_segment_ids"] == 2
    tokens[segment] = (tokens[segment] + 17) % 58 + 2
    before, after = numpy(tiny_t5(row)), numpy(tiny_t5(changed))
    neighbours = np.isin(row["decoder_segment_ids"], [1, 3])
    assert np.abs(after - before)[neighbours].max() < 1e-5
    own = row["decoder_segment_ids"] == 2
    assert np.abs(after - before)[own].max() > 1e-2

    segments = row["encoder_segment_ids"]
    before = numpy(tiny_t5.encode(row["encoder_token_ids"], segments))
    after = numpy(tiny_t5.encode(changed["encoder_token_ids"], segments))
    neighbours = np.isin(segments, [1, 3])
    assert np.abs(after - before)[neighbours].max() < 1e-5


def test_decoder_is_causal(tiny_t5):
    x, _ = unpacked(np.random.default_rng(4), LENGTHS)
    changed = {key: value.copy() for key, value in x.items()}
    changed["decoder_token_ids"][1, 6] += 1
    difference = np.abs(numpy(tiny_t5(changed)) - numpy(tiny_t5(x)))[1]
    assert difference[:6].max() < 1e-5
    assert difference[6:].max() > 1e-3


def test_fit_then_load_in_plain_keras_hub(tmp_path):
    from keras_flan.data import Vocabulary, train_vocabulary
    from keras_flan.models import load, save

    words = ["red", "green", "blue", "one", "two", "three", "apples", "pears"]
    texts = [f"{a} {b}, {c}?" for a in words for b in words for c in words]
    train_vocabulary(texts, 280, tmp_path / "v.model")
    model = make_t5(vocabulary_size=512)
    model.vocabulary = Vocabulary(tmp_path / "v.model")
    x, y = unpacked(np.random.default_rng(5), LENGTHS)
    model.compile(optimizer=Adafactor(0.05), loss=TokenCrossentropy())
    weights = (y > 0).astype("float32")
    history = model.fit(x, y, sample_weight=weights, epochs=3, verbose=0)
    losses = history.history["loss"]
    assert losses[-1] < losses[0]

    save(model, tmp_path / "model")
    save(model, tmp_path / "model")  # replaces the first
    assert not list(tmp_path.glob(".model*"))
    hub = keras_hub.models.T5Seq2SeqLM.from_preset(str(tmp_path / "model"))
    np.testing.assert_allclose(
        numpy(hub(x)), numpy(model(x)), rtol=1e-5, atol=1e-5
    )
    text = "red two apples?"
    ids = numpy(hub.preprocessor.tokenizer(text)).tolist()
    assert ids == model.vocabulary.encode(text)

    again = load(tmp_path / "model")
    np.testing.assert_array_equal(numpy(again(x)), numpy(model(x)))
    assert again.vocabulary.encode(text) == ids


def test_embeddings_are_drawn_around_zero():
    """keras-hub 0.32 draws them around 1, and nothing can be learned."""
    model = make_t5(hidden_dim=128, vocabulary_size=512)
    layer = model.backbone.token_embedding
    embeddings = numpy(layer.embeddings)
    head = numpy(layer.reverse_embeddings)
    assert abs(embeddings.mean()) < 0.05
    assert abs(embeddings.std() - 1) < 0.05
    assert abs(head.mean()) < 0.01
    assert abs(head.std() - 128**-0.5) < 0.01


def test_config_round_trip(tiny_t5):
    again = T5.from_config(tiny_t5.get_config())
    assert again.backbone.get_config() == tiny_t5.backbone.get_config()


@pytest.mark.slow
def test_float16_is_refused():
    with pytest.raises(ValueError, match="overflows in float16"):
        make_t5(dtype="float16")


def test_missing_masks_are_named(tiny_t5):
    x, _ = unpacked(np.random.default_rng(6), LENGTHS)
    del x["decoder_padding_mask"]
    with pytest.raises(ValueError, match="decoder_segment_ids"):
        tiny_t5(x)


def test_load_names_what_is_wrong(tmp_path):
    from keras_flan.errors import InputError
    from keras_flan.models import load

    with pytest.raises(InputError, match="no such folder"):
        load(tmp_path / "nothing")
    with pytest.raises(InputError, match=r"no config\.json"):
        load(tmp_path)
    (tmp_path / "config.json").write_text('{"class_name": "BertBackbone"}')
    with pytest.raises(InputError, match="found a BertBackbone"):
        load(tmp_path)
