"""What each path weighs."""

import doctest

import pytest

from keras_flan.improvement import weighing
from keras_flan.improvement.weighing import (
    advantages,
    best_and_worst,
    equations,
    right,
    token_scales,
)


def test_the_examples_are_true():
    assert doctest.testmod(weighing).failed == 0


def test_right_keeps_one_of_each_reasoning():
    texts = [
        "5 + 3 = 8. The answer is 8.",
        "First 5+3 = 8. So the answer is 8.",
        "3 + 5 = 8. The answer is 8.",
        "The answer is 8.",
        "the  answer is 8.",
    ]
    keys = [equations(text) for text in texts]
    assert right([1, 1, 1, 1, 1], keys) == [1, 0, 1, 1, 0]
    assert right([0, 1, 1, 1, 1], keys, most=2) == [0, 1, 1, 0, 0]
    assert right([0.5, None, 2], least=0.5) == [1, 0, 1]


def test_an_abstention_is_no_zero():
    assert advantages([1, 0, None], spread=False) == [0.5, -0.5, 0.0]
    assert advantages([None, 1]) is None
    assert best_and_worst([None, 1, 0.5]) == (1, 2)
    assert right([None]) == [0]


def test_groups_that_are_all_alike():
    assert advantages([1, 1]) == [0, 0]
    assert advantages([1, 1], drop=True) is None
    assert advantages([1, 0], drop=True) == pytest.approx(
        [0.7070, -0.7070], abs=1e-4
    )
    assert best_and_worst([1, 1, None]) is None
    assert best_and_worst([None]) is None


def test_token_scales_of_no_paths():
    for sharing in ("grpo", "dr_grpo", "dapo"):
        assert token_scales([], sharing, 4) == []
