"""Texts that begin alike are read once, and scored as if each was alone."""

import itertools

import keras
import numpy as np
import pytest

from keras_flan.generation import likelihood
from keras_flan.generation.prefix_tree import tree_rows
from tests.conftest import LetterVocabulary
from tests.models.decoders import make_hub

TEXTS = [
    [1, 2, 3],
    [1, 2, 4, 5],
    [1, 2],
    [7],
    [1, 2, 3],
    [1, 2, 4, 5, 6, 7, 8, 9, 10],
    [2, 2],
]


@pytest.mark.parametrize("room", [4, 6, 100])
def test_each_token_is_seen_by_what_goes_on_from_it(room):
    rows = tree_rows(TEXTS, room)
    assert sorted(n for row in rows for n in row.places) == list(range(7))
    for row in rows:
        place = np.arange(len(row.token_ids))
        seen = (place[:, None] >= place) & (place[:, None] < np.array(row.ends))
        for number, path in row.places.items():
            assert [row.token_ids[i] for i in path] == TEXTS[number]
            assert [row.positions[i] for i in path] == [*range(len(path))]
            for depth, i in enumerate(path):
                assert place[seen[i]].tolist() == path[: depth + 1]
        longest = max(map(len, row.places.values()))
        assert len(row.token_ids) <= max(room, longest)
    if room == 100:
        assert len(rows) == 1
        kinds = {tuple(t[:n]) for t in TEXTS for n in range(1, len(t) + 1)}
        assert len(rows[0].token_ids) == len(kinds)


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
    lengths = []
    run = model.run_packed
    monkeypatch.setattr(
        model,
        "run_packed",
        lambda ids, *a, **k: lengths.append(ids.shape) or run(ids, *a, **k),
    )
    monkeypatch.setattr(likelihood, "_SHORTEST_TREE", 128)
    shared = likelihood.log_likelihoods(model, prompts, choices)
    [(_, length)] = lengths  # One row, of all.
    monkeypatch.setattr(likelihood, "_by_tree", likelihood._by_row)
    alone = likelihood.log_likelihoods(model, prompts, choices)
    assert length < sum(
        len(prompt) + len(choice)
        for prompt, some in zip(prompts, choices, strict=True)
        for choice in some
    )
    for one, other in zip(
        itertools.chain(*shared), itertools.chain(*alone), strict=True
    ):
        assert one.token_count == other.token_count
        assert one.log_probability == pytest.approx(
            other.log_probability, abs=1e-4
        )
