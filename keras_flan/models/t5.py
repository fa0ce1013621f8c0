"""T5 for packed batches, on the weights and layers of keras-hub."""

import contextlib
import warnings

import keras
import keras_hub
from keras import ops

from keras_flan.models.adapters import merged
from keras_flan.models.attention import MASKED, same_segment
from keras_flan.models.language_model import LanguageModel


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
    norms, softmax and logits are computed in float32.

    Args:
        backbone: A `keras_hub.models.T5Backbone`.
        vocabulary: A `keras_flan.data.Vocabulary`, or `None`. Needed for text
            in and out (`generate`, `save_to_preset`), not for training.

    Call arguments:
        inputs: A dictionary of int tensors: `encoder_token_ids` and
            `encoder_segment_ids` of shape `(batch, input_length)`,
            `decoder_token_ids` and `decoder_segment_ids` of shape
            `(batch, target_length)`. Segment ids count the examples of a row
            from 1, and are 0 at padding; an unpacked batch may give
            `encoder_padding_mask` and `decoder_padding_mask` instead.
        training: bool. Whether dropout is on.

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
    model.fit(dataset)
    ```

    Reference: [Raffel et al., 2020](https://arxiv.org/abs/1910.10683); the
    masks are those of "Scaling Instruction-Finetuned Language Models",
    section 2.2 (packing).
    """

    def __init__(self, backbone, vocabulary=None, **kwargs):
        super().__init__(**kwargs)
        if self.compute_dtype == "float16":
            raise ValueError(
                "T5 overflows in float16 (its activations pass 65,504). "
                "Expected 'float32', 'bfloat16' or 'mixed_bfloat16'. "
                f"Received: dtype={self.dtype_policy.name}"
            )
        self.backbone = backbone
        self.vocabulary = vocabulary
        self.built = True

    @classmethod
    def from_config_values(
        cls,
        *,
        vocabulary_size,
        num_layers,
        num_heads,
        hidden_dim,
        intermediate_dim,
        key_value_dim=None,
        dropout=0.05,
        tie_embedding_weights=False,
        vocabulary=None,
        dtype=None,
    ):
        """Returns a T5 v1.1 (gated GELU, untied head) with random weights.

        Args:
            vocabulary_size: int. Rows of the embedding; padded up to a
                multiple of 128 is usual, at least the vocabulary's size.
            num_layers: int. Layers of the encoder, and of the decoder.
            num_heads: int. Attention heads.
            hidden_dim: int. Width of the model.
            intermediate_dim: int. Width inside the feed-forward block.
            key_value_dim: int. Width of a head; default
                `hidden_dim // num_heads`.
            dropout: float. The paper finetunes with 0.05 (table 22).
            tie_embedding_weights: bool. Whether the output projection is the
                embedding (T5 v1.0).
            vocabulary: See the class.
            dtype: A dtype or `keras.DTypePolicy`.
        """
        with quiet_masks():
            backbone = keras_hub.models.T5Backbone(
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
        _draw_embeddings(backbone)
        return cls(backbone, vocabulary=vocabulary, dtype=dtype)

    def hidden(self, inputs, training=False):
        """Returns what `logits` takes, `(batch, target_length, hidden_dim)`."""
        encoder_segments = _segments(inputs, "encoder")
        decoder_segments = _segments(inputs, "decoder")
        encoded = self.encode(
            inputs["encoder_token_ids"], encoder_segments, training=training
        )
        return self.decode(
            inputs["decoder_token_ids"],
            decoder_segments,
            encoded,
            encoder_segments,
            training=training,
        )

    def encode(self, token_ids, segment_ids, training=False):
        """Returns the encoder's output, `(batch, input_length, hidden_dim)`.

        Args:
            token_ids: int `(batch, input_length)`.
            segment_ids: int `(batch, input_length)`; 0 at padding.
            training: bool. Whether dropout is on.
        """
        backbone = self.backbone
        layers = backbone.encoder_transformer_layers
        length = ops.shape(token_ids)[1]
        bias = layers[0].self_attention.compute_bias(length, length)
        mask = same_segment(segment_ids, segment_ids)
        x = backbone.token_embedding(token_ids)
        x = backbone.encoder_embedding_dropout(x, training=training)
        for layer in layers:
            x = x + _self_attention(layer, x, bias, mask, training)
            x = x + feed_forward(layer, x, training)
        x = rms_norm(backbone.encoder_layer_norm, x)
        return backbone.encoder_dropout(x, training=training)

    def decode(
        self, token_ids, segment_ids, encoded, encoder_segments, training=False
    ):
        """Returns the decoder's output, `(batch, target_length, hidden_dim)`.

        Args:
            token_ids: int `(batch, target_length)`, shifted right within
                each segment (the first is the padding id, 0).
            segment_ids: int `(batch, target_length)`; 0 at padding.
            encoded: The output of `encode`.
            encoder_segments: int `(batch, input_length)`.
            training: bool. Whether dropout is on.
        """
        backbone = self.backbone
        layers = backbone.decoder_transformer_layers
        length = ops.shape(token_ids)[1]
        bias = layers[0].self_attention.compute_bias(length, length)
        position = ops.arange(length)
        causal = position[:, None] >= position[None, :]
        mask = ops.logical_and(same_segment(segment_ids, segment_ids), causal)
        cross_mask = same_segment(segment_ids, encoder_segments)
        x = backbone.token_embedding(token_ids)
        x = backbone.decoder_embedding_dropout(x, training=training)
        for layer in layers:
            x = x + _self_attention(layer, x, bias, mask, training)
            x = x + _cross_attention(layer, x, encoded, cross_mask, training)
            x = x + feed_forward(layer, x, training)
        x = rms_norm(backbone.decoder_layer_norm, x)
        return backbone.decoder_dropout(x, training=training)

    def logits(self, x):
        """Projects decoder outputs `(..., hidden_dim)` to float32 logits."""
        backbone = self.backbone
        if backbone.tie_embedding_weights:
            x = x * ops.cast(backbone.hidden_dim**-0.5, x.dtype)
        x = backbone.token_embedding(x, reverse=True)
        return ops.cast(x, "float32")

    # === Saving ===

    def save_to_preset(self, preset_dir):
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
        with quiet_masks():
            task = keras_hub.models.T5Seq2SeqLM(
                self.backbone, preprocessor=preprocessor
            )
        with merged(self):
            task.save_to_preset(str(preset_dir))

    def get_config(self):
        config = super().get_config()
        config["backbone"] = keras.saving.serialize_keras_object(self.backbone)
        return config

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        config["backbone"] = keras.saving.deserialize_keras_object(
            config["backbone"]
        )
        return cls(**config)


def _draw_embeddings(backbone):
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


@contextlib.contextmanager
def quiet_masks():
    """Silences keras-hub's T5 about masks while its own graph is built.

    Its attention takes masks as arguments and warns that Keras's implicit
    ones are dropped, which is as it should be.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*destroy the mask.*")
        yield


# === The layers of keras-hub, wired anew ===


def rms_norm(layer, x):
    """T5's norm: scale only, statistics in float32, `x`'s dtype out."""
    wide = ops.cast(x, "float32")
    variance = ops.mean(ops.square(wide), axis=-1, keepdims=True)
    wide = wide * ops.rsqrt(variance + layer.epsilon)
    return ops.cast(wide * ops.cast(layer.weight, "float32"), x.dtype)


def split_heads(attention, x):
    """`(batch, length, heads * width)` to `(batch, length, heads, width)`."""
    shape = ops.shape(x)
    return ops.reshape(
        x, (*shape[:-1], attention.num_heads, attention.key_value_dim)
    )


def attend(query, key, value, bias, mask, dropout=None):
    """Attention without the 1/sqrt(width) scale, softmax in float32.

    Args:
        query: `(batch, queries, heads, width)`.
        key: `(batch, keys, heads, width)`.
        value: `(batch, keys, heads, width)`.
        bias: `(1, heads, queries, keys)`, or `None`.
        mask: bool `(batch, queries or 1, keys)`.
        dropout: Applied to the attention weights, if given.

    Returns:
        `(batch, queries, heads * width)`.
    """
    scores = ops.cast(ops.einsum("bqnd,bknd->bnqk", query, key), "float32")
    if bias is not None:
        scores = scores + ops.cast(bias, "float32")
    scores = ops.where(mask[:, None], scores, MASKED)
    weights = ops.cast(ops.softmax(scores, axis=-1), value.dtype)
    if dropout is not None:
        weights = dropout(weights)
    output = ops.einsum("bnqk,bknd->bqnd", weights, value)
    batch, queries, heads, width = ops.shape(output)
    return ops.reshape(output, (batch, queries, heads * width))


def _attention(layer, x, source, bias, mask, training):
    query = split_heads(layer, layer.query_projector(x))
    key = split_heads(layer, layer.key_projector(source))
    value = split_heads(layer, layer.value_projector(source))
    output = attend(
        query,
        key,
        value,
        bias,
        mask,
        dropout=lambda w: layer.dropout_layer(w, training=training),
    )
    return layer.output_projector(output)


def _self_attention(layer, x, bias, mask, training):
    x = rms_norm(layer.self_attention_layer_norm, x)
    x = _attention(layer.self_attention, x, x, bias, mask, training)
    return layer.self_attention_dropout(x, training=training)


def _cross_attention(layer, x, encoded, mask, training):
    x = rms_norm(layer.cross_attention_layer_norm, x)
    x = _attention(layer.cross_attention, x, encoded, None, mask, training)
    return layer.cross_attention_dropout(x, training=training)


def feed_forward(layer, x, training=False):
    """The (gated) feed-forward block of a keras-hub T5 layer."""
    x = rms_norm(layer.layer_norm, x)
    hidden = layer.input_projector(x)
    if layer.use_gated_activation:
        hidden = hidden * layer.gate_projector(x)
    hidden = layer.dropout_layer(hidden, training=training)
    output = layer.output_projector(hidden)
    return layer.dropout_layer(output, training=training)


def _segments(inputs, side):
    """Segment ids of `side`; a padding mask is one segment a row."""
    segments = inputs.get(f"{side}_segment_ids")
    if segments is None:
        segments = inputs.get(f"{side}_padding_mask")
    if segments is None:
        raise ValueError(
            f"Expected '{side}_segment_ids' (packed) or "
            f"'{side}_padding_mask' (one example a row) among the inputs. "
            f"Received: {sorted(inputs)}"
        )
    return ops.cast(segments, "int32")
