"""The packed decoder-only models against keras-hub's, and unpacked."""

import keras
import keras_hub
import numpy as np
import pytest

from keras_flan.errors import InputError
from keras_flan.models import DecoderOnly
from keras_flan.models.decoder_only.families import family_of
from keras_flan.models.decoder_only.rotary import rotate
from keras_flan.training import TokenCrossentropy
from tests.models.decoders import (
    LENGTHS,
    PARAMETERS,
    WIDTH,
    forward,
    make_hub,
    numpy,
    packed,
    unpacked,
)


@pytest.fixture(scope="module", params=PARAMETERS)
def hub(request):
    return make_hub(request.param)


def rows_of(x, row):
    """Unpacked rows, the packed row, and that with another example 2."""
    other = row["token_ids"].copy()
    second = row["segment_ids"] == 2
    other[second] = (other[second] + 17) % 58 + 2
    return {
        "token_ids": np.concatenate([x["token_ids"], row["token_ids"], other]),
        "segment_ids": np.concatenate(
            [x["padding_mask"], row["segment_ids"], row["segment_ids"]]
        ),
    }


def test_agrees_with_keras_hub_and_keeps_examples_apart(hub):
    x = unpacked(np.random.default_rng(0))
    row = packed(x)
    logits = forward(DecoderOnly(hub), rows_of(x, row))
    assert logits.dtype == np.float32
    alone, together, changed = logits[:3], logits[3], logits[4]
    real = x["padding_mask"] > 0
    np.testing.assert_allclose(
        alone[real], forward(hub, x)[real], rtol=1e-5, atol=1e-5
    )
    # The same logits in a packed row.
    segments = row["segment_ids"][0]
    np.testing.assert_allclose(
        together[segments > 0], alone[real], rtol=1e-5, atol=1e-5
    )
    # Neighbours don't see a changed example; the example itself does.
    difference = np.abs(changed - together)
    assert difference[np.isin(segments, [1, 3])].max() < 1e-5
    assert difference[segments == 2].max() > 1e-2

    # So the losses agree too, with weights on the targets only.
    y = np.roll(x["token_ids"], -1, axis=1)
    weight = np.zeros((3, WIDTH), "float32")
    for i, length in enumerate(LENGTHS):
        weight[i, length // 2 : length - 1] = 1
    loss = TokenCrossentropy()
    unpacked_loss = float(loss(y, alone, sample_weight=weight))
    packed_loss = float(
        loss(y[real][None], together[segments > 0][None], weight[real][None])
    )
    assert abs(unpacked_loss - packed_loss) < 1e-4


@pytest.mark.parametrize(
    "family",
    [
        "llama",
        pytest.param("llama3", marks=pytest.mark.slow),
        pytest.param("gemma2", marks=pytest.mark.slow),
        pytest.param("palm", marks=pytest.mark.slow),
    ],
)
def test_positions_may_run_on_or_restart(family):
    model = DecoderOnly(make_hub(family))
    row = packed(unpacked(np.random.default_rng(1)))
    spare = WIDTH - sum(LENGTHS)
    restart = np.concatenate([np.arange(n) for n in [*LENGTHS, spare]])
    again = forward(model, {**row, "positions": restart[None]})
    real = row["segment_ids"] > 0
    np.testing.assert_allclose(
        again[real], forward(model, row)[real], rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_heads_are_turned_as_by_keras_hub(dtype):
    """To the bit, for any frequencies."""
    layer = keras_hub.layers.RotaryEmbedding(
        rope_type="yarn", scaling_factor=4.0, dtype=dtype
    )
    x = keras.random.normal((2, 5, 3, 8), dtype=dtype, seed=1)
    places = np.array([[0, 1, 2, 0, 1], [0, 1, 2, 3, 4]])
    turned = rotate(layer, x, places)
    assert keras.backend.standardize_dtype(turned.dtype) == dtype
    np.testing.assert_array_equal(
        numpy(turned), numpy(layer(x, positions=places))
    )


def test_bidirectional_prefix():
    """Inputs see each other both ways; targets don't, nor do neighbours."""
    model = DecoderOnly(make_hub("llama"), bidirectional_prefix=True)
    row = packed(unpacked(np.random.default_rng(2)))
    prefix = np.zeros((1, WIDTH), "int32")
    prefix[0, 7:13] = 1  # of the second example, which goes on to 19
    changed = []
    for place in (12, 15):
        tokens = row["token_ids"].copy()
        tokens[0, place] += 1
        changed.append(tokens)
    tokens = np.concatenate([row["token_ids"], *changed])
    logits = forward(
        model,
        {
            "token_ids": tokens,
            "segment_ids": np.repeat(row["segment_ids"], 3, axis=0),
            "prefix_mask": np.repeat(prefix, 3, axis=0),
        },
    )
    in_prefix, in_target = np.abs(logits[1:] - logits[0]).max(-1)
    assert in_prefix[7:19].min() > 1e-4
    assert in_target[7:15].max() < 1e-5 < in_target[15:19].min()
    others = [*range(7), *range(19, sum(LENGTHS))]
    assert max(in_prefix[others].max(), in_target[others].max()) < 1e-5
    with pytest.raises(ValueError, match="prefix_mask"):
        model(row)


@pytest.mark.parametrize("family", ["gemma2", "gemma3"])
def test_scores_of_gemma_27b_have_a_scale_of_their_own(family):
    """keras-hub takes the width of a head, whatever the config says."""
    wide = make_hub(family, num_layers=1, query_head_dim_normalize=False)
    row = packed(unpacked(np.random.default_rng(0)))
    found = forward(DecoderOnly(wide), row)
    other = make_hub(family, num_layers=1)
    attention = other.backbone.transformer_layers[0].attention
    # 32 / 4 of the model's width instead of the 16 of a head.
    if family == "gemma3":
        norm = attention.query_norm.scale
        norm.assign((1 + numpy(norm)) * 2**0.5 - 1)
    else:
        kernel = attention.query_dense.kernel
        kernel.assign(numpy(kernel) * 2**0.5)
    np.testing.assert_allclose(
        found, forward(DecoderOnly(other), row), rtol=1e-4, atol=1e-5
    )


@pytest.mark.slow
def test_windows_of_qwen(monkeypatch):
    """keras-hub heeds them only where it does without fused attention."""
    x = unpacked(np.random.default_rng(3))
    real = x["padding_mask"] > 0
    window = {"use_sliding_window_attention": True, "sliding_window_size": 4}
    for family, sizes in (
        ("qwen", window),
        ("qwen3", {"sliding_window_size": 4}),
    ):
        monkeypatch.setattr(
            f"keras_hub.src.models.{family}.{family}_attention."
            "fused_attention_op_available",
            lambda: False,
        )
        hub = make_hub(family, **sizes)
        np.testing.assert_allclose(
            forward(DecoderOnly(hub), x)[real],
            forward(hub, x)[real],
            rtol=1e-5,
            atol=1e-5,
        )


@pytest.mark.slow
@pytest.mark.parametrize("family", ["llama", "palm"])
def test_fit_trains_the_weights_of_keras_hub(family):
    hub = make_hub(family, dropout=0.1)
    model = DecoderOnly(hub)
    x = unpacked(np.random.default_rng(4))
    before = forward(hub, x)
    row = packed(x)
    model.compile(optimizer="adam", loss=TokenCrossentropy())
    weight = (row["segment_ids"] > 0).astype("float32")
    y = np.roll(row["token_ids"], -1, axis=1)
    history = model.fit(row, y, sample_weight=weight, epochs=12, verbose=0)
    assert history.history["loss"][-1] < history.history["loss"][0]
    assert np.abs(forward(hub, x) - before).max() > 1e-3


def test_the_pipeline_packs_for_it(tmp_path):
    """All examples, packed or one a row: the same loss."""
    from keras_flan.data import (
        Example,
        Mixture,
        build_dataset,
        train_vocabulary,
        write_records,
    )

    examples = [
        Example(
            {"question": f"is {i} odd?", "answer": str(i % 2)}, "odd", str(i)
        )
        for i in range(30)
    ]
    write_records(examples, tmp_path / "odd", name="odd", templates="generic")
    (tmp_path / "odd.yaml").write_text(
        "name: odd\nrecords: .\ngroups: {all: {tasks: [odd], "
        "formats: {zero_shot_direct: 1}}}\n"
    )
    texts = [text for e in examples for text in e.fields.values()] * 9
    vocabulary = train_vocabulary(texts, 276, tmp_path / "v.model")
    model = DecoderOnly(make_hub("llama", vocabulary_size=276), vocabulary)
    model.compile(loss=TokenCrossentropy())
    losses, rows = [], []
    for pack in (True, False):
        batches = build_dataset(
            Mixture.from_yaml(tmp_path / "odd.yaml"),
            vocabulary,
            input_length=128,
            target_length=16,
            batch_size=30,
            decoder_only=True,
            pack=pack,
            repeat=False,
        )
        losses.append(model.evaluate(batches, verbose=0))
        [(x, _, _)] = batches
        rows.append(int((x["segment_ids"].numpy().max(axis=1) > 0).sum()))
    assert rows[0] < rows[1] == 30
    assert abs(losses[0] - losses[1]) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("family", ["palm", "qwen"])
def test_rematerialisation_changes_no_gradient(family):
    row = packed(unpacked(np.random.default_rng(5)))
    y = np.roll(row["token_ids"], -1, axis=1)
    weight = (row["segment_ids"] > 0).astype("float32")
    losses = []
    for remat in (False, True, "products"):
        model = DecoderOnly(make_hub(family), remat=remat)
        model.compile(keras.optimizers.SGD(0.5), TokenCrossentropy())
        history = model.fit(row, y, sample_weight=weight, epochs=3, verbose=0)
        losses.append(history.history["loss"])
    for other in losses[1:]:
        np.testing.assert_allclose(other, losses[0], rtol=1e-4)


def test_an_unknown_way_to_rematerialise_is_refused():
    with pytest.raises(ValueError, match="Received: remat='dots'"):
        DecoderOnly(make_hub("llama"), remat="dots")


def test_remat_with_the_dropout_of_keras_hub_is_refused():
    model = DecoderOnly(make_hub("llama", dropout=0.1), remat=True)
    with pytest.raises(InputError, match="set dropout to 0, or remat to false"):
        # As a run or its plan does, before anything is computed.
        model.family.check_remat(model.remat)
    DecoderOnly(make_hub("palm", dropout=0.1)).family.check_remat(True)
    with pytest.raises(InputError, match="found dropout"):
        model(packed(unpacked(np.random.default_rng(6))), training=True)


def test_a_family_that_cannot_be_packed_is_named():
    backbone = keras_hub.models.GPT2Backbone(
        vocabulary_size=64,
        num_layers=1,
        num_heads=2,
        hidden_dim=8,
        intermediate_dim=8,
        max_sequence_length=8,
    )
    with pytest.raises(ValueError, match="GPT2Backbone can't be packed"):
        DecoderOnly(backbone)


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ({"use_bidirectional_attention": True}, "embedding model"),
        ({"vision_encoder": object()}, "reads images"),
    ],
)
def test_gemma_3_that_is_no_language_model_is_refused(setting, reason):
    class Gemma3Backbone:
        pass

    backbone = Gemma3Backbone()
    vars(backbone).update(setting)
    with pytest.raises(ValueError, match=reason):
        family_of(backbone)


def test_missing_segments_are_named():
    model = DecoderOnly(make_hub("qwen"))
    with pytest.raises(ValueError, match="segment_ids"):
        model({"token_ids": np.ones((1, 4), "int32")})


def test_config_round_trip():
    model = DecoderOnly(make_hub("palm"), bidirectional_prefix=True)
    again = DecoderOnly.from_config(model.get_config())
    assert again.backbone.get_config() == model.backbone.get_config()
    assert again.bidirectional_prefix


@pytest.mark.parametrize("family", ["palm", "gemma"])
def test_presets_round_trip(family, tmp_path):
    from keras_flan.data import HubVocabulary, Vocabulary, train_vocabulary
    from keras_flan.models import load, save
    from keras_flan.runtime.tensorflow import tf

    hub = make_hub(family, vocabulary_size=300)
    if family == "palm":
        vocabulary = train_vocabulary(["abc def"] * 9, 267, tmp_path / "v")
    else:
        vocabulary = HubVocabulary(gemma_tokenizer(tmp_path))
    model = DecoderOnly(hub, vocabulary, separate=False, attention="splash")
    save(model, tmp_path / "model")
    again = load(tmp_path / "model")
    assert isinstance(again, DecoderOnly)
    assert again.attention == "auto"  # It is of these devices.
    assert not again.separate
    assert isinstance(again.vocabulary, type(vocabulary))
    ids = vocabulary.encode("abc fed")
    assert again.vocabulary.encode("abc fed") == ids
    assert again.vocabulary.decode([*ids, vocabulary.eos_id, 5]) == "abc fed"
    x = unpacked(np.random.default_rng(7))
    for one, other in zip(again.weights, model.weights, strict=True):
        np.testing.assert_array_equal(numpy(one), numpy(other))
    # And in plain keras-hub.
    plain = type(hub).from_preset(str(tmp_path / "model"))
    np.testing.assert_array_equal(
        forward(plain.backbone, x), forward(hub.backbone, x)
    )
    if family == "palm":
        assert isinstance(again.vocabulary, Vocabulary)
    else:
        assert again.vocabulary.bos_id == vocabulary.bos_id == 2
        texts = ["abc fed", ""]
        batches = tf().data.Dataset.from_tensors(texts)
        in_graph = next(iter(batches.map(vocabulary.encoder_tf())))
        assert in_graph.to_list() == vocabulary.encode_batch(texts)


def gemma_tokenizer(folder):
    """A keras-hub Gemma tokenizer with few pieces."""
    import sentencepiece

    texts = folder / "texts.txt"
    texts.write_text("abc def\nfed cba\n" * 9)
    sentencepiece.SentencePieceTrainer.train(
        input=str(texts),
        model_prefix=str(folder / "gemma"),
        vocab_size=16,
        pad_id=0,
        eos_id=1,
        bos_id=2,
        unk_id=3,
        pad_piece="<pad>",
        eos_piece="<eos>",
        bos_piece="<bos>",
        user_defined_symbols=["<start_of_turn>", "<end_of_turn>"],
        hard_vocab_limit=False,
        minloglevel=2,
    )
    return keras_hub.models.GemmaTokenizer(
        (folder / "gemma.model").read_bytes()
    )
