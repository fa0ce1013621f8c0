"""Small GGUF files, written by the package gguf as llama.cpp writes them."""

import keras_hub
import numpy as np
import pytest

from keras_flan.models.backbones import undrawn
from keras_flan.models.huggingface.families import config_of, tensors

gguf = pytest.importorskip("gguf")

CONTROL, USER_DEFINED, BYTE = 3, 4, 6
# SentencePiece's mark of a blank.
BLANK = "\u2581"
SIZES = {
    "num_layers": 2,
    "num_query_heads": 4,
    "num_key_value_heads": 2,
    "hidden_dim": 32,
    "intermediate_dim": 48,
}
PIECES = [
    *(("<pad>", 3), ("<eos>", 3), ("<bos>", 3), ("<unk>", 2)),
    *(("<start_of_turn>", CONTROL), ("\n\n", USER_DEFINED)),
    *(("  ", USER_DEFINED), ("<b>", USER_DEFINED)),
    *((f"<0x{byte:02X}>", BYTE) for byte in range(256)),
    *((piece, 1) for piece in ("ab", f"{BLANK}a", f"{BLANK}ab", "cd")),
    *((letter, 1) for letter in (BLANK, *"abcd12")),
]


def byte_tokens(specials, merges):
    letters = pytest.importorskip("tokenizers").pre_tokenizers.ByteLevel
    merged = [merge.replace(" ", "") for merge in merges]
    return [*specials, *sorted(letters.alphabet()), *merged]


def backbone_of(kind, vocabulary_size, **changes):
    """A small random backbone of a kind of transformers."""
    hub = keras_hub.models
    make, own = {
        "llama": (hub.Llama3Backbone, {"rope_max_wavelength": 1e5}),
        "qwen2": (hub.QwenBackbone, {"sliding_window_size": 4096}),
        "qwen3": (
            hub.Qwen3Backbone,
            {"head_dim": 16, "sliding_window_size": None},
        ),
        "gemma3": (
            hub.Gemma3Backbone,
            {
                **{"head_dim": 16, "image_size": None},
                **{"use_post_ffw_norm": True, "use_post_attention_norm": True},
                **{"use_sliding_window_attention": True},
                **{"sliding_window_size": 4, "num_layers": 6},
                "query_head_dim_normalize": True,
            },
        ),
    }[kind]
    sizes = {**SIZES, "vocabulary_size": vocabulary_size, **own, **changes}
    with undrawn():
        backbone = make(**sizes)
    rng = np.random.default_rng(0)
    for weight in backbone.weights:
        scale = 0.3 if len(weight.shape) > 1 else 0.1
        offset = 1.0 if len(weight.shape) == 1 and kind != "gemma3" else 0.0
        weight.assign(rng.normal(offset, scale, size=weight.shape))
    return backbone


def interleaved(array, heads):
    """The row order of llama.cpp's Llamas, by its definition: row 2i of a
    head is the i-th of its first half, row 2i + 1 of its second half.
    """
    width = len(array) // heads
    order = [
        head * width + half * width // 2 + i
        for head in range(heads)
        for i in range(width // 2)
        for half in range(2)
    ]
    return array[order]


def add_pieces(writer, pieces=PIECES):
    """A SentencePiece vocabulary, the best pieces first."""
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([piece for piece, _ in pieces])
    writer.add_token_scores([-float(index) for index in range(len(pieces))])
    writer.add_token_types([kind for _, kind in pieces])
    for name, index in (("pad", 0), ("eos", 1), ("bos", 2), ("unk", 3)):
        getattr(writer, f"add_{name}_token_id")(index)
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(False)


def add_bytes(writer, pre, specials, merges):
    """A byte-level vocabulary; the first special token ends a text."""
    tokens = byte_tokens(specials, merges)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    kinds = [CONTROL] * len(specials)
    writer.add_token_types(kinds + [1] * (len(tokens) - len(kinds)))
    writer.add_token_merges(merges)
    writer.add_eos_token_id(0)
    writer.add_bos_token_id(1)


def write(path, kind, backbone, add_tokenizer, extra=()):
    """Writes a keras-hub backbone, by gguf's own names of tensors.

    `extra` are tensors that the backbone does not have.
    """
    config = config_of(backbone, "float32")
    writer = gguf.GGUFWriter(path, kind)
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(128)
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_theta"])
    if kind == "gemma3":
        writer.add_sliding_window(config["sliding_window"])
    add_tokenizer(writer)
    architectures = {name: key for key, name in gguf.MODEL_ARCH_NAMES.items()}
    names = gguf.get_tensor_name_map(architectures[kind], backbone.num_layers)
    heads = {
        "attn_q.weight": backbone.num_query_heads,
        "attn_k.weight": backbone.num_key_value_heads,
    }
    for tensor in tensors(backbone):
        name = names.get_name(tensor.name, try_suffixes=(".weight", ".bias"))
        array = tensor.given(np.asarray(tensor.variable))
        part = name.split(".", 2)[-1]
        if kind == "llama" and part in heads:
            array = interleaved(array, heads[part])
        if kind == "gemma3" and name.endswith("norm.weight"):
            array = array + 1
        writer.add_tensor(name, np.ascontiguousarray(array, "float32"))
    for name, array in dict(extra).items():
        writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
