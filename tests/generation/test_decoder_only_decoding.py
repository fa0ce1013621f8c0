"""Cached decoding of decoder-only models, k paths on one prompt."""

import keras
import numpy as np
import pytest

from keras_flan.generation import generate
from keras_flan.generation.likelihood import score_tokens
from keras_flan.generation.rounds import Bucket, DecodingProgram
from keras_flan.models import DecoderOnly
from tests.conftest import LetterVocabulary, make_t5, slow
from tests.models.decoders import FAMILIES, forward, make_hub, numpy

PROMPTS = ["what is the time?", "a", "the quick brown fox"]
NEW = 10


@pytest.mark.parametrize(
    "family",
    ["mistral", *slow(*(name for name in FAMILIES if name != "mistral"))],
)
def test_greedy_tokens_are_those_of_keras_hub(family):
    hub = make_hub(family, seed=1)
    vocabulary = LetterVocabulary()
    paths = generate(
        DecoderOnly(hub, vocabulary), PROMPTS, max_new_tokens=NEW, batch_paths=3
    )
    ids = [[*vocabulary.encode(prompt), 1] for prompt in PROMPTS]
    tokens = np.zeros((3, max(map(len, ids)) + NEW), "int32")
    mask = np.zeros_like(tokens)
    for row, prompt in enumerate(ids):
        tokens[row, : len(prompt)], mask[row, : len(prompt)] = prompt, 1
    inputs = {"token_ids": tokens, "padding_mask": mask > 0}
    if family == "gemma3":  # It wants to see that there are no images.
        inputs["images"] = np.zeros((3, 0, 1, 1, 3), "float32")
    hub.compile(sampler="greedy")
    made = hub.generate(inputs, stop_token_ids=None)["token_ids"]
    for row, [path] in enumerate(paths):
        found = path.token_ids + [1] * path.finished
        begin = len(ids[row])
        assert found == made[row, begin : begin + len(found)].tolist()


def encoded(prompt):
    return LetterVocabulary().encode(prompt)


def uncached(model, prompt, length):
    """Greedy tokens and their log-probability by whole forward passes.

    All in one row length, so that nothing is compiled twice.
    """
    ids = [*model.vocabulary.encode(prompt), 1]
    prefix, total = len(ids), 0.0
    while len(ids) < prefix + length:
        row = np.zeros((1, 64), "int32")
        row[0, : len(ids)] = ids
        place = np.arange(64)[None]
        logits = forward(
            model,
            {
                "token_ids": row,
                "segment_ids": (place < len(ids)).astype("int32"),
                "prefix_mask": (place < prefix).astype("int32"),
            },
        )[0, len(ids) - 1]
        ids.append(int(logits.argmax()))
        total += logits.max() - np.log(np.exp(logits).sum())
        if ids[-1] == 1:
            break
    return ids[prefix:], total


@pytest.mark.parametrize("bidirectional", [True, *slow(False)])
def test_palm_equals_its_uncached_self(bidirectional):
    model = DecoderOnly(
        make_hub("palm", seed=2),
        LetterVocabulary(),
        bidirectional_prefix=bidirectional,
    )
    outputs = generate(model, PROMPTS, max_new_tokens=NEW, batch_paths=3)
    for prompt, [path] in zip(PROMPTS, outputs, strict=True):
        ids, log_probability = uncached(model, prompt, NEW)
        assert path.token_ids + [1] * path.finished == ids
        assert abs(path.log_probability - log_probability) < 1e-3


def test_in_bfloat16_it_says_what_it_computes():
    """Cached, and by other sums, it is as sure as a forward pass in float32."""
    whole = DecoderOnly(make_hub("mistral", seed=3), LetterVocabulary())
    narrow = DecoderOnly(
        make_hub("mistral", seed=3, dtype="bfloat16"), LetterVocabulary()
    )
    for one, other in zip(whole.weights, narrow.weights, strict=True):
        one.assign(numpy(other).astype("float32"))
    outputs = generate(
        narrow, PROMPTS, max_new_tokens=NEW, batch_paths=3, temperature=1.0
    )
    for prompt, [path] in zip(PROMPTS, outputs, strict=True):
        ids = [*path.token_ids, *([path.end_id] if path.finished else [])]
        [scores] = score_tokens(
            whole, [whole.decoding.frame(encoded(prompt), 64)], [ids], 1
        )
        np.testing.assert_allclose(
            path.token_log_probabilities, scores.log_probabilities, atol=0.05
        )


@pytest.mark.parametrize("family", [*slow("palm"), "mistral"])
def test_paths_share_the_prompt_and_nothing_else(family):
    model = DecoderOnly(make_hub(family, seed=3), LetterVocabulary())
    settings = {"temperature": 1.0, "seed": 4, "max_new_tokens": NEW}
    many = generate(model, PROMPTS, samples=4, batch_paths=12, **settings)
    [alone] = generate(model, PROMPTS[2:], samples=2, **settings)
    assert [p.token_ids for p in alone] == [p.token_ids for p in many[2][:2]]
    assert len({tuple(p.token_ids) for p in many[2]}) > 1

    # The prompt is held once for all lanes.
    state = DecodingProgram(model, Bucket(2, 3, 4, 8)).empty_state()
    for array in keras.tree.flatten(state["memory"]):
        assert tuple(array.shape[-4:-2]) == (2, array.shape[-3])
        assert array.shape[-3] <= 2
    for array in keras.tree.flatten(state["past"]):
        assert tuple(array.shape[-5:-3]) == (2, 3)


@pytest.mark.parametrize("family", ["mistral", *slow("gemma3", "palm")])
def test_what_prompts_begin_with_is_read_once(family, monkeypatch):
    """And they are read as if each was alone, to the last bit."""
    model = DecoderOnly(make_hub(family, seed=3), LetterVocabulary())
    exemplars = "a beginning of more than a block of sixty four tokens " * 2
    ends = ("is it so?", "is it not so?", "what is it?", "a", "why is it so?")
    prompts = ["one that begins in another way " * 3]
    prompts += [exemplars + end for end in ends]
    read, run = [], DecodingProgram.__call__

    def counted(program, state, grid):
        for number in range(grid.load):
            length = grid.lengths[grid.targets[number]]
            read.append(int(length - grid.known[number]))
        return run(program, state, grid)

    monkeypatch.setattr(DecodingProgram, "__call__", counted)
    settings = {"temperature": 1.0, "samples": 2, "max_new_tokens": NEW}
    # Fewer slots than prompts: some begin as what is no longer asked.
    together = generate(model, prompts, batch_paths=4, **settings)
    assert read[:2] == [len(prompts[0]) + 1, len(prompts[1]) + 1]
    assert len(read) >= len(prompts)
    assert max(read[2:]) <= max(map(len, ends)) + 1
    for prompt, paths in zip(prompts, together, strict=True):
        read.clear()
        [alone] = generate(model, [prompt], batch_paths=4, **settings)
        assert read[0] == len(prompt) + 1
        assert [(p.token_ids, p.log_probability) for p in alone] == [
            (p.token_ids, p.log_probability) for p in paths
        ]


def test_a_pretrained_model_goes_on_with_a_text():
    """Going on with one's own words is going on where one stopped."""

    class Characters(LetterVocabulary):
        def encode(self, text):
            return [ord(character) - 256 for character in text]

        def decode(self, ids):
            return "".join(chr(256 + i) for i in ids)

    vocabulary = Characters()
    model = DecoderOnly(make_hub("qwen", seed=5), vocabulary, separate=False)
    prompt = vocabulary.decode([20, 30, 40])
    [[whole]] = generate(model, [prompt], max_new_tokens=8)
    assert len(whole.token_ids) > 4
    begun = prompt + whole.text[:3]
    [[rest]] = generate(model, [begun], max_new_tokens=8)
    assert whole.token_ids[3:] == rest.token_ids[: len(whole.token_ids) - 3]
    # An empty prompt is the end of another text.
    assert model.decoding.frame([], 9) == [vocabulary.eos_id]
    t5 = make_t5(num_layers=1).decoding
    assert [t5.frame([20, 30], n) for n in (1, 2, 3, 9)] == [
        [1],
        [30, 1],
        [20, 30, 1],
        [20, 30, 1],
    ]
    model.separate = True
    assert model.decoding.frame([20, 30, 40], 3) == [30, 40, vocabulary.eos_id]
    vocabulary.bos_id = 2
    assert model.decoding.frame([20, 30, 40], 3) == [2, 40, vocabulary.eos_id]


@pytest.mark.slow
def test_ids_of_padding_may_be_tokens():
    """Lengths, not zeros, tell padding: some tokenizers end texts with 0."""

    class EndsWithZero(LetterVocabulary):
        eos_id = 0

    model = DecoderOnly(make_hub("llama", seed=6), EndsWithZero())
    short = generate(model, ["a"], max_new_tokens=6)
    both = generate(
        model, ["a", "a longer one"], max_new_tokens=6, batch_paths=2
    )
    assert short[0][0].token_ids == both[0][0].token_ids
