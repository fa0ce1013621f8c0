import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_flan.answers.voting import (
    confidence_of_leader,
    is_decided,
    path_weights,
    stopping_point,
    vote,
)

ANSWERS = st.lists(st.sampled_from(["a", "b", "c", None]), max_size=30)


def test_abstentions_lower_the_confidence_but_never_win():
    result = vote([None, None, None, "7"])
    assert result.winner == "7"
    assert result.confidence == 0.25
    assert result.abstained == 3
    empty = vote([None, None])
    assert (empty.winner, empty.confidence) == (None, 0.0)
    assert vote([]).winner is None


def test_ties_go_to_the_weight_and_then_to_the_first():
    assert vote(["b", "a"]).winner == "b"
    assert vote(["b", "a"], [0.1, 0.2]).winner == "a"
    assert vote(["b", "a"], [0.2, 0.2]).winner == "b"


def test_sums_and_averages_of_weights():
    answers, weights = ["a", "a", "b"], [0.3, 0.3, 0.5]
    assert vote(answers, weights).winner == "a"
    assert vote(answers, weights, "sum").winner == "a"
    assert vote(answers, weights, "average").winner == "b"
    assert vote(answers, [0.1, 0.1, 0.5], "sum").winner == "b"
    # Equal averages: the higher sum, then the earlier.
    assert vote(["b", "a", "a"], [0.5] * 3, "average").winner == "a"
    assert vote(["b", "a"], [0.5] * 2, "average").winner == "b"


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="method must be one of"):
        vote(["a"], method="mode")
    with pytest.raises(ValueError, match="2 weights for 1 answers"):
        vote(["a"], [1.0, 2.0])


def test_weights_of_long_paths_do_not_underflow():
    assert path_weights([-2000.0, -2001.0]) == pytest.approx([1, 0.36788], 1e-4)
    normalised = path_weights([-10.0, -30.0], lengths=[10, 30])
    assert normalised == [1.0, 1.0]
    assert path_weights([]) == []


@given(ANSWERS, st.lists(st.sampled_from(["a", "b", "c", None]), max_size=10))
def test_a_decided_vote_stays(answers, rest):
    if is_decided(answers, len(answers) + len(rest)):
        assert vote(answers).winner == vote(answers + rest).winner


@given(ANSWERS)
def test_stopping_early_draws_no_more_than_there_are(answers):
    drawn = stopping_point(answers)
    assert drawn == len(answers) or 1 <= drawn < len(answers)


def test_posterior_of_the_leader():
    # Beta(2, 1) has 3/4 of its mass above 1/2.
    assert confidence_of_leader(["a"]) == 0.75
    assert confidence_of_leader(["a", "b"]) == 0.5
    assert stopping_point(["a"] * 40) == 4
    assert stopping_point(["a"] * 40, threshold=0.99) == 6
    assert stopping_point([None] * 5) == 5
