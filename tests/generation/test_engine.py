"""Decoding against the uncached forward pass and keras-hub's `generate`."""

import contextlib

import keras
import keras_hub
import numpy as np
import pytest

from keras_flan.errors import InputError
from keras_flan.generation import ask, compilations, compiling, generate
from keras_flan.generation.engine import stream
from tests.conftest import LetterVocabulary, make_t5

# All in the shortest bucket: few programs.
PROMPTS = ["what is the time?", "a", "the quick brown fox, 3 dogs"]


def forward(model, prompt, decoder_ids):
    """float32 logits `(length, vocabulary)` of the uncached model."""
    # Padded to one shape, which is compiled once.
    ids = [*model.vocabulary.encode(prompt), model.vocabulary.eos_id]
    length = len(decoder_ids)
    x = {
        "encoder_token_ids": np.zeros((1, 32), "int32"),
        "encoder_padding_mask": np.zeros((1, 32), "int32"),
        "decoder_token_ids": np.zeros((1, 32), "int32"),
        "decoder_padding_mask": np.zeros((1, 32), "int32"),
    }
    x["encoder_token_ids"][0, : len(ids)] = ids
    x["encoder_padding_mask"][0, : len(ids)] = 1
    x["decoder_token_ids"][0, :length] = decoder_ids
    x["decoder_padding_mask"][0, :length] = 1
    # Compiled, unlike a call of the model.
    return model.predict_on_batch(x)[0, :length]


@pytest.fixture(scope="module")
def model():
    # Weights with some spread, so that greedy paths are not constant.
    model = make_t5(seed=3)
    rng = np.random.default_rng(0)
    for weight in model.weights:
        noise = rng.normal(scale=0.3, size=weight.shape)
        weight.assign(weight + noise.astype("float32"))
    return model


def test_greedy_equals_the_uncached_model(model):
    outputs = generate(model, PROMPTS, max_new_tokens=12)
    for prompt, [path] in zip(PROMPTS, outputs, strict=True):
        ids = [0]
        for _ in range(12):
            ids.append(int(forward(model, prompt, ids)[-1].argmax()))
            if ids[-1] == 1:
                break
        made = path.token_ids + [1] * path.finished
        assert made == ids[1:]
        logits = forward(model, prompt, ids[:-1])
        log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        expected = sum(log_p[i, token] for i, token in enumerate(ids[1:]))
        assert abs(path.log_probability - expected) < 1e-3


def test_any_end_token_ends_a_path(model, monkeypatch):
    [[before], *_] = generate(model, PROMPTS, max_new_tokens=12)
    ids = before.token_ids
    monkeypatch.setattr(LetterVocabulary, "end_ids", (1, ids[3]), raising=False)
    [[path], *_] = generate(model, PROMPTS, max_new_tokens=12)
    assert path.token_ids == ids[: ids.index(ids[3])]
    assert path.finished


def test_greedy_equals_keras_hub(model):
    hub = keras_hub.models.T5Seq2SeqLM(model.backbone)
    hub.compile(sampler="greedy")
    [[path], *_] = generate(model, PROMPTS, max_new_tokens=11)
    ids = [*model.vocabulary.encode(PROMPTS[0]), 1]
    inputs = {
        "encoder_token_ids": np.array([ids]),
        "encoder_padding_mask": np.ones((1, len(ids)), "int32"),
        "decoder_token_ids": np.zeros((1, 12), "int32"),
        "decoder_padding_mask": np.eye(1, 12, dtype="int32"),
    }
    made = hub.generate(inputs, stop_token_ids=(1,))["decoder_token_ids"]
    made = np.asarray(keras.ops.convert_to_numpy(made))[0, 1:].tolist()
    length = len(path.token_ids)
    assert made[:length] == path.token_ids


@pytest.mark.parametrize("top_k", [pytest.param(0, marks=pytest.mark.slow), 40])
def test_a_path_depends_on_prompt_number_and_seed_only(model, top_k):
    settings = dict(temperature=0.8, top_k=top_k, seed=5)
    many = generate(model, PROMPTS, samples=4, max_new_tokens=10, **settings)
    # Other k, batch, slots, lanes and length.
    alone = generate(
        model, PROMPTS[2:], samples=2, max_new_tokens=16, **settings
    )
    assert [p.token_ids[:10] for p in alone[0]] == [
        p.token_ids for p in many[2][:2]
    ]
    assert len({tuple(p.token_ids) for p in many[2]}) > 1
    again = generate(
        model, PROMPTS[::-1], samples=4, max_new_tokens=10, **settings
    )
    assert [p.token_ids for p in again[0]] == [p.token_ids for p in many[2]]
    other = generate(
        model, PROMPTS, samples=4, max_new_tokens=10, **{**settings, "seed": 6}
    )
    assert other != many


def test_one_compilation_a_bucket_whatever_is_asked(model, monkeypatch):
    shown = []  # What the displays leave out.

    @contextlib.contextmanager
    def left_out(note):
        shown.append(note)
        yield

    monkeypatch.setattr(compiling, "left_out", left_out)
    fresh = make_t5(seed=4)
    before = generate(fresh, ["hello"], max_new_tokens=8)
    once = [0 if keras.backend.backend() == "torch" else 1]
    assert list(compilations(fresh).values()) == once
    assert shown == ["compiling"] * once[0]
    for settings in (
        dict(max_new_tokens=5),
        dict(temperature=0.7, seed=3),
        dict(temperature=1.3, top_k=7, seed=4, max_new_tokens=32),
        dict(temperature=1.0, top_k=60),
        dict(temperature=1.0, top_k=65, top_p=0.5),
        dict(temperature=1.0, top_p=0.9, stop=["a", "bc"]),
    ):
        generate(fresh, ["another"], **{"max_new_tokens": 8, **settings})
    fresh.set_weights(model.get_weights())
    after = generate(fresh, ["hello"], max_new_tokens=8)
    assert after != before
    [[path], *_] = generate(model, ["hello", *PROMPTS[1:]], max_new_tokens=8)
    assert after[0][0].token_ids == path.token_ids
    assert list(compilations(fresh).values()) == once
    assert shown == ["compiling"] * once[0]


def test_paths_that_are_done_make_room_for_others(model):
    """A small grid gives the paths of a large one, and is kept busy."""
    settings = dict(
        samples=4, temperature=1.2, max_new_tokens=32, stop=["a", "e"], seed=2
    )
    whole = generate(model, PROMPTS, **settings)
    lengths = [len(p.token_ids) for paths in whole for p in paths]
    assert min(lengths) < 16 < max(lengths)
    events = list(stream(model, PROMPTS, batch_paths=2, **settings))
    order = [event[:2] for event in events]
    assert sorted(order) == [(row, n) for row in range(3) for n in range(4)]
    assert order != sorted(order)  # as they finish
    for row, number, path in events:
        expected = whole[row][number]
        assert path.token_ids == expected.token_ids
        assert path.text == expected.text
        assert path.log_probability == pytest.approx(
            expected.log_probability, abs=1e-3
        )


def test_log_probabilities_of_tokens_are_those_of_the_model(model):
    settings = dict(temperature=0.7, top_k=5, top_p=0.9, max_new_tokens=12)
    paths, *_ = generate(model, PROMPTS, samples=4, **settings)
    for path in paths:
        made = path.token_ids + [1] * path.finished
        logits = forward(model, PROMPTS[0], [0, *made[:-1]])
        log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        np.testing.assert_allclose(
            path.token_log_probabilities,
            log_p[np.arange(len(made)), made],
            atol=1e-4,
        )
        assert path.log_probability == sum(path.token_log_probabilities)


def test_stop_strings_cut_the_text(model):
    settings = dict(samples=4, temperature=1.0, max_new_tokens=30, seed=1)
    free, *_ = generate(model, PROMPTS, **settings)
    stops = [path.text[5:7] for path in free if len(path.text) > 8][:2]
    assert stops
    cut, *_ = generate(model, PROMPTS, stop=stops, **settings)
    for path, whole in zip(cut, free, strict=True):
        ends = [whole.text.find(s) for s in stops if s in whole.text]
        assert path.text == whole.text[: min(ends, default=None)]
        if ends:
            assert path.finished
            # Up to the token that completes the string; one a letter.
            assert len(path.token_ids) == min(ends) + 2
        tokens = path.token_ids
        assert tokens == whole.token_ids[: len(tokens)]
        assert path.log_probability == sum(path.token_log_probabilities)


def test_enough_paths_drop_the_rest(model):
    seen = [0, 0, 0]

    def enough(row):
        seen[row] += 1
        return row == 0 and seen[0] == 2

    settings = dict(samples=4, temperature=1.0, max_new_tokens=6)
    paths = generate(model, PROMPTS, enough=enough, **settings)
    assert list(map(len, paths)) == seen == [2, 4, 4]


def test_greedy_samples_are_one_path(model):
    paths, *_ = generate(model, PROMPTS, samples=3, max_new_tokens=4)
    assert len(paths) == 3
    assert paths[0] == paths[1] == paths[2]


def test_a_prompt_may_stand_alone_and_others_are_named(model):
    assert generate(model, PROMPTS[0], max_new_tokens=4) == (
        generate(model, PROMPTS[:1], max_new_tokens=4)
    )
    assert len(ask(model, PROMPTS[0], max_new_tokens=4)) == 1
    for wrong in (None, float("nan"), b"a", {"a": "b"}):
        with pytest.raises(InputError, match=r"prompts: .* or a list of"):
            generate(model, wrong)
    for wrong, message in (
        (None, "found None, expected a text"),
        (float("nan"), "found nan, expected a text"),
        ("x\ud800", "holds a lone surrogate at character 1"),
    ):
        with pytest.raises(InputError, match=rf"prompts\[1\]: {message}"):
            generate(model, ["a", wrong])
        with pytest.raises(InputError, match=rf"questions\[1\]: {message}"):
            ask(model, ["a", wrong])


def test_no_prompts(model):
    assert generate(model, []) == []


def test_bad_settings_are_named(model):
    with pytest.raises(InputError, match="samples=0"):
        generate(model, ["a"], samples=0)
    with pytest.raises(InputError, match="top_k=-1"):
        generate(model, ["a"], top_k=-1)
    with pytest.raises(InputError, match="top_p=0"):
        generate(model, ["a"], top_p=0)
    with pytest.raises(InputError, match="stop strings"):
        generate(model, ["a"], stop="Q:")
    bare = make_t5()
    bare.vocabulary = None
    with pytest.raises(InputError, match="vocabulary"):
        generate(bare, ["a"])


def test_ask_votes(model):

    [answered] = ask(model, ["what?"], cot=True, samples=2, max_new_tokens=8)
    assert "step by step" in answered.prompt
    assert len(answered.paths) == 2
    shown = answered.to_dict()
    assert sum(shown["votes"].values()) + shown["abstained"] == 2
    assert isinstance(model.vocabulary, LetterVocabulary)
