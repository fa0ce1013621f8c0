"""A keras-hub backbone and its tokenizer from a GGUF file."""

import inspect
from pathlib import Path
from typing import Any

import numpy as np

from keras_flan.data.vocabularies.hub import HubVocabulary
from keras_flan.errors import InputError
from keras_flan.models.backbones import undrawn
from keras_flan.models.gguf.configs import FACTORS, config_of
from keras_flan.models.gguf.file import GgufFile
from keras_flan.models.gguf.smollm2 import SmolLM2Backbone, SmolLM2Tokenizer
from keras_flan.models.gguf.tokenizers import (
    byte_level_tokenizer,
    sentencepiece_tokenizer,
    splits_of,
    starts_text,
)
from keras_flan.models.huggingface.families import tensors
from keras_flan.models.huggingface.reading_configs import backbone_arguments
from keras_flan.models.weight_files import check_claims
from keras_flan.runtime.keras_hub import keras_hub

# How transformers names the tensors of a layer, and a GGUF file.
_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
_GEMMA3 = {
    **_NAMES,
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
_ENDS = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
}


def read_gguf(
    path: Path, dtype: Any = None, weights: bool = True
) -> tuple[Any, dict[str, Any]]:
    """Returns a backbone, and the other arguments of `DecoderOnly`.

    Args:
        path: A local file.
        dtype: A dtype or `keras.DTypePolicy`. Quantised weights are unpacked
            to it.
        weights: `False` draws the weights, and gives no vocabulary.

    Raises:
        InputError: If the file is missing or broken, or holds a model that
            keras-hub's layers can't express.

    Source: the format, https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
    """
    file = GgufFile(path)
    backbone = read_backbone(file, dtype, weights)
    if not weights:
        return backbone, {}
    # It goes on with a prompt as it is, like other pretrained models.
    vocabulary = HubVocabulary(_tokenizer(file, backbone), starts_text(file))
    return backbone, {"vocabulary": vocabulary, "separate": False}


def read_backbone(
    file: GgufFile, dtype: Any = None, weights: bool = True
) -> Any:
    """Returns a keras-hub backbone; tensors are unpacked one at a time.

    Args:
        file: The file.
        dtype: Of the weights; default: Keras's policy.
        weights: `False` draws the weights.
    """
    config = config_of(file)
    name, arguments = backbone_arguments(config, str(file.path))
    make = getattr(keras_hub.models, name)
    if config["model_type"] == "llama":
        make = {
            None: keras_hub.models.LlamaBackbone,
            "smollm": SmolLM2Backbone,
        }.get(splits_of(file), keras_hub.models.Llama3Backbone)
    known = inspect.signature(make).parameters
    arguments = {k: v for k, v in arguments.items() if k in known}
    check_claims(str(file.path), arguments, [file.path])
    with undrawn(weights):
        backbone = make(**arguments, dtype=dtype)
    if weights:
        _read_weights(file, backbone, config["model_type"])
    return backbone


def _tokenizer(file: GgufFile, backbone: Any) -> Any:
    splits = splits_of(file)
    if splits == "smollm":
        return byte_level_tokenizer(file, SmolLM2Tokenizer)
    if splits is not None:
        return byte_level_tokenizer(file, splits=splits)
    if isinstance(backbone, keras_hub.models.Gemma3Backbone):
        return sentencepiece_tokenizer(
            file, keras_hub.models.Gemma3Tokenizer, has_vision_tokens=False
        )
    return sentencepiece_tokenizer(file, keras_hub.models.LlamaTokenizer)


def _read_weights(file: GgufFile, backbone: Any, kind: str) -> None:
    gemma3 = kind == "gemma3_text"
    heads = {
        "attn_q": backbone.num_query_heads,
        "attn_k": backbone.num_key_value_heads,
    }
    known = {FACTORS, "output.weight"}
    for tensor in tensors(backbone):
        name = _name(tensor.name, _GEMMA3 if gemma3 else _NAMES)
        known.add(name)
        array = file.tensor(name)
        if array.shape != tensor.shape:
            raise InputError(
                f"{file.path}: tensor {name!r} has the shape {array.shape}, "
                f"expected {tensor.shape}"
            )
        if not np.isfinite(array).all():
            raise InputError(f"{file.path}: tensor {name!r} is not finite")
        part = name.split(".")[-2]
        if kind == "llama" and part in heads:
            array = _halves(array, heads[part])
        if gemma3 and part.endswith("norm"):
            array = array - 1  # keras-hub's norms add it.
        tensor.variable.assign(tensor.taken(array))
    unknown = sorted(set(file.names) - known)
    if unknown:
        raise InputError(
            f"{file.path}: found {len(unknown)} tensors that are no part of a "
            f"{type(backbone).__name__}, first {unknown[0]!r}"
        )


def _name(name: str, parts: dict[str, str]) -> str:
    """`"model.layers.3.mlp.up_proj.weight"` to `"blk.3.ffn_up.weight"`."""
    stem, kind = name.rsplit(".", 1)
    if stem in _ENDS:
        return f"{_ENDS[stem]}.{kind}"
    number, part = stem.removeprefix("model.layers.").split(".", 1)
    return f"blk.{number}.{parts[part]}.{kind}"


def _halves(array: np.ndarray, heads: int) -> np.ndarray:
    """Undoes the order of the rotated rows of a Llama's query and key.

    A rotation turns pairs of rows. The file keeps a pair side by side (0, 1),
    (2, 3), ...; keras-hub keeps the first of each pair in the first half of a
    head and the second in the second.

    Args:
        array: `(heads * width, inputs)`.
        heads: The number of heads.
    """
    rows, inputs = array.shape
    pairs = array.reshape(heads, rows // heads // 2, 2, inputs)
    return pairs.swapaxes(1, 2).reshape(rows, inputs)
