"""How the layers of each decoder-only family are run.

keras-hub's layers build their own masks, which know padding but no packed
examples. A `Family` runs the same layers and weights around any attention:
over packed rows, over a prompt, or over one new token and caches.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
from keras import ops

from keras_flan.errors import InputError
from keras_flan.models.activation_layouts import constrain
from keras_flan.models.decoder_only.rotary import rotate, turn
from keras_flan.models.projecting import project
from keras_flan.models.remat import Remat, rematerialise
from keras_flan.tensors import Tensor


class Pass(NamedTuple):
    """How the layers are run once.

    Args:
        positions: int `(batch or 1, length)`, for the rotary embedding.
        attention: A function of query `(batch, length, heads, width)`, key
            and value `(batch, length, key_heads, width)`, the layer's cache,
            and settings: `scale`, and where a family has them `soft_cap`,
            `window` (places a key may be away) and `dropout` (of the
            attention weights). It returns what
            `keras_flan.models.attention.attend` does, and tensors to hand
            out.
        training: Whether dropout is on.
        remat: Whether to compute activations again in the backward pass, see
            `keras_flan.models.remat`; `None` as the backbone says.
        by_heads: Whether the attention wants its queries split by heads
            over the devices, also where they share one head of keys.
    """

    positions: Tensor
    attention: Callable[..., tuple[Tensor, Any]]
    training: bool = False
    remat: Remat = None
    by_heads: bool = False


class Family:
    """One backbone's layers, run around an attention of the caller's choice.

    Args:
        backbone: A keras-hub backbone.

    Attributes:
        drops_weights: Whether dropout takes attention weights too.
    """

    drops_weights = False

    def __init__(self, backbone: Any):
        self.backbone = backbone

    def embed(self, token_ids: Tensor, training: bool = False) -> Tensor:
        """Returns the input of the first layer."""
        return self.backbone.token_embedding(token_ids)

    def run(self, x: Tensor, how: Pass, caches: Any = ()) -> tuple[Tensor, Any]:
        """Runs all layers.

        Args:
            x: `(batch, length, hidden_dim)`.
            how: The attention, among others.
            caches: What `join` made, or empty.

        Returns:
            `(batch, length, hidden_dim)`, and what the layers' attention
            handed out: here a list, one nest of tensors per layer.
        """
        if how.training:
            self.check_remat(how.remat)
        outs, x = [], constrain(x, "residual")
        for number, layer in enumerate(self.backbone.transformer_layers):

            def step(
                x: Tensor, cache: Any, layer: Any = layer
            ) -> tuple[Tensor, Any]:
                x, out = self.block(layer, x, how, cache)
                return constrain(x, "residual"), out

            step = rematerialise(step, how.remat)
            x, out = step(x, caches[number] if caches else ())
            outs.append(out)
        return x, outs

    def check_remat(self, remat: Remat) -> None:
        """Refuses to train with activations computed again and dropout.

        keras-hub's dropout would draw anew when a layer runs again.

        Raises:
            InputError: If both are on.
        """
        if remat and self.backbone.dropout:
            raise InputError(
                f"model.remat: {type(self.backbone).__name__} can't compute "
                "activations again with dropout on, found dropout "
                f"{self.backbone.dropout}; set dropout to 0, or remat to false"
            )

    def join(self, *caches: Any) -> Any:
        """Joins what `run` handed out, so that a layer gets a tuple of it."""
        return list(zip(*caches, strict=True))

    def block(
        self, layer: Any, x: Tensor, how: Pass, cache: Any
    ) -> tuple[Tensor, Any]:
        """Runs one layer; returns its output and what attention handed out."""
        raise NotImplementedError

    def normalise(self, x: Tensor) -> Tensor:
        """The norm behind the last layer."""
        return self.backbone.layer_norm(x)

    def logits(self, x: Tensor) -> Tensor:
        """Projects `(..., hidden_dim)` to float32 logits."""
        return project(self.backbone.token_embedding, x)


class Llama(Family):
    """Llama 2 and 3, SmolLM2, Mistral, Qwen 2 and 2.5, Qwen 3."""

    def block(
        self, layer: Any, x: Tensor, how: Pass, cache: Any
    ) -> tuple[Tensor, Any]:
        heads = layer._self_attention_layer
        normed = layer._self_attention_layernorm(x)
        normed = constrain(normed, "block_input")
        query, key = heads._query_dense(normed), heads._key_dense(normed)
        if hasattr(heads, "_query_dense_layer_norm"):  # Qwen 3
            query = heads._query_dense_layer_norm(query)
            key = heads._key_dense_layer_norm(key)
        rotary = heads.rotary_embedding_layer
        attended, out = how.attention(
            rotate(rotary, constrain(query, "queries"), how.positions),
            rotate(rotary, key, how.positions),
            heads._value_dense(normed),
            cache,
            scale=heads._inv_norm_factor,
            window=_window(layer),
        )
        attended = heads._dropout_layer(attended, training=how.training)
        attended = heads._output_dense(attended)
        x = x + layer._self_attention_dropout(attended, training=how.training)

        normed = constrain(layer._feedforward_layernorm(x), "block_input")
        return x + self.feed_forward(layer, normed), out

    def feed_forward(self, layer: Any, x: Tensor) -> Tensor:
        """What the second half of a layer adds, of its normed input."""
        gate = ops.cast(layer._feedforward_gate_dense(x), "float32")
        gate = ops.cast(layer.activation(gate), x.dtype)
        hidden = layer._feedforward_intermediate_dense(x) * gate
        return layer._feedforward_output_dense(hidden)


class Qwen3Moe(Llama):
    """Qwen 3 with experts.

    Each token chooses its experts by itself, and an expert takes any number
    of tokens: what is packed beside a token, or pads, changes nothing. As in
    transformers, no loss that balances the experts is added unless asked
    for, which nothing here does.
    """

    def feed_forward(self, layer: Any, x: Tensor) -> Tensor:
        out = layer.mlp(x)
        # With experts it comes with the router's logits.
        out = out[0] if isinstance(out, tuple) else out
        return ops.cast(out, x.dtype)


class SmolLM3(Family):
    """SmolLM3, whose every fourth layer does not turn its heads."""

    def check_remat(self, remat: Remat) -> None:
        """Refuses nothing: keras-hub's layers have no dropout."""

    def block(
        self, layer: Any, x: Tensor, how: Pass, cache: Any
    ) -> tuple[Tensor, Any]:
        heads = layer.self_attn
        normed = constrain(layer.input_layernorm(x), "block_input")
        shape = (*ops.shape(normed)[:-1], -1, heads.head_dim)
        query, key, value = (
            ops.reshape(project(normed), shape)
            for project in (heads.q_proj, heads.k_proj, heads.v_proj)
        )
        query = constrain(query, "queries")
        if heads.use_rope:
            angles = heads.rotary_embedding.inv_freq * ops.cast(
                how.positions[..., None], "float32"
            )
            query, key = turn(query, angles), turn(key, angles)
        attended, out = how.attention(
            query, key, value, cache, scale=heads._inv_norm_factor
        )
        x = x + heads.o_proj(attended)
        normed = constrain(layer.post_attention_layernorm(x), "block_input")
        return x + layer.mlp(normed), out

    def normalise(self, x: Tensor) -> Tensor:
        return self.backbone.norm(x)


class Gemma(Family):
    """Gemma 1, 2 and 3, the last with norms of queries and keys.

    Of Gemma 3's layers five in a row look back over a window, and turn heads
    by other wavelengths than the sixth, which sees all.
    """

    drops_weights = True

    def embed(self, token_ids: Tensor, training: bool = False) -> Tensor:
        x = self.backbone.token_embedding(token_ids)
        return x * ops.cast(self.backbone.hidden_dim**0.5, x.dtype)

    def block(
        self, layer: Any, x: Tensor, how: Pass, cache: Any
    ) -> tuple[Tensor, Any]:
        heads = layer.attention
        normed = constrain(layer.pre_attention_norm(x), "block_input")

        # keras-hub then puts the widths in another order, for queries and
        # keys alike, which changes no score.
        query, key = heads.query_dense(normed), heads.key_dense(normed)
        if getattr(heads, "use_query_key_norm", False):
            query, key = heads.query_norm(query), heads.key_norm(key)
        rotary = heads.rope_layer
        attended, out = how.attention(
            rotate(rotary, constrain(query, "queries"), how.positions),
            rotate(rotary, key, how.positions),
            heads.value_dense(normed),
            cache,
            scale=_scale(layer),
            soft_cap=heads.logit_soft_cap,
            window=_window(layer),
            dropout=lambda w: heads.dropout_layer(w, training=how.training),
        )
        attended = heads.output_dense(attended)
        if layer.use_post_attention_norm:
            attended = layer.post_attention_norm(attended)
        if layer.dropout:
            attended = layer.attention_dropout(attended, training=how.training)
        x = x + attended

        normed = constrain(layer.pre_ffw_norm(x), "block_input")
        gate = keras.activations.gelu(layer.gating_ffw(normed), True)
        added = layer.ffw_linear(gate * layer.gating_ffw_2(normed))
        if layer.use_post_ffw_norm:
            added = layer.post_ffw_norm(added)
        return x + added, out


class PaLM(Family):
    """PaLM, whose layers and caches are stacked, and scanned."""

    def check_remat(self, remat: Remat) -> None:
        """Refuses nothing: its dropout draws the same again."""

    def embed(self, token_ids: Tensor, training: bool = False) -> Tensor:
        x = self.backbone.token_embedding(token_ids)
        return self.backbone.embedding_dropout(x, training=training)

    def run(self, x: Tensor, how: Pass, caches: Any = ()) -> tuple[Tensor, Any]:
        return self.backbone.decoder.run(x, how, caches)

    def join(self, *caches: Any) -> Any:
        return caches


# By the class of the backbone; a subclass counts as its parent, as
# Llama3Backbone does.
FAMILIES: dict[str, type[Family]] = {
    "Gemma3Backbone": Gemma,
    "GemmaBackbone": Gemma,
    "Llama3Backbone": Llama,
    "LlamaBackbone": Llama,
    "MistralBackbone": Llama,
    "PaLMBackbone": PaLM,
    "Qwen3Backbone": Llama,
    "Qwen3MoeBackbone": Qwen3Moe,
    "QwenBackbone": Llama,
    "SmolLM2Backbone": Llama,
    "SmolLM3Backbone": SmolLM3,
}


def family_of(backbone: Any) -> Family:
    """Returns the way to run a backbone.

    Raises:
        ValueError: If its family can't be packed; the message names it.
    """
    name = type(backbone).__name__
    if getattr(backbone, "vision_encoder", None) is not None:
        raise ValueError(
            f"{name} can't be packed: it reads images. Expected a text model, "
            "such as the preset gemma3_instruct_4b_text"
        )
    if getattr(backbone, "use_bidirectional_attention", False):
        raise ValueError(
            f"{name} can't be packed: it is an embedding model, whose tokens "
            "see what comes after them. Expected a causal model"
        )
    for cls in type(backbone).__mro__:
        if cls.__name__ in FAMILIES:
            return FAMILIES[cls.__name__](backbone)
    raise ValueError(
        f"{name} can't be packed: its positions are not "
        "known to depend on distances alone, or its layers are not wired "
        f"here. Expected one of: {', '.join(sorted(FAMILIES))}"
    )


def _scale(layer: Any) -> float:
    """What the scores of a Gemma's layer are multiplied by.

    keras-hub 0.32 gives its attention the width of a head whatever the layer
    says. The 27B models of Gemma 2 and 3 were trained with another.
    """
    if layer.query_head_dim_normalize:
        return layer.head_dim**-0.5
    return (layer.hidden_dim // layer.num_query_heads) ** -0.5


def _window(layer: Any) -> int | None:
    """How many places a layer's attention looks back, or `None`.

    Mistral has `sliding_window`, Qwen 3 `sliding_window_size`; Gemma and
    Qwen 2 have a switch besides.
    """
    if not getattr(layer, "use_sliding_window_attention", True):
        return None
    size = getattr(layer, "sliding_window_size", None)
    return size or getattr(layer, "sliding_window", None)
