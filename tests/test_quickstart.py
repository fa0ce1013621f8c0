"""The quickstart with a handful of steps: files, agreement, determinism.

`KERAS_FLAN_QUICKSTART` names the folder of a whole run that is looked at
instead, where there is one.
"""

import json
import os
from pathlib import Path

import pytest

from keras_flan.miniature import quickstart as module
from keras_flan.miniature.quickstart import quickstart

pytestmark = pytest.mark.slow
SIZE = {
    "steps": 6,
    "train_examples": {"asked": 40, "sums": 20, "more": 20},
    "test_examples": {"trained": 2, "held_out": 1},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    if whole := os.environ.get("KERAS_FLAN_QUICKSTART"):
        metrics = (Path(whole) / "metrics.json").read_text()
        return Path(whole), json.loads(metrics)
    output = tmp_path_factory.mktemp("quickstart")
    return output, quickstart(output, **SIZE, quiet=True)


@pytest.mark.often
def test_leaves_what_it_promises(run):
    output, metrics = run
    assert json.loads((output / "metrics.json").read_text()) == metrics
    for when in ("before", "after"):
        for group in ("trained", "held_out"):
            assert list(metrics[when][group]) == ["direct", "cot", "cot_vote"]
            for way, score in metrics[when][group].items():
                low, high = metrics["intervals"][when][group][way]
                assert 0 <= low <= score <= high <= 1
    assert metrics["seconds"]["total"] > 0
    page = (output / "report.html").read_text()
    assert page.count('class="card example"') == 10
    assert (output / "model" / "config.json").is_file()
    assert len(metrics["question"]["paths"]) == module.SAMPLES
    assert "23 apples" in (output / "question" / "trace.html").read_text()
    assert (output / "question" / "votes.png").read_bytes()[1:4] == b"PNG"
    assert (output / "loss.csv").read_text().startswith("step,loss\n")


@pytest.mark.often
def test_metrics_are_those_of_the_predictions(run):
    from keras_flan.evaluation.scores.predictions import read_predictions
    from keras_flan.evaluation.scores.scoring import score

    output, metrics = run
    rows = read_predictions(output / "after/trained/direct")
    scores = score("records", rows)["tasks"]
    names = module._asked()["trained"]
    mean = sum(scores[name]["accuracy"] for name in names) / len(names)
    assert metrics["after"]["trained"]["direct"] == pytest.approx(mean)


@pytest.mark.often
def test_held_out_tasks_are_not_in_the_mixture(run):
    from keras_flan.data import Mixture
    from keras_flan.miniature.universe import HELD_OUT_FAMILIES, TASKS

    output, _ = run
    trained = set(Mixture.from_yaml(output / "mixture.yaml").rates())
    asked = module._asked()
    assert len(asked["held_out"]) >= 60
    assert not trained & set(asked["held_out"])
    assert set(asked["trained"]) <= trained
    assert not HELD_OUT_FAMILIES & {TASKS[name].family for name in trained}


# Twice a handful of steps takes its time.
def test_two_runs_give_the_same_numbers(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    first, second = (quickstart(o, **SIZE, quiet=True) for o in (one, two))
    assert (one / "loss.csv").read_text().startswith("step,loss\n6,")
    assert (one / "loss.csv").read_text() == (two / "loss.csv").read_text()
    for when in ("before", "after"):
        assert first[when] == second[when]
        for way in ("direct", "cot", "cot_vote"):
            name = f"{when}/held_out/{way}/predictions.jsonl"
            assert (one / name).read_bytes() == (two / name).read_bytes()
