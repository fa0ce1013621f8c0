"""The header of a GGUF file in the terms of transformers' `config.json`."""

import math
from typing import Any

import numpy as np

from keras_flan.errors import InputError
from keras_flan.models.gguf.file import GgufFile

# What a file calls the families, and transformers.
ARCHITECTURES = {
    "gemma3": "gemma3_text",
    "llama": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
}
_SIZES = {
    "block_count": "num_hidden_layers",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
}
# Of Llama 3.1 and later: positions are scaled by the wavelength.
FACTORS = "rope_freqs.weight"
_LLAMA3 = {
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
# The 27B model of Gemma 3 has a scale of scores of its own; its file tells it
# by the number of layers alone.
_LAYERS_OF_27B = 62


def config_of(file: GgufFile) -> dict[str, Any]:
    """Returns a header as the `config.json` of the same model.

    Args:
        file: A file of one of `ARCHITECTURES`.

    Raises:
        InputError: If it is of another architecture, or no model has such
            sizes.
    """
    architecture = file.value("general.architecture")
    if architecture not in ARCHITECTURES:
        raise InputError(
            f"{file.path}: found the architecture {architecture!r}, expected "
            f"one of {', '.join(ARCHITECTURES)}"
        )

    def value(name: str, kind: type, default: Any = None) -> Any:
        return file.value(f"{architecture}.{name}", kind, default)

    config: dict[str, Any] = {
        theirs: value(name, int) for name, theirs in _SIZES.items()
    }
    config["vocab_size"] = file.shape("token_embd.weight")[0]
    heads, width = config["num_attention_heads"], config["hidden_size"]
    groups = value("attention.head_count_kv", int, heads)
    head = value("attention.key_length", int, width // max(heads, 1))
    if (
        min([*config.values(), groups, head]) < 1
        or heads % groups
        or (head * heads != width and architecture == "llama")
        or value("attention.value_length", int, head) != head
        or value("rope.dimension_count", int, head) != head
    ):
        sizes = {**config, "num_key_value_heads": groups, "head_dim": head}
        raise InputError(
            f"{file.path}: no {architecture} has the sizes {sizes}; install or "
            "download it again"
        )
    config |= {
        "model_type": ARCHITECTURES[architecture],
        "num_key_value_heads": groups,
        "head_dim": head,
        "rms_norm_eps": value("attention.layer_norm_rms_epsilon", float),
        "tie_word_embeddings": "output.weight" not in file.names,
    }
    theta = 1e6 if architecture == "gemma3" else 1e4
    config["rope_theta"] = value("rope.freq_base", float, theta)
    scaling = value("rope.scaling.type", str, "none")
    if scaling != "none":
        factor = value("rope.scaling.factor", float, 1.0)
        config["rope_scaling"] = {"rope_type": scaling, "factor": factor}
    if FACTORS in file.names:
        config["rope_scaling"] = _llama3_scaling(file, config)
    if architecture == "gemma3":
        config["sliding_window"] = value("attention.sliding_window", int)
        own = config["num_hidden_layers"] == _LAYERS_OF_27B
        scalar = width // heads if own else head
        config["query_pre_attn_scalar"] = scalar
    return config


def _llama3_scaling(file: GgufFile, config: dict[str, Any]) -> dict[str, Any]:
    """Returns what scales the positions of Llama 3.1 and later.

    The file has what each frequency is divided by; transformers and keras-hub
    have the rule.

    Raises:
        InputError: If they were made by another rule.
    """
    found = file.tensor(FACTORS).ravel()
    factor = float(found.max(initial=1.0))
    half = config["head_dim"] // 2
    powers = np.arange(half) / half
    lengths = 2 * math.pi * config["rope_theta"] ** powers
    low, high, original = _LLAMA3.values()
    share = np.clip((original / lengths - low) / (high - low), 0, 1)
    expected = 1 / ((1 - share) / factor + share)
    if found.shape != (half,) or not np.allclose(found, expected, rtol=1e-3):
        raise InputError(
            f"{file.path}: found positions scaled by factors that are not "
            "those of Llama 3.1, which keras-hub's layers know"
        )
    return {"rope_type": "llama3", "factor": factor, **_LLAMA3}
