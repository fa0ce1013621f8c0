"""The configs of transformers in keras-hub's terms, or a refusal."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from keras_flan.errors import InputError
from keras_flan.models.huggingface.families import EXPERTS, SIZES

Config = dict[str, Any]
_SLIDING = "sliding_attention"
_MAX_LAYERS = 10_000


def backbone_arguments(config: Config, place: str) -> tuple[str, Config]:
    """Returns the name of a keras-hub backbone, and its arguments.

    Args:
        config: The content of a `config.json`.
        place: The file, for messages.

    Raises:
        InputError: If keras-hub's layers can't express the model.
    """
    kind = config.get("model_type")
    read = _READERS[str(kind)]
    try:
        _expect(config, place, "quantization_config", None)
        for part in (config, config.get("encoder"), config.get("decoder")):
            _check_layers(part, place)
        if kind == "t5gemma":
            return read(config, place)
        arguments = {ours: config[key] for key, ours in SIZES.items()}
        width = arguments["hidden_dim"] // arguments["num_query_heads"]
        arguments["head_dim"] = config.get("head_dim") or width
        arguments["tie_word_embeddings"] = bool(
            config.get("tie_word_embeddings", False)
        )
        _expect(config, place, "attention_bias", False, None)
        _expect(config, place, "mlp_bias", False, None)
        name, own = read(config, place)
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{place}: not the config of a {kind} ({error!r:.100}); download "
            "it again"
        ) from None
    return name, {**arguments, **own}


def _check_layers(config: Any, place: str) -> None:
    """Refuses more layers than any model has: each is a row of a list here."""
    key = "num_hidden_layers"
    found = config.get(key, 1) if isinstance(config, Mapping) else 1
    if type(found) is not int or not 0 < found <= _MAX_LAYERS:
        raise InputError(
            f"{place}: found {key!r} {found!r:.60}, expected a whole number up "
            f"to {_MAX_LAYERS:,}; download it again"
        )


def _expect(config: Config, place: str, key: str, *values: Any) -> None:
    if config.get(key, values[0]) not in values:
        raise InputError(
            f"{place}: found {key!r} {config[key]!r}, expected {values[0]!r}, "
            "which keras-hub's layers have built in"
        )


def _rope(
    config: Config, place: str, part: str | None = None
) -> tuple[float, Config]:
    """Returns the longest wavelength and what scales positions."""
    rope = config.get("rope_parameters") or {}
    if part is not None:
        rope = rope.get(part) or {}
    scaling = {**rope, **(config.get("rope_scaling") or {})}
    if part == _SLIDING:
        scaling = rope
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    theta = float(rope.get("rope_theta") or config.get("rope_theta") or 1e4)
    if kind not in ("default", "linear", "llama3"):
        raise InputError(
            f"{place}: found positions scaled by {kind!r}, expected "
            "'default', 'linear' or 'llama3', which keras-hub's layers know"
        )
    return theta, {**scaling, "rope_type": kind}


def _llama(config: Config, place: str) -> tuple[str, Config]:
    _expect(config, place, "hidden_act", "silu")
    heads = config["num_attention_heads"]
    width = config["hidden_size"] // heads
    _expect(config, place, "head_dim", width, None)
    theta, scaling = _rope(config, place)
    own: Config = {"rope_max_wavelength": theta}
    if scaling["rope_type"] == "linear":
        own["rope_position_scaling_factor"] = scaling["factor"]
    if scaling["rope_type"] == "llama3":
        length = scaling["original_max_position_embeddings"]
        own |= {
            "rope_frequency_adjustment_factor": scaling["factor"],
            "rope_low_freq_factor": scaling["low_freq_factor"],
            "rope_high_freq_factor": scaling["high_freq_factor"],
            "rope_pretraining_sequence_length": length,
        }
    # The two differ in the class of their tokenizer.
    sentencepiece = (Path(place).parent / "tokenizer.model").is_file()
    return "LlamaBackbone" if sentencepiece else "Llama3Backbone", own


def _linear(config: Config, place: str) -> Config:
    theta, scaling = _rope(config, place)
    if scaling["rope_type"] == "llama3":
        raise InputError(
            f"{place}: found positions scaled as in Llama 3, which keras-hub's "
            "layers of this family don't know"
        )
    factor = float(scaling.get("factor", 1.0))
    return {"rope_max_wavelength": theta, "rope_scaling_factor": factor}


def _mistral(config: Config, place: str) -> tuple[str, Config]:
    _expect(config, place, "hidden_act", "silu")
    _expect(config, place, "tie_word_embeddings", False)
    own = _linear(config, place)
    return "MistralBackbone", {
        **own,
        "sliding_window": config.get("sliding_window"),
    }


def _qwen(config: Config, place: str) -> tuple[str, Config]:
    _expect(config, place, "hidden_act", "silu")
    layers, size = config["num_hidden_layers"], config.get("sliding_window")
    types = config.get("layer_types")
    if types is None:
        first = layers
        if config.get("use_sliding_window") and size:
            # With experts, all layers have the window.
            moe = config["model_type"] == "qwen3_moe"
            first = 0 if moe else config.get("max_window_layers", layers)
        types = [_SLIDING if i >= first else "full" for i in range(layers)]
    sliding = [kind == _SLIDING for kind in types]
    if any(sliding) != all(sliding):
        raise InputError(
            f"{place}: some of its layers have a window and some have none; "
            "keras-hub's layers of this family have one, or none, in all"
        )
    own = _linear(config, place)
    own["sliding_window_size"] = size if any(sliding) else None
    if config["model_type"] == "qwen3":
        return "Qwen3Backbone", own
    if config["model_type"] == "qwen3_moe":
        # transformers 5 has another name for it.
        number = config.get("num_local_experts")
        named = {"num_experts": number, **config} if number else config
        own |= {ours: named[key] for key, ours in EXPERTS.items()}
        return "Qwen3MoeBackbone", own
    own["use_sliding_window_attention"] = any(sliding)
    own["sliding_window_size"] = size or 4096
    return "QwenBackbone", own


def _smollm3(config: Config, place: str) -> tuple[str, Config]:
    _expect(config, place, "hidden_act", "silu")
    _expect(config, place, "tie_word_embeddings", True)
    layers, every = config["num_hidden_layers"], "no_rope_layer_interval"
    period = config.get(every, 4)
    rotary = config.get("no_rope_layers") or [
        (i + 1) % period > 0 for i in range(layers)
    ]
    types = config.get("layer_types") or []
    if config.get("use_sliding_window") or _SLIDING in types:
        raise InputError(
            f"{place}: found layers with a window, expected none, as "
            "keras-hub's SmolLM3 has"
        )
    theta, scaling = _rope({"rope_theta": 2e6, **config}, place)
    if scaling["rope_type"] != "default":
        raise InputError(
            f"{place}: found positions scaled by {scaling['rope_type']!r}, "
            "expected 'default', which keras-hub's SmolLM3 has built in"
        )
    return "SmolLM3Backbone", {
        "num_attention_heads": config["num_attention_heads"],
        "attention_bias": False,
        "attention_dropout": config.get("attention_dropout", 0.0),
        "rope_layer_enabled_list": [bool(each) for each in rotary],
        "layer_types": ["full_attention"] * layers,
        "mlp_bias": False,
        "max_position_embeddings": config.get("max_position_embeddings", 65536),
        "rope_theta": theta,
        "partial_rotary_factor": 1.0,
    }


def _gemma(config: Config, place: str) -> tuple[str, Config]:
    kind = config["model_type"]
    # Gemma 1 has another name for its activation, of the same function.
    acts = ("gelu_pytorch_tanh", None, "gelu")
    _expect(config, place, "hidden_activation", *acts)
    _expect(config, place, "tie_word_embeddings", True)
    own: Config = {}
    if kind != "gemma3_text":
        own["intermediate_dim"] = 2 * config["intermediate_size"]
        theta, _ = _rope(config, place)
        if theta != 10_000.0:
            raise InputError(
                f"{place}: found 'rope_theta' {theta}, expected 10000.0, which "
                "keras-hub's Gemma has built in"
            )
    if kind == "gemma":
        return "GemmaBackbone", own
    own["use_post_ffw_norm"] = own["use_post_attention_norm"] = True
    own["final_logit_soft_cap"] = config.get("final_logit_softcapping")
    own["attention_logit_soft_cap"] = config.get("attn_logit_softcapping")
    own["sliding_window_size"] = config["sliding_window"]
    scalar, heads = config["query_pre_attn_scalar"], config["head_dim"]
    own["query_head_dim_normalize"] = scalar == heads
    if scalar not in (
        heads,
        config["hidden_size"] // config["num_attention_heads"],
    ):
        raise InputError(
            f"{place}: found 'query_pre_attn_scalar' {scalar}, expected "
            "'head_dim', or 'hidden_size' over 'num_attention_heads'"
        )
    period = 6 if kind == "gemma3_text" else 2
    layers = config["num_hidden_layers"]
    types = config.get("layer_types")
    sliding = [(i + 1) % period > 0 for i in range(layers)]
    found = sliding if types is None else [t == _SLIDING for t in types]
    if found != sliding and any(found):
        raise InputError(
            f"{place}: found {types} under 'layer_types', expected a layer "
            f"without a window after each {period - 1} with one"
        )
    own["use_sliding_window_attention"] = any(found)
    if kind == "gemma2":
        return "GemmaBackbone", own
    return "Gemma3Backbone", {**own, **_gemma3(config, place)}


def _gemma3(config: Config, place: str) -> Config:
    _expect(config, place, "use_bidirectional_attention", False, None)
    # Versions of transformers that give no theta have these.
    theta, scaling = _rope(
        {"rope_theta": 1e6, **config}, place, "full_attention"
    )
    local = config.get("rope_local_base_freq", 10_000.0)
    theirs, near = _rope({**config, "rope_theta": local}, place, _SLIDING)
    if (theta, theirs) != (1e6, 1e4):
        raise InputError(
            f"{place}: found the wavelengths {theta} and, of layers with a "
            f"window, {theirs}; expected 1000000.0 and 10000.0, which "
            "keras-hub's Gemma 3 has built in"
        )
    return {
        "image_size": None,
        "global_rope_scaling_factor": float(scaling.get("factor", 1.0)),
        "local_rope_scaling_factor": float(near.get("factor", 1.0)),
    }


_PAIR_SIZES = {
    "hidden_size": "hidden_dim",
    "intermediate_size": "intermediate_dim",
    "num_hidden_layers": "num_layers",
    "num_attention_heads": "num_attention_heads",
    "num_key_value_heads": "num_key_value_heads",
    "head_dim": "head_dim",
}
# What a T5Gemma has alike on both sides, and keras-hub's name of it.
_PAIR_SHARED = {
    "vocab_size": "vocabulary_size",
    "rms_norm_eps": "rms_norm_eps",
    "query_pre_attn_scalar": "query_pre_attn_scalar",
    "sliding_window": "sliding_window",
    "attn_logit_softcapping": "attn_logit_softcapping",
}


def _t5gemma(config: Config, place: str) -> tuple[str, Config]:
    sides = {name: config[name] for name in ("encoder", "decoder")}
    own: Config = {}
    for name, side in sides.items():
        where = f"{place} ({name})"
        act = "gelu_pytorch_tanh"
        _expect(side, where, "hidden_activation", act, None)
        _expect(side, where, "attention_bias", False, None)
        for key, ours in _PAIR_SIZES.items():
            own[f"{name}_{ours}"] = side[key]
        layers = range(side["num_hidden_layers"])
        types = side.get("layer_types") or [
            _SLIDING if (i + 1) % 2 else "full_attention" for i in layers
        ]
        own[f"{name}_layer_types"] = list(types)
    for key, ours in _PAIR_SHARED.items():
        found = [side.get(key) for side in sides.values()]
        if found[0] != found[1]:
            raise InputError(
                f"{place}: found {key!r} {found[0]!r} for the encoder and "
                f"{found[1]!r} for the decoder, expected the same"
            )
        own[ours] = found[0]
    thetas = [_rope(side, place) for side in sides.values()]
    if thetas[0] != thetas[1] or thetas[0][1]["rope_type"] != "default":
        raise InputError(
            f"{place}: expected the same positions, unscaled, for the encoder "
            f"and the decoder; found {thetas}"
        )
    decoder = sides["decoder"]
    return "T5GemmaBackbone", {
        **own,
        "rope_max_wavelength": thetas[0][0],
        "cross_attention_hidden_size": own["encoder_hidden_dim"],
        "final_logit_softcapping": decoder.get("final_logit_softcapping"),
        "tie_word_embeddings": bool(config.get("tie_word_embeddings", True)),
        "dropout_rate": decoder.get("dropout_rate", 0.0),
        "attention_dropout": decoder.get("attention_dropout", 0.0),
    }


_READERS: dict[str, Callable[[Config, str], tuple[str, Config]]] = {
    "gemma": _gemma,
    "gemma2": _gemma,
    "gemma3_text": _gemma,
    "llama": _llama,
    "mistral": _mistral,
    "qwen2": _qwen,
    "qwen3": _qwen,
    "qwen3_moe": _qwen,
    "smollm3": _smollm3,
    "t5gemma": _t5gemma,
}
# What `config.json` calls the decoder-only models that are read.
TYPES = tuple(name for name in _READERS if name != "t5gemma")
