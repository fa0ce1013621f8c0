"""The README's example, from a model's folder to text, page and picture.

A small T5 learns to reason about the one question in several ways, one in
four of them wrong: what it samples differs, and the vote has to decide.
"""

import json
import sys

import keras
import numpy as np
import pytest

from keras_flan import cli
from keras_flan.data.vocabularies.training import train_vocabulary
from keras_flan.generation import PromptStyle
from keras_flan.models import T5, save
from keras_flan.training import Adafactor, TokenCrossentropy
from tests.generation.fakes import QUESTION

PROMPT = PromptStyle(cot=True).render(QUESTION)
RIGHT = [
    "They had 23 and used 20. 23 - 20 = 3. 3 + 6 = 9. The answer is 9.",
    "23 - 20 = 3 were left. With 6 more, 3 + 6 = 9. The answer is 9.",
    "After lunch 3 were left, then 3 + 6 = 9. The answer is 9.",
]
WRONG = ["They bought 6 more: 23 + 6 = 29. The answer is 29."]


def batch(vocabulary, chains):
    """One batch with all chains: the model learns how often each occurs."""
    prompt = [*vocabulary.encode(PROMPT), 1]
    targets = [[*vocabulary.encode(chain), 1] for chain in chains]
    length = max(map(len, targets))
    y = np.array([ids + [0] * (length - len(ids)) for ids in targets])
    x = np.tile(np.array(prompt), (len(chains), 1))
    return (
        {
            "encoder_token_ids": x,
            "encoder_segment_ids": np.ones_like(x),
            "decoder_token_ids": np.pad(y, ((0, 0), (1, 0)))[:, :-1],
            "decoder_segment_ids": (y > 0).astype("int32"),
        },
        y,
        (y > 0).astype("float32"),
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cafeteria")
    chains = RIGHT + WRONG
    vocabulary = train_vocabulary(
        [PROMPT, *chains] * 20, 310, folder / "vocabulary.model"
    )
    keras.utils.set_random_seed(0)
    model = T5.from_config_values(
        vocabulary_size=vocabulary.size,
        num_layers=1,
        num_heads=4,
        hidden_dim=64,
        intermediate_dim=128,
        dropout=0.0,
        vocabulary=vocabulary,
    )
    model.compile(optimizer=Adafactor(2e-2), loss=TokenCrossentropy())
    x, y, weight = batch(vocabulary, chains)
    model.fit(
        x,
        y,
        sample_weight=weight,
        batch_size=len(chains),
        epochs=400,
        verbose=0,
    )
    save(model, folder / "model")
    return folder


@pytest.mark.slow
def test_several_chains_vote_for_nine(folder, monkeypatch, capsys):
    arguments = ["generate", "--model", folder / "model"]
    arguments += ["--prompt", QUESTION, "--cot", "--samples", 20]
    arguments += ["--kind", "number", "--output", folder / "run"]
    arguments += ["--picture", folder / "votes.png"]
    monkeypatch.setattr(sys, "argv", ["keras-flan", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert not stop.value.code
    out = capsys.readouterr().out
    print(out)
    assert "answer: 9 (" in out
    [row] = map(json.loads, (folder / "run/answers.jsonl").open())
    assert row["answer"] == "9"
    assert row["confidence"] >= 0.5
    # Several chains, not one twenty times.
    assert len({path["text"] for path in row["paths"]}) >= 2
    assert (folder / "run/trace.html").read_text().count("<mark>") >= 15
    assert (folder / "votes.png").read_bytes().startswith(b"\x89PNG")
