"""LoRA adapters as the files of the package peft."""

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
from keras import ops
from safetensors.numpy import save_file

from keras_flan.errors import InputError
from keras_flan.files import write_json
from keras_flan.models.adapters.base import required
from keras_flan.models.adapters.lora import LoRA
from keras_flan.models.adapters.targets import projections
from keras_flan.models.huggingface.tensors import Tensor
from keras_flan.models.huggingface.writing import tensors_of
from keras_flan.models.language_model import LanguageModel
from keras_flan.outputs import Kind, head_of, replace_folder

_CONFIG = "adapter_config.json"
_WEIGHTS = "adapter_model.safetensors"


def to_peft(
    model: LanguageModel,
    path: str | os.PathLike,
    base: str | None = None,
    *,
    overwrite: bool = False,
) -> None:
    """Writes a LoRA adapter as a folder that peft loads.

    Args:
        model: A model with a LoRA adapter, of a family that transformers has.
        path: The folder; an earlier adapter folder there is replaced.
        base: What transformers calls the base model: a name of the hub or a
            folder, such as what `to_huggingface` wrote of it.
        overwrite: Whether to replace a folder of something else, with all
            that is in it.

    Raises:
        InputError: If the model has no LoRA adapter, transformers has no such
            model, or `path` is a folder of something else.

    Example:

    ```python
    keras_flan.models.to_peft(model, "tuned", base="HuggingFaceTB/SmolLM2-135M")
    base = transformers.AutoModelForCausalLM.from_pretrained(...)
    peft.PeftModel.from_pretrained(base, "tuned")
    ```

    Source: [Hu et al., 2021](https://arxiv.org/abs/2106.09685), section 4.
    """
    adapter = required(model)
    if not issubclass(adapter.kind, LoRA):
        raise InputError(
            f"to_peft: found a {adapter.kind.kind} adapter, which peft does "
            "not have; expected a LoRA adapter"
        )
    backbone = model.hub_backbone()
    weights = list(tensors_of(model, backbone))
    names, tensors = set(), {}
    for name, down, up in _factors(model, projections(backbone), weights):
        names.add(name)
        prefix = f"base_model.model.{name}"
        tensors[f"{prefix}.lora_A.weight"] = np.ascontiguousarray(down)
        tensors[f"{prefix}.lora_B.weight"] = np.ascontiguousarray(up)
    alpha = adapter.settings["alpha"]
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM" if model.decoder_only else "SEQ_2_SEQ_LM",
        "base_model_name_or_path": base,
        "r": adapter.settings["rank"],
        "lora_alpha": int(alpha) if alpha == int(alpha) else alpha,
        "target_modules": _targets(weights, names),
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
    }
    needed = sum(array.nbytes for array in tensors.values())
    with replace_folder(
        path, PEFT, _CONFIG, overwrite=overwrite, needed=needed
    ) as folder:
        save_file(tensors, folder / _WEIGHTS, metadata={"format": "pt"})
        write_json(folder / _CONFIG, config)


def _factors(
    model: LanguageModel, layers: dict[str, Any], weights: list[Tensor]
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yields the name of each projection, and its factors as peft has them.

    These are `(rank, inputs)` and `(outputs, rank)`.
    """
    known = {id(weight.variable): _name(weight) for weight in weights}
    for key, part in required(model).parts.items():
        a, b = (ops.convert_to_numpy(x) for x in (part.a, part.b))
        pairs = [(key, a, b)]
        if part.stacked:
            side, name = key.split(".", 1)
            pairs = [
                (f"{side}.{number}.{name}", *pair)
                for number, pair in enumerate(zip(a, b, strict=True))
            ]
        for name, down, up in pairs:
            rank = down.shape[-1]
            # The axes of both are those of the kernel, in its order.
            yield (
                known[id(layers[name].kernel)],
                down.reshape(-1, rank).T,
                up.reshape(rank, -1).T,
            )


def _name(weight: Tensor) -> str:
    return weight.name.removesuffix(".weight")


def _targets(weights: list[Tensor], names: set[str]) -> list[str]:
    """Returns the last names, where all layers of the name are adapted."""
    every = [_name(w) for w in weights if w.outputs and len(w.shape) == 2]
    chosen: set[str] = set()
    for name in names:
        last = name.rsplit(".", 1)[-1]
        whole = all(n in names for n in every if n.endswith(f".{last}"))
        chosen.add(last if whole else name)
    return sorted(chosen)


# What takes up the folder of an adapter.
PEFT = Kind("peft", lambda folder: "peft_type" in head_of(folder / _CONFIG))
