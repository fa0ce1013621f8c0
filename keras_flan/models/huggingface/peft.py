"""Adapters as the files of the package peft."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from keras import ops
from safetensors.numpy import save_file

from keras_flan.errors import InputError
from keras_flan.files import read_json_object, write_json
from keras_flan.models.adapters.base import Adapter, remove_adapter, required
from keras_flan.models.adapters.saving import KINDS
from keras_flan.models.adapters.targets import projections
from keras_flan.models.hub import PREFIX, local_folder
from keras_flan.models.huggingface.tensors import Tensor
from keras_flan.models.huggingface.writing import tensors_of
from keras_flan.models.language_model import LanguageModel
from keras_flan.models.weight_files import opened_safetensors
from keras_flan.outputs import Kind, head_of, replace_folder
from keras_flan.storage import local_copy

_CONFIG = "adapter_config.json"
_WEIGHTS = "adapter_model.safetensors"
_PREFIX = "base_model.model."
_INNER = "feedforward.output"

Arrays = dict[str, np.ndarray]


class _Form(NamedTuple):
    """How peft writes an adapter of a kind.

    Args:
        config: Of an adapter's settings, and a function that gives peft's
            names of the projections that the argument accepts.
        write: peft's tensors of one projection, of ours; both by their last
            names.
        read: The reverse, but for the shapes, which may be flat.
    """

    config: Callable[[dict[str, Any], Callable[..., list[str]]], dict]
    write: Callable[[Arrays], Arrays]
    read: Callable[[Arrays], Arrays]


def _low_rank(settings: dict[str, Any], names: Callable[..., list[str]]) -> Any:
    alpha = settings["alpha"]
    return {
        "peft_type": "LORA",
        "r": settings["rank"],
        "lora_alpha": int(alpha) if alpha == int(alpha) else alpha,
        "target_modules": names(),
        "lora_dropout": 0.0,
        "bias": "none",
    }


def _write_low_rank(ours: Arrays) -> Arrays:
    rank = ours["lora_a"].shape[-1]
    return {
        # The axes of both are those of the kernel, in its order.
        "lora_A.weight": ours["lora_a"].reshape(-1, rank).T,
        "lora_B.weight": ours["lora_b"].reshape(rank, -1).T,
        **(
            {"lora_magnitude_vector": ours["magnitude"].ravel()}
            if "magnitude" in ours
            else {}
        ),
    }


def _read_low_rank(theirs: Arrays) -> Arrays:
    names = {
        "lora_A.weight": "lora_a",
        "lora_B.weight": "lora_b",
        "lora_magnitude_vector": "magnitude",
    }
    return {names[name]: array.T for name, array in theirs.items()}


def _write_scale(ours: Arrays) -> Arrays:
    ((name, array),) = ours.items()
    shape = (1, -1) if name == "input_scale" else (-1, 1)
    return {"ia3_l": array.reshape(shape)}


_FORMS = {
    "lora": _Form(_low_rank, _write_low_rank, _read_low_rank),
    "dora": _Form(
        lambda settings, names: {
            **_low_rank(settings, names),
            "use_dora": True,
        },
        _write_low_rank,
        _read_low_rank,
    ),
    "ia3": _Form(
        lambda _, names: {
            "peft_type": "IA3",
            "target_modules": names(),
            "feedforward_modules": names(lambda key: key.endswith(_INNER)),
        },
        _write_scale,
        lambda theirs: {
            ("input_scale" if len(array) == 1 else "output_scale"): array
            for array in theirs.values()
        },
    ),
}


def to_peft(
    model: LanguageModel,
    path: str | os.PathLike,
    base: str | None = None,
    *,
    overwrite: bool = False,
) -> None:
    """Writes a LoRA, DoRA or IA3 adapter as a folder that peft loads.

    Args:
        model: A model with an adapter, of a family that transformers has.
        path: The folder; an earlier adapter folder there is replaced.
        base: What transformers calls the base model: a name of the hub or a
            folder, such as what `to_huggingface` wrote of it.
        overwrite: Whether to replace a folder of something else, with all
            that is in it.

    Raises:
        InputError: If the model has no adapter, or a Houlsby one, which peft
            does not have; transformers has no such model; or `path` is a
            folder of something else.

    Example:

    ```python
    keras_flan.models.to_peft(model, "tuned", base="HuggingFaceTB/SmolLM2-135M")
    base = transformers.AutoModelForCausalLM.from_pretrained(...)
    peft.PeftModel.from_pretrained(base, "tuned")
    ```

    Source: [Hu et al., 2021](https://arxiv.org/abs/2106.09685), section 4.
    """
    adapter = required(model)
    form = _FORMS.get(adapter.kind.kind)
    if form is None:
        raise InputError(
            f"to_peft: found a {adapter.kind.kind} adapter, which peft does "
            f"not have; expected one of: {', '.join(_FORMS)}"
        )
    modules, every = _modules(model)
    chosen, tensors = {}, {}
    for key, part in adapter.parts.items():
        for layer, arrays in _layers(key, part):
            chosen[layer] = modules[layer]
            for name, array in form.write(arrays).items():
                tensors[f"{_PREFIX}{modules[layer]}.{name}"] = (
                    np.ascontiguousarray(array)
                )

    def names(keep: Callable[[str], bool] = lambda _: True) -> list[str]:
        return _targets(every, {m for key, m in chosen.items() if keep(key)})

    config = {
        **form.config(adapter.settings, names),
        "task_type": "CAUSAL_LM" if model.decoder_only else "SEQ_2_SEQ_LM",
        "base_model_name_or_path": base,
        "fan_in_fan_out": False,
        "inference_mode": True,
    }
    needed = sum(array.nbytes for array in tensors.values())
    with replace_folder(
        path, PEFT, _CONFIG, overwrite=overwrite, needed=needed
    ) as folder:
        save_file(tensors, folder / _WEIGHTS, metadata={"format": "pt"})
        write_json(folder / _CONFIG, config)


def from_peft(model: LanguageModel, path: str | os.PathLike) -> None:
    """Puts a LoRA, DoRA or IA3 adapter of peft's into its base model.

    Args:
        model: The base that it was trained on, without an adapter.
        path: A folder that peft or `to_peft` wrote, or `"hf://NAME"`.

    Raises:
        InputError: If the folder is broken, holds an adapter of another kind
            or one that trains other weights too, or is of another model.

    Example:

    ```python
    model = keras_flan.models.load("hf://google/flan-t5-small")
    keras_flan.models.from_peft(model, "tuned")
    keras_flan.models.save_adapter(model, "tuned.safetensors")
    ```
    """
    with _folder(path) as folder:
        config = read_json_object(folder / _CONFIG)
        with opened_safetensors(folder / _WEIGHTS) as file:
            tensors = {name: file.read(name) for name in file.names}
    kind = _kind(path, config)
    keys = {module: key for key, module in _modules(model)[0].items()}
    found: dict[str, Arrays] = {}
    for name, array in tensors.items():
        module, last = _split(name)
        if module not in keys or not last:
            raise InputError(
                f"{path}: holds the tensor {name!r}, which is of no projection "
                f"of this {type(model.backbone).__name__}; load the model that "
                "it was trained on, with an adapter of projections alone"
            )
        found.setdefault(keys[module], {})[last] = array
    form = _FORMS[kind]
    ours = {key: form.read(arrays) for key, arrays in found.items()}
    _check_inner(path, ours)
    _install(model, path, kind, _settings(path, config, ours), ours)


def _kind(path: str | os.PathLike, config: dict[str, Any]) -> str:
    """Returns which of `_FORMS` an `adapter_config.json` is of."""
    kinds = {"LORA": "dora" if config.get("use_dora") else "lora", "IA3": "ia3"}
    kind = kinds.get(str(config.get("peft_type")))
    if kind is None or config.get("fan_in_fan_out"):
        raise InputError(
            f"{path}: found a peft_type {config.get('peft_type')!r}, expected "
            f"one of {', '.join(kinds)}, without fan_in_fan_out"
        )
    return kind


def _settings(
    path: str | os.PathLike, config: dict[str, Any], ours: dict[str, Arrays]
) -> dict[str, Any]:
    """Returns the arguments of `add_lora` and so on, but for the targets."""
    if config["peft_type"] == "IA3":
        return {}
    ranks = {a["lora_a"].shape[-1] for a in ours.values() if "lora_a" in a}
    if len(ranks) != 1:
        raise InputError(
            f"{path}: found the ranks {sorted(ranks)}, expected one for all "
            "projections"
        )
    (rank,) = ranks
    alpha = float(config.get("lora_alpha") or rank)
    if config.get("use_rslora"):
        alpha *= rank**0.5  # It divides by the root of the rank.
    return {"rank": rank, "alpha": alpha}


def _check_inner(path: str | os.PathLike, ours: dict[str, Arrays]) -> None:
    """Refuses scales of IA3 at another end of a projection than ours."""
    for key, arrays in ours.items():
        for name in arrays:
            if ("input" in name) != key.endswith(_INNER) and "scale" in name:
                raise InputError(
                    f"{path}: scales the {name.split('_')[0]} of {key}; only "
                    f"of {_INNER!r} the input is scaled here, of all others "
                    "the output"
                )


def _install(
    model: LanguageModel,
    path: str | os.PathLike,
    kind: str,
    settings: dict[str, Any],
    ours: dict[str, Arrays],
) -> None:
    """Adds an adapter and gives it the values of each layer."""
    targets = set(ours)
    if not targets <= set(projections(model.backbone)):  # It is stacked.
        targets = {_stack(key) for key in ours}
    KINDS[kind].add(model, targets=sorted(targets), **settings)
    try:
        for key, part in required(model).parts.items():
            layers = dict(_layers(key, part))
            for variable in part.trainable_variables:
                values = [
                    ours[layer][variable.name].reshape(
                        arrays[variable.name].shape
                    )
                    for layer, arrays in layers.items()
                ]
                variable.assign(np.stack(values) if part.stacked else values[0])
    except (KeyError, ValueError) as error:
        remove_adapter(model)
        raise InputError(
            f"{path}: its tensors do not fit this model ({error}): each "
            "projection needs all of its kind's, of one rank, and stacked "
            "layers (scan) take them for all layers or none"
        ) from None


@contextlib.contextmanager
def _folder(path: str | os.PathLike) -> Iterator[Path]:
    if str(path).startswith(PREFIX):
        with local_folder(path) as folder:
            yield folder
        return
    with local_copy(path, [_CONFIG, _WEIGHTS]) as folder:
        yield folder


def _split(name: str) -> tuple[str, str]:
    """A tensor's name to that of its module and the rest."""
    for last in (
        *("lora_A.weight", "lora_B.weight"),
        *("lora_magnitude_vector", "ia3_l"),
    ):
        if name.endswith(f".{last}"):
            return name.removeprefix(_PREFIX).removesuffix(f".{last}"), last
    return name, ""


def _modules(model: LanguageModel) -> tuple[dict[str, str], list[str]]:
    """Returns transformers' name of each projection, and of all matrices."""
    backbone = model.hub_backbone()
    weights = list(tensors_of(model, backbone))
    known = {id(weight.variable): _name(weight) for weight in weights}
    modules = {
        key: known[id(layer.kernel)]
        for key, layer in projections(backbone).items()
    }
    every = [_name(w) for w in weights if w.outputs and len(w.shape) == 2]
    return modules, every


def _layers(key: str, part: Adapter) -> Iterator[tuple[str, Arrays]]:
    """Yields each layer of an adapter by the name that it has unstacked."""
    arrays = {
        variable.name: ops.convert_to_numpy(variable)
        for variable in part.trainable_variables
    }
    if not part.stacked:
        yield key, arrays
        return
    side, name = key.split(".", 1)
    for number in range(len(next(iter(arrays.values())))):
        values = {last: array[number] for last, array in arrays.items()}
        yield f"{side}.{number}.{name}", values


def _stack(key: str) -> str:
    side, _, name = key.split(".", 2)
    return f"{side}.{name}"


def _name(weight: Tensor) -> str:
    return weight.name.removesuffix(".weight")


def _targets(every: list[str], names: set[str]) -> list[str]:
    """Returns the last names, where all layers of the name are adapted."""
    chosen: set[str] = set()
    for name in names:
        last = name.rsplit(".", 1)[-1]
        whole = all(n in names for n in every if n.endswith(f".{last}"))
        chosen.add(last if whole else name)
    return sorted(chosen)


# What takes up the folder of an adapter.
PEFT = Kind("peft", lambda folder: "peft_type" in head_of(folder / _CONFIG))
