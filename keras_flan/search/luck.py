"""How much of a gain is luck: the search again, where nothing is better."""

from collections.abc import Iterator, Sequence

import numpy as np

_FLIPS = 300


def rounds(first: int, number: int) -> Iterator[int]:
    """Yields how many questions have been asked after each round.

    Example:
        >>> list(rounds(16, 100))
        [16, 32, 64, 100]
    """
    reach = min(first, number)
    while reach < number:
        yield reach
        reach = min(2 * reach, number)
    yield number


def better_half(scores: Sequence[float] | np.ndarray) -> list[int]:
    """Returns the places of the better half, at least two; ties keep order."""
    order = sorted(range(len(scores)), key=lambda i: (-scores[i], i))
    return order[: max(2, (len(scores) + 1) // 2)]


def luck_of_the_best(
    default: Sequence[bool],
    others: Sequence[Sequence[bool]],
    first: int | None = None,
    seed: int = 0,
) -> float:
    """Returns what a search gains by chance if no candidate is better.

    If a candidate is as good as the default, it is as often right where that
    is wrong as the other way round: so the sign of the difference of each
    question may be turned, in all candidates at once. Then the better half
    goes on, round by round, as in the search, and the best at the end gains
    this, in the mean over many turns; at least 0, as the default stays. Of
    candidates that were dropped early, the differences of further questions
    are drawn from those that are known.

    Args:
        default: Whether the default was right, by question.
        others: The same of each candidate, of as many or fewer questions.
        first: Questions of the first round; default: all at once.
        seed: Seed of the turns and draws.

    Example:
        >>> luck_of_the_best([True, False] * 20, [[False, True] * 20])
        0.06...
    """
    if not others:
        return 0.0
    number = len(default)
    rng = np.random.default_rng(seed)
    lengths = np.array([len(right) for right in others])
    known = np.zeros((len(others), number))
    for row, right in zip(known, others, strict=True):
        row[: len(right)] = np.subtract(
            right, default[: len(right)], dtype=float
        )
    gains = []
    for _ in range(_FLIPS):
        values = known.copy()
        for n in set(lengths[lengths < number].tolist()):
            drawn = rng.integers(n, size=number - n)
            values[lengths == n, n:] = known[lengths == n][:, drawn]
        values *= rng.choice([-1.0, 1.0], number)
        gains.append(_gain(values, first or number))
    return float(np.mean(gains))


def _gain(changes: np.ndarray, first: int) -> float:
    """Returns what the winner of changes `(candidate, question)` gains."""
    number = changes.shape[1]
    changes = np.vstack([np.zeros(number), changes])  # The default.
    alive = np.arange(len(changes))
    for reach in rounds(first, number):
        if len(alive) <= 2 or reach == number:
            break
        kept = better_half(changes[alive, :reach].sum(axis=1))
        alive = alive[sorted({0, *kept})]
    return float(changes[alive].sum(axis=1).max() / number)
