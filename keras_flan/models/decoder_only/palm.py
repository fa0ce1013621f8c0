"""PaLM as a keras-hub backbone, its layers stacked and run by one scan."""

from typing import Any

import keras
from keras import ops

from keras_flan.errors import InputError
from keras_flan.models.activation_layouts import constrain
from keras_flan.models.attention import attend, block_causal
from keras_flan.models.decoder_only.families import Pass
from keras_flan.models.decoder_only.rotary import rotate
from keras_flan.models.dropout import seed_generator
from keras_flan.models.remat import Remat, check_remat, rematerialise
from keras_flan.models.sizes import palm_sizes
from keras_flan.models.stacking import StackedKernel, scan_layers
from keras_flan.runtime.keras_hub import keras_hub
from keras_flan.runtime.start import prepare_process
from keras_flan.tensors import Tensor, Tensors

_EPSILON = 1e-6
_ARGUMENTS = (
    "vocabulary_size", "num_layers", "num_heads", "hidden_dim",
    "intermediate_dim", "head_dim", "dropout", "rope_max_wavelength", "remat",
)  # fmt: skip


@keras.saving.register_keras_serializable(package="keras_flan")
class PaLMBackbone(keras_hub.models.Backbone):
    """The PaLM decoder.

    Attention and feed-forward block run side by side on one normalised input
    (a norm without bias); the feed-forward block is SwiGLU; all query heads
    share one key and one value head; positions are rotary; input and output
    embedding are the same, with logits divided by sqrt(hidden_dim); nothing
    has a bias. Kernels are drawn from N(0, 1 / fan_in), embeddings from
    N(0, 1).

    The weights of all layers are stacked, `(num_layers, ...)`, and on JAX
    the layers run as one scanned block: a deep model compiles as fast as a
    shallow one. Norms, softmax and logits are float32.

    Args:
        vocabulary_size: Rows of the embedding.
        num_layers: How many.
        num_heads: Query heads.
        hidden_dim: Width of the model.
        intermediate_dim: Width inside the feed-forward block.
        head_dim: Width of a head; it doesn't depend on the others.
        dropout: Rate on the embeddings and on what each block adds. The
            paper finetunes with 0.05, the largest with 0.1 (table 22).
        rope_max_wavelength: Of the rotary positions.
        remat: Compute activations again in the backward pass instead of
            keeping them: `True`, where only each layer's input is kept, or
            `"products"`, see `keras_flan.models.T5`.
        dtype: A dtype or `keras.DTypePolicy`.

    Call arguments:
        inputs: A dictionary of int tensors `(batch, length)`: `token_ids`,
            and `padding_mask`, which may also number the packed examples of
            a row from 1.

    Returns:
        `(batch, length, hidden_dim)`; `token_embedding(x, reverse=True)`
        makes float32 logits of it.

    Example:

    ```python
    backbone = keras_flan.models.PaLMBackbone.from_preset(
        "palm_8b", load_weights=False, dtype="bfloat16"
    )
    model = keras_flan.models.DecoderOnly(backbone)
    ```

    Source: arXiv:2204.02311, section 2.
    """

    def __init__(
        self,
        vocabulary_size: int,
        num_layers: int,
        num_heads: int,
        hidden_dim: int,
        intermediate_dim: int,
        head_dim: int = 256,
        dropout: float = 0.0,
        rope_max_wavelength: int = 10000,
        remat: Remat = False,
        dtype: Any = None,
        **kwargs: Any,
    ):
        # === Config ===
        self.vocabulary_size = vocabulary_size
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.hidden_dim = hidden_dim
        self.intermediate_dim = intermediate_dim
        self.head_dim = head_dim
        self.dropout = dropout
        self.rope_max_wavelength = rope_max_wavelength
        self.remat = check_remat(remat)

        # === Layers ===
        self.token_embedding = PaLMEmbedding(
            vocabulary_size, hidden_dim, dtype=dtype, name="token_embedding"
        )
        self.embedding_dropout = keras.layers.Dropout(
            dropout, dtype=dtype, name="embedding_dropout"
        )
        self.decoder = PaLMDecoder(self, dtype=dtype, name="decoder")
        # Keras computes it in float32 whatever the dtype.
        self.layer_norm = keras.layers.LayerNormalization(
            epsilon=_EPSILON, center=False, dtype=dtype, name="final_norm"
        )

        # === Functional Model ===
        token_ids = keras.Input((None,), dtype="int32", name="token_ids")
        padding_mask = keras.Input((None,), dtype="int32", name="padding_mask")
        x = self.embedding_dropout(self.token_embedding(token_ids))
        x = self.layer_norm(self.decoder(x, padding_mask))
        super().__init__(
            inputs={"token_ids": token_ids, "padding_mask": padding_mask},
            outputs=x,
            dtype=dtype,
            **kwargs,
        )

    def get_config(self) -> dict[str, Any]:
        config = {name: getattr(self, name) for name in _ARGUMENTS}
        return {**super().get_config(), **config}

    @classmethod
    def from_preset(
        cls, preset: str, load_weights: bool = True, **kwargs: Any
    ) -> "PaLMBackbone":
        """Returns a backbone of a named size, or one that was saved.

        Args:
            preset: `"palm_8b"`, `"palm_62b"`, `"palm_540b"` or `"palm_test"`,
                which have a size but no weights, or whatever keras-hub's
                `from_preset` takes, such as a folder.
            load_weights: `False` draws the weights.
            **kwargs: Arguments of the class to use instead.

        Raises:
            InputError: If weights are asked for that nobody has published.
        """
        prepare_process()
        if preset not in palm_sizes():
            return super().from_preset(preset, load_weights, **kwargs)
        if load_weights:
            raise InputError(
                f"{preset}: PaLM's weights were never published; pass "
                "load_weights=False to draw them"
            )
        return cls(**{**palm_sizes()[preset], **kwargs})


@keras.saving.register_keras_serializable(package="keras_flan")
class PaLMEmbedding(keras.layers.ReversibleEmbedding):
    """The embedding, N(0, 1); reversed, logits in float32 over sqrt(width)."""

    def __init__(self, input_dim: int, output_dim: int, **kwargs: Any):
        kwargs.setdefault("reverse_dtype", "float32")
        kwargs.setdefault(
            "embeddings_initializer", keras.initializers.RandomNormal(stddev=1)
        )
        super().__init__(input_dim, output_dim, **kwargs)

    def call(self, inputs: Tensor, reverse: bool = False) -> Tensor:
        if reverse:
            inputs = ops.cast(inputs, "float32") * self.output_dim**-0.5
        return super().call(inputs, reverse=reverse)


class PaLMDecoder(keras.layers.Layer):
    """All layers of a PaLM.

    Args:
        sizes: A `PaLMBackbone`, whose settings are taken.
        **kwargs: As for `keras.layers.Layer`.

    Call arguments:
        x: `(batch, length, hidden_dim)`.
        segment_ids: int `(batch, length)`; 0 is padding.
        training: Whether dropout is on.
    """

    def __init__(self, sizes: PaLMBackbone, **kwargs: Any):
        super().__init__(**kwargs)
        self.num_layers = sizes.num_layers
        self.hidden_dim = width = sizes.hidden_dim
        self.head_dim = sizes.head_dim
        self.dropout = sizes.dropout
        self.remat = sizes.remat
        heads, inner = (sizes.num_heads, sizes.head_dim), sizes.intermediate_dim
        # What a layer computes with its kernel, and the kernel's shape.
        self.kernels = {
            name: StackedKernel(
                (self.num_layers, *shape),
                equation,
                dtype=self.dtype_policy,
                name=name,
            )
            for name, equation, shape in (
                ("query", "btd,dhw->bthw", (width, *heads)),
                ("key", "btd,dw->btw", (width, sizes.head_dim)),
                ("value", "btd,dw->btw", (width, sizes.head_dim)),
                ("attention_output", "bthw,hwd->btd", (*heads, width)),
                ("feedforward_gate", "btd,df->btf", (width, inner)),
                ("feedforward_intermediate", "btd,df->btf", (width, inner)),
                ("feedforward_output", "btf,fd->btd", (inner, width)),
            )
        }
        self.rotary_embedding = keras_hub.layers.RotaryEmbedding(
            max_wavelength=sizes.rope_max_wavelength,
            dtype="float32",
            name="rotary",
        )
        self.seed_generator: Any = seed_generator(sizes.dropout)

    def build(self, x_shape: Any, segment_ids_shape: Any = None) -> None:
        self.scale = self.add_weight(
            name="scale",
            shape=(self.num_layers, self.hidden_dim),
            initializer="ones",
            autocast=False,
        )
        for kernel in self.kernels.values():
            kernel.build()

    def call(
        self, x: Tensor, segment_ids: Tensor, training: bool = False
    ) -> Tensor:
        mask = block_causal(segment_ids)

        def attention(
            query: Tensor, key: Tensor, value: Tensor, _: Any, **settings: Any
        ) -> tuple[Tensor, Any]:
            return attend(query, key, value, mask, **settings), ()

        positions = ops.arange(ops.shape(x)[1])[None]
        return self.run(x, Pass(positions, attention, training))[0]

    def compute_output_shape(
        self, x_shape: Any, segment_ids_shape: Any = None
    ) -> Any:
        return x_shape

    def run(self, x: Tensor, how: Pass, caches: Any = ()) -> tuple[Tensor, Any]:
        """Runs all layers with any kind of attention.

        Args:
            x: `(batch, length, hidden_dim)`.
            how: The attention, among others; there is one key head.
            caches: Tensors `(num_layers, ...)` to give to the layers.

        Returns:
            `(batch, length, hidden_dim)`, and the layers' tensors stacked.
        """
        weights = {
            name: layer.tensors() for name, layer in self.kernels.items()
        }
        weights["scale"] = ops.convert_to_tensor(self.scale)
        if self.dropout and how.training:
            weights["seed"] = self._seeds()

        def step(x: Tensor, layer: Any) -> tuple[Tensor, Any]:
            x, out = self._block(x, layer[0], layer[1], how)
            return constrain(x, "residual"), out

        remat = self.remat if how.remat is None else how.remat
        step = rematerialise(step, remat)
        return scan_layers(step, constrain(x, "residual"), (weights, caches))

    def _block(
        self, x: Tensor, weights: Tensors, cache: Any, how: Pass
    ) -> tuple[Tensor, Any]:
        """Runs one layer; see `families.Family.block`."""

        def project(inputs: Tensor, name: str) -> Tensor:
            return self.kernels[name].project(inputs, weights[name])

        def turn(inputs: Tensor) -> Tensor:
            return rotate(self.rotary_embedding, inputs, how.positions)

        # Norms work on a part of the sequence, products on all of it and a
        # part of the kernel, attention on a part of the queries: so any
        # number of heads can be split, and one key head serves them all.
        normed = constrain(_layer_norm(x, weights["scale"]), "residual")
        normed = constrain(normed, "block_input")
        query = constrain(project(normed, "query"), "heads", "head")
        # A kernel takes whole rows.
        split = ("queries", "one_key_queries")[not how.by_heads :]
        query = turn(constrain(query, *split))
        key = constrain(project(normed, "key"), "block_input")
        value = constrain(project(normed, "value"), "block_input")
        attended, out = how.attention(
            query,
            turn(key[:, :, None]),
            value[:, :, None],
            cache,
            scale=self.head_dim**-0.5,
        )
        attended = constrain(attended, *split)
        attended = constrain(attended, "heads", "head")
        gate = constrain(project(normed, "feedforward_gate"), "hidden")
        hidden = project(normed, "feedforward_intermediate")
        hidden = ops.silu(gate) * constrain(hidden, "hidden")
        added = project(attended, "attention_output")
        added = constrain(
            added + project(hidden, "feedforward_output"), "residual"
        )
        if "seed" in weights:
            added = _dropout(added, self.dropout, weights["seed"])
        return x + added, out

    def _seeds(self) -> Tensor:
        """A seed for each layer, `(num_layers, 2)`, drawn before the scan."""
        seed = self.seed_generator.next()
        layer = ops.cast(ops.arange(self.num_layers), seed.dtype)
        return ops.stack([seed[0] + layer, seed[1] + layer * 0], axis=1)


class _GivenSeed(keras.random.SeedGenerator):
    """A seed that was drawn elsewhere; a scan must not change a variable."""

    def __init__(self, seed: Tensor):
        self._seed = seed

    def next(self, ordered: bool = True) -> Tensor:
        return self._seed


def _dropout(x: Tensor, rate: float, seed: Tensor) -> Tensor:
    chance = keras.random.uniform(ops.shape(x), seed=_GivenSeed(seed))
    return ops.where(chance >= rate, x / (1 - rate), ops.zeros_like(x))


def _layer_norm(x: Tensor, scale: Tensor) -> Tensor:
    """Norm of zero mean and unit variance, scaled; statistics in float32."""
    wide = ops.cast(x, "float32")
    wide = wide - ops.mean(wide, axis=-1, keepdims=True)
    variance = ops.mean(ops.square(wide), axis=-1, keepdims=True)
    wide = wide * ops.rsqrt(variance + _EPSILON)
    return ops.cast(wide * ops.cast(scale, "float32"), x.dtype)
