"""What is measured on the predictions of a cell."""

from collections.abc import Mapping, Sequence

import numpy as np

from keras_flan.answers.voting import vote
from keras_flan.evaluation.scores.paper import normalise
from keras_flan.evaluation.scores.predictions import Prediction, Verdict
from keras_flan.miniature.universe import ALL, DEBUGGING

# Draws of k of the sampled paths, over whose votes the mean is taken.
_VOTE_DRAWS = 20
_VOTE_SIZES = (1, 2, 4, 8, 16, 24, 32, 40)
_CONFIDENCE_BINS = 5


def accuracy_by_paths(
    rows: Sequence[Prediction], paths: int
) -> dict[str, float]:
    """Returns the accuracy of votes over k paths, mean over draws of k.

    Args:
        rows: The predictions.
        paths: Paths of each row.
    """
    from keras_flan.answers import is_correct, normalise_answer

    generator = np.random.default_rng(0)
    result = {}
    for k in [k for k in _VOTE_SIZES if k <= paths]:
        right = 0.0
        for row in rows:
            answers = row.logged.answers
            target = normalise_answer(row.target, row.answer_kind or "text")
            for _ in range(_VOTE_DRAWS if k < paths else 1):
                chosen = generator.choice(paths, size=k, replace=False)
                winner = vote([answers[i] for i in chosen]).winner
                share = 1 if k == paths else 1 / _VOTE_DRAWS
                right += share * is_correct(winner, target)
        result[str(k)] = round(right / len(rows), 6)
    return result


def calibration(rows: Sequence[Prediction]) -> list[dict]:
    """Returns examples, mean confidence and accuracy by bin of confidence."""
    bins: list[list[Verdict]] = [[] for _ in range(_CONFIDENCE_BINS)]
    for row in rows:
        place = int(row.logged.confidence * _CONFIDENCE_BINS)
        bins[min(place, _CONFIDENCE_BINS - 1)].append(row.logged)
    return [
        {
            "n": len(one),
            "confidence": round(
                sum(found.confidence for found in one) / len(one), 6
            ),
            "accuracy": round(
                sum(found.correct for found in one) / len(one), 6
            ),
        }
        for one in bins
        if one
    ]


def group_scores(
    tasks: Mapping[str, float], asked: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, float]]:
    """Returns exact match and normalised average by group of tasks.

    Args:
        tasks: Accuracy by task, between 0 and 1.
        asked: Tasks by group; those without a score are left out.

    Returns:
        `exact` and `normalised` in percent, by group; for `held_out`, the
        two kinds of held-out tasks together; and for `debugging`, the kinds
        of bugs that no training shows.

    Source: the normalised preferred metric of arXiv:2210.11416, section 3.
    """
    members = dict(asked)
    members["held_out"] = [
        *asked["held_out_tasks"],
        *asked["held_out_families"],
    ]
    members["debugging"] = [s.name for s in DEBUGGING.values() if s.held_out]
    result = {}
    for group, names in members.items():
        scored = [name for name in names if name in tasks]
        if not scored:
            continue
        exact = [100 * tasks[name] for name in scored]
        normalised = [
            normalise(100 * tasks[name], 100 * ALL[name].random_baseline)
            for name in scored
        ]
        result[group] = {
            "exact": sum(exact) / len(exact),
            "normalised": sum(normalised) / len(normalised),
        }
    return result
