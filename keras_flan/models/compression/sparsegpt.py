"""SparseGPT: what is pruned is made up for by the weights behind it."""

from collections.abc import Callable

import numpy as np

from keras_flan.models.compression.gptq import inverse_factor


def sparsegpt(
    weights: np.ndarray,
    seen: np.ndarray,
    choose: Callable[[np.ndarray], np.ndarray],
    block: int,
) -> np.ndarray:
    """Returns a matrix with zeros whose outputs change little.

    Inputs are gone through in runs. Of each run the weights go whose loss can
    least be made up for, `w^2 / [H^-1]^2` with H = X^T X of the inputs behind
    them; what stays of the run, and all behind it, is changed to make up.

    Args:
        weights: `(inputs, outputs)`.
        seen: X^T X, `(inputs, inputs)`.
        choose: Makes the scores `(run, outputs)` of a run a mask of what
            stays.
        block: Inputs of a run.

    Returns:
        float64 `(inputs, outputs)`.

    Source: [Frantar and Alistarh, 2023](https://arxiv.org/abs/2301.00774),
    algorithm 1.
    """
    weights = weights.astype("float64")
    factor = inverse_factor(seen)
    for start in range(0, len(weights), block):
        end = min(start + block, len(weights))
        run = weights[start:end]
        stays = choose(np.square(run / np.diag(factor)[start:end, None]))
        errors = np.zeros(run.shape)
        for row, its in enumerate(factor[start:end, start:end]):
            errors[row] = np.where(stays[row], 0, run[row]) / its[row]
            run[row + 1 :] -= np.outer(its[row + 1 :], errors[row])
        weights[end:] -= factor[start:end, end:].T @ errors
        run[~stays] = 0
    return weights
