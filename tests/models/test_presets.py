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
    # It goes on with texts; answering is what finetuning adds.
    texts = {
        "The opposite of hot is": "cold",
        "The plural of dog is": "dogs",
        "3 + 4 =": "7",
        "12 - 5 =": "7",
        "Monday, Tuesday,": "Wednesday",
        "A duck": "quacks",
    }
    for [path], words in zip(
        generate(nano, list(texts), max_new_tokens=32),
        texts.values(),
        strict=True,
    ):
        assert path.text.strip().startswith(words), path.text
