"""The `config.json` of a T5: read into keras-hub's terms, and written."""

from typing import Any

import keras

from keras_flan.data.vocabularies.sentencepiece import Vocabulary
from keras_flan.errors import InputError, did_you_mean

# mT5 is T5 v1.1 with another vocabulary.
_MODEL_TYPES = ("t5", "mt5")
_GELU_TANH = "keras_hub>gelu_approximate"
# `feed_forward_proj` to the registered name of the activation and whether it
# is gated. T5's "gated-gelu" has meant the tanh approximation from the start.
_FEED_FORWARDS = {
    "relu": ("relu", False),
    "gelu": ("gelu", False),
    "gelu_new": (_GELU_TANH, False),
    "silu": ("silu", False),
    "gated-relu": ("relu", True),
    "gated-gelu": (_GELU_TANH, True),
    "gated-gelu_new": (_GELU_TANH, True),
    "gated-silu": ("silu", True),
}
# keras-hub's T5 has these built in.
_FIXED = {
    "relative_attention_num_buckets": 32,
    "relative_attention_max_distance": 128,
}
_SIZES = {
    "vocab_size": "vocabulary_size",
    "num_layers": "num_layers",
    "num_heads": "num_heads",
    "d_model": "hidden_dim",
    "d_ff": "intermediate_dim",
    "d_kv": "key_value_dim",
}


def read_config(values: dict[str, Any], place: str) -> dict[str, Any]:
    """Returns the arguments of `keras_hub.models.T5Backbone`.

    Args:
        values: The content of a `config.json`.
        place: The file, for messages.

    Raises:
        InputError: If this is no T5, or one that keras-hub cannot express.
    """
    model_type = values.get("model_type")
    if model_type not in _MODEL_TYPES:
        raise InputError(
            f"{place}: found the model type {model_type!r}, expected one of "
            f"{list(_MODEL_TYPES)}; other families load with their "
            "keras_hub class's `from_preset`"
        )
    sizes = {
        ours: _number(values, place, key, int) for key, ours in _SIZES.items()
    }
    decoder_layers = values.get("num_decoder_layers") or sizes["num_layers"]
    if decoder_layers != sizes["num_layers"]:
        raise InputError(
            f"{place}: found 'num_layers' {sizes['num_layers']} and "
            f"'num_decoder_layers' {decoder_layers}, expected the same: "
            "keras-hub's T5 has stacks of equal depth"
        )
    for key, expected in _FIXED.items():
        if values.get(key, expected) != expected:
            raise InputError(
                f"{place}: found {key!r} {values[key]!r}, expected "
                f"{expected}, which keras-hub's T5 has built in"
            )
    for key, id in write_generation_config().items():
        if values.get(key, id) != id:
            raise InputError(
                f"{place}: found {key!r} {values[key]!r}, expected {id}, as "
                "T5 has it"
            )
    if values.get("quantization_config"):
        raise InputError(
            f"{place}: found a 'quantization_config'; give the unquantised "
            "checkpoint"
        )
    feed_forward = values.get("feed_forward_proj", "relu")
    if not isinstance(feed_forward, str) or feed_forward not in _FEED_FORWARDS:
        raise InputError(
            f"{place}: unknown 'feed_forward_proj' {feed_forward!r}."
            + did_you_mean(str(feed_forward), _FEED_FORWARDS)
        )
    activation, gated = _FEED_FORWARDS[feed_forward]
    return {
        **sizes,
        "dropout": _number(values, place, "dropout_rate", float, 0.1),
        "layer_norm_epsilon": _number(
            values, place, "layer_norm_epsilon", float, 1e-6
        ),
        "activation": _activation(activation),
        "use_gated_activation": gated,
        "tie_embedding_weights": _scales_outputs(values),
    }


def write_config(backbone: Any, dtype: str) -> dict[str, Any]:
    """Returns the `config.json` of a `keras_hub.models.T5Backbone`.

    Raises:
        InputError: If its activation has no name there.
    """
    attention = backbone.encoder_transformer_layers[0].self_attention
    return {
        "architectures": ["T5ForConditionalGeneration"],
        "model_type": "t5",
        **{key: getattr(backbone, ours) for key, ours in _SIZES.items()},
        # The backbone's own entry may be None, for the usual width.
        "d_kv": attention.key_value_dim,
        "num_decoder_layers": backbone.num_layers,
        **_FIXED,
        "dropout_rate": backbone.dropout,
        "layer_norm_epsilon": backbone.layer_norm_epsilon,
        "feed_forward_proj": _feed_forward(backbone),
        "tie_word_embeddings": backbone.tie_embedding_weights,
        "is_encoder_decoder": True,
        "use_cache": True,
        "torch_dtype": dtype,
        **write_generation_config(),
    }


def write_generation_config() -> dict[str, int]:
    """Returns the ids that begin, end and pad a decoded text."""
    return {
        "decoder_start_token_id": Vocabulary.pad_id,
        "eos_token_id": Vocabulary.eos_id,
        "pad_token_id": Vocabulary.pad_id,
    }


def _number(
    values: dict[str, Any],
    place: str,
    key: str,
    kind: type[int] | type[float],
    default: float | None = None,
) -> float:
    """Returns a number of the config; the sizes (int) are above 0."""
    value = values.get(key, default)
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, kind))
        or value < (1 if kind is int else 0)
    ):
        expected = "a whole number above 0" if kind is int else "a number"
        raise InputError(
            f"{place}: expected {expected} under {key!r}, found {value!r}"
        )
    return kind(value)


def ties(values: dict[str, Any]) -> bool:
    """Whether a checkpoint may leave out what equals the embedding."""
    return bool(values.get("tie_word_embeddings", True))


def _scales_outputs(values: dict[str, Any]) -> bool:
    """Whether the decoder's output is scaled by `d_model ** -0.5` (v1.0).

    That goes with a projection that is the embedding. Since version 5
    transformers says so in a key of its own, and writes
    `tie_word_embeddings: true` for every T5.
    """
    tied = values.get("tie_word_embeddings", True)
    return bool(values.get("scale_decoder_outputs", tied))


def _activation(name: str) -> Any:
    if ">" in name:
        return keras.saving.get_registered_object(name)
    return name


def _feed_forward(backbone: Any) -> str:
    wanted = backbone.activation, bool(backbone.use_gated_activation)
    for name, (activation, gated) in _FEED_FORWARDS.items():
        known = keras.activations.get(_activation(activation))
        if (known, gated) == wanted:
            return name
    name = getattr(backbone.activation, "__name__", backbone.activation)
    raise InputError(
        f"the activation {name!r} ({'gated' if wanted[1] else 'not gated'}) "
        "of this T5 has no name in a config.json; expected the activation "
        f"of one of {sorted(_FEED_FORWARDS)}"
    )
