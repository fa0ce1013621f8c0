"""Whether the confidence of a vote means what it says."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike


def reliability_bins(
    confidence: ArrayLike, correct: ArrayLike, bins: int = 10
) -> list[dict[str, float]]:
    """Groups predictions by confidence, for a reliability diagram.

    Args:
        confidence: float [n], between 0 and 1.
        correct: bool or float [n], 1 where the prediction was right.
        bins: Number of equally wide bins; the last includes 1.

    Returns:
        One dict per bin that has predictions: `low`, `high` (edges), `n`,
        `confidence` and `accuracy` (means).

    Source: Guo et al. (arXiv:1706.04599), section 2.
    """
    confidence, correct = _arrays(confidence, correct)
    index = np.minimum((confidence * bins).astype(int), bins - 1)
    return [
        {
            "low": b / bins,
            "high": (b + 1) / bins,
            "n": int((index == b).sum()),
            "confidence": float(confidence[index == b].mean()),
            "accuracy": float(correct[index == b].mean()),
        }
        for b in np.unique(index).tolist()
    ]


def expected_calibration_error(
    confidence: ArrayLike, correct: ArrayLike, bins: int = 10
) -> float:
    """Returns sum_b n_b / n * |accuracy_b - confidence_b|.

    Args:
        confidence: float [n], between 0 and 1.
        correct: bool or float [n].
        bins: Number of equally wide bins.

    Example:
        >>> expected_calibration_error([1.0, 1.0], [True, False])
        0.5
    """
    rows = reliability_bins(confidence, correct, bins)
    total = sum(row["n"] for row in rows)
    return sum(
        row["n"] / total * abs(row["accuracy"] - row["confidence"])
        for row in rows
    )


def brier_score(confidence: ArrayLike, correct: ArrayLike) -> float:
    """Returns the mean of (confidence - correct) squared.

    Args:
        confidence: float [n], between 0 and 1.
        correct: bool or float [n].
    """
    confidence, correct = _arrays(confidence, correct)
    return float(((confidence - correct) ** 2).mean())


def risk_at_coverage(
    confidence: ArrayLike,
    correct: ArrayLike,
    coverages: Sequence[float] = (1.0, 0.9, 0.8, 0.7, 0.5),
) -> list[dict[str, float]]:
    """Returns how many answers are wrong if only the surest are given.

    Args:
        confidence: float [n], between 0 and 1.
        correct: bool or float [n].
        coverages: Shares of the questions that are answered.

    Returns:
        A dict per coverage: `coverage`, `n` that are answered, `threshold`,
        the confidence of the last of them, and `risk`, the share of them that
        is wrong. Of questions with the same confidence as the last one as
        many count as there is place for, at their mean risk: their order
        means nothing.

    Example:
        >>> rows = risk_at_coverage([0.9, 0.8, 0.4, 0.4], [1, 1, 1, 0], [0.75])
        >>> rows[0]["n"], rows[0]["threshold"], round(rows[0]["risk"], 3)
        (3, 0.4, 0.167)

    Source: Geifman and El-Yaniv (arXiv:1705.08500), section 2.
    """
    confidence, correct = _arrays(confidence, correct)
    wrong = 1 - correct
    rows = []
    for coverage in coverages:
        number = max(1, round(coverage * len(wrong)))
        threshold = np.sort(confidence)[-number]
        above, tied = confidence > threshold, confidence == threshold
        place = number - above.sum()
        risk = wrong[above].sum() + place * wrong[tied].mean()
        rows.append(
            {
                "coverage": number / len(wrong),
                "n": number,
                "threshold": float(threshold),
                "risk": float(risk / number),
            }
        )
    return rows


def judged_confidence(
    confidence: ArrayLike, correct: ArrayLike
) -> dict[str, Any]:
    """Returns `ece`, `brier` and `risk` (`risk_at_coverage`) as one report.

    Args:
        confidence: float [n], between 0 and 1.
        correct: bool or float [n].
    """
    return {
        "ece": expected_calibration_error(confidence, correct),
        "brier": brier_score(confidence, correct),
        "risk": risk_at_coverage(confidence, correct),
    }


@dataclasses.dataclass(frozen=True)
class IsotonicCalibrator:
    """A monotone map from confidence to the share of right answers.

    Example:
        >>> calibrator = IsotonicCalibrator.fit([0.5, 0.5, 1.0], [0, 1, 1])
        >>> calibrator([0.5, 1.0]).tolist()
        [0.5, 1.0]

    Source: Zadrozny and Elkan (2002), pool adjacent violators.
    """

    confidence: tuple[float, ...]
    accuracy: tuple[float, ...]

    @classmethod
    def fit(
        cls, confidence: ArrayLike, correct: ArrayLike
    ) -> "IsotonicCalibrator":
        """Fits the map; both arguments have shape [n]."""
        confidence, correct = _arrays(confidence, correct)
        points, inverse = np.unique(confidence, return_inverse=True)
        blocks = []  # [sum of correct, number, first point]
        sums = np.bincount(inverse, weights=correct)
        sizes = np.bincount(inverse)
        for i, (total, n) in enumerate(zip(sums, sizes, strict=True)):
            blocks.append([total, n, i])
            while (
                len(blocks) > 1
                and blocks[-2][0] * blocks[-1][1]
                >= blocks[-1][0] * blocks[-2][1]
            ):
                total, n, _ = blocks.pop()
                blocks[-1][0] += total
                blocks[-1][1] += n
        edges = [block[2] for block in blocks] + [len(points)]
        fitted = np.repeat(
            [total / n for total, n, _ in blocks], np.diff(edges)
        )
        return cls(tuple(points.tolist()), tuple(fitted.tolist()))

    def __call__(self, confidence: ArrayLike) -> np.ndarray:
        """Returns calibrated confidences, float [n]."""
        points = np.asarray(confidence, float)
        return np.interp(points, self.confidence, self.accuracy)


def held_out_calibration(
    confidence: ArrayLike,
    correct: ArrayLike,
    fraction: float = 0.5,
    seed: int = 0,
) -> dict[str, float]:
    """Fits a calibrator on one part and measures it on the other.

    Args:
        confidence: float [n], between 0 and 1.
        correct: bool or float [n].
        fraction: Share of the predictions that the calibrator is fitted on.
        seed: Seed of the split.

    Returns:
        `ece_before`, `ece_after`, `brier_before`, `brier_after` on the part
        that was held out, and its size `n`.
    """
    confidence, correct = _arrays(confidence, correct)
    order = np.random.default_rng(seed).permutation(len(confidence))
    fit, test = np.split(order, [round(fraction * len(order))])
    if not len(fit) or not len(test):
        raise ValueError(
            f"a fraction of {fraction} of {len(order)} predictions leaves "
            "one part empty"
        )
    calibrated = IsotonicCalibrator.fit(confidence[fit], correct[fit])(
        confidence[test]
    )
    before, truth = confidence[test], correct[test]
    return {
        "ece_before": expected_calibration_error(before, truth),
        "ece_after": expected_calibration_error(calibrated, truth),
        "brier_before": brier_score(before, truth),
        "brier_after": brier_score(calibrated, truth),
        "n": len(test),
    }


def _arrays(
    confidence: ArrayLike, correct: ArrayLike
) -> tuple[np.ndarray, np.ndarray]:
    confidence = np.asarray(confidence, float)
    correct = np.asarray(correct, float)
    if confidence.ndim != 1 or confidence.shape != correct.shape:
        raise ValueError(
            "expected two vectors of the same length, found shapes "
            f"{confidence.shape} and {correct.shape}"
        )
    if not len(confidence):
        raise ValueError("there are no predictions to calibrate")
    if not ((confidence >= 0) & (confidence <= 1)).all():
        raise ValueError("a confidence lies outside 0 to 1")
    return confidence, correct
