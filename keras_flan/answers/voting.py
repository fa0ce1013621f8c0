"""Self-consistency: many paths, one answer."""

import dataclasses
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence

METHODS = ("majority", "sum", "average")


@dataclasses.dataclass(frozen=True)
class Vote:
    """The outcome of a vote.

    Args:
        winner: The chosen answer; None if every path abstained.
        counts: Number of paths for each answer, in order of appearance.
        confidence: Share of all paths, abstentions included, that gave the
            winner.
        abstained: Number of paths without an answer.

    Example:
        >>> vote(["9", "9", "7", None]).confidence
        0.5
    """

    winner: str | None
    counts: dict[str, int]
    confidence: float
    abstained: int


def vote(
    answers: Iterable[str | None],
    weights: Sequence[float] | None = None,
    method: str | None = None,
) -> Vote:
    """Chooses one answer from those of several paths.

    Abstentions (None) never win but lower the confidence. Ties go to the
    higher summed weight, then to the answer that came first.

    Args:
        answers: One canonical answer per path, None where none was found.
        weights: Weight of each path, see `path_weights` and `rank_weights`;
            default 1.
        method: `"majority"` (the default), `"sum"` (of the weights) or
            `"average"` (of the weights).

    Raises:
        ValueError: If the method is unknown or the lengths differ.

    Example:
        >>> vote(["9", "9", "7", None])
        Vote(winner='9', counts={'9': 2, '7': 1}, confidence=0.5, abstained=1)

    Source: Wang et al. (arXiv:2203.11171), section 2 and table 1.
    """
    answers = list(answers)
    weights = [1.0] * len(answers) if weights is None else list(weights)
    method = method or "majority"
    if method not in METHODS:
        raise ValueError(f"method must be one of {METHODS}, got {method!r}")
    if len(weights) != len(answers):
        raise ValueError(
            f"{len(weights)} weights for {len(answers)} answers; give one each"
        )
    counts: Counter[str] = Counter()
    sums: defaultdict[str, float] = defaultdict(float)
    for answer, weight in zip(answers, weights, strict=True):
        if answer is not None:
            counts[answer] += 1
            sums[answer] += weight
    rank: Callable[[str], tuple[float, ...]] = {
        "majority": lambda a: (counts[a], sums[a]),
        "sum": lambda a: (sums[a],),
        "average": lambda a: (sums[a] / counts[a], sums[a]),
    }[method]
    # max keeps the first of equals, and a Counter keeps the order of arrival.
    winner = max(counts, key=rank) if counts else None
    return Vote(
        winner=winner,
        counts=dict(counts),
        confidence=counts[winner or ""] / len(answers) if answers else 0.0,
        abstained=sum(answer is None for answer in answers),
    )


def path_weights(
    log_probabilities: Sequence[float], lengths: Sequence[int] | None = None
) -> list[float]:
    """Returns the weights of sampled paths, the likeliest path having 1.

    The common scale doesn't matter to a vote, and without it long paths
    would underflow to 0.

    Args:
        log_probabilities: Summed log-probability of each path, in nats.
        lengths: Number of tokens of each path, for the length-normalised
            weights `exp(mean log p)`.

    Example:
        >>> path_weights([-2.0, -2.0])
        [1.0, 1.0]
    """
    scores = list(log_probabilities)
    if lengths is not None:
        pairs = zip(scores, lengths, strict=True)
        scores = [score / max(length, 1) for score, length in pairs]
    top = max(scores, default=0.0)
    return [math.exp(score - top) for score in scores]


def rank_weights(scores: Sequence[float], power: float = 1.0) -> list[float]:
    """Returns weights by rank: `(n - rank + 1) ** power`, the best being 1st.

    For a vote by `"sum"`, where only the order of the scores can be trusted.
    Equal scores have the mean of their ranks.

    Args:
        scores: Of each path, more is better: log-probabilities per token, or
            what `keras_flan.generation.path_certainties` returns.
        power: 0 gives all paths the same weight.

    Example:
        >>> rank_weights([-0.2, -0.9, -0.2])
        [2.5, 1.0, 2.5]

    Source: Kang et al., self-certainty with Borda votes (arXiv:2502.18581).
    """
    better = [sum(other > score for other in scores) for score in scores]
    equal = [sum(other == score for other in scores) for score in scores]
    return [
        (len(scores) - above - (same - 1) / 2) ** power
        for above, same in zip(better, equal, strict=True)
    ]


def is_decided(answers: Sequence[str | None], samples: int) -> bool:
    """Whether no further path can change the winner of a majority.

    Args:
        answers: The answers so far.
        samples: The number of paths in all.

    Example:
        >>> is_decided(["9", "9", "9", "7"], samples=5)
        True
    """
    first, second = _leaders(answers)
    # The leader also keeps a tie if it came first, but by weights it may not.
    return first - second > samples - len(answers)


def confidence_of_leader(answers: Sequence[str | None]) -> float:
    """Returns the posterior probability that the leader beats the runner-up.

    With v1 and v2 votes and a uniform prior on the share of the leader among
    the two, that is P(Beta(v1 + 1, v2 + 1) > 1/2).

    Example:
        >>> round(confidence_of_leader(["9", "9", "9", "9"]), 3)
        0.969

    Source: Aggarwal et al., Adaptive-Consistency (arXiv:2305.11860).
    """
    first, second = _leaders(answers)
    n = first + second + 1
    # The beta tail at 1/2 is a binomial tail for whole numbers.
    return sum(math.comb(n, i) for i in range(first + 1)) / 2**n


def stopping_point(
    answers: Sequence[str | None],
    threshold: float = 0.95,
    samples: int | None = None,
) -> int | None:
    """Returns how many of the paths an adaptive vote draws.

    Paths are drawn one by one until the vote is decided or the posterior of
    the leader reaches the threshold, see `confidence_of_leader`.

    Args:
        answers: The answers so far, in the order of the paths.
        threshold: The posterior that is enough; above 1 none is.
        samples: The number of paths in all; default: these are all.

    Returns:
        The number of paths; `None` if it draws more than these.

    Example:
        >>> stopping_point(["9"] * 40)
        4
        >>> stopping_point(["9", "7"], samples=40)
    """
    samples = len(answers) if samples is None else samples
    for drawn in range(1, len(answers) + 1):
        seen = answers[:drawn]
        if any(answer is not None for answer in seen) and (
            is_decided(seen, samples) or confidence_of_leader(seen) >= threshold
        ):
            return drawn
    return len(answers) if len(answers) >= samples else None


def _leaders(answers: Sequence[str | None]) -> tuple[int, int]:
    top = Counter(a for a in answers if a is not None).most_common(2)
    votes = [count for _, count in top] + [0, 0]
    return votes[0], votes[1]
