"""Cached decoding of many paths for each prompt with a T5Gemma."""

import functools
from typing import Any

from keras import ops

from keras_flan.models.attention import MASKED
from keras_flan.models.decoder_only.rotary import rotate
from keras_flan.models.decoding import Fed
from keras_flan.models.path_attention import (
    Pair,
    attend_paths,
    prompt_memory,
    write_past,
)
from keras_flan.models.t5.decoding import T5Decoding
from keras_flan.models.t5gemma.layers import feed_forward, window
from keras_flan.tensors import Tensor, Tensors


class T5GemmaDecoding(T5Decoding):
    """As a T5's, but positions turn queries and keys, and heads share keys."""

    def frame(self, token_ids: list[int], limit: int) -> list[int]:
        end = [self.model.vocabulary.eos_id]
        if self.model.separate:
            return super().frame(token_ids, limit)
        return token_ids[-limit:] or end  # Nothing at all can't be read.

    def first_token(self, prompt: list[int]) -> int:
        return self.model.start_id

    def read(self, token_ids: Tensor, lengths: Tensor) -> list[Pair]:
        place = ops.arange(token_ids.shape[1])
        segments = ops.cast(place[None] < lengths[:, None], "int32")
        encoded = self.model.encode(token_ids, segments)
        return [
            prompt_memory(
                layer.cross_attn.key_dense(encoded),
                layer.cross_attn.value_dense(encoded),
            )
            for layer in self.model.backbone.decoder_layers
        ]

    def prepare(self, length: int) -> Any:
        return None  # There is no bias.

    def step(
        self, state: Tensors, prepared: Any, fed: Fed
    ) -> tuple[Tensor, list[Pair]]:
        backbone, newest = self.model.backbone, []
        x = self.model.embed("decoder", fed.tokens)
        for layer, memory, block, *older in zip(
            backbone.decoder_layers,
            state["memory"],
            *state["past"],
            strict=True,
        ):
            attention = layer.self_attn
            hidden = layer.pre_self_attn_layernorm(x)
            query, key = (
                rotate(attention.rotary_embedding, project(hidden), fed.ages)
                for project in (attention.query_dense, attention.key_dense)
            )
            value = attention.value_dense(hidden)
            newest.append(write_past(block, (key, value), fed.clock))
            attended = attend_paths(
                query,
                [newest[-1], *older],
                fed.ages,
                fed.clock,
                adjust=functools.partial(
                    _adjusted, attention, wide=window(layer)
                ),
            )
            attended = attention.output_dense(attended)
            x = x + layer.post_self_attn_layernorm(attended)
            x = x + _cross_attention(layer, x, memory, fed.lengths)
            x = x + feed_forward(layer, x)
        return self.model.logits(backbone.decoder_norm(x)), newest


def _adjusted(
    attention: Any,
    scores: Tensor,
    distance: Tensor | int = 0,
    wide: int | None = None,
) -> Tensor:
    scores = scores * attention.scaling
    cap = attention.logit_soft_cap
    if cap is not None:
        scores = ops.tanh(scores / cap) * cap
    if wide is not None:
        scores = ops.where(distance < wide, scores, MASKED)
    return scores


def _cross_attention(
    layer: Any, x: Tensor, memory: Pair, lengths: Tensor
) -> Tensor:
    attention, (keys, values) = layer.cross_attn, memory
    query = attention.query_dense(layer.pre_cross_attn_layernorm(x))
    slots, lanes, heads, width = query.shape
    key_heads = keys.shape[1]
    query = ops.reshape(
        query, (slots, lanes, key_heads, heads // key_heads, width)
    )
    # All paths of a prompt are queries of one product.
    scores = ops.einsum("slkgw,skwt->slkgt", query, keys)
    scores = _adjusted(attention, ops.cast(scores, "float32"))
    seen = ops.arange(keys.shape[-1]) < lengths[:, None]
    scores = ops.where(seen[:, None, None, None], scores, MASKED)
    weights = ops.cast(ops.softmax(scores, axis=-1), values.dtype)
    attended = ops.einsum("slkgt,sktw->slkgw", weights, values)
    attended = ops.reshape(attended, (slots, lanes, heads, width))
    return layer.post_cross_attn_layernorm(attention.output_dense(attended))
