import pytest

from keras_flan.errors import InputError
from keras_flan.evaluation.layouts import load_protocol
from keras_flan.evaluation.paper import (
    COLUMNS,
    mean_normalised,
    normalise,
    normalised_average,
    published_results,
)

SUBTASKS = load_protocol("bbh").baselines


def rows():
    """Every published row, by name, as a dict of its columns."""
    results = published_results()
    pairs = list(results.models.items())
    pairs += [
        (f"{model} after {number} tasks", values)
        for model, by_number in results.tasks.items()
        for number, values in by_number.items()
    ]
    for name, values in pairs:
        yield name, dict(zip(results.columns, values, strict=True))


def test_guessing_is_zero_and_all_right_is_a_hundred():
    for scale in (0, 0.5, 1):
        scores = {t: r + scale * (100 - r) for t, r in SUBTASKS.items()}
        made = normalised_average(
            mmlu_direct=25 + 75 * scale,
            mmlu_cot=25 + 75 * scale,
            bbh_direct=scores,
            bbh_cot=scores,
            tydiqa=100 * scale,
            mgsm=100 * scale,
        )
        assert made == pytest.approx(100 * scale)


def test_a_hand_worked_average():
    zero = dict.fromkeys(SUBTASKS, 0.0)
    # Eight coins cost 100 each, and so on: -100 r / (100 - r).
    lost = (
        8 * 100
        + 100 * 33.2 / 66.8
        + 2 * 100 * 33.3 / 66.7
        + 3 * 100 / 3
        + 2 * 25
        + 100 * 17.2 / 82.8
        + 100 * 16.7 / 83.3
        + 2 * 100 * 14.3 / 85.7
        + 100 * 11.9 / 88.1
        + 100 * 11.6 / 88.4
        + 100 * 1.2 / 98.8
    )
    assert mean_normalised("bbh", zero) == pytest.approx(-lost / 27)
    made = normalised_average(
        mmlu_direct=55.0,
        mmlu_cot=40.0,
        bbh_direct=zero,
        bbh_cot=dict.fromkeys(SUBTASKS, 100.0),
        tydiqa=12.0,
        mgsm=6.0,
    )
    expected = (40 + 20 - lost / 27 + 100 + 12 + 6) / 6
    assert made == pytest.approx(expected)


def test_a_missing_subtask_is_named():
    scores = dict.fromkeys(SUBTASKS, 1.0)
    del scores["snarks"]
    with pytest.raises(InputError, match=r"no score for snarks.*all 27"):
        normalised_average(
            mmlu_direct=1,
            mmlu_cot=1,
            bbh_direct=scores,
            bbh_cot=scores,
            tydiqa=1,
            mgsm=1,
        )


def test_the_published_table_is_whole():
    results = published_results()
    assert results.columns == COLUMNS
    assert len(results.models) == 20
    assert all(list(t) == [0, 9, 89, 282, 1836] for t in results.tasks.values())
    for name, row in rows():
        assert all(0 <= row[c] <= 100 for c in COLUMNS[1:]), name
    for model, by_number in results.tasks.items():
        # Table 3 begins with the models of table 5.
        assert by_number[0] == results.models[model]
    consistency = results.self_consistency
    for values in consistency.rows.values():
        assert len(values) == len(consistency.columns)


def test_the_published_means_are_those_of_the_languages():
    results = published_results()
    for column, by_model in (
        ("tydiqa", results.tydiqa),
        ("mgsm", results.mgsm),
    ):
        place = COLUMNS.index(column)
        for model, languages in by_model.items():
            assert set(languages) == set(load_protocol(column).headline)
            mean = sum(languages.values()) / len(languages)
            published = results.models[model][place]
            assert mean == pytest.approx(published, abs=0.06), model


def mean_normalised_bounds(mean):
    """The least and most that 27 scores of this mean can come to.

    A point of a task is worth 1 / (100 - r): spending the points on the
    tasks with the highest baselines first gives most, on the lowest least.
    """
    bounds = []
    for highest_first in (False, True):
        points, total = 27 * mean, 0.0
        ordered = sorted(SUBTASKS.values(), reverse=highest_first)
        for baseline in ordered:
            score = min(100.0, points)
            points -= score
            total += normalise(score, baseline)
        bounds.append(total / 27)
    return bounds


@pytest.mark.parametrize(("name", "row"), rows())
def test_the_published_averages_fit_the_published_columns(name, row):
    """What the average leaves for BBH must be possible for its means.

    The scores of the single subtasks are not at hand, so the two means of
    BBH fix their part of the average only up to these bounds.
    """
    left = 6 * row["average"] - (
        normalise(row["mmlu_direct"], 25)
        + normalise(row["mmlu_cot"], 25)
        + row["tydiqa"]
        + row["mgsm"]
    )
    low, high = (
        sum(parts)
        for parts in zip(
            mean_normalised_bounds(row["bbh_direct"]),
            mean_normalised_bounds(row["bbh_cot"]),
            strict=True,
        )
    )
    assert low - 0.3 <= left <= high + 0.3
    # And it is near to what equal gains over guessing would give.
    even = sum(
        normalise(row[column], sum(SUBTASKS.values()) / 27)
        for column in ("bbh_direct", "bbh_cot")
    )
    assert left == pytest.approx(even, abs=13)


def test_flan_gains_everywhere():
    models = published_results().models
    for name, values in models.items():
        if f"Flan-{name}" in models:
            assert models[f"Flan-{name}"][0] > values[0]
    # "+9.4" compares 540B by proportions A, not by the table's 58.4.
    gain = published_results().tasks["PaLM 540B"]
    assert gain[1836][0] - gain[0][0] == pytest.approx(9.4)
