"""T5 for packed batches, on the weights and layers of keras-hub."""

import os
from collections.abc import Callable
from typing import Any, Literal

import keras
from keras import ops

from keras_flan.data.vocabularies.sentencepiece import Vocabulary
from keras_flan.models.activation_layouts import constrain
from keras_flan.models.adapters.base import merged
from keras_flan.models.attention import block_causal, same_segment
from keras_flan.models.backbones import quiet_masks
from keras_flan.models.compression.notes import note
from keras_flan.models.dropout import Dropout, layer_keys, seed_generator
from keras_flan.models.input_scales import scaled
from keras_flan.models.kernels.choice import check_attention
from keras_flan.models.kernels.cost import flash_blocks
from keras_flan.models.language_model import LanguageModel
from keras_flan.models.projecting import project
from keras_flan.models.remat import Remat, check_remat, rematerialise
from keras_flan.models.stacking import scan_layers
from keras_flan.models.t5.decoding import T5Decoding
from keras_flan.models.t5.layers import (
    Seen,
    decoder_layer,
    distance_bias,
    encoder_layer,
    rms_norm,
)
from keras_flan.models.t5.stacked import StackedT5Backbone
from keras_flan.runtime.keras_hub import keras_hub
from keras_flan.runtime.start import prepare_process
from keras_flan.storage import uploaded
from keras_flan.tensors import Tensor, Tensors

Side = Literal["encoder", "decoder"]


@keras.saving.register_keras_serializable(package="keras_flan")
class T5(LanguageModel):
    """An encoder-decoder that keeps packed examples apart.

    The weights belong to a `keras_hub.models.T5Backbone`; this model only
    wires its layers anew, so that the encoder, the causal decoder and the
    cross attention see one example (segment) at a time. A model saved with
    `save_to_preset` loads in plain `keras_hub.models.T5Seq2SeqLM`.

    Differences from keras-hub's own forward pass, which agrees with this one
    on unpacked batches: attention is masked by segment; the relative position
    bias stays `(1, heads, query, key)` instead of growing with the batch;
    norms, softmax and logits are computed in float32; the masks of dropout
    are a function of a seed, the same with any of the switches below and on
    every backend.

    Args:
        backbone: A `keras_hub.models.T5Backbone`, or a stacked one (see
            `scan`).
        vocabulary: A `keras_flan.data.Vocabulary`, or `None`. Needed for text
            in and out (`generate`, `save_to_preset`), not for training.
        scan: Whether the weights of all layers are stacked and the
            layers run by one scan on JAX, so that a deep model compiles as
            fast as a shallow one. The weights are copied into
            `keras_flan.models.t5.stacked.StackedT5Backbone`, and back by
            `save_to_preset`.
        remat: `True` keeps only each layer's input for the backward pass and
            computes the rest again: much less memory, about a third more
            time. `"products"`, on JAX, also keeps the results of products
            with weights: half of that time for a part of the memory.
        query_chunk: How many queries attend at a time, so
            that the attention weights of a long row never exist together,
            `(batch, heads, queries, keys)`. Also computed again. Kernels pay
            no heed to it.
        attention: `"einsum"`, `"pallas"` (a kernel of this package, for TPUs)
            or `"auto"`, which takes the kernel on a TPU.

    Call arguments:
        inputs: A dictionary of int tensors: `encoder_token_ids` and
            `encoder_segment_ids` of shape `(batch, input_length)`,
            `decoder_token_ids` and `decoder_segment_ids` of shape
            `(batch, target_length)`. Segment ids count the examples of a row
            from 1, and are 0 at padding; an unpacked batch may give
            `encoder_padding_mask` and `decoder_padding_mask` instead.
        training: Whether dropout is on.

    Returns:
        float32 logits of shape `(batch, target_length, vocabulary_size)`.

    Example:

    ```python
    model = keras_flan.models.T5.from_config_values(
        vocabulary_size=1000, num_layers=2, num_heads=4, hidden_dim=64,
        intermediate_dim=128,
    )
    model.compile(
        optimizer=keras_flan.training.Adafactor(1e-2),
        loss=keras_flan.training.TokenCrossentropy(),
    )
    model.fit(dataset, steps_per_epoch=1000)
    ```

    Reference: [Raffel et al., 2020](https://arxiv.org/abs/1910.10683); the
    masks are those of "Scaling Instruction-Finetuned Language Models",
    section 2.2 (packing).
    """

    decoder_only = False
    own_settings = ("scan", "remat", "query_chunk", "attention")
    kernels = ("pallas",)

    def __init__(
        self,
        backbone: Any,
        vocabulary: Vocabulary | None = None,
        scan: bool = False,
        remat: Remat = False,
        query_chunk: int | None = None,
        attention: str = "auto",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if self.compute_dtype == "float16":
            raise ValueError(
                "T5 overflows in float16 (its activations pass 65,504). "
                "Expected 'float32', 'bfloat16' or 'mixed_bfloat16'. "
                f"Received: dtype={self.dtype_policy.name}"
            )
        if scan and not isinstance(backbone, StackedT5Backbone):
            backbone = StackedT5Backbone.from_hub(backbone)
        self.backbone = backbone
        self.vocabulary = vocabulary
        self.scan = isinstance(backbone, StackedT5Backbone)
        self.remat = check_remat(remat)
        self.query_chunk = query_chunk
        self.attention = check_attention(attention, self.kernels, "a T5")
        self.seed_generator = seed_generator(backbone.dropout)
        self.built = True

    @classmethod
    def from_config_values(
        cls,
        *,
        vocabulary_size: int,
        num_layers: int,
        num_heads: int,
        hidden_dim: int,
        intermediate_dim: int,
        key_value_dim: int | None = None,
        dropout: float = 0.05,
        tie_embedding_weights: bool = False,
        vocabulary: Vocabulary | None = None,
        dtype: Any = None,
        scan: bool = False,
        **kwargs: Any,
    ) -> "T5":
        """Returns a T5 v1.1 (gated GELU, untied head) with random weights.

        Args:
            vocabulary_size: Rows of the embedding; padded up to a
                multiple of 128 is usual, at least the vocabulary's size.
            num_layers: Layers of the encoder, and of the decoder.
            num_heads: Attention heads.
            hidden_dim: Width of the model.
            intermediate_dim: Width inside the feed-forward block.
            key_value_dim: Width of a head; default
                `hidden_dim // num_heads`.
            dropout: The paper finetunes with 0.05 (table 22).
            tie_embedding_weights: Whether the output projection is the
                embedding (T5 v1.0).
            vocabulary: See the class.
            dtype: A dtype or `keras.DTypePolicy`.
            scan: See the class.
            **kwargs: Other arguments of the class: `remat`, `query_chunk`,
                `attention`.
        """
        prepare_process()
        make = StackedT5Backbone if scan else keras_hub.models.T5Backbone
        with quiet_masks():
            backbone = make(
                vocabulary_size=vocabulary_size,
                num_layers=num_layers,
                num_heads=num_heads,
                hidden_dim=hidden_dim,
                intermediate_dim=intermediate_dim,
                key_value_dim=key_value_dim or hidden_dim // num_heads,
                dropout=dropout,
                activation=keras.saving.get_registered_object(
                    "keras_hub>gelu_approximate"
                ),
                use_gated_activation=True,
                tie_embedding_weights=tie_embedding_weights,
                dtype=dtype,
            )
        if not scan:
            _draw_embeddings(backbone)
        return cls(backbone, vocabulary=vocabulary, dtype=dtype, **kwargs)

    @property
    def decoding(self) -> T5Decoding:
        return T5Decoding(self)

    def hidden(self, inputs: Tensors, training: bool = False) -> Tensor:
        encoder_segments = segments_of(inputs, "encoder")
        keys = self._keys(training)
        segments = segments_of(inputs, "decoder")
        token_ids = inputs["encoder_token_ids"]
        encoded = self.encode(token_ids, encoder_segments, training, keys)
        token_ids = inputs["decoder_token_ids"]
        return self.decode(
            token_ids, segments, encoded, encoder_segments, training, keys
        )

    def encode(
        self,
        token_ids: Tensor,
        segment_ids: Tensor,
        training: bool = False,
        keys: Tensor | None = None,
    ) -> Tensor:
        """Returns the encoder's output, `(batch, input_length, hidden_dim)`.

        Args:
            token_ids: int `(batch, input_length)`.
            segment_ids: int `(batch, input_length)`; 0 at padding.
            training: Whether dropout is on.
            keys: Of dropout, if they are drawn already.
        """
        keys = self._keys(training) if keys is None else keys
        own = self._seen(segment_ids, segment_ids)._replace(training=training)

        def block(layer: Any, x: Tensor, drop: Dropout, bias: Tensor) -> Tensor:
            return encoder_layer(layer, x, own._replace(bias=bias, drop=drop))

        bias = self.distance_bias("encoder", ops.shape(token_ids)[1])
        return self._run("encoder", block, token_ids, keys, bias)

    def decode(
        self,
        token_ids: Tensor,
        segment_ids: Tensor,
        encoded: Tensor,
        encoder_segments: Tensor,
        training: bool = False,
        keys: Tensor | None = None,
    ) -> Tensor:
        """Returns the decoder's output, `(batch, target_length, hidden_dim)`.

        Args:
            token_ids: int `(batch, target_length)`, shifted right within
                each segment (the first is the padding id, 0).
            segment_ids: int `(batch, target_length)`; 0 at padding.
            encoded: The output of `encode`.
            encoder_segments: int `(batch, input_length)`.
            training: As for `encode`.
            keys: As for `encode`.
        """
        keys = self._keys(training) if keys is None else keys
        own = self._seen(segment_ids, segment_ids, causal=True)
        other = self._seen(segment_ids, encoder_segments)

        def block(
            layer: Any, x: Tensor, drop: Dropout, bias: Tensor, encoded: Tensor
        ) -> Tensor:
            return decoder_layer(
                layer,
                x,
                own._replace(bias=bias, drop=drop, training=training),
                encoded,
                other._replace(drop=drop),
            )

        bias = self.distance_bias("decoder", ops.shape(token_ids)[1])
        return self._run("decoder", block, token_ids, keys, bias, encoded)

    def _seen(
        self, queries: Tensor, keys: Tensor, causal: bool = False
    ) -> Seen:
        """Returns what the queries of some segments see of keys of others."""
        length = max(queries.shape[1] or 0, keys.shape[1] or 0)
        mask = block_causal(queries) if causal else same_segment(queries, keys)
        chunk, form = self.query_chunk, self.chosen_attention(length).form
        return Seen((queries, keys), causal, mask, chunk=chunk, form=form)

    def kernel_obstacle(
        self, form: str, length: int | None, training: bool
    ) -> str | None:
        size = 2 if self.compute_dtype == "bfloat16" else 4
        width = self.backbone.key_value_dim
        blocks = flash_blocks(
            length or 1, length or 1, width, bytes_per_number=size
        )
        return None if blocks else f"rows of {length} are too long for it"

    def _run(
        self,
        side: Side,
        block: Callable[..., Tensor],
        token_ids: Tensor,
        keys: Tensor | None,
        *shared: Tensor,
    ) -> Tensor:
        """Runs the layers of one side, from token ids to its output.

        Args:
            side: Which.
            block: A function of a layer, its input, a `Dropout` and
                `shared`.
            token_ids: int `(batch, length)`.
            keys: Of `_keys`.
            *shared: What all layers take part in the gradient of.
        """
        backbone, rate = self.backbone, self.backbone.dropout
        if keys is None:
            rate = 0.0
            keys = ops.zeros((2, backbone.num_layers + 2, 2), "int32")
        keys = keys[0 if side == "encoder" else 1]
        first, last = keys[-2], keys[-1]

        def one(x: Tensor, layer: Any, key: Tensor, *shared: Tensor) -> Tensor:
            return block(layer, x, Dropout(rate, key), *shared)

        def kept(layer_of: Callable) -> Callable:
            return rematerialise(
                lambda x, part, *rest: one(x, layer_of(part), *rest), self.remat
            )

        x = backbone.token_embedding(token_ids)
        x = constrain(scaled(x) if side == "decoder" else x, "residual")
        x = Dropout(rate, first)(x, 0)
        if self.scan:
            stack = getattr(backbone, side)
            step = kept(stack.view)
            x, _ = scan_layers(
                lambda x, part: (step(x, *part, *shared), ()),
                x,
                (stack.tensors(), keys[: stack.num_layers]),
            )
        else:
            layers = getattr(backbone, f"{side}_transformer_layers")
            for number, layer in enumerate(layers):
                step = kept(lambda _, layer=layer: layer)
                x = step(x, (), keys[number], *shared)
        x = rms_norm(getattr(backbone, f"{side}_layer_norm"), x)
        return Dropout(rate, last)(x, 0)

    def _keys(self, training: bool) -> Tensor | None:
        """Keys of dropout for the layers and both ends of each side.

        Returns:
            int32 `(2, num_layers + 2, 2)`; `None` if nothing is dropped.
        """
        if not training or not self.seed_generator:
            return None
        count = self.backbone.num_layers + 2
        keys = layer_keys(self.seed_generator.next(), 2 * count)
        return ops.reshape(keys, (2, count, 2))

    def distance_bias(self, side: Side, length: int) -> Tensor:
        """Returns the relative bias of one side by distance.

        Args:
            side: Which.
            length: Of the row.

        Returns:
            `(heads, 2 * length - 1)`, for distances from query to key from
            `1 - length` on.
        """
        if self.scan:
            table = getattr(self.backbone, side).bias_table
        else:
            layers = getattr(self.backbone, f"{side}_transformer_layers")
            table = layers[0].self_attention.relative_attention_bias
        return distance_bias(table, length, side == "encoder")

    def logits(self, x: Tensor) -> Tensor:
        """Projects decoder outputs `(..., hidden_dim)` to float32 logits."""
        backbone = self.backbone
        if backbone.tie_embedding_weights:
            x = x * ops.cast(backbone.hidden_dim**-0.5, x.dtype)
        return project(backbone.token_embedding, x)

    # === Saving ===

    def hub_backbone(self) -> Any:
        """Returns a `keras_hub.models.T5Backbone`: a copy if it is scanned."""
        if not self.scan:
            return self.backbone
        with quiet_masks():
            return self.backbone.to_hub()

    def save_to_preset(self, preset_dir: str | os.PathLike) -> None:
        """Writes a keras-hub preset: weights, config and tokenizer.

        The folder loads with `keras_flan.models.load` and, in plain
        keras-hub, with `keras_hub.models.T5Seq2SeqLM.from_preset`. A LoRA
        adapter is merged into the written weights.

        Args:
            preset_dir: The folder to write.
        """
        preprocessor = None
        if self.vocabulary is not None:
            preprocessor = keras_hub.models.T5Seq2SeqLMPreprocessor(
                keras_hub.models.T5Tokenizer(proto=self.vocabulary.proto)
            )
        with merged(self):
            with quiet_masks():
                task = keras_hub.models.T5Seq2SeqLM(
                    self.hub_backbone(), preprocessor=preprocessor
                )
            with uploaded(preset_dir, last="config.json") as folder:
                task.save_to_preset(str(folder))
                note(task.backbone, folder)


def _draw_embeddings(backbone: Any) -> None:
    """Draws the embedding and the output projection as T5 does.

    keras-hub 0.32 draws both with `TruncatedNormal(1.0)`, whose argument is
    the mean: all rows are then almost equal, and nothing can be learned from
    scratch.
    """
    layer = backbone.token_embedding
    normal = keras.initializers.RandomNormal(stddev=1.0)
    layer.embeddings.assign(normal(layer.embeddings.shape))
    if not backbone.tie_embedding_weights:
        normal = keras.initializers.RandomNormal(
            stddev=backbone.hidden_dim**-0.5
        )
        layer.reverse_embeddings.assign(normal(layer.reverse_embeddings.shape))


def segments_of(inputs: Tensors, side: Side) -> Tensor:
    """Returns segment ids of `side`; a padding mask is one segment per row."""
    segments = inputs.get(f"{side}_segment_ids")
    if segments is None:
        segments = inputs.get(f"{side}_padding_mask")
    if segments is None:
        raise ValueError(
            f"Expected '{side}_segment_ids' (packed) or "
            f"'{side}_padding_mask' (one example per row) among the inputs. "
            f"Received: {sorted(inputs)}"
        )
    return ops.cast(segments, "int32")
