"""Weights that are 0, and stay so: magnitude, Wanda and SparseGPT."""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from keras import ops

from keras_flan.errors import InputError, did_you_mean
from keras_flan.files import write_json
from keras_flan.models.adapters.base import adapter_of
from keras_flan.models.adapters.equations import axes_of, ends_of, equation_of
from keras_flan.models.adapters.targets import projections
from keras_flan.models.compression.calibration import (
    Block,
    block_inputs,
    blocks_of,
    finite,
)
from keras_flan.models.compression.keep_zeros import KeepZeros
from keras_flan.models.compression.places import refuse_experts
from keras_flan.models.compression.quantised import Quantised
from keras_flan.models.compression.sparsegpt import sparsegpt
from keras_flan.models.language_model import LanguageModel
from keras_flan.models.programs import forget_programs

# Beside a model's config.
FILE = "pruned.json"
_METHODS = ("magnitude", "wanda", "sparsegpt")
# Inputs that SparseGPT chooses among at a time, as in the paper.
_BLOCK = 128
# An attribute of a backbone whose zeros are not looked up yet.
_WAITING = "keeps_zeros"


def prune(
    model: LanguageModel,
    method: str = "wanda",
    sparsity: float | str = 0.5,
    calibration: Iterable[Any] | None = None,
) -> None:
    """Sets the least important weights of each projection to 0.

    A weight counts by its size (`"magnitude"`), or by its size times the
    length of its input over a calibration set (`"wanda"`), beside the others
    of the same output. `"sparsegpt"` chooses by how well its loss can be made
    up for, and changes the weights that stay to do so. Layers are pruned one
    after another, each by what those before it, already pruned, give it.
    Embeddings, norms and biases stay. Finetuning keeps every 0, also after
    `save` and `load`.

    Args:
        model: Whose weights are whole, without an adapter.
        method: `"magnitude"`, `"wanda"` or `"sparsegpt"`.
        sparsity: The share of each output's weights that become 0; or
            `"2:4"`, so that of each 4 inputs in a row 2 are.
        calibration: Batches as `fit` takes them, packed; not for
            `"magnitude"`.

    Raises:
        InputError: If a setting is wrong, a projection's inputs can't be
            parted so, the model has an adapter, or its weights are in few
            bits.

    Example:

    ```python
    keras_flan.models.prune(model, "wanda", "2:4", dataset.take(8))
    model.compile(keras.optimizers.Adam(1e-4), TokenCrossentropy())
    model.fit(dataset, steps_per_epoch=1000)
    ```

    Source: [Sun et al., 2023](https://arxiv.org/abs/2306.11695), section 3;
    [Frantar and Alistarh, 2023](https://arxiv.org/abs/2301.00774).
    """
    _check(model, method, calibration)
    batches = finite(calibration)
    choose, block_size = _chooser(sparsity)
    layers = projections(model.backbone)
    blocks = list(blocks_of(model.backbone))
    if isinstance(sparsity, str):
        _check_runs(layers, blocks, block_size)
    for block in blocks:
        seen: dict[str, np.ndarray] = {}
        if method != "magnitude":
            seen = block_inputs(model, batches, block)
        for name in block.names:
            variable = layers[name].kernel
            whole = np.array(ops.convert_to_numpy(variable))
            part = whole if block.number is None else whole[block.number]
            order, shape, matrix = _matrix(part, equation_of(layers[name]))
            if method == "sparsegpt":
                matrix = sparsegpt(matrix, seen[name], choose, block_size)
            else:
                score = np.abs(matrix.astype("float64"))
                if seen:
                    score *= np.sqrt(np.diag(seen[name]))[:, None]
                matrix = np.where(choose(score), matrix, 0)
            part[...] = matrix.reshape(shape).transpose(np.argsort(order))
            variable.assign(whole)
    keep_zeros(model)


def keep_zeros(model: LanguageModel) -> None:
    """Has training leave the zeros of projections as they are.

    `prune` does it, and `load` of a pruned model that `save` wrote.

    Args:
        model: Its masks are what is 0 now.
    """
    for layer in projections(model.backbone).values():
        if not isinstance(layer.kernel, Quantised):
            mask = ops.convert_to_numpy(layer.kernel) != 0
            layer.kernel.constraint = KeepZeros(mask)
    forget_programs(model)


def keep_zeros_of_file(model: LanguageModel) -> None:
    """Has the next training do `keep_zeros`: its weights are read next."""
    setattr(model.backbone, _WAITING, True)


def keep_waiting_zeros(model: LanguageModel) -> None:
    """Does what `keep_zeros_of_file` said, if it did."""
    # A model of one's own may have no backbone.
    backbone = getattr(model, "backbone", None)
    if getattr(backbone, _WAITING, False):
        setattr(backbone, _WAITING, False)
        keep_zeros(model)


def is_pruned(backbone: Any) -> bool:
    """Whether zeros are kept, or will be as soon as it is trained."""
    if getattr(backbone, _WAITING, False):
        return True
    try:
        layers = projections(backbone).values()
    except InputError:  # A family without a table of projections.
        return False
    return any(
        isinstance(getattr(layer.kernel, "constraint", None), KeepZeros)
        for layer in layers
    )


def note_pruned(backbone: Any, folder: Path) -> None:
    """Writes beside a model's config that zeros are kept, if they are."""
    if is_pruned(backbone):
        write_json(folder / FILE, {"format": 1, "keep_zeros": True})
    else:
        (folder / FILE).unlink(missing_ok=True)


def _check(model: LanguageModel, method: str, batches: Any) -> None:
    """Raises `InputError` for what can't be done."""
    if method not in _METHODS:
        hint = did_you_mean(method, _METHODS)
        raise InputError(f"prune: found {method!r}.{hint}")
    if (batches is None) != (method == "magnitude"):
        raise InputError(
            "prune: 'wanda' and 'sparsegpt' need calibration, batches of the "
            "model's own kind of text, and 'magnitude' takes none; found "
            f"{method!r} {'without' if batches is None else 'with'} it"
        )
    refuse_experts(model.backbone, "prune")
    if adapter_of(model) is not None:
        raise InputError(
            f"{type(model).__name__}: it has an adapter; prune the base before "
            "an adapter is added, or call merge_adapter first"
        )
    for name, layer in projections(model.backbone).items():
        if isinstance(layer.kernel, Quantised):
            raise InputError(
                f"{name}: is in few bits; prune first, then quantize"
            )


def _chooser(
    sparsity: float | str,
) -> tuple[Callable[[np.ndarray], np.ndarray], int]:
    """Returns what makes scores `(inputs, outputs)` a mask of what stays.

    And the inputs that it is to be given at a time where not all are.
    """
    pattern = re.fullmatch(r"(\d+):(\d+)", str(sparsity))
    if pattern:
        gone, of = int(pattern[1]), int(pattern[2])
        if not 0 < gone < of:
            raise InputError(f"sparsity: found {sparsity!r}, such as '2:4'")
        return lambda score: _by_runs(score, gone, of), of
    if isinstance(sparsity, str) or not 0 < sparsity < 1:
        raise InputError(
            f"sparsity: found {sparsity!r}, expected a share between 0 and 1, "
            "or such as '2:4'"
        )
    share = float(sparsity)
    return (
        lambda score: _by_runs(score, int(len(score) * share), len(score)),
        _BLOCK,
    )


def _check_runs(
    layers: Mapping[str, Any], blocks: Iterable[Block], of: int
) -> None:
    """Raises `InputError` before anything is changed, if runs don't fit."""
    for name in (name for block in blocks for name in block.names):
        equation = equation_of(layers[name])
        sizes = dict(
            zip(
                reversed(axes_of(equation)[1]),
                reversed(layers[name].kernel.shape),
                strict=False,  # A stack has one more.
            )
        )
        inputs = math.prod(sizes[axis] for axis in ends_of(equation)[0])
        if inputs % of:
            raise InputError(
                f"sparsity: {name} has {inputs} inputs, which are no runs of "
                f"{of}; give a share, such as 0.5"
            )


def _by_runs(score: np.ndarray, gone: int, of: int) -> np.ndarray:
    """Leaves out so many of each run of inputs, the first of equal ones."""
    runs = score.reshape(-1, of, score.shape[-1])
    order = np.argsort(runs, axis=1, kind="stable")
    stays = np.ones(runs.shape, bool)
    np.put_along_axis(stays, order[:, :gone], False, axis=1)
    return stays.reshape(score.shape)


def _matrix(
    kernel: np.ndarray, equation: str
) -> tuple[list[int], tuple[int, ...], np.ndarray]:
    """A kernel's axes, inputs first; its shape so; and it, as a matrix."""
    axes = axes_of(equation)[1]
    inputs, outputs = ends_of(equation)
    order = [axes.index(axis) for axis in inputs + outputs]
    moved = kernel.transpose(order)
    rows = int(np.prod(moved.shape[: len(inputs)]))
    return order, moved.shape, moved.reshape(rows, -1)
