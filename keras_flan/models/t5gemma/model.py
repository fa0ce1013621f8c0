"""T5Gemma for packed batches, on the weights and layers of keras-hub."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
from keras import ops

from keras_flan.data.vocabularies.assets import save_vocabulary
from keras_flan.data.vocabularies.hub import HubVocabulary
from keras_flan.data.vocabularies.sentencepiece import Vocabulary
from keras_flan.files import read_json_object, write_json
from keras_flan.models.activation_layouts import constrain
from keras_flan.models.adapters.base import merged
from keras_flan.models.attention import block_causal, same_segment
from keras_flan.models.backbones import undrawn
from keras_flan.models.compression.notes import note
from keras_flan.models.dropout import Dropout, layer_keys, seed_generator
from keras_flan.models.input_scales import scaled
from keras_flan.models.kernels.choice import check_attention
from keras_flan.models.language_model import LanguageModel
from keras_flan.models.projecting import project
from keras_flan.models.remat import Remat, check_remat, rematerialise
from keras_flan.models.t5.model import Side, segments_of
from keras_flan.models.t5gemma.decoding import T5GemmaDecoding
from keras_flan.models.t5gemma.layers import Seen, decoder_layer, encoder_layer
from keras_flan.runtime.keras_hub import keras_hub
from keras_flan.storage import uploaded
from keras_flan.tensors import Tensor, Tensors

# What a folder holds besides keras-hub's own files.
FILE = "t5gemma.json"
_SPM = "vocabulary.model"
_BOS = 2  # In Gemma's vocabulary.


@keras.saving.register_keras_serializable(package="keras_flan")
class T5Gemma(LanguageModel):
    """An encoder-decoder of Gemma 2's layers that keeps packed examples apart.

    The weights belong to a `keras_hub.models.T5GemmaBackbone`; this model
    runs its layers with the masks of `keras_flan.models.T5`. On unpacked
    batches it agrees with keras-hub's forward pass, up to the windows of
    layers with local attention, which are those of transformers.

    Args:
        backbone: A `keras_hub.models.T5GemmaBackbone`.
        vocabulary: A `keras_flan.data.HubVocabulary`, or `None`. Needed for
            text in and out (`generate`), not for training.
        separate: Whether `generate` ends a prompt with the end-of-text id, as
            packed rows end their inputs. The published models read prompts
            without.
        start_id: What the decoder reads first; `<bos>` in Gemma's vocabulary.
        remat: Compute activations again in the backward pass, as for `T5`.
        query_chunk: How many queries attend at a time, as for `T5`.
        attention: `"einsum"` or `"auto"`; there are no kernels.

    Call arguments:
        inputs: As for `T5`. Where a target begins the decoder may be given
            0, as rows of the pipeline have it, or the start id.
        training: Whether dropout is on.

    Returns:
        float32 logits of shape `(batch, target_length, vocabulary_size)`.

    Example:

    ```python
    model = keras_flan.models.load("hf://google/t5gemma-2b-2b-ul2-it")
    model.generate("Translate to German: Good morning.")
    ```

    Reference: [Zhang et al., 2025](https://arxiv.org/abs/2504.06225).
    """

    decoder_only = False
    own_settings = ("separate", "start_id", "remat", "query_chunk", "attention")

    def __init__(
        self,
        backbone: Any,
        vocabulary: Vocabulary | HubVocabulary | None = None,
        separate: bool = True,
        start_id: int = _BOS,
        remat: Remat = False,
        query_chunk: int | None = None,
        attention: str = "auto",
        **kwargs: Any,
    ):
        backbone = getattr(backbone, "backbone", backbone)
        kwargs["dtype"] = kwargs.get("dtype") or backbone.dtype_policy
        super().__init__(**kwargs)
        self.backbone = backbone
        # By the name that other backbones have for it.
        backbone.dropout = backbone.dropout_rate
        self.vocabulary = vocabulary
        self.separate = separate
        self.start_id = start_id
        self.remat = check_remat(remat)
        self.query_chunk = query_chunk
        self.attention = check_attention(attention, self.kernels, "a T5Gemma")
        self.seed_generator = seed_generator(max(self._rates))
        self.built = True

    @property
    def _rates(self) -> tuple[float, float]:
        """Dropout between layers, and of attention weights."""
        backbone = self.backbone
        return backbone.dropout_rate, backbone.attention_dropout

    @property
    def decoding(self) -> T5GemmaDecoding:
        return T5GemmaDecoding(self)

    def hidden(self, inputs: Tensors, training: bool = False) -> Tensor:
        keys = self._keys(training)
        segments = segments_of(inputs, "encoder")
        encoded = self.encode(inputs["encoder_token_ids"], segments, keys)
        return self.decode(
            inputs["decoder_token_ids"],
            segments_of(inputs, "decoder"),
            encoded,
            segments,
            keys,
        )

    def encode(
        self, token_ids: Tensor, segment_ids: Tensor, keys: Tensor | None = None
    ) -> Tensor:
        """Returns the encoder's output, `(batch, length, hidden_dim)`.

        Args:
            token_ids: int `(batch, input_length)`.
            segment_ids: int `(batch, input_length)`; 0 at padding.
            keys: Of dropout; `None` drops nothing.
        """
        own = Seen(
            same_segment(segment_ids, segment_ids), chunk=self.query_chunk
        )

        def block(layer: Any, x: Tensor, drops: tuple) -> Tensor:
            drop, weights = drops
            return encoder_layer(
                layer, x, own._replace(drop=drop, drop_weights=weights)
            )

        return self._run("encoder", block, token_ids, keys)

    def decode(
        self,
        token_ids: Tensor,
        segment_ids: Tensor,
        encoded: Tensor,
        encoder_segments: Tensor,
        keys: Tensor | None = None,
    ) -> Tensor:
        """Returns the decoder's output, `(batch, length, hidden_dim)`.

        Args:
            token_ids: int `(batch, target_length)`, shifted right within
                each segment; the first is 0 or the start id.
            segment_ids: int `(batch, target_length)`; 0 at padding.
            encoded: The output of `encode`.
            encoder_segments: int `(batch, input_length)`.
            keys: As for `encode`.
        """
        chunk = self.query_chunk
        own = Seen(block_causal(segment_ids), chunk=chunk)
        other = Seen(same_segment(segment_ids, encoder_segments), chunk=chunk)

        def block(
            layer: Any, x: Tensor, drops: tuple, encoded: Tensor
        ) -> Tensor:
            drop, weights = drops
            both = {"drop": drop, "drop_weights": weights}
            return decoder_layer(
                layer, x, own._replace(**both), encoded, other._replace(**both)
            )

        token_ids = ops.where(token_ids == 0, self.start_id, token_ids)
        return self._run("decoder", block, token_ids, keys, encoded)

    def embed(self, side: Side, token_ids: Tensor) -> Tensor:
        """Returns the input of a side's first layer."""
        backbone = self.backbone
        if side == "encoder":
            x = backbone.token_embedding(token_ids)
        else:
            x = scaled(backbone.decoder_token_embedding(token_ids))
        return x * ops.cast(x.shape[-1] ** 0.5, x.dtype)

    def _run(
        self,
        side: Side,
        block: Callable[..., Tensor],
        token_ids: Tensor,
        keys: Tensor | None,
        *shared: Tensor,
    ) -> Tensor:
        layers = getattr(self.backbone, f"{side}_layers")
        first = 0 if side == "encoder" else self.backbone.encoder_num_layers + 2
        rate, of_weights = self._rates

        def drops(number: int) -> tuple[Dropout, Dropout]:
            key = None if keys is None else keys[first + number]
            return Dropout(rate, key), Dropout(of_weights, key)

        x = drops(0)[0](self.embed(side, token_ids), 0)
        x = constrain(x, "residual")
        for number, layer in enumerate(layers, 1):

            def one(
                x: Tensor,
                *shared: Tensor,
                layer: Any = layer,
                number: int = number,
            ) -> Tensor:
                return block(layer, x, drops(number), *shared)

            x = rematerialise(one, self.remat)(x, *shared)
        x = getattr(self.backbone, f"{side}_norm")(x)
        return drops(len(layers) + 1)[0](x, 0)

    def _keys(self, training: bool) -> Tensor | None:
        """Keys of dropout, a pair for each layer and both ends of a side."""
        if not training or not self.seed_generator:
            return None
        backbone = self.backbone
        count = backbone.encoder_num_layers + backbone.decoder_num_layers + 4
        return layer_keys(self.seed_generator.next(), count)

    def logits(self, x: Tensor) -> Tensor:
        """Projects decoder outputs `(..., hidden_dim)` to float32 logits."""
        x = project(self.backbone.decoder_token_embedding, x)
        cap = self.backbone.final_logit_softcapping
        return x if cap is None else ops.tanh(x / cap) * cap

    # === Saving ===

    def save_to_preset(self, preset_dir: str | os.PathLike) -> None:
        """Writes a keras-hub preset: weights, config and tokenizer.

        Args:
            preset_dir: The folder to write. It loads with `from_preset`, and
                in plain keras-hub with that of `T5GemmaBackbone`. A LoRA
                adapter is merged into the written weights.
        """
        settings = {
            name: getattr(self, name)
            for name in self.own_settings
            if name != "attention"
        }
        with uploaded(preset_dir, last="config.json") as folder:
            with merged(self):
                self.backbone.save_to_preset(str(folder))
                note(self.backbone, folder)
            if isinstance(self.vocabulary, HubVocabulary):
                settings["start"] = self.vocabulary.bos_id is not None
                self.vocabulary.tokenizer.save_to_preset(str(folder))
            else:
                save_vocabulary(self.vocabulary, folder)
            write_json(folder / FILE, settings)


def read_preset(
    source: str, dtype: Any = None, weights: bool = True
) -> tuple[Any, dict[str, Any]]:
    """Returns a backbone, and the other arguments of `T5Gemma`.

    Args:
        source: A folder, or any name that keras-hub's `from_preset` takes.
        dtype: Of the weights; default: Keras's policy.
        weights: `False` draws the weights, and gives no vocabulary.
    """
    with undrawn(weights):
        backbone = keras_hub.models.T5GemmaBackbone.from_preset(
            source, load_weights=weights, dtype=dtype
        )
    if not weights:
        return backbone, {}
    folder = Path(source)
    settings: dict[str, Any] = {"separate": False}
    start = False
    if (folder / FILE).is_file():
        settings = read_json_object(folder / FILE)
        start = settings.pop("start", False)
    if (folder / _SPM).is_file():
        settings["vocabulary"] = Vocabulary(folder / _SPM)
    elif not folder.is_dir() or (folder / "tokenizer.json").is_file():
        tokenizer = keras_hub.tokenizers.Tokenizer.from_preset(source)
        settings["vocabulary"] = HubVocabulary(tokenizer, start)
    return backbone, settings
