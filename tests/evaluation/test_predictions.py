import json

import pytest

from keras_flan.errors import InputError
from keras_flan.evaluation.runs.evaluate import evaluate
from keras_flan.evaluation.scores.predictions import (
    Prediction,
    read_predictions,
    write_predictions,
)


@pytest.fixture
def log(tmp_path):
    """A log of a run: ranked, so that it has every field but references."""
    data = tmp_path / "test.json"
    examples = [
        {"input": f"{i} is odd", "target": ("No", "Yes")[i % 2]}
        for i in range(4)
    ]
    data.write_text(json.dumps({"examples": examples}))

    class Model:
        def generate(self, prompts, *, samples=1, **settings):
            raise NotImplementedError

        def log_likelihoods(self, prompts, continuations):
            return [
                [Score(-float(len(text))) for text in texts]
                for texts in continuations
            ]

    class Score:
        token_count = 1

        def __init__(self, log_probability):
            self.log_probability = log_probability

    evaluate(Model(), "bbh", data, output=tmp_path / "run", mode="rank")
    return tmp_path / "run"


def test_a_log_is_read_and_written_back_byte_for_byte(log, tmp_path):
    read = read_predictions(log)
    assert read[0].ranking.choices == ["No", "Yes"]
    assert read[0].logged.answer == "no" and read[0].mode == "rank"
    copy = tmp_path / "copy.jsonl"
    write_predictions(copy, read)
    assert copy.read_bytes() == (log / "predictions.jsonl").read_bytes()


def test_a_journal_has_the_index_before_the_verdict(log):
    keys = list(read_predictions(log)[0].to_row(index=7))
    assert keys.index("ranking") < keys.index("index") < keys.index("answers")


def test_what_is_not_known_is_kept():
    row = {"target": 4, "output": "4", "mine": {"a": 1}, "votes": "my own"}
    read = Prediction.from_row(row)
    assert (read.target, read.outputs) == ("4", ["4"])
    assert read.extra == {"mine": {"a": 1}, "votes": "my own"}
    assert read.to_row() == {
        "target": "4",
        "options": (),
        "stop": (),
        "outputs": ["4"],
        "mine": {"a": 1},
        "votes": "my own",
    }
    with pytest.raises(InputError, match="expected 'answer' and 'correct'"):
        _ = read.logged
