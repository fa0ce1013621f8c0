"""keras-hub's families in transformers' terms: their configs and tensors."""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keras_flan.errors import InputError
from keras_flan.models.adapters.targets import norms, projections
from keras_flan.models.huggingface.tensors import Bank, Tensor, kernel_tensor
from keras_flan.schema import read_yaml

_NAMES = Path(__file__).with_name("names.yaml")
SIZES = {
    "vocab_size": "vocabulary_size",
    "hidden_size": "hidden_dim",
    "intermediate_size": "intermediate_dim",
    "num_hidden_layers": "num_layers",
    "num_attention_heads": "num_query_heads",
    "num_key_value_heads": "num_key_value_heads",
    "rms_norm_eps": "layer_norm_epsilon",
}
# Of a Qwen 3 with experts.
EXPERTS = {
    "moe_intermediate_size": "moe_intermediate_dim",
    "num_experts": "num_experts",
    "num_experts_per_tok": "top_k",
    "norm_topk_prob": "norm_top_k_prob",
    "decoder_sparse_step": "decoder_sparse_step",
    "mlp_only_layers": "mlp_only_layers",
    "router_aux_loss_coef": "router_aux_loss_coefficient",
}
_SLIDING, _FULL = "sliding_attention", "full_attention"


@functools.cache
def _names() -> dict[str, dict[str, Any]]:
    return read_yaml(_NAMES)


def names_of(backbone: Any) -> dict[str, Any]:
    """Returns what transformers calls a backbone and its parts.

    Raises:
        InputError: If transformers has no such model.
    """
    for cls in type(backbone).__mro__:
        name = cls.__name__
        if name == "GemmaBackbone" and backbone.use_post_attention_norm:
            name = "Gemma2"
        if name in _names():
            return _names()[name]
    known = ", ".join(n for n in _names() if n.endswith("Backbone"))
    raise InputError(
        f"{type(backbone).__name__}: transformers has no such model; expected "
        f"a T5 or one of {known}"
    )


def tensors(backbone: Any) -> Iterator[Tensor]:
    """Yields every weight of a backbone, by transformers' names.

    Args:
        backbone: A keras-hub backbone that is no T5's.

    Raises:
        InputError: If transformers has no such model, or no such weight.
    """
    names = names_of(backbone)
    two_sided = names["type"] == "t5gemma"
    embedding = backbone.token_embedding
    if two_sided:
        yield Tensor("model.encoder.embed_tokens.weight", embedding.embeddings)
        embedding = backbone.decoder_token_embedding
        yield Tensor("model.decoder.embed_tokens.weight", embedding.embeddings)
    else:
        yield Tensor("model.embed_tokens.weight", embedding.embeddings)
    for key, layer in projections(backbone).items():
        name = _name(names["layers"], key, two_sided)
        yield kernel_tensor(name, layer)
        bias = getattr(layer, "bias", None)
        if bias is not None:
            axes = tuple(range(len(bias.shape)))
            yield Tensor(f"{name}.bias", bias, axes, len(axes))
    for key, norm in norms(backbone).items():
        name = _name(names["layers"], key, two_sided)
        yield Tensor(f"{name}.weight", norm.scale)
    if names["type"] == "qwen3_moe":
        yield from _experts(backbone)
    if not embedding.tie_weights:
        yield Tensor(names["head"], embedding.reverse_embeddings, (1, 0), 1)


def _experts(backbone: Any) -> Iterator[Tensor]:
    """Yields the routers and experts of a Qwen 3."""
    for number, layer in enumerate(backbone.transformer_layers):
        bank = getattr(layer.mlp, "expert_bank", None)
        if bank is None:  # This layer has none.
            continue
        place = f"model.layers.{number}.mlp"
        router = layer.mlp._sparse_feedforward_gate_dense
        yield kernel_tensor(f"{place}.gate", router)
        inner = Bank(bank._expert_feedforward_gate_dense, parts=2)
        outer = Bank(bank._expert_feedforward_output_dense)
        for expert in range(inner.experts):
            own = f"{place}.experts.{expert}"
            yield inner.tensor(f"{own}.gate_proj", expert, 0)
            yield inner.tensor(f"{own}.up_proj", expert, 1)
            yield outer.tensor(f"{own}.down_proj", expert)


def _name(names: dict[str, str], key: str, two_sided: bool) -> str:
    """`"decoder.3.self_attention.query"` to `"model.layers.3.self_attn..."`."""
    side, *rest = key.split(".", 2)
    place = f"model.{side}" if two_sided else "model"
    if rest == ["norm"]:
        return f"{place}.norm"
    number, part = rest
    if part not in names:
        raise InputError(
            f"{key}: transformers has no such weight in a model of this "
            "family; save the model by keras_flan.models.save"
        )
    return f"{place}.layers.{number}.{names[part]}"


def config_of(backbone: Any, dtype: str) -> dict[str, Any]:
    """Returns the `config.json` of a backbone, without ids of tokens.

    It is in the terms of transformers 5 and, where they differ, in those of
    the versions before too.

    Args:
        backbone: A keras-hub backbone.
        dtype: Of the written weights.

    Raises:
        InputError: If transformers has no such model.
    """
    names = names_of(backbone)
    if names["type"] == "t5gemma":
        return _two_sides(backbone, names, dtype)
    config = {
        "architectures": [names["class"]],
        "model_type": names["type"],
        **{key: _size(backbone, ours) for key, ours in SIZES.items()},
        "head_dim": _head_dim(backbone),
        "max_position_embeddings": names["positions"],
        "attention_bias": False,
        "tie_word_embeddings": bool(backbone.token_embedding.tie_weights),
        "use_cache": True,
        "torch_dtype": dtype,
    }
    kind = names["type"]
    if kind == "qwen3_moe":
        config |= {key: getattr(backbone, a) for key, a in EXPERTS.items()}
    if kind == "smollm3":
        return {**config, **_smollm3(backbone)}
    if not kind.startswith("gemma"):
        config["hidden_act"] = "silu"
        return {**config, **_rotation(backbone), **_window(backbone, kind)}
    config |= {"hidden_act": "gelu_pytorch_tanh"}
    config |= {"hidden_activation": "gelu_pytorch_tanh"}
    if kind != "gemma3_text":
        config["intermediate_size"] //= 2  # keras-hub counts both halves.
        config |= _rope(10_000.0)
    else:
        config |= _two_rotations(backbone)
    capped = backbone.final_logit_soft_cap or backbone.attention_logit_soft_cap
    if kind != "gemma":
        return {**config, **_gemma(backbone)}
    if capped or backbone.use_post_ffw_norm:
        raise InputError(
            "this Gemma has soft caps or norms behind its feed-forward, but "
            "none behind its attention: transformers has no such model"
        )
    return config


def _size(backbone: Any, name: str) -> Any:
    if name == "num_query_heads" and not hasattr(backbone, name):
        name = "num_attention_heads"  # SmolLM3's
    return getattr(backbone, name)


def _head_dim(backbone: Any) -> int:
    given = getattr(backbone, "head_dim", None)
    return given or backbone.hidden_dim // _size(backbone, "num_query_heads")


def _rope(
    theta: float, kind: str = "default", **factors: float
) -> dict[str, Any]:
    scaling = {"rope_type": kind, **factors}
    return {
        "rope_theta": theta,
        "rope_scaling": scaling if factors else None,
        "rope_parameters": {**scaling, "rope_theta": theta},
    }


def _rotation(backbone: Any) -> dict[str, Any]:
    """How a Llama, Mistral or Qwen turns its heads."""
    theta = float(backbone.rope_max_wavelength)
    factor = getattr(backbone, "rope_frequency_adjustment_factor", None)
    if factor is not None:  # Llama 3.1
        return _rope(
            theta,
            "llama3",
            factor=factor,
            low_freq_factor=backbone.rope_low_freq_factor,
            high_freq_factor=backbone.rope_high_freq_factor,
            original_max_position_embeddings=(
                backbone.rope_pretraining_sequence_length
            ),
        )
    for name in ("rope_position_scaling_factor", "rope_scaling_factor"):
        linear = float(getattr(backbone, name, 1.0))
        if linear != 1.0:
            return _rope(theta, "linear", factor=linear)
    return _rope(theta)


def _smollm3(backbone: Any) -> dict[str, Any]:
    """What a SmolLM3 has that others have not: layers without positions."""
    for key, wanted in (
        ("attention_bias", False),
        ("mlp_bias", False),
        ("partial_rotary_factor", 1.0),
    ):
        if (found := getattr(backbone, key)) != wanted:
            raise InputError(
                f"this SmolLM3 has {key} {found}; expected {wanted}, the only "
                "one that can be written"
            )
    rotary = map(int, backbone.rope_layer_enabled_list)
    return {
        **_rope(float(backbone.rope_theta)),
        "hidden_act": "silu",
        "no_rope_layers": list(rotary),  # 1 where there are positions.
        "layer_types": [_FULL] * backbone.num_layers,
        "use_sliding_window": False,
        "max_position_embeddings": backbone.max_position_embeddings,
        "attention_dropout": backbone.attention_dropout,
        # Without a vocabulary it has none, where transformers has defaults.
        **dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id")),
    }


def _two_rotations(backbone: Any) -> dict[str, Any]:
    """How a Gemma 3 turns its heads, whose layers with windows differ."""
    made = {}
    for sliding, name in ((True, "local"), (False, "global")):
        factor = float(getattr(backbone, f"{name}_rope_scaling_factor"))
        scaling = {"factor": factor} if factor != 1.0 else {}
        theta = 10_000.0 if sliding else 1_000_000.0
        kind = "linear" if scaling else "default"
        made[sliding] = _rope(theta, kind, **scaling)
    return {
        **made[False],
        "rope_local_base_freq": made[True]["rope_theta"],
        "rope_parameters": {
            _SLIDING: made[True]["rope_parameters"],
            _FULL: made[False]["rope_parameters"],
        },
    }


def _window(backbone: Any, kind: str) -> dict[str, Any]:
    """How far a Mistral's or Qwen's layers look back."""
    if kind == "llama":
        return {}
    if kind == "mistral":
        return {"sliding_window": backbone.sliding_window}
    used = getattr(backbone, "use_sliding_window_attention", True)
    size = backbone.sliding_window_size if used else None
    return {
        "use_sliding_window": bool(size),
        "sliding_window": size,
        # All layers have a window, or none.
        "max_window_layers": 0 if size else backbone.num_layers,
        "layer_types": [_SLIDING if size else _FULL] * backbone.num_layers,
    }


def _gemma(backbone: Any) -> dict[str, Any]:
    """What Gemma 2 and 3 have that Gemma 1 has not."""
    layers = backbone.transformer_layers
    scalar = backbone.head_dim
    if not backbone.query_head_dim_normalize:
        scalar = backbone.hidden_dim // backbone.num_query_heads
    return {
        "query_pre_attn_scalar": scalar,
        "attn_logit_softcapping": backbone.attention_logit_soft_cap,
        "final_logit_softcapping": backbone.final_logit_soft_cap,
        "sliding_window": backbone.sliding_window_size,
        "layer_types": [
            _SLIDING if layer.use_sliding_window_attention else _FULL
            for layer in layers
        ],
    }


def _two_sides(
    backbone: Any, names: dict[str, Any], dtype: str
) -> dict[str, Any]:
    """The config of a T5Gemma."""
    if backbone.hidden_activation != "gelu_approximate":
        raise InputError(
            f"this T5Gemma has the activation {backbone.hidden_activation!r}; "
            "expected 'gelu_approximate', the only one that can be written"
        )
    shared = {
        "vocab_size": backbone.vocabulary_size,
        "dropout_rate": backbone.dropout_rate,
        "attention_dropout": backbone.attention_dropout,
        "tie_word_embeddings": backbone.tie_word_embeddings,
    }

    def side(name: str) -> dict[str, Any]:
        def own(key: str) -> Any:
            return getattr(backbone, f"{name}_{key}")

        return {
            **shared,
            "model_type": "t5_gemma_module",
            "hidden_size": own("hidden_dim"),
            "intermediate_size": own("intermediate_dim"),
            "num_hidden_layers": own("num_layers"),
            "num_attention_heads": own("num_attention_heads"),
            "num_key_value_heads": own("num_key_value_heads"),
            "head_dim": own("head_dim"),
            "layer_types": list(own("layer_types")),
            "rms_norm_eps": backbone.rms_norm_eps,
            "query_pre_attn_scalar": backbone.query_pre_attn_scalar,
            "attention_bias": backbone.attention_bias,
            "hidden_activation": "gelu_pytorch_tanh",
            "sliding_window": backbone.sliding_window,
            "attn_logit_softcapping": backbone.attn_logit_softcapping,
            "final_logit_softcapping": backbone.final_logit_softcapping,
            "initializer_range": backbone.initializer_range,
            "max_position_embeddings": names["positions"],
            **_rope(float(backbone.rope_max_wavelength)),
        }

    width = backbone.cross_attention_hidden_size
    decoder = {"is_decoder": True, "cross_attention_hidden_size": width}
    return {
        "architectures": [names["class"]],
        "model_type": names["type"],
        "is_encoder_decoder": True,
        **shared,
        "encoder": side("encoder"),
        "decoder": {**side("decoder"), **decoder},
        "torch_dtype": dtype,
    }
