import numpy as np
import pytest

from keras_flan.answers.calibration import (
    IsotonicCalibrator,
    brier_score,
    expected_calibration_error,
    held_out_calibration,
    reliability_bins,
)


def test_expected_calibration_error():
    confidence = [0.95, 0.95, 0.95, 0.95, 0.15, 0.15]
    correct = [1, 1, 1, 0, 0, 0]
    # Bins of 4 and 2: 4/6 * |0.75 - 0.95| + 2/6 * |0 - 0.15|
    expected = 4 / 6 * 0.2 + 2 / 6 * 0.15
    assert expected_calibration_error(confidence, correct) == pytest.approx(
        expected
    )
    assert expected_calibration_error([1.0, 0.0], [1, 0]) == 0


def test_reliability_bins():
    rows = reliability_bins([1.0, 0.05, 0.0], [1, 1, 0])
    assert [(row["low"], row["n"]) for row in rows] == [(0.0, 2), (0.9, 1)]
    assert rows[0]["accuracy"] == 0.5


def test_brier_score():
    assert brier_score([1.0, 0.5], [1, 0]) == 0.125


def test_isotonic_regression_pools_violators():
    calibrator = IsotonicCalibrator.fit([0.2, 0.4, 0.6, 0.8], [0, 1, 0, 1])
    assert calibrator.accuracy == (0.0, 0.5, 0.5, 1.0)
    assert calibrator([0.0, 0.5, 1.0]).tolist() == [0.0, 0.5, 1.0]
    assert (np.diff(calibrator(np.linspace(0, 1, 101))) >= 0).all()


def test_calibration_of_overconfident_votes():
    rng = np.random.default_rng(0)
    confidence = rng.choice([0.4, 0.6, 0.8, 1.0], 4000)
    correct = rng.random(4000) < confidence - 0.2
    report = held_out_calibration(confidence, correct)
    assert report["ece_before"] == pytest.approx(0.2, abs=0.03)
    assert report["ece_after"] < 0.05
    assert report["brier_after"] < report["brier_before"]
    assert report["n"] == 2000


@pytest.mark.parametrize(
    ("confidence", "correct", "message"),
    [
        ([], [], "no predictions"),
        ([0.5], [1, 0], "same length"),
        ([1.5], [1], "outside 0 to 1"),
        ([float("nan")], [1], "outside 0 to 1"),
    ],
)
def test_wrong_arguments_are_refused(confidence, correct, message):
    with pytest.raises(ValueError, match=message):
        expected_calibration_error(confidence, correct)
