"""Answers that say how sure they are, and may not be given."""

import json
import random

import numpy as np
import pytest
from typer.testing import CliRunner

from keras_flan import cli
from keras_flan.answers.confidence import ConfidenceModel, signals
from keras_flan.errors import InputError
from keras_flan.files import write_jsonl
from keras_flan.generation import ask, path_certainties
from keras_flan.generation.outputs import Path
from keras_flan.generation.prompting import Asking
from keras_flan.generation.trace import render_answered
from tests.generation.fakes import QUESTION, cafeteria


def log(path, number=60, seed=0):
    """Writes scored votes: who agrees more is right more often."""
    rng = random.Random(seed)
    rows = []
    for i in range(number):
        sure = rng.random()
        said = ["4" if rng.random() < sure else "5" for _ in range(5)]
        rows.append(
            {
                "id": str(i),
                "target": "4",
                "answer_kind": "number",
                "outputs": [f"The answer is {text}." for text in said],
            }
        )
    write_jsonl(path, rows)
    return path


def fitted(tmp_path):
    file = tmp_path / "confidence.json"
    done = CliRunner().invoke(
        cli.app,
        ["fit-confidence", str(log(tmp_path / "log.jsonl")), "--benchmark",
         "records", "--output", str(file)],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "fitted on 60 questions: share" in done.output
    assert "wrong by fitted confidence (ECE" in done.output
    return file


def test_answers_have_a_fitted_confidence_and_may_abstain(tmp_path):
    model = ConfidenceModel.load(fitted(tmp_path))
    [plain] = ask(cafeteria, [QUESTION], samples=10, kind="number")
    assert plain.confidence == plain.vote.confidence
    assert plain.to_dict()["share"] == plain.to_dict()["confidence"]
    asked = {"samples": 10, "kind": "number", "confidence": model}
    [told] = ask(cafeteria, [QUESTION], **asked)
    texts = [path.text for path in told.paths]
    assert told.confidence == model(signals(told.answers, texts))
    assert told.answer == told.vote.winner == "9"
    assert told.to_dict()["share"] == told.vote.confidence
    [none] = ask(cafeteria, [QUESTION], **asked, abstain_below=1.0)
    assert none.answer is None and none.vote.winner == "9"
    assert none.to_dict()["answer"] is None
    page = render_answered(none, "Prompt")
    assert "none: 9 is too unsure" in page and "Fitted confidence" in page
    with pytest.raises(InputError, match="abstain_below: expected a conf"):
        Asking(abstain_below=1.5)


def test_a_log_of_single_paths_is_refused(tmp_path):
    rows = [{"target": "4", "output": "4"}] * 20
    write_jsonl(tmp_path / "one.jsonl", rows)
    done = CliRunner().invoke(
        cli.app,
        ["fit-confidence", str(tmp_path / "one.jsonl"), "--benchmark",
         "records", "--output", str(tmp_path / "m.json")],
    )  # fmt: skip
    assert done.exit_code != 0
    assert not (tmp_path / "m.json").exists()


def test_scores_have_risk_against_coverage(tmp_path):
    done = CliRunner().invoke(
        cli.app,
        ["score", "--predictions", str(log(tmp_path / "log.jsonl")),
         "--benchmark", "records", "--json"],
    )  # fmt: skip
    selective = json.loads(done.output)["selective"]
    assert selective.keys() == {"share", "fitted"}
    for told in selective.values():
        assert told["risk"][0]["coverage"] == 1
        assert told["risk"][-1]["risk"] <= told["risk"][0]["risk"]


@pytest.mark.slow
def test_certainties_are_those_of_the_forward_pass(tiny_t5):
    prompt, vocabulary = "is fire hot?", tiny_t5.vocabulary
    paths = [Path(text, vocabulary.encode(text)) for text in ("yes", "")]
    [found] = path_certainties(tiny_t5, [prompt], [paths], top=3)
    read = [*vocabulary.encode(prompt), vocabulary.eos_id]
    fed = [0, *paths[0].token_ids[:-1]]
    logits = np.asarray(
        tiny_t5(
            {
                "encoder_token_ids": np.array([read]),
                "encoder_padding_mask": np.ones((1, len(read)), int),
                "decoder_token_ids": np.array([fed]),
                "decoder_padding_mask": np.ones((1, len(fed)), int),
            }
        )[0],
        "float64",
    )
    gains = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    best = -np.sort(-gains, axis=-1)[:, :3]
    assert found == [pytest.approx(-best.mean(), abs=1e-3), 0.0]
