import random

import numpy as np
import pytest

from keras_flan.evaluation.scores.statistics import (
    bootstrap_interval,
    exact_interval,
    mcnemar,
    mean_interval,
    paired_difference,
)


@pytest.mark.parametrize(
    ("right", "number", "low", "high"),
    [
        (0, 10, 0.0, 0.308497),
        (10, 10, 0.691503, 1.0),
        (8, 10, 0.443905, 0.974789),
        (1, 1, 0.025, 1.0),
        (50, 100, 0.398321, 0.601679),
    ],
)
def test_exact_intervals_equal_the_tables(right, number, low, high):
    found = exact_interval(right, number)
    assert found == pytest.approx((low, high), abs=1e-5)


def test_exact_intervals_cover_what_they_promise():
    """The sum over all outcomes of a binomial, not a simulation."""
    from scipy.stats import binom

    for share in (0.02, 0.25, 0.5, 0.9):
        covered = sum(
            binom.pmf(right, 30, share)
            for right in range(31)
            if exact_interval(right, 30)[0]
            <= share
            <= exact_interval(right, 30)[1]
        )
        assert covered >= 0.95


def test_bootstrap_of_a_mean_over_tasks():
    values = [[0, 1] * 50, [1] * 100, [0.25, 0.75] * 20]
    low, high = bootstrap_interval(values)
    error = np.sqrt((0.25 / 100 + 0.0625 / 40) / 9)
    mean = (0.5 + 1 + 0.5) / 3
    assert low == pytest.approx(mean - 1.96 * error, abs=0.004)
    assert high == pytest.approx(mean + 1.96 * error, abs=0.004)
    assert bootstrap_interval(values) == (low, high)
    assert bootstrap_interval(values, seed=1) != (low, high)
    assert bootstrap_interval([[1], [0]]) == (0.5, 0.5)


def test_intervals_of_few_examples_are_not_too_narrow():
    assert mean_interval([[1, 0] * 4]) == exact_interval(4, 8)
    assert mean_interval([[0]] * 8) == exact_interval(0, 8)
    # A question a task: as wide as that of so many questions.
    low, high = mean_interval([[1]] * 10 + [[0]] * 30)
    assert low == pytest.approx(0.25 - 1.96 * np.sqrt(0.1875 / 40), abs=0.03)
    assert high == pytest.approx(0.25 + 1.96 * np.sqrt(0.1875 / 40), abs=0.03)
    # Tasks count alike, whatever their number of questions.
    low, high = mean_interval([[1] * 30, [0] * 2, [0] * 2])
    assert low <= 1 / 3 <= high
    many = [[0, 1] * 50, [1] * 100]
    assert mean_interval(many) == bootstrap_interval(many)


def test_mcnemar_equals_the_binomial_test():
    from scipy.stats import binomtest

    drawn = random.Random(0)
    for _ in range(20):
        first = [drawn.random() < 0.5 for _ in range(40)]
        second = [drawn.random() < 0.6 for _ in range(40)]
        gained = sum(b > a for a, b in zip(first, second, strict=True))
        lost = sum(a > b for a, b in zip(first, second, strict=True))
        expected = binomtest(gained, gained + lost).pvalue
        assert mcnemar(first, second) == pytest.approx(expected)
    assert mcnemar([True, False], [True, False]) == 1.0


def test_paired_runs_differ_less_by_chance_than_two_alone():
    drawn = random.Random(1)
    first = [float(drawn.random() < 0.5) for _ in range(200)]
    second = [max(x, float(drawn.random() < 0.1)) for x in first]
    found = paired_difference({"a": first}, {"a": second})
    low, high = found["interval"]
    assert 0 < low < found["difference"] < high
    assert found["lost"] == 0 and found["mcnemar"] < 0.01
    assert found["difference"] == pytest.approx(found["gained"] / 200)
    width = np.subtract(*bootstrap_interval([second]))
    assert high - low < abs(width)
    with pytest.raises(ValueError, match="the same tasks"):
        paired_difference({"a": first}, {"b": second})
    assert found["tasks_interval"] is None


def test_other_tasks_differ_by_more_than_other_examples():
    """Nine tasks: in three of them a run gains everything."""
    first = {f"t{i}": [0.0] * 50 for i in range(9)}
    second = {f"t{i}": [float(i < 3)] * 50 for i in range(9)}
    found = paired_difference(first, second)
    assert found["interval"] == pytest.approx([1 / 3, 1 / 3])
    low, high = found["tasks_interval"]
    # The normal approximation of a share of 1/3 of 9.
    reach = 1.96 * np.sqrt(1 / 3 * 2 / 3 / 9)
    assert low == pytest.approx(1 / 3 - reach, abs=0.06)
    assert high == pytest.approx(1 / 3 + reach, abs=0.06)
