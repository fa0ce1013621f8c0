"""The model that ships with the package."""

from pathlib import Path

import pytest

from keras_flan.generation import generate
from keras_flan.models import load, presets


@pytest.fixture(scope="module")
def nano():
    return load("flan_nano")


def test_is_small(nano):
    assert presets.shipped() == ["flan_nano"]
    assert nano.count_params() <= 6_000_000
    folder = Path(presets.__file__).parent / "preset_weights" / "flan_nano"
    assert sum(p.stat().st_size for p in folder.iterdir()) <= 12 * 2**20


def test_knows_what_it_was_pretrained_on(nano):
    questions = {
        "What is the opposite of hot?": "cold",
        "What is the plural of dog?": "dogs",
        "Is 7 odd or even?": "odd",
        "Q: What is 3 + 4?\nA: ": "7",
    }
    for [path], answer in zip(
        generate(nano, list(questions), max_new_tokens=32),
        questions.values(),
        strict=True,
    ):
        assert path.text.rstrip(".").endswith(answer), path.text
