"""Decoding against the uncached forward pass and keras-hub's `generate`."""

import keras
import keras_hub
import numpy as np
import pytest

from keras_flan.errors import InputError
from keras_flan.generation import generate
from keras_flan.generation.engine import stream
from tests.conftest import LetterVocabulary, make_t5

PROMPTS = ["what is the time?", "a", "the quick brown fox jumps over 3 dogs"]


def forward(model, prompt, decoder_ids):
    """float32 logits `(length, vocabulary)` of the uncached model."""
    # Padded to one shape: eager JAX compiles every operation once a shape.
    ids = [*model.vocabulary.encode(prompt), model.vocabulary.eos_id]
    length = len(decoder_ids)
    x = {
        "encoder_token_ids": np.zeros((1, 48), "int32"),
        "encoder_padding_mask": np.zeros((1, 48), "int32"),
        "decoder_token_ids": np.zeros((1, 16), "int32"),
        "decoder_padding_mask": np.zeros((1, 16), "int32"),
    }
    x["encoder_token_ids"][0, : len(ids)] = ids
    x["encoder_padding_mask"][0, : len(ids)] = 1
    x["decoder_token_ids"][0, :length] = decoder_ids
    x["decoder_padding_mask"][0, :length] = 1
    logits = np.asarray(keras.ops.convert_to_numpy(model(x)))
    return logits[0, :length]


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


def test_greedy_equals_keras_hub(model):
    hub = keras_hub.models.T5Seq2SeqLM(model.backbone)
    hub.compile(sampler="greedy")
    [path] = generate(model, [PROMPTS[0]], max_new_tokens=11)[0]
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


@pytest.mark.parametrize("top_k", [0, 40])
def test_a_path_depends_on_prompt_number_and_seed_only(model, top_k):
    settings = dict(temperature=0.8, top_k=top_k, seed=5)
    many = generate(model, PROMPTS, samples=4, max_new_tokens=10, **settings)
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
        model,
        PROMPTS,
        samples=4,
        max_new_tokens=10,
        **{**settings, "seed": 6},
    )
    assert other != many


def test_new_weights_need_no_new_program(model):
    fresh = make_t5(seed=4)
    before = generate(fresh, ["hello"], max_new_tokens=8)
    programs = dict(fresh._decoding_programs)
    fresh.set_weights(model.get_weights())
    after = generate(fresh, ["hello"], max_new_tokens=8)
    assert after == generate(model, ["hello"], max_new_tokens=8)
    assert after != before
    assert fresh._decoding_programs == programs


def test_greedy_samples_are_one_path(model):
    [paths] = generate(model, ["hello"], samples=3, max_new_tokens=4)
    assert len(paths) == 3
    assert paths[0] == paths[1] == paths[2]


def test_no_prompts(model):
    assert generate(model, []) == []


def test_bad_settings_are_named(model):
    with pytest.raises(InputError, match="samples=0"):
        generate(model, ["a"], samples=0)
    with pytest.raises(InputError, match="top_k"):
        generate(model, ["a"], top_k=100)
    bare = make_t5()
    bare.vocabulary = None
    with pytest.raises(InputError, match="vocabulary"):
        generate(bare, ["a"])


def test_ask_votes(model):
    from keras_flan.generation import ask

    [answered] = ask(model, ["what?"], cot=True, samples=4, max_new_tokens=8)
    assert "step by step" in answered.prompt
    assert len(answered.paths) == 4
    shown = answered.to_dict()
    assert sum(shown["votes"].values()) + shown["abstained"] == 4
    assert isinstance(model.vocabulary, LetterVocabulary)


def test_stream_yields_what_generate_collects(model):
    settings = {"samples": 3, "temperature": 1.0, "max_new_tokens": 6}
    events = list(stream(model, PROMPTS, batch_paths=3, **settings))
    assert sorted(event[:2] for event in events) == [
        (row, number) for row in range(len(PROMPTS)) for number in range(3)
    ]
    collected = generate(model, PROMPTS, **settings)
    for row, number, path in events:
        assert path.token_ids == collected[row][number].token_ids
