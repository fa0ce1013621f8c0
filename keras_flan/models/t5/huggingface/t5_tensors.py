"""Where each tensor of a T5 checkpoint lives in keras-hub's backbone."""

from collections.abc import Iterator
from typing import Any

from keras_flan.models.compression.places import refuse_experts
from keras_flan.models.huggingface.tensors import Tensor, kernel_tensor

EMBEDDING = "shared.weight"
HEAD = "lm_head.weight"
# Other names of the embedding: files written by other tools keep any of them.
EMBEDDING_ALIASES = (
    EMBEDDING,
    "encoder.embed_tokens.weight",
    "decoder.embed_tokens.weight",
)
# The first checkpoints carry a bias that no layer reads.
UNUSED = (
    "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"
)


def t5_tensors(backbone: Any) -> Iterator[Tensor]:
    """Yields every weight of a `keras_hub.models.T5Backbone`.

    The variables are found through the layers: their paths in keras-hub are
    not unique (both stacks have a relative bias of the same path).

    Raises:
        InputError: If its layers have experts, which transformers' T5 has not.
    """
    refuse_experts(backbone, "to_huggingface")
    yield Tensor(EMBEDDING, backbone.token_embedding.embeddings)
    for side in ("encoder", "decoder"):
        layers = getattr(backbone, f"{side}_transformer_layers")
        for index, layer in enumerate(layers):
            yield from _layer(f"{side}.block.{index}.layer", layer)
        norm = getattr(backbone, f"{side}_layer_norm")
        yield Tensor(f"{side}.final_layer_norm.weight", norm.weight)
    if not backbone.tie_embedding_weights:
        head = backbone.token_embedding.reverse_embeddings
        yield Tensor(HEAD, head, (1, 0), 1)


def _layer(prefix: str, layer: Any) -> Iterator[Tensor]:
    yield from _attention(f"{prefix}.0.SelfAttention", layer.self_attention)
    norm = layer.self_attention_layer_norm
    yield Tensor(f"{prefix}.0.layer_norm.weight", norm.weight)
    last = 1
    if layer.is_decoder:
        yield from _attention(
            f"{prefix}.1.EncDecAttention", layer.cross_attention
        )
        norm = layer.cross_attention_layer_norm
        yield Tensor(f"{prefix}.1.layer_norm.weight", norm.weight)
        last = 2
    dense = f"{prefix}.{last}.DenseReluDense"
    if layer.use_gated_activation:
        yield kernel_tensor(f"{dense}.wi_0", layer.input_projector)
        yield kernel_tensor(f"{dense}.wi_1", layer.gate_projector)
    else:
        yield kernel_tensor(f"{dense}.wi", layer.input_projector)
    yield kernel_tensor(f"{dense}.wo", layer.output_projector)
    yield Tensor(f"{prefix}.{last}.layer_norm.weight", layer.layer_norm.weight)


def _attention(prefix: str, attention: Any) -> Iterator[Tensor]:
    for name in ("query", "key", "value", "output"):
        projector = getattr(attention, f"{name}_projector")
        yield kernel_tensor(f"{prefix}.{name[0]}", projector)
    if attention.use_relative_attention_bias:
        yield Tensor(
            f"{prefix}.relative_attention_bias.weight",
            attention.relative_attention_bias,
        )
