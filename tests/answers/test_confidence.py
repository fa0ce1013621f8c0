"""Confidence: signals of a vote, a fitted model, ranks, risk."""

import json
import random

import numpy as np
import pytest

from keras_flan.answers.calibration import (
    expected_calibration_error,
    risk_at_coverage,
)
from keras_flan.answers.confidence import ConfidenceModel, cross_fitted, signals
from keras_flan.answers.voting import rank_weights, vote
from keras_flan.errors import InputError


def questions(number=200, seed=0):
    """Paths that agree in half of the wrong answers too: shares mislead."""
    rng = random.Random(seed)
    rows, right = [], []
    for _ in range(number):
        correct = rng.random() < 0.6
        lead = rng.randrange(4, 8) if correct else rng.randrange(3, 7)
        answers = ["a"] * lead + [rng.choice("bcd") for _ in range(8 - lead)]
        gains = [-(2.0 if correct else 4.0) - rng.random() for _ in answers]
        rows.append(signals(answers, None, gains, [4] * 8))
        right.append(correct)
    return rows, right


def test_signals():
    found = signals(
        ["9", "9", "7", None],
        ["3 + 6 = 9", "6 + 3 is 9", "7", ""],
        [-1.0, -3.0, -8.0, -8.0],
        [2, 2, 4, 4],
    )
    assert found["share"] == 0.5 and found["margin"] == 0.25
    assert found["distinct"] == 0.5 and found["abstained"] == 0.25
    assert found["agreement"] == 1.0
    assert found["log_probability"] == -1.0
    assert found["log_probability_gap"] == 1.0
    assert signals(["a"] * 3)["entropy"] == 0
    assert signals(["a", "b", None])["entropy"] == pytest.approx(1)
    # Sums are no means, and longer paths have less.
    assert "log_probability" not in signals(["9"], None, [-4.0])
    nothing = signals([None, None], ["", ""], [-1.0, -1.0], [1, 1])
    assert nothing["share"] == 0 and nothing["abstained"] == 1


def test_a_fitted_model_is_better_calibrated_than_the_share(tmp_path):
    rows, right = questions()
    fitted = cross_fitted(rows, right)
    share = expected_calibration_error([r["share"] for r in rows], right)
    assert expected_calibration_error(fitted, right) <= share / 2
    model = ConfidenceModel.fit(rows, right)
    file = tmp_path / "model.json"
    model.save(file)
    again = ConfidenceModel.load(file)
    assert again == model
    assert [again(row) for row in rows] == [model(row) for row in rows]
    # Nothing is certain, however far a question is from all others.
    assert model({**rows[0], "log_probability": 1e9}) < 1
    # A signal that never differed has no say.
    assert dict(zip(model.names, model.weights, strict=True))["abstained"] == 0


@pytest.mark.parametrize(
    ("rows", "right", "message"),
    [
        ([{"share": 1.0}] * 9, [1] * 9, "9 questions"),
        ([{"share": 1.0}] * 20, [1] * 20, "all of the 20 answers are right"),
    ],
)
def test_too_little_to_fit(rows, right, message):
    with pytest.raises(InputError, match=message):
        ConfidenceModel.fit(rows, right)


@pytest.mark.parametrize("wrong", [2, 3])
def test_few_wrong_answers_are_in_every_part(wrong):
    rows, _ = questions(20)
    right = [i >= wrong for i in range(20)]
    for seed in range(20):
        found = cross_fitted(rows, right, seed=seed)
        assert ((found > 0) & (found < 1)).all()


def test_no_path_has_no_signals():
    with pytest.raises(InputError, match="found no answers"):
        signals([])


def test_too_little_to_be_judged_on():
    rows, right = questions(19)
    with pytest.raises(InputError, match=r"19 questions, .* told by"):
        cross_fitted(rows, right)
    rows, right = questions(40)
    rows[3]["log_probability"] = float("nan")
    with pytest.raises(InputError, match="'log_probability' of question 4 is"):
        ConfidenceModel.fit(rows, right)


def test_other_files_and_other_signals_are_refused(tmp_path):
    rows, right = questions(40)
    model = ConfidenceModel.fit(rows, right)
    file = tmp_path / "x.json"
    model.save(file)
    value = json.loads(file.read_text())
    numbers = value["weights"]
    for change in (
        *({"kind": "x"}, {"names": ["share"]}, {"more": 1}, {"bias": None}),
        *({"weights": ["x", *numbers[1:]]}, {"means": [None, *numbers[1:]]}),
        {"names": ["other", *value["names"][1:]]},
    ):
        file.write_text(json.dumps({**value, **change}))
        with pytest.raises(InputError, match="no confidence model; make one"):
            ConfidenceModel.load(file)
    with pytest.raises(InputError, match="fitted on log_probability, "):
        model(signals(["a", "b"]))


def test_votes_by_rank():
    assert rank_weights([-3.0, -1.0, -2.0]) == [1, 3, 2]
    assert rank_weights([-3.0, -1.0, -1.0], 2) == [1, 6.25, 6.25]
    assert rank_weights([5.0, 5.0], 0) == [1, 1]
    assert rank_weights([]) == []
    # The surest path outweighs two that are not.
    weights = rank_weights([1.0, 9.0, 2.0, 3.0], 3)
    assert vote(["a", "b", "a", "c"], weights, "sum").winner == "b"


def test_risk_at_coverage():
    confidence = [0.9, 0.8, 0.8, 0.1]
    rows = risk_at_coverage(confidence, [1, 1, 0, 0], [1, 0.5, 0.25])
    assert [(r["n"], r["threshold"]) for r in rows] == [
        (4, 0.1),
        (2, 0.8),
        (1, 0.9),
    ]
    # Of two with the same confidence one counts: half of their risk.
    assert [r["risk"] for r in rows] == [0.5, 0.25, 0.0]
    assert np.isclose(risk_at_coverage([0.5], [0])[0]["risk"], 1)
