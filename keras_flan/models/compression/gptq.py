"""GPTQ: each weight is rounded, and those behind it make up for the error."""

import numpy as np

from keras_flan.models.adapters.equations import ends_of
from keras_flan.models.compression.codes import Form, packed, rounded, scales_of

# As in the paper: of the mean of the diagonal, and inputs at a time.
_DAMPING, _BLOCK = 0.01, 128


def encode_by_gptq(
    kernel: np.ndarray,
    equation: str,
    seen: np.ndarray,
    form: Form,
    kept: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the codes and scales of a kernel that change its outputs least.

    Args:
        kernel: Of one layer.
        equation: What it computes.
        seen: X^T X of its inputs, see `calibration.block_inputs`.
        form: How it is held.
        kept: bool, in the shape of the kernel: the weights that may be other
            than 0, of a pruned one; default: all.

    Returns:
        Codes and scales, as of `codes.encode`, and the weights that they
        are.

    Source: [Frantar et al., 2022](https://arxiv.org/abs/2210.17323),
    algorithm 1, with the scales of a group chosen when it is reached.
    """
    axes = equation.replace("->", ",").split(",")[1]
    inputs, outputs = ends_of(equation)
    order = [axes.index(axis) for axis in inputs + outputs]
    moved = kernel.astype("float64").transpose(order)
    rows = int(np.prod(moved.shape[: len(inputs)]))
    if kept is not None:
        kept = kept.transpose(order).reshape(rows, -1)
    codes, scales = solve(moved.reshape(rows, -1), seen, form, kept)
    values = codes * np.repeat(scales.astype("float64"), form.group, 0)
    back = np.argsort(order)

    def shaped(array: np.ndarray) -> np.ndarray:
        *first, last = moved.shape[: len(inputs)]
        last = last * len(array) // rows
        shape = (*first, last, *moved.shape[len(inputs) :])
        return np.ascontiguousarray(array.reshape(shape).transpose(back))

    return (
        packed(shaped(codes), form),
        shaped(scales),
        shaped(values).astype("float32"),
    )


def solve(
    weights: np.ndarray,
    seen: np.ndarray,
    form: Form,
    kept: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the codes of a matrix and the scales of its groups.

    Args:
        weights: `(inputs, outputs)`; groups are runs of its rows.
        seen: `(inputs, inputs)`.
        form: How they are held.
        kept: bool `(inputs, outputs)`, see `encode_by_gptq`.

    Returns:
        float32 `(inputs, outputs)` and `(inputs / group, outputs)`.
    """
    weights = weights.copy()
    factor = inverse_factor(seen)
    count = len(weights)
    codes = np.zeros(weights.shape, "float32")
    scales = np.zeros((count // form.group, weights.shape[1]), form.scale_dtype)
    scale = scales[0]
    for start in range(0, count, _BLOCK):
        end = min(start + _BLOCK, count)
        errors = np.zeros((end - start, weights.shape[1]))
        for row in range(start, end):
            if row % form.group == 0:
                group = weights[row : row + form.group].astype("float32")
                if kept is not None:
                    group = group * kept[row : row + form.group]
                scale = scales_of(group, form)[0]
                scales[row // form.group] = scale
            codes[row] = rounded(weights[row], scale, form)
            if kept is not None:
                codes[row] *= kept[row]
            lost = weights[row] - codes[row] * scale.astype("float64")
            errors[row - start] = lost / factor[row, row]
            weights[row + 1 : end] -= np.outer(
                factor[row, row + 1 : end], errors[row - start]
            )
        weights[end:] -= factor[start:end, end:].T @ errors
    return codes, scales


def inverse_factor(seen: np.ndarray) -> np.ndarray:
    """The upper Cholesky factor of the inverse of what was seen."""
    seen = seen.astype("float64")
    dead = np.diag(seen) == 0
    seen[dead, dead] = 1
    damping = _DAMPING * np.mean(np.diag(seen))
    seen[np.diag_indices_from(seen)] += damping
    inverse = np.linalg.inv(seen)
    return np.linalg.cholesky((inverse + inverse.T) / 2).T
