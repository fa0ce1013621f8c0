"""PaLM as a keras-hub task: text in and out with keras-hub alone."""

from typing import Any

import keras
from keras import ops

from keras_flan.models.attention import attend
from keras_flan.models.decoder_only.families import Pass
from keras_flan.models.decoder_only.palm import PaLMBackbone
from keras_flan.runtime.keras_hub import keras_hub
from keras_flan.tensors import Tensor


@keras.saving.register_keras_serializable(package="keras_flan")
class PaLMTokenizer(keras_hub.tokenizers.SentencePieceTokenizer):
    """A SentencePiece vocabulary with T5's special ids.

    Args:
        proto: The model, as `keras_flan.data.Vocabulary.proto`, or a path.
    """

    backbone_cls = PaLMBackbone

    def __init__(self, proto: bytes | str | None = None, **kwargs: Any):
        self._add_special_token("</s>", "end_token")
        self._add_special_token("<pad>", "pad_token")
        self.start_token = self.start_token_id = None
        super().__init__(proto=proto, **kwargs)


@keras.saving.register_keras_serializable(package="keras_flan")
class PaLMCausalLMPreprocessor(keras_hub.models.CausalLMPreprocessor):
    """Prepares texts for `PaLMCausalLM`; see the base class."""

    backbone_cls = PaLMBackbone
    tokenizer_cls = PaLMTokenizer


@keras.saving.register_keras_serializable(package="keras_flan")
class PaLMCausalLM(keras_hub.models.CausalLM):
    """A PaLM with logits, as any other `keras_hub.models.CausalLM`.

    For packed batches and for many paths per prompt use
    `keras_flan.models.DecoderOnly` on the same backbone.

    Args:
        backbone: A `PaLMBackbone`.
        preprocessor: A `PaLMCausalLMPreprocessor` or `None`.

    Example:

    ```python
    backbone = PaLMBackbone.from_preset("palm_test", load_weights=False)
    model = PaLMCausalLM(backbone)
    inputs = {"token_ids": [[5, 6, 7, 0]], "padding_mask": [[1, 1, 1, 0]]}
    model.generate(inputs, stop_token_ids=None)
    ```
    """

    backbone_cls = PaLMBackbone
    preprocessor_cls = PaLMCausalLMPreprocessor

    def __init__(
        self,
        backbone: PaLMBackbone,
        preprocessor: PaLMCausalLMPreprocessor | None = None,
        **kwargs: Any,
    ):
        # === Layers ===
        self.backbone = backbone
        self.preprocessor = preprocessor
        # === Functional Model ===
        inputs = backbone.input
        outputs = backbone.token_embedding(backbone(inputs), reverse=True)
        super().__init__(inputs=inputs, outputs=outputs, **kwargs)

    def call_with_cache(
        self, token_ids: Tensor, cache: Tensor, cache_update_index: Any
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Runs the model on the tokens that follow those in the cache.

        Args:
            token_ids: int `(batch, length)`.
            cache: `(batch, num_layers, 2, max_length, 1, head_dim)`, keys
                and values.
            cache_update_index: int or int tensor, the position of the first
                token.

        Returns:
            Logits `(batch, length, vocabulary_size)`, hidden states, cache.
        """
        backbone = self.backbone
        length, longest = ops.shape(token_ids)[1], ops.shape(cache)[3]
        place = ops.arange(length) + cache_update_index
        mask = (place[:, None] >= ops.arange(longest)[None])[None]

        def attention(
            query: Tensor,
            key: Tensor,
            value: Tensor,
            cache: Tensor,
            **settings: Any,
        ) -> tuple[Tensor, Tensor]:
            cache = ops.slice_update(
                cache,
                (0, 0, cache_update_index, 0, 0),
                ops.stack([key, value], axis=1),
            )
            key, value = cache[:, 0], cache[:, 1]
            return attend(query, key, value, mask, **settings), cache

        x, cache = backbone.decoder.run(
            backbone.token_embedding(token_ids),
            Pass(place[None], attention),
            ops.moveaxis(cache, 1, 0),
        )
        x = backbone.layer_norm(x)
        logits = backbone.token_embedding(x, reverse=True)
        return logits, x, ops.moveaxis(cache, 0, 1)

    def generate_step(
        self,
        inputs: dict[str, Tensor],
        stop_token_ids: tuple[int, ...] | None = None,
    ) -> dict[str, Tensor]:
        """Generates with the task's sampler; all of it can be compiled.

        Args:
            inputs: `token_ids` and `padding_mask`, `(batch, max_length)`.
            stop_token_ids: A tuple of ids that end a text, or `None`.

        Returns:
            The two of `inputs`, filled up.
        """
        token_ids, padding_mask = inputs["token_ids"], inputs["padding_mask"]
        batch, length = ops.shape(token_ids)
        backbone = self.backbone
        shape = (batch, backbone.num_layers, 2, length, 1, backbone.head_dim)
        cache = ops.zeros(shape, backbone.compute_dtype)
        _, hidden, cache = self.call_with_cache(token_ids, cache, 0)

        def next(prompt: Tensor, cache: Tensor, index: Tensor) -> Any:
            last = ops.slice(prompt, (0, index - 1), (batch, 1))
            logits, hidden, cache = self.call_with_cache(last, cache, index - 1)
            return logits[:, 0], hidden[:, 0], cache

        token_ids = self.sampler(
            next=next,
            prompt=token_ids,
            cache=cache,
            index=ops.min(ops.sum(ops.cast(padding_mask, "int32"), axis=-1)),
            mask=padding_mask,
            stop_token_ids=stop_token_ids,
            hidden_states=hidden,
            model=self,
        )
        made = ops.ones_like(token_ids, dtype="bool")
        if stop_token_ids is not None:
            new = ops.logical_not(ops.cast(padding_mask, "bool"))
            ends = ops.zeros_like(made)
            for stop in stop_token_ids:
                ends = ops.logical_or(ends, token_ids == stop)
            ends = ops.cast(ops.logical_and(ends, new), "int32")
            # Up to the first end, with it.
            made = ops.cumsum(ends, axis=-1) - ends == 0
        return {"token_ids": token_ids, "padding_mask": made}
