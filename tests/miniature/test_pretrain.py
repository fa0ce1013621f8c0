"""The pretraining of the nano: corpus, objectives, checkpoints, preset."""

import dataclasses
import itertools

import numpy as np
import pytest

from keras_flan.data.analysis.overlap import Words
from keras_flan.data.vocabularies.training import train_vocabulary
from keras_flan.errors import InputError
from keras_flan.miniature.pretraining.corpus import documents
from keras_flan.miniature.pretraining.pretrain import (
    PretrainConfig,
    adapted_pairs_of,
    hide_spans,
    pairs_of,
    pretrain,
    rows_of,
)
from keras_flan.miniature.universe import TASKS, Draws, generate

TINY = PretrainConfig(
    vocabulary_size=480,
    rows=512,
    num_layers=1,
    num_heads=2,
    hidden_dim=16,
    intermediate_dim=32,
    input_length=64,
    target_length=48,
    batch_size=2,
    steps=4,
    practice=2,
    chunk=2,
    seed=3,
)


def texts(seed, number):
    return [text for text, _ in itertools.islice(documents(seed), number)]


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    path = tmp_path_factory.mktemp("vocabulary") / "vocabulary.model"
    return train_vocabulary(texts("v", 300), TINY.vocabulary_size, path)


def test_documents_are_deterministic_and_whole():
    assert texts("a", 50) == texts("a", 50) != texts("b", 50)
    for text, split in itertools.islice(documents("c"), 500):
        assert text == text.strip()
        assert "{" not in text and "None" not in text
        assert split is None or 0 < split < len(text)


def test_documents_hold_nothing_of_the_held_out_tasks():
    held_out = [
        field
        for spec in TASKS.values()
        if spec.held_out
        for example in generate(spec, "test", 100)
        for field in example.fields.values()
    ]
    asked = np.unique(Words.of(held_out).ngrams(13)[0])
    corpus = texts("nano", 5000)
    assert len(asked) > 5000
    assert not np.isin(Words.of(corpus).ngrams(13)[0], asked).any()
    # Nor are short ones asked, which have no 13 words.
    questions = {
        example.fields["question"]
        for spec in TASKS.values()
        if spec.held_out
        for example in generate(spec, "test", 100)
    }
    for text in corpus:
        first = text.split("\n")[0].partition(": ")
        assert not {text.split("\n")[0], first[2]} & questions


def test_hidden_spans_and_the_rest_are_the_document():
    ids = list(range(100, 140))
    for seed in range(20):
        inputs, targets = hide_spans(ids, Draws(str(seed)), 0.3, 512)
        spans, sentinel = {}, None
        for token in targets:
            if token > 400:
                sentinel = token
                spans[token] = []
            else:
                spans[sentinel].append(token)
        assert list(spans) == [511, 510, 509, 508, 507]
        assert spans.pop(507) == []
        restored = [t for i in inputs for t in spans.pop(i, [i])]
        assert restored == ids
        assert not spans
        assert len(targets) == 12 + 5


def test_a_second_part_is_asked_for_by_the_first(vocabulary):
    found = itertools.islice(pairs_of(TINY, vocabulary, "s"), 200)
    decoded = [tuple(map(vocabulary.decode, pair)) for pair in found]
    assert any(
        inputs.startswith("Q: ") and inputs.endswith("A:") and targets
        for inputs, targets in decoded
    )


def test_rows_are_full_and_of_the_step(vocabulary):
    config = dataclasses.replace(TINY, chunk=20, steps=100)
    x, y, weight = rows_of(config, vocabulary, 40)
    assert y.shape == weight.shape == (40, 48)
    assert x["encoder_token_ids"].shape == (40, 64)
    assert weight.mean() > 0.5
    again, _, _ = rows_of(config, vocabulary, 40)
    other, _, _ = rows_of(config, vocabulary, 60)
    key = "encoder_token_ids"
    assert (again[key] == x[key]).all()
    assert (other[key] != x[key]).any()


def test_at_the_end_plain_texts_are_gone_on_with(vocabulary):
    plain = {
        text
        for text, split in itertools.islice(documents("s"), 400)
        if split is None
    }
    for inputs, targets in itertools.islice(
        adapted_pairs_of(TINY, vocabulary, "s"), 50
    ):
        assert vocabulary.decode([*inputs, *targets]) in plain
    config = dataclasses.replace(TINY, chunk=20, steps=100, adapted=0.2)
    first_span = config.rows - 1
    for step, spans in ((60, True), (80, False)):
        x, _, _ = rows_of(config, vocabulary, step)
        assert (x["encoder_token_ids"] == first_span).any() == spans


def test_sums_are_practised_in_the_end(vocabulary):
    config = dataclasses.replace(TINY, chunk=20, steps=100, practice=40)
    x, y, weight = rows_of(config, vocabulary, 100)
    assert x["encoder_token_ids"].shape == (40, 64)
    assert y.shape == (40, 96)
    assert weight.mean() > 0.9
    sums = [row for row in y if vocabulary.decode(row).count(" = ") > 3]
    assert len(sums) > 20
    assert config.tokens == 2 * (100 * (64 + 48) + 40 * (64 + 96))


@pytest.mark.slow
def test_a_killed_run_goes_on_as_if_nothing_had_happened(vocabulary, tmp_path):
    from keras_flan.models.presets import read_preset

    outputs = [tmp_path / "whole", tmp_path / "parts"]
    for output in outputs:
        output.mkdir()
        (output / "vocabulary.model").write_bytes(vocabulary.proto)
    # No rate may depend on the number of steps that the first part has.
    constant = dataclasses.replace(TINY, warmdown=1e-9)
    pretrain(outputs[0], constant, quiet=True)
    part = dataclasses.replace(constant, steps=2, practice=0)
    pretrain(outputs[1], part, quiet=True)
    pretrain(outputs[1], constant, quiet=True)
    for name in ("loss.csv", "preset/config.json", "preset/weights.npz"):
        first, second = (output / name for output in outputs)
        assert first.read_bytes() == second.read_bytes()

    model = read_preset(outputs[0] / "preset")
    assert model.vocabulary.proto == vocabulary.proto
    with np.load(outputs[0] / "preset" / "weights.npz") as arrays:
        assert arrays["shared.weight"].dtype == np.float16
        stored = arrays["shared.weight"].astype("float32")
    embedding = model.backbone.token_embedding.embeddings
    assert (np.asarray(embedding) == stored).all()

    (outputs[0] / "preset" / "weights.npz").write_bytes(b"no archive")
    with pytest.raises(InputError, match=r"weights\.npz: not the weights"):
        read_preset(outputs[0] / "preset")
