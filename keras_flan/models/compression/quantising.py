"""Putting a model's weights into few bits."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from keras import ops

from keras_flan.errors import InputError, did_you_mean
from keras_flan.models.adapters.base import adapter_of
from keras_flan.models.adapters.equations import equation_of
from keras_flan.models.compression.calibration import (
    block_inputs,
    blocks_of,
    finite,
)
from keras_flan.models.compression.codes import Form, form_of
from keras_flan.models.compression.gptq import encode_by_gptq
from keras_flan.models.compression.keep_zeros import KeepZeros
from keras_flan.models.compression.places import (
    places,
    put,
    record_of,
    refuse_experts,
)
from keras_flan.models.compression.quantised import Quantised, variables_of
from keras_flan.models.programs import forget_programs

_BITS = {"int8": 8, "int4": 4, "gptq": 4}


def quantise(
    model: Any,
    mode: str,
    group: int = 64,
    calibration: Iterable[Any] | None = None,
) -> None:
    """Does what `LanguageModel.quantize` says."""
    _check(model, mode, group, calibration)
    batches = finite(calibration)
    found = places(model.backbone)
    forms = {
        name: form_of(
            8 if place.coarse else _BITS[mode],
            place.value.shape[place.axis],
            group,
            place.axis,
        )
        for name, place in found.items()
    }
    if any(place.value._value is None for place in found.values()):
        # A model that is only looked at.
        for name, place in found.items():
            put(place, forms[name])
        return
    # Before anything is changed.
    for name, place in found.items():
        forms[name].check(name, ops.convert_to_numpy(place.value))
    if mode == "gptq":
        _walk(model, batches, forms)
    for name, place in found.items():
        if not isinstance(place.value, Quantised):
            kernel = ops.convert_to_numpy(place.value)
            put(place, forms[name]).give(kernel)
    forget_programs(model)


def _check(model: Any, mode: str, group: int, calibration: Any) -> None:
    """Raises `InputError` for what can't be done."""
    if mode not in _BITS:
        raise InputError(
            f"quantize: found {mode!r}." + did_you_mean(mode, _BITS)
        )
    if group < 2:
        raise InputError(f"group: expected at least 2, got {group}")
    if (calibration is not None) != (mode == "gptq"):
        raise InputError(
            "quantize: 'gptq' needs calibration, batches of the model's own "
            "kind of text, and the others take none; found mode "
            f"{mode!r} {'with' if calibration is not None else 'without'} it"
        )
    refuse_experts(model.backbone, "quantize")
    if adapter_of(model) is not None:
        raise InputError(
            f"{type(model).__name__}: it has an adapter; quantise the base "
            "before an adapter is added, or call merge_adapter first"
        )
    if record_of(model.backbone):
        raise InputError(
            f"{type(model).__name__}: its weights are in few bits already; "
            "load the model that it was made of"
        )


def _walk(model: Any, batches: list[Any], forms: dict[str, Form]) -> None:
    """Quantises layer after layer, each by what those before it give it."""
    found = places(model.backbone)
    stacks: dict[str, list[Any]] = {}
    for block in blocks_of(model.backbone):
        seen = block_inputs(model, batches, block)
        for name in block.names:
            place = found[name]
            kernel = ops.convert_to_numpy(place.value)
            if block.number is not None:
                kernel = kernel[block.number]
            zeros, kept = getattr(place.value, "constraint", None), None
            if isinstance(zeros, KeepZeros):
                kept = zeros.mask
                kept = kept if block.number is None else kept[block.number]
            made = encode_by_gptq(
                kernel, equation_of(place.layer), seen[name], forms[name], kept
            )
            if block.number is None:
                _assign(put(place, forms[name]), made[:2])
                continue
            # The layers behind it are to see what it gives now.
            whole = np.array(ops.convert_to_numpy(place.value))
            whole[block.number] = made[2]
            place.value.assign(whole)
            stacks.setdefault(name, []).append(made[:2])
    for name, parts in stacks.items():
        stacked = [np.stack(arrays) for arrays in zip(*parts, strict=True)]
        _assign(put(found[name], forms[name]), stacked)


def _assign(quantised: Quantised, values: Iterable[np.ndarray]) -> None:
    for variable, value in zip(variables_of(quantised), values, strict=True):
        variable.assign(value)
