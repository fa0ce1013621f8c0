"""Cached decoding of many paths for each prompt with a decoder-only model.

The last token of the prompt is the first that a path is fed: its key and
value in the prompt's memory stay hidden, and are the first of each path's
own.
"""

from typing import Any

from keras import ops

from keras_flan.models.attention import (
    MASKED,
    attend,
    block_causal,
    within_window,
)
from keras_flan.models.decoder_only.families import Pass
from keras_flan.models.decoding import Behind, Decoding, Fed, Rows
from keras_flan.models.input_scales import input_scales
from keras_flan.models.path_attention import (
    Adjust,
    Pair,
    attend_paths,
    each_layer,
    memory_places,
    prompt_memory,
    put_places,
    write_past,
)
from keras_flan.tensors import Tensor, Tensors


class DecoderOnlyDecoding(Decoding):
    """Prompt and target are one text, or two in a row (`model.separate`)."""

    def __init__(self, model: Any):
        super().__init__(model)
        self.ends_targets = model.separate
        self.causal = not model.bidirectional_prefix

    def frame(self, token_ids: list[int], limit: int) -> list[int]:
        vocabulary = self.model.vocabulary
        first = getattr(vocabulary, "bos_id", None)
        head = [] if first is None else [first]
        tail = [vocabulary.eos_id] if self.model.separate else []
        room = max(1, limit - len(head) - len(tail))
        # Nothing at all can't be continued.
        return [*head, *token_ids[-room:], *tail] or [vocabulary.eos_id]

    def first_token(self, prompt: list[int]) -> int:
        return prompt[-1]

    def read(self, token_ids: Tensor, lengths: Tensor) -> Any:
        place = ops.arange(token_ids.shape[1])
        segments = ops.cast(place[None] < lengths[:, None], "int32")
        prefix = segments if self.model.bidirectional_prefix else None
        mask = block_causal(segments, prefix)
        _, prompt = self.model.run_packed(token_ids, mask, keep=True)
        return each_layer(lambda pair: prompt_memory(*pair), prompt)

    def read_block(self, held: Any, token_ids: Tensor, begin: Tensor) -> Any:
        positions = begin + ops.arange(token_ids.shape[1])[None]

        def attention(
            query: Tensor,
            key: Tensor,
            value: Tensor,
            caches: tuple[Pair],
            window: int | None = None,
            dropout: object = None,
            **settings: Any,
        ) -> tuple[Tensor, Pair]:
            keys, values = put_places(caches[0], (key, value), begin)
            places = ops.arange(values.shape[2])[None]
            seen = places[:, None] <= positions[..., None]
            seen = within_window(seen, positions, places, window)
            places_of = memory_places(keys, values)
            return attend(query, *places_of, seen, **settings), (keys, values)

        family = self.model.family
        _, held = family.run(
            family.embed(token_ids),
            Pass(positions, attention),
            family.join(held),
        )
        return held

    def step(
        self, state: Tensors, prepared: None, fed: Fed
    ) -> tuple[Tensor, Any]:
        family, (lengths, tokens, ages, clock) = self.model.family, fed
        before = ops.maximum(lengths - 1, 0)  # what is seen of the prompt

        def attention(
            query: Tensor,
            key: Tensor,
            value: Tensor,
            caches: tuple[Pair, ...],
            scale: float,
            **settings: Any,
        ) -> tuple[Tensor, Pair]:
            memory, *past = caches
            out = attend_paths(
                query,
                past,
                ages,
                clock,
                adjust=_adjustment(scale, **settings),
                prompt=(*memory, before),
                new=(key, value),
            )
            return out, (key, value)

        x, new = family.run(
            family.embed(tokens),
            Pass(before[:, None] + ages, attention),
            family.join(state["memory"], *state["past"]),
        )
        # Written when all layers are done: where they are stacked and
        # scanned, handing out whole caches would copy them.
        newest = each_layer(
            lambda block, pair: write_past(block, pair, clock),
            state["past"][0],
            new,
        )
        return self.model.logits(family.normalise(x)), newest

    def continued(
        self, prompt: list[int], target: list[int], limit: int
    ) -> tuple[list[int], int]:
        return self.joined(self.frame(prompt, limit - len(target)), target)

    def joined(
        self, framed: list[int], target: list[int]
    ) -> tuple[list[int], int]:
        return [*framed, *target[:-1]], len(framed) - 1

    def foretell(self, rows: Rows, scales: Tensor | None = None) -> Tensor:
        inputs, lengths, first, targets, _ = rows
        place = ops.arange(inputs.shape[1])[None]
        if scales is not None:
            # Behind the prompt, token by token.
            token = place - first[:, None] - 1
            known = ops.clip(token, 0, targets.shape[2] - 1)
            own = ops.take_along_axis(scales, known, axis=1)
            scales = ops.where(token == known, own, 1.0)
        with input_scales(scales):
            hidden = self.model.hidden(
                {
                    "token_ids": inputs,
                    "padding_mask": ops.cast(place < lengths[:, None], "int32"),
                    # Continuations are no inputs of a prefix language model.
                    "prefix_mask": ops.cast(place <= first[:, None], "int32"),
                }
            )
        steps = first[:, None] + ops.arange(targets.shape[2])[None]
        steps = ops.minimum(steps, inputs.shape[1] - 1)
        hidden = ops.take_along_axis(hidden, steps[..., None], axis=1)
        return hidden[:, None]

    def read_behind(self, held: Any, known: Tensor, texts: Behind) -> Tensor:
        size = texts.token_ids.shape[0]
        positions = known + texts.positions
        own = block_causal(texts.segment_ids)

        def attention(
            query: Tensor,
            key: Tensor,
            value: Tensor,
            caches: tuple[Pair],
            window: int | None = None,
            dropout: object = None,
            **settings: Any,
        ) -> tuple[Tensor, tuple]:
            keys, values = memory_places(*caches[0])
            places = ops.arange(keys.shape[1])[None]
            before = ops.broadcast_to(
                places < known, (*own.shape[:2], keys.shape[1])
            )
            seen = within_window(
                ops.concatenate([before, own], axis=-1),
                positions,
                ops.concatenate(
                    [ops.repeat(places, size, axis=0), positions], axis=1
                ),
                window,
            )
            key, value = (
                ops.concatenate([ops.repeat(old, size, axis=0), new], axis=1)
                for old, new in ((keys, key), (values, value))
            )
            return attend(query, key, value, seen, **settings), ()

        family = self.model.family
        x, _ = family.run(
            family.embed(texts.token_ids),
            Pass(positions, attention),
            family.join(held),
        )
        return family.normalise(x)


def _adjustment(
    scale: float,
    soft_cap: float | None = None,
    window: int | None = None,
    dropout: object = None,
) -> Adjust:
    """Returns what a family's settings make of scores at distances."""

    def adjust(scores: Tensor, distance: Tensor) -> Tensor:
        scores = scores * scale
        if soft_cap is not None:
            scores = ops.tanh(scores / soft_cap) * soft_cap
        if window is not None:
            scores = ops.where(distance < window, scores, MASKED)
        return scores

    return adjust
