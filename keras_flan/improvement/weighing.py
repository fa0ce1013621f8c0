"""From the rewards of a prompt's paths to what each path weighs.

A reward of `None` is an abstention of the judge: such a path is never
trained on, and counts in no mean.
"""

import math
import re
import statistics
from collections.abc import Hashable, Sequence
from typing import Literal

# How the tokens of an update share its weight; see `token_scales`.
Sharing = Literal["grpo", "dr_grpo", "dapo"]
Rewards = Sequence[float | None]

_EQUATION = re.compile(r"[-+*/(\d][-+*/\xd7\xf7x().,$%\d ]*=[ $]*-?[\d.,]*\d")


def right(
    rewards: Rewards,
    keys: Sequence[Hashable] | None = None,
    least: float = 1.0,
    most: int | None = None,
) -> list[float]:
    """Weighs right paths 1, and all others 0.

    Args:
        rewards: Of the paths of a prompt.
        keys: What tells paths apart, such as `equations` of each: of paths
            that share a key the first counts. Default: all count.
        least: From which reward on a path is right.
        most: The most paths of the prompt.

    Example:
        >>> right([1.0, 0.0, 1.0, None], keys=["a", "a", "a", "b"])
        [1.0, 0.0, 0.0, 0.0]

    Source: rejection-sampling finetuning, arXiv:2308.01825; STaR,
    arXiv:2203.14465; of votes instead of labels, arXiv:2210.11610.
    """
    seen: set[Hashable] = set()
    weights = []
    for number, reward in enumerate(rewards):
        key = number if keys is None else keys[number]
        kept = reward is not None and reward >= least and key not in seen
        kept = kept and (most is None or len(seen) < most)
        if kept:
            seen.add(key)
        weights.append(float(kept))
    return weights


def equations(text: str) -> Hashable:
    """Returns the equations of a path, by which reasonings are told apart.

    A path without any is told apart by its words.

    Example:
        >>> equations("He has 23 - 20 = 3, then 3 + 6 = 9.")
        ('23-20=3', '3+6=9')
    """
    found = _EQUATION.findall(text)
    plain = tuple(re.sub(r"[ $,]", "", one) for one in found)
    return plain or " ".join(text.lower().split())


def advantages(
    rewards: Rewards, spread: bool = True, drop: bool = False
) -> list[float] | None:
    """Returns how much better than the mean of its group each path is.

    `A = (r - mean(r)) / (std(r) + 1e-4)`, the deviation being that of a
    sample (n - 1), as TRL has it.

    Args:
        rewards: Of the paths of a prompt. An abstention has advantage 0.
        spread: Whether to divide by the deviation; Dr. GRPO does not.
        drop: Whether a group whose rewards are all alike is dropped (DAPO).

    Returns:
        `None` for a group that is dropped or has fewer than two judged paths.

    Example:
        >>> advantages([1.0, 0.0], spread=False)
        [0.5, -0.5]

    Source: arXiv:2402.03300 (GRPO), arXiv:2503.20783 (Dr. GRPO),
    arXiv:2503.14476 (DAPO).
    """
    judged = [reward for reward in rewards if reward is not None]
    if len(judged) < 2 or (drop and min(judged) == max(judged)):
        return None
    mean = statistics.fmean(judged)
    scale = statistics.stdev(judged) + 1e-4 if spread else 1.0
    return [0.0 if r is None else (r - mean) / scale for r in rewards]


def token_scales(
    lengths: Sequence[int], sharing: Sharing, longest: int
) -> list[float]:
    """Returns what each token of a path counts in the loss of an update.

    Args:
        lengths: Tokens of each path of the update.
        sharing: `grpo`: every path counts the same, by the mean over its
            tokens; `dr_grpo`: every token counts the same, by a constant;
            `dapo`: every token counts the same, by the mean over all.
        longest: The most tokens that a path may have, for `dr_grpo`.

    Example:
        >>> token_scales([1, 3], "grpo", 4)
        [0.5, 0.16666666666666666]
        >>> token_scales([1, 3], "dr_grpo", 4)
        [0.125, 0.125]
        >>> token_scales([1, 3], "dapo", 4)
        [0.25, 0.25]
    """
    number = len(lengths)
    if sharing == "grpo":
        return [1 / (number * max(length, 1)) for length in lengths]
    total = number * longest if sharing == "dr_grpo" else sum(lengths)
    return [1 / max(total, 1)] * number


def best_and_worst(rewards: Rewards) -> tuple[int, int] | None:
    """Returns the first best path and the first worst one, as a pair.

    Returns:
        Their numbers; `None` if no path is better than another.

    Example:
        >>> best_and_worst([0.0, 1.0, None, 1.0])
        (1, 0)
    """
    judged = [(r, -i) for i, r in enumerate(rewards) if r is not None]
    if not judged:
        return None
    (high, best), low = max(judged), min(r for r, _ in judged)
    if math.isclose(high, low):
        return None
    return -best, next(i for i, r in enumerate(rewards) if r == low)
