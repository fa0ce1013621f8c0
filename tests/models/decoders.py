"""Tiny decoder-only models of every family, and rows to try them on."""

import keras
import keras_hub
import numpy as np
import pytest

SIZES = {
    "vocabulary_size": 64,
    "num_layers": 2,
    "num_query_heads": 4,
    "num_key_value_heads": 2,
    "hidden_dim": 32,
    "intermediate_dim": 48,
}
ONE_KEY_HEAD = {"num_key_value_heads": 1, "head_dim": 16}
SCALED_ROPE = {
    "rope_frequency_adjustment_factor": 8.0,
    "rope_low_freq_factor": 1.0,
    "rope_high_freq_factor": 4.0,
    "rope_pretraining_sequence_length": 16,
    "tie_word_embeddings": True,
}
GEMMA_2 = {
    "head_dim": 16,
    "use_post_ffw_norm": True,
    "use_post_attention_norm": True,
    "final_logit_soft_cap": 5.0,
    "attention_logit_soft_cap": 3.0,
    "use_sliding_window_attention": True,
    "sliding_window_size": 5,
}
GEMMA_3 = {
    **GEMMA_2,
    "image_size": None,
    "attention_logit_soft_cap": None,
    "num_layers": 6,  # The last one sees all.
    "global_rope_scaling_factor": 8.0,
}
# A layer with experts, and one without.
EXPERTS = {
    "head_dim": 16,
    "num_experts": 4,
    "top_k": 2,
    "moe_intermediate_dim": 24,
    "norm_top_k_prob": True,
    "mlp_only_layers": [1],
    "sliding_window_size": None,
    "tie_word_embeddings": True,
}
SMOLLM3 = {
    "num_attention_heads": 4,
    "attention_bias": False,
    "attention_dropout": 0.0,
    "rope_layer_enabled_list": [True, False],
    "layer_types": ["full_attention"] * 2,
    "mlp_bias": False,
    "layer_norm_epsilon": 1e-6,
    "max_position_embeddings": 64,
    "rope_theta": 10_000.0,
    "partial_rotary_factor": 1.0,
}
FAMILIES = {
    "llama": ("Llama", {}),
    "llama3": ("Llama3", SCALED_ROPE),
    "mistral": ("Mistral", {"sliding_window": 5}),
    "qwen": ("Qwen", {}),
    "qwen3": ("Qwen3", {"head_dim": 16}),
    "qwen3_moe": ("Qwen3Moe", EXPERTS),
    "smollm3": ("SmolLM3", SMOLLM3),
    "gemma": ("Gemma", ONE_KEY_HEAD),
    "gemma2": ("Gemma", GEMMA_2),
    "gemma3": ("Gemma3", GEMMA_3),
    "palm": ("PaLM", {}),
}


# One of each kind of layer; the default tests do without the rest.
_SOME = ("llama", "mistral", "qwen", "gemma3", "palm")
PARAMETERS = [
    pytest.param(name, marks=() if name in _SOME else pytest.mark.slow)
    for name in FAMILIES
]


def sizes_of(family, **sizes):
    """The arguments of a keras-hub backbone."""
    name, own = FAMILIES[family]
    made = {**SIZES, **own, **sizes}
    if name == "SmolLM3":  # It calls them otherwise, and takes no others.
        del made["num_query_heads"]
    return made


def make_hub(family, seed=0, **sizes):
    """A keras-hub `CausalLM` with weights of some spread."""
    keras.utils.set_random_seed(seed)
    name, _ = FAMILIES[family]
    if name == "PaLM":
        from keras_flan.models import PaLMBackbone, PaLMCausalLM

        sizes = {"vocabulary_size": 64, **sizes}
        backbone = PaLMBackbone.from_preset(
            "palm_test", load_weights=False, **sizes
        )
        model = PaLMCausalLM(backbone)
    else:
        backbone = getattr(keras_hub.models, f"{name}Backbone")
        task = getattr(keras_hub.models, f"{name}CausalLM")
        backbone = backbone(**sizes_of(family, **sizes))
        model = task(backbone=backbone, preprocessor=None)
    rng = np.random.default_rng(seed)
    for weight in model.trainable_weights:
        noise = rng.normal(scale=0.1, size=weight.shape)
        weight.assign(numpy(weight) + noise.astype("float32"))
    return model


def numpy(x):
    return np.asarray(keras.ops.convert_to_numpy(x))


def forward(model, x):
    """The output for a batch, by a compiled program."""
    return model.predict_on_batch(x)


LENGTHS = [7, 12, 3]
WIDTH = 24


def unpacked(rng):
    """One example a row, as keras-hub's inputs."""
    tokens = np.zeros((len(LENGTHS), WIDTH), "int32")
    for i, length in enumerate(LENGTHS):
        tokens[i, :length] = rng.integers(2, 60, length)
    return {"token_ids": tokens, "padding_mask": (tokens > 0).astype("int32")}


def packed(x):
    """The same examples, all in one row."""
    tokens = [x["token_ids"][i, :n] for i, n in enumerate(LENGTHS)]
    spare = WIDTH - sum(LENGTHS)
    segments = np.repeat([1, 2, 3, 0], [*LENGTHS, spare])
    return {
        "token_ids": np.concatenate([*tokens, np.zeros(spare, "int32")])[None],
        "segment_ids": segments[None].astype("int32"),
    }
