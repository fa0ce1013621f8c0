"""Cached decoding of many paths for each prompt with a T5.

The prompt is encoded once, and its cross-attention keys and values are
stored once. Only the self-attention cache is per path.
"""

from typing import Any

from keras import ops

from keras_flan.models.attention import MASKED
from keras_flan.models.decoding import Decoding, Fed, Rows
from keras_flan.models.input_scales import input_scales
from keras_flan.models.path_attention import (
    Pair,
    attend_paths,
    prompt_memory,
    write_past,
)
from keras_flan.models.t5.layers import (
    feed_forward,
    merge_heads,
    rms_norm,
    split_heads,
)
from keras_flan.tensors import Tensor, Tensors


class T5Decoding(Decoding):
    """An encoder reads the prompt, a decoder writes the target."""

    ends_targets = True

    def frame(self, token_ids: list[int], limit: int) -> list[int]:
        begin = max(0, len(token_ids) - limit + 1)
        return [*token_ids[begin:], self.model.vocabulary.eos_id]

    def first_token(self, prompt: list[int]) -> int:
        return 0  # padding

    def read(self, token_ids: Tensor, lengths: Tensor) -> list[Pair]:
        place = ops.arange(token_ids.shape[1])
        segments = ops.cast(place[None] < lengths[:, None], "int32")
        encoded = self.model.encode(token_ids, segments)
        memory = []
        for layer in self.model.backbone.decoder_transformer_layers:
            attention = layer.cross_attention
            key = split_heads(attention, attention.key_projector(encoded))
            value = split_heads(attention, attention.value_projector(encoded))
            memory.append(prompt_memory(key, value))
        return memory

    def prepare(self, length: int) -> Any:
        """Returns the bias by distance, `(heads, length)`."""
        # From the farthest back to the place itself.
        bias = self.model.distance_bias("decoder", length)[:, :length]
        return ops.flip(ops.cast(bias, "float32"), axis=-1)

    def step(
        self, state: Tensors, prepared: Any, fed: Fed
    ) -> tuple[Tensor, list[Pair]]:
        backbone = self.model.backbone

        def biased(scores: Tensor, distance: Tensor) -> Tensor:
            bias = ops.take(prepared, distance, axis=-1)
            return scores + bias[None, None, :, None]

        newest = []
        x = backbone.token_embedding(fed.tokens)
        for layer, memory, block, *older in zip(
            backbone.decoder_transformer_layers,
            state["memory"],
            *state["past"],
            strict=True,
        ):
            attention = layer.self_attention
            hidden = rms_norm(layer.self_attention_layer_norm, x)
            query, key, value = (
                split_heads(attention, projector(hidden))
                for projector in (
                    attention.query_projector,
                    attention.key_projector,
                    attention.value_projector,
                )
            )
            newest.append(write_past(block, (key, value), fed.clock))
            past = [newest[-1], *older]
            hidden = attend_paths(
                query, past, fed.ages, fed.clock, adjust=biased
            )
            x = x + attention.output_projector(merge_heads(hidden))
            x = x + _cross_attention(layer, x, memory, fed.lengths)
            x = x + feed_forward(layer, x)
        x = rms_norm(backbone.decoder_layer_norm, x)
        return self.model.logits(x), newest

    def continued(
        self, prompt: list[int], target: list[int], limit: int
    ) -> tuple[list[int], int]:
        return self.joined(self.frame(prompt, limit), target)

    def joined(
        self, framed: list[int], target: list[int]
    ) -> tuple[list[int], int]:
        return framed, 0

    def foretell(self, rows: Rows, scales: Tensor | None = None) -> Tensor:
        inputs, lengths, _, targets, _ = rows
        size, number, longest = targets.shape
        place = ops.arange(inputs.shape[1])[None]
        segments = ops.cast(place < lengths[:, None], "int32")
        encoded = self.model.encode(inputs, segments)
        flat = ops.reshape(targets, (size * number, longest))
        shifted = ops.pad(flat[:, :-1], ((0, 0), (1, 0)))
        if scales is not None:
            # A target begins with padding, which has none.
            scales = ops.pad(scales[:, :-1], ((0, 0), (1, 0)))
            scales = ops.where(ops.arange(longest) == 0, 1.0, scales)
        with input_scales(scales):
            hidden = self.model.decode(
                shifted,
                ops.ones_like(shifted),
                ops.repeat(encoded, number, axis=0),
                ops.repeat(segments, number, axis=0),
            )
        return ops.reshape(hidden, (size, number, longest, hidden.shape[-1]))


def _cross_attention(
    layer: Any, x: Tensor, memory: Pair, lengths: Tensor
) -> Tensor:
    attention = layer.cross_attention
    hidden = rms_norm(layer.cross_attention_layer_norm, x)
    query = split_heads(attention, attention.query_projector(hidden))
    keys, values = memory
    # All paths of a prompt are queries of one product.
    query = ops.swapaxes(query, 1, 2)
    scores = ops.cast(ops.matmul(query, keys), "float32")
    seen = ops.arange(keys.shape[-1]) < lengths[:, None]
    scores = ops.where(seen[:, None, None], scores, MASKED)
    weights = ops.cast(ops.softmax(scores, axis=-1), values.dtype)
    hidden = ops.swapaxes(ops.matmul(weights, values), 1, 2)
    return attention.output_projector(merge_heads(hidden))
