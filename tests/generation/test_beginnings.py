"""Texts that begin alike are read once, and scored as if each was alone."""

import itertools

import keras
import numpy as np
import pytest

from keras_flan.errors import InputError
from keras_flan.generation import likelihood
from keras_flan.generation.beginnings import Group, beginnings, packed
from tests.conftest import LetterVocabulary
from tests.models.decoders import make_hub


def test_texts_that_begin_alike_are_grouped(monkeypatch):
    some, other = list(range(100)), list(range(1, 60))
    texts = [[*some, 5], [7], [*other, 5], [*some, 5, 6], [*other, 8], [7]]
    texts.append([*some[:40], 9])  # Shares too little with those of its kind.
    limits = [len(text) - 1 for text in texts]
    assert beginnings(texts, limits) == [Group(0, list(range(7)))]
    monkeypatch.setattr("keras_flan.generation.beginnings._WORTH", 50)
    assert beginnings(texts, limits) == [
        Group(100, [0, 3]),
        Group(59, [2, 4]),
        Group(0, [1, 5, 6]),
    ]
    # A limit counts.
    assert beginnings(texts[:1] * 9, [70, 60, *[80] * 7]) == [
        Group(60, list(range(9)))
    ]
    assert beginnings([[1, 2]] * 2, [1, 1]) == [Group(0, [0, 1])]
    assert beginnings([], []) == []
    # A further question is worth losing the end of the one before.
    questions = [[*some, q, q, c] for q in (1, 2, 3) for c in (4, 5)]
    assert beginnings(questions, [102] * 6) == [Group(100, list(range(6)))]


def test_packed_rows_have_room():
    lengths = np.random.default_rng(0).integers(1, 65, 500).tolist()
    rows = packed(lengths, 64)
    assert sorted(n for row in rows for n in row) == list(range(500))
    assert max(sum(lengths[n] for n in row) for row in rows) <= 64
    assert sum(lengths) > 0.9 * 64 * len(rows)


@pytest.mark.parametrize(
    "name",
    [
        "mistral",
        pytest.param("gemma3", marks=pytest.mark.often),
        pytest.param("llama", marks=pytest.mark.slow),
        pytest.param("palm", marks=pytest.mark.slow),
    ],
)
def test_scores_are_those_of_texts_by_themselves(name, monkeypatch):
    from keras_flan.models import DecoderOnly

    keras.utils.set_random_seed(0)
    model = DecoderOnly(
        make_hub(name), vocabulary=LetterVocabulary(), separate=False
    )
    exemplars = "longer than the window is this beginning of all. "
    prompts = [f"{exemplars}is it {x}?" for x in ("so", "not so", "so")]
    choices = [[" yes", " no"], [" a", " b", " neither of them"], [" so so"]]
    monkeypatch.setattr("keras_flan.generation.beginnings._WORTH", 50)
    read = []
    run = model.family.embed
    monkeypatch.setattr(
        model.family,
        "embed",
        lambda ids, **k: read.append(ids.shape) or run(ids, **k),
    )
    shared = likelihood.log_likelihoods(model, prompts, choices)
    # The beginning once, and what is behind it.
    assert read == [(1, 64), (1, 64)]
    monkeypatch.setattr(likelihood, "_by_group", likelihood._by_row)
    alone = likelihood.log_likelihoods(model, prompts, choices)
    for one, other in zip(
        itertools.chain(*shared), itertools.chain(*alone), strict=True
    ):
        assert one.token_count == other.token_count
        assert one.log_probability == pytest.approx(
            other.log_probability, abs=1e-4
        )


@pytest.mark.parametrize(
    ("prompts", "continuations", "message"),
    [
        (["a", "b"], [["x", "y"]], "continuations: expected a list of texts"),
        (["a"], "xy", "for each of 1 prompts, found 'xy'"),
        (None, [], "prompts: found None, expected a text or a list"),
        ({"a": 1}, [["x"]], "prompts: found {'a': 1}, expected"),
        (b"a", [["x"]], "prompts: found b'a', expected"),
    ],
)
def test_nothing_that_was_asked_is_left_out(
    tiny_t5, prompts, continuations, message
):
    with pytest.raises(InputError, match=message):
        likelihood.log_likelihoods(tiny_t5, prompts, continuations)
