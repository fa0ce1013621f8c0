"""Decoder-only models for packed batches, on keras-hub's weights."""

import functools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
from keras import ops

from keras_flan.data.templates.chat import ChatTemplate
from keras_flan.data.templates.chat_files import load_chat_template
from keras_flan.data.vocabularies.hub import HubVocabulary
from keras_flan.data.vocabularies.sentencepiece import Vocabulary
from keras_flan.files import read_json_object, write_json
from keras_flan.models.adapters.base import merged
from keras_flan.models.attention import attend, block_causal, within_window
from keras_flan.models.backbones import undrawn
from keras_flan.models.compression.notes import note
from keras_flan.models.decoder_only.decoding import DecoderOnlyDecoding
from keras_flan.models.decoder_only.families import Pass, family_of
from keras_flan.models.decoder_only.palm_causal_lm import PaLMTokenizer

# Registers the classes of saved models.
from keras_flan.models.gguf.smollm2 import SmolLM2Backbone  # noqa: F401
from keras_flan.models.input_scales import scaled
from keras_flan.models.kernels.choice import check_attention
from keras_flan.models.language_model import LanguageModel
from keras_flan.models.remat import Remat, check_remat
from keras_flan.runtime.keras_hub import keras_hub
from keras_flan.storage import uploaded
from keras_flan.tensors import Tensor, Tensors

# What a folder holds besides keras-hub's own files.
_FILE = "decoder_only.json"
_SOFT_CAP = "attention_logit_soft_cap"  # Gemma's


@keras.saving.register_keras_serializable(package="keras_flan")
class DecoderOnly(LanguageModel):
    """A causal language model that keeps packed examples apart.

    The weights belong to a keras-hub backbone with rotary positions: Llama
    (and SmolLM2), Mistral, Qwen 2, 2.5 and 3, Gemma 1, 2 and 3, or this
    package's `PaLMBackbone`. This model only runs its layers with masks that
    keep each token to earlier tokens of its own example (segment). On
    unpacked batches it agrees with keras-hub's own forward pass. Softmax,
    norms and logits are float32.

    Rotary attention sees the distance of two positions only, and distances
    within an example are the same wherever it stands in its row; so
    positions may run on across examples, and nothing else is needed to pack.

    Args:
        backbone: A keras-hub backbone, or a keras-hub `CausalLM`, whose
            backbone is taken.
        vocabulary: A `keras_flan.data.Vocabulary` or
            `keras_flan.data.HubVocabulary`, or `None`. Needed for text in and
            out (`generate`), not for training.
        bidirectional_prefix: Whether the inputs of an example see each
            other in both directions, as in a prefix language model. PaLM and
            the keras-hub families are causal (`False`).
        separate: Whether `generate` ends a prompt with the end-of-text
            id, as the packed rows separate inputs from targets. `False` lets
            a pretrained model go on with a text.
        remat: Compute activations again in the backward pass instead of
            keeping them, see `keras_flan.models.T5`. Default: as the
            backbone says.
        attention: `"einsum"`; a kernel, `"splash"` for TPUs or `"cudnn"` for
            GPUs; or `"auto"`, which takes the kernel where it can serve: not
            with a bidirectional prefix or dropout of attention weights. What
            `fit` and scoring run; `generate` has an attention of its own.
        chat: The chat template that the model knows, as
            `keras_flan.data.load_chat_template` takes it; saved with it.

    Call arguments:
        inputs: A dictionary of int tensors `(batch, length)`: `token_ids`;
            `segment_ids`, which count the examples of a row from 1 and are 0
            at padding, or, for unpacked batches, `padding_mask`;
            `prefix_mask`, 1 at the inputs of each example, needed if
            `bidirectional_prefix`; and optionally `positions`.
        training: Whether dropout is on.

    Returns:
        float32 logits `(batch, length, vocabulary_size)`.

    Raises:
        ValueError: If the family of the backbone can't be packed.

    Example:

    ```python
    hub = keras_hub.models.LlamaCausalLM.from_preset("./smollm2")
    model = keras_flan.models.DecoderOnly(hub)
    model.compile(
        optimizer=keras_flan.training.Adafactor(1e-3),
        loss=keras_flan.training.TokenCrossentropy(),
    )
    dataset = build_dataset(
        mixture, vocabulary, input_length=512, target_length=256,
        batch_size=8, decoder_only=True,
    )
    model.fit(dataset, steps_per_epoch=1000)
    hub.save_to_preset("./tuned")  # the weights are keras-hub's
    ```

    Source: arXiv:2210.11416, section 2.2 (packing); arXiv:2104.09864 (rotary
    positions).
    """

    decoder_only = True
    own_settings = (
        *("bidirectional_prefix", "separate", "remat", "attention"),
        "chat",
    )
    kernels = ("splash", "cudnn")

    def __init__(
        self,
        backbone: Any,
        vocabulary: Vocabulary | HubVocabulary | None = None,
        bidirectional_prefix: bool = False,
        separate: bool = True,
        remat: Remat = None,
        attention: str = "auto",
        chat: ChatTemplate | Mapping[str, Any] | str | None = None,
        **kwargs: Any,
    ):
        backbone = getattr(backbone, "backbone", backbone)
        # Without a dtype of its own the model computes as its weights do.
        kwargs["dtype"] = kwargs.get("dtype") or backbone.dtype_policy
        super().__init__(**kwargs)
        self.family = family_of(backbone)
        self.backbone = backbone
        self.vocabulary = vocabulary
        self.bidirectional_prefix = bidirectional_prefix
        self.separate = separate
        self.remat = check_remat(remat)
        owner = type(backbone).__name__
        self.attention = check_attention(attention, self.kernels, owner)
        if isinstance(chat, ChatTemplate):
            chat = chat.to_dict()
        self.chat = chat
        self.built = True

    @property
    def chat_template(self) -> ChatTemplate | None:
        """The chat template, or `None`.

        Raises:
            InputError: If it is no chat template.
        """
        return None if self.chat is None else load_chat_template(self.chat)

    @property
    def decoding(self) -> DecoderOnlyDecoding:
        return DecoderOnlyDecoding(self)

    def hidden(self, inputs: Tensors, training: bool = False) -> Tensor:
        segment_ids = _segments(inputs)
        prefix_mask = None
        if self.bidirectional_prefix:
            prefix_mask = inputs.get("prefix_mask")
            if prefix_mask is None:
                raise ValueError(
                    "Expected 'prefix_mask' among the inputs of a model with "
                    f"a bidirectional prefix. Received: {sorted(inputs)}"
                )
        form = self.chosen_attention(segment_ids.shape[1], training).form
        kernel = None
        if form != "einsum":
            kernel = functools.partial(_kernel(form), segment_ids=segment_ids)
        x, _ = self.run_packed(
            inputs["token_ids"],
            block_causal(segment_ids, prefix_mask),
            positions=inputs.get("positions"),
            training=training,
            kernel=kernel,
        )
        return self.family.normalise(x)

    def kernel_obstacle(
        self, form: str, length: int | None, training: bool
    ) -> str | None:
        if self.bidirectional_prefix:
            return "the inputs of an example see each other in both directions"
        if training and self.family.drops_weights and self.backbone.dropout:
            return "dropout takes attention weights; set model.dropout to 0"
        if form == "cudnn" and self.compute_dtype == "float32":
            return "it needs precision bfloat16 or mixed_bfloat16"
        if form == "cudnn" and getattr(self.backbone, _SOFT_CAP, None):
            return "it has no soft cap of scores"
        return None

    def run_packed(
        self,
        token_ids: Tensor,
        mask: Tensor,
        positions: Tensor | None = None,
        training: bool = False,
        keep: bool = False,
        kernel: Callable[..., Tensor] | None = None,
    ) -> tuple[Tensor, Any]:
        """Runs the layers on whole rows.

        Args:
            token_ids: int `(batch, length)`.
            mask: bool `(batch, length, length)`, which keys a query sees.
            positions: int `(batch, length)`; default 0, 1, 2, ...
            training: Whether dropout is on.
            keep: Whether to return keys and values too.
            kernel: What attends instead of `attend`, and knows the mask:
                a function of query, key, value, `scale`, `window` and
                `soft_cap`.

        Returns:
            The output of the last layer `(batch, length, hidden_dim)`, and
            the keys and values of the layers, if kept.
        """
        place = ops.arange(ops.shape(token_ids)[1])
        if positions is None:
            positions = place[None]

        def attention(
            query: Tensor,
            key: Tensor,
            value: Tensor,
            _: Any,
            window: int | None = None,
            dropout: Callable[[Tensor], Tensor] | None = None,
            **settings: Any,
        ) -> tuple[Tensor, Any]:
            if kernel is not None:
                out = kernel(query, key, value, window=window, **settings)
            else:
                seen = within_window(mask, place, place, window)
                settings["dropout"] = dropout
                out = attend(query, key, value, seen, **settings)
            return out, (key, value) if keep else ()

        x = scaled(self.family.embed(token_ids, training=training))
        by_heads = kernel is not None
        how = Pass(positions, attention, training, self.remat, by_heads)
        return self.family.run(x, how)

    def logits(self, x: Tensor) -> Tensor:
        return self.family.logits(x)

    # === Saving ===

    def save_to_preset(self, preset_dir: str | os.PathLike) -> None:
        """Writes a keras-hub preset: weights, config and tokenizer.

        Args:
            preset_dir: The folder to write. It loads with `from_preset`, and
                in plain keras-hub with that of the family. A LoRA adapter
                is merged into the written weights.
        """
        with uploaded(preset_dir, last="config.json") as folder:
            self._save(folder)

    def _save(self, folder: Path) -> None:
        with merged(self):
            self.backbone.save_to_preset(str(folder))
            note(self.backbone, folder)
        _note_tied_embeddings(self.backbone, folder / "config.json")
        settings = {name: getattr(self, name) for name in self.own_settings}
        # It is of the devices here; the preset may load on others.
        del settings["attention"]
        if isinstance(self.vocabulary, HubVocabulary):
            settings["start"] = self.vocabulary.bos_id is not None
            self.vocabulary.tokenizer.save_to_preset(str(folder))
        elif self.vocabulary is not None:
            tokenizer = PaLMTokenizer(self.vocabulary.proto)
            tokenizer.save_to_preset(str(folder))
        write_json(folder / _FILE, settings)


def _kernel(form: str) -> Callable[..., Tensor]:
    """Returns a kernel's function; imports JAX, which others need not have."""
    if form == "splash":
        from keras_flan.models.kernels.splash import splash_attention

        return splash_attention
    from keras_flan.models.kernels.cudnn import cudnn_attention

    return cudnn_attention


def read_preset(
    source: str, dtype: Any = None, weights: bool = True
) -> tuple[Any, dict[str, Any]]:
    """Reads a preset, weights and tokenizer by keras-hub's own loaders.

    Args:
        source: A folder, or any name that keras-hub's `from_preset` takes.
        dtype: Of the weights; default: Keras's policy.
        weights: `False` draws the weights, and gives no vocabulary.

    Returns:
        A backbone, and the other arguments of `DecoderOnly` as they were
        saved. A model that was not saved by that class goes on with its
        prompts as they are (`separate=False`).
    """
    with undrawn(weights):
        backbone = keras_hub.models.Backbone.from_preset(
            source, load_weights=weights, dtype=dtype
        )
    if not weights:
        return backbone, {}
    folder = Path(source)
    if not (folder / _FILE).is_file():
        hub = keras_hub.models.CausalLMPreprocessor.from_preset(source)
        vocabulary = _vocabulary(hub)
        return backbone, {"separate": False, "vocabulary": vocabulary}
    settings = read_json_object(folder / _FILE)
    start = settings.pop("start", None)
    if (folder / "tokenizer.json").is_file():
        tokenizer = keras_hub.tokenizers.Tokenizer.from_preset(source)
        settings["vocabulary"] = _vocabulary(tokenizer, start)
    return backbone, settings


def _vocabulary(
    tokenizer: Any, start: bool | None = None
) -> Vocabulary | HubVocabulary:
    """Returns the vocabulary of a keras-hub tokenizer or preprocessor."""
    inner = getattr(tokenizer, "tokenizer", tokenizer)
    if isinstance(inner, PaLMTokenizer):
        return Vocabulary(inner.proto)
    return HubVocabulary(tokenizer, start)


def _note_tied_embeddings(backbone: Any, path: Path) -> None:
    """Completes the config of a Llama.

    keras-hub 0.32 leaves out that a Llama's embeddings are tied, and then
    cannot load what it saved.
    """
    values = read_json_object(path)
    tied = getattr(backbone, "tie_word_embeddings", False)
    if tied and "tie_word_embeddings" not in values["config"]:
        values["config"]["tie_word_embeddings"] = True
        write_json(path, values)


def _segments(inputs: Tensors) -> Tensor:
    """Segment ids; a padding mask is one segment per row."""
    segments = inputs.get("segment_ids", inputs.get("padding_mask"))
    if segments is None:
        raise ValueError(
            "Expected 'segment_ids' (packed) or 'padding_mask' (one example "
            f"per row) among the inputs. Received: {sorted(inputs)}"
        )
    return ops.cast(segments, "int32")
