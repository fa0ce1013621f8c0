"""Model cards: what a run's own files say, as Hugging Face reads it."""

import json
import re

import pytest
import yaml
from typer.testing import CliRunner

from keras_flan.cli import app
from keras_flan.errors import InputError
from keras_flan.models import load, save, to_huggingface
from keras_flan.models.cards import carry_card
from keras_flan.pages.cards import CARD_FILE, LOADS, model_card, of_library
from keras_flan.training import write_card

SCORES = {
    "benchmark": "gsm8k",
    "accuracy": 0.123,
    "interval": [0.1, 0.15],
    "n": 1319,
    "run": {"mode": "cot", "shots": 8, "samples": 40},
}


def metadata(card):
    front = re.match(r"---\n(.*?)---\n", card, re.S)
    return yaml.safe_load(front[1])


@pytest.fixture
def run(tmp_path):
    """A finished run, as `train` leaves it."""
    folder = tmp_path / "mine"
    (folder / "model").mkdir(parents=True)
    config = {
        "mixture": "cot.yaml",
        "model": {"init": "hf://google/flan-t5-small"},
        "data": {"batch_size": 8, "input_length": 64, "target_length": 32},
        "optimizer": {"name": "adafactor", "learning_rate": 0.001},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    facts = {
        "finished": True,
        "seed": 3,
        "versions": {"keras": "3.15.1"},
        "data": {"sums": "ab" * 32, "old": "cd" * 32},
        "tasks": {"sums": {"examples": 1200, "license": "MIT", "source": "us"}},
        "vocabulary": None,
    }
    (folder / "run.json").write_text(json.dumps(facts))
    metrics = {
        **{"steps": 20, "loss": [3.25, 1.5], "loss_steps": [10, 20]},
        **{"speed": {}, "seconds": {"total": 12.0}, "parameters": 77_000_000},
    }
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder


def test_the_card_says_what_the_run_says(run, tmp_path):
    scores = tmp_path / "gsm8k"
    scores.mkdir()
    (scores / "metrics.json").write_text(json.dumps(SCORES))
    path = write_card(run, [scores], license="apache-2.0", languages=["en"])
    assert path == run / "model" / CARD_FILE
    card = path.read_text()
    front = metadata(card)
    assert front["license"] == "apache-2.0"
    assert front["language"] == ["en"]
    assert front["base_model"] == "google/flan-t5-small"
    [result] = front["model-index"][0]["results"]
    assert result["metrics"][0]["value"] == 12.3
    for words in (
        "| sums | 1,200 | MIT | us | `abababababababab` |",
        "| old |  | unknown | unknown | `cdcdcdcdcdcdcdcd` |",
        "77,000,000",
        "3.250 to 1.500",
        "adafactor, rate 0.001",
        "| gsm8k | cot, 8 exemplars, 40 paths | 1,319 | 12.3% (10.0 to 15.0) |",
        "Of the data: MIT.",
    ):
        assert words in card, words


def test_what_nobody_said_is_said_to_be_unknown(run):
    path = CliRunner().invoke(app, ["card", str(run)]).output.strip()
    card = (run / "model" / CARD_FILE).read_text()
    assert path == str(run / "model" / CARD_FILE)
    assert metadata(card)["license"] == "unknown"
    assert "model-index" not in metadata(card)
    assert "## Scores\n\nNone yet." in card


def test_what_is_no_evaluation_is_refused(run):
    with pytest.raises(InputError, match="expected the scores of an evalu"):
        write_card(run, [run])
    (run / "metrics.json").unlink()
    with pytest.raises(InputError, match="expected a finished training"):
        write_card(run)


def test_saved_and_converted_models_have_a_card(tmp_path):
    model = load("flan_nano")
    save(model, tmp_path / "ours")
    to_huggingface(model, tmp_path / "theirs")
    ours = (tmp_path / "ours" / CARD_FILE).read_text()
    theirs = (tmp_path / "theirs" / CARD_FILE).read_text()
    assert metadata(ours)["library_name"] == "keras-hub"
    assert metadata(theirs)["library_name"] == "transformers"
    assert LOADS in ours
    assert "from transformers import pipeline" in theirs
    assert f"{model.count_params():,} parameters" in theirs
    load(tmp_path / "ours")


def test_a_converted_model_keeps_the_card_of_its_run(run):
    (run / "model" / CARD_FILE).write_text(
        model_card("mine", {"license": "mit"}, {"Use": LOADS, "Limits": "Two."})
    )
    theirs = run.parent / "theirs"
    theirs.mkdir()
    carry_card(run / "model", theirs, "transformers")
    card = (theirs / CARD_FILE).read_text()
    assert metadata(card) == {"license": "mit", "library_name": "transformers"}
    assert "Two." in card
    assert LOADS not in card
    # A card of somebody's own stays as it is.
    assert of_library("# Mine", "transformers") == "# Mine"


@pytest.mark.parity
def test_hugging_face_reads_it(run, tmp_path):
    from huggingface_hub import ModelCard

    scores = tmp_path / "gsm8k"
    scores.mkdir()
    (scores / "metrics.json").write_text(json.dumps(SCORES))
    card = ModelCard.load(write_card(run, [scores], languages=["en"]))
    assert card.data.library_name == "keras-hub"
    [result] = card.data.eval_results
    assert result.metric_value == 12.3
    assert card.data.base_model == "google/flan-t5-small"
