"""Fitting a model of confidence on a scored log of several paths."""

import os
from collections.abc import Sequence
from typing import Any

from numpy.typing import ArrayLike

from keras_flan.answers.calibration import judged_confidence
from keras_flan.answers.confidence import ConfidenceModel, cross_fitted
from keras_flan.errors import InputError
from keras_flan.evaluation.scores.judging import Judgement


def fit_confidence(
    results: Sequence[Judgement], path: str | os.PathLike, source: str = "rows"
) -> dict[str, Any]:
    """Fits a confidence model on judged outputs, and writes it.

    Args:
        results: What `judge` returned of outputs with several paths each.
            They must not be those that the model is to be judged on later.
        path: The JSON file to write.
        source: What errors call the outputs.

    Returns:
        `questions`; the `weights` of the signals; and of `share` (of the
        votes) and `fitted` (each half told by a model of the other) what
        `judged_confidence` says.

    Raises:
        InputError: If all rows have one path only, or there are too few rows.

    Example:
        >>> found = fit_confidence(judge("gsm8k", rows), "confidence.json")
        >>> found["share"]["ece"], found["fitted"]["ece"]
        (0.165, 0.056)
    """
    if not any(len(result.answers) > 1 for result in results):
        raise InputError(
            f"{source}: all rows have one path; votes need several "
            "(`evaluate --mode cot-vote`)"
        )
    rows = [result.signals for result in results]
    right = [result.correct for result in results]
    model = ConfidenceModel.fit(rows, right)
    told: dict[str, ArrayLike] = {
        "share": [result.confidence for result in results],
        "fitted": cross_fitted(rows, right),
    }
    model.save(path)
    return {
        "questions": len(rows),
        "weights": dict(zip(model.names, model.weights, strict=True)),
        **{
            name: judged_confidence(confidence, right)
            for name, confidence in told.items()
        },
    }
