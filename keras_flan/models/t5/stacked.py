"""A T5 whose layers are one stack of weights, run by one scan."""

from collections.abc import Callable, Iterator
from operator import attrgetter
from types import SimpleNamespace
from typing import Any

import keras
from keras import ops, tree

from keras_flan.models.stacking import StackedKernel
from keras_flan.runtime.keras_hub import keras_hub
from keras_flan.tensors import Tensor, Tensors

_SIZES = (
    "vocabulary_size", "num_layers", "num_heads", "hidden_dim",
    "intermediate_dim", "key_value_dim", "dropout", "use_gated_activation",
    "layer_norm_epsilon", "tie_embedding_weights",
)  # fmt: skip


@keras.saving.register_keras_serializable(package="keras_flan")
class StackedT5Backbone(keras.layers.Layer):
    """The weights of a T5, those of all layers in one: `(num_layers, ...)`.

    The names of layers and weights are keras-hub's, so that they have the
    same layouts and adapters. The program that runs them doesn't grow with
    depth; `keras_flan.models.T5` runs it.

    Args:
        As for `keras_hub.models.T5Backbone`. Embeddings are drawn from
        N(0, 1), an output projection of its own from N(0, 1 / hidden_dim).

    Example:

    ```python
    backbone = StackedT5Backbone.from_hub(hub_backbone)
    again = backbone.to_hub()  # a keras_hub.models.T5Backbone
    ```
    """

    def __init__(
        self,
        vocabulary_size: int,
        num_layers: int,
        num_heads: int,
        hidden_dim: int,
        intermediate_dim: int,
        key_value_dim: int | None = None,
        dropout: float = 0.1,
        activation: Any = "relu",
        use_gated_activation: bool = True,
        layer_norm_epsilon: float = 1e-6,
        tie_embedding_weights: bool = True,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.vocabulary_size = vocabulary_size
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.hidden_dim = hidden_dim
        self.intermediate_dim = intermediate_dim
        self.key_value_dim = key_value_dim or hidden_dim // num_heads
        self.dropout = dropout
        self.activation = keras.activations.get(activation)
        self.use_gated_activation = use_gated_activation
        self.layer_norm_epsilon = layer_norm_epsilon
        self.tie_embedding_weights = tie_embedding_weights

        policy = {"dtype": self.dtype_policy}
        self.token_embedding = _Embedding(
            vocabulary_size,
            hidden_dim,
            tie_weights=tie_embedding_weights,
            embeddings_initializer=keras.initializers.RandomNormal(stddev=1.0),
            name="token_embedding",
            **policy,
        )
        self.encoder = T5Stack(
            self, False, name="transformer_encoder_layer", **policy
        )
        self.decoder = T5Stack(
            self, True, name="transformer_decoder_layer", **policy
        )
        for side in ("encoder", "decoder"):
            norm = _Norm(
                (hidden_dim,),
                layer_norm_epsilon,
                name=f"{side}_output_layer_norm",
                **policy,
            )
            setattr(self, f"{side}_layer_norm", norm)
        self.build()

    def build(self, input_shape: Any = None) -> None:
        self.token_embedding.build((None,))
        for side in (self.encoder, self.decoder):
            side.build()
        for norm in (self.encoder_layer_norm, self.decoder_layer_norm):
            norm.build()

    @property
    def encoder_transformer_layers(self) -> list[SimpleNamespace]:
        """A view of each layer of the encoder; see `T5Stack.view`."""
        return self.encoder.views()

    @property
    def decoder_transformer_layers(self) -> list[SimpleNamespace]:
        """A view of each layer of the decoder; see `T5Stack.view`."""
        return self.decoder.views()

    @classmethod
    def from_hub(cls, hub: Any) -> "StackedT5Backbone":
        """Returns a copy of a `keras_hub.models.T5Backbone`."""
        config = {name: getattr(hub, name) for name in _SIZES}
        backbone = cls(
            activation=hub.activation, dtype=hub.dtype_policy, **config
        )
        for ours, parts in backbone._weights_in(hub):
            if ours.shape == parts[0].shape:
                ours.assign(parts[0])
            else:
                ours.assign(ops.stack([part.value for part in parts]))
        return backbone

    def to_hub(self) -> Any:
        """Returns a copy as a `keras_hub.models.T5Backbone`."""
        config = {name: getattr(self, name) for name in _SIZES}
        hub = keras_hub.models.T5Backbone(
            activation=self.activation, dtype=self.dtype_policy, **config
        )
        for ours, parts in self._weights_in(hub):
            for i, part in enumerate(parts):
                part.assign(ours if ours.shape == part.shape else ours[i])
        return hub

    def _weights_in(self, hub: Any) -> Iterator[tuple[Any, list[Any]]]:
        """Yields each weight here, and those of keras-hub that it stacks."""
        embedding = self.token_embedding
        yield embedding.embeddings, [hub.token_embedding.embeddings]
        if not self.tie_embedding_weights:
            yield (
                embedding.reverse_embeddings,
                [hub.token_embedding.reverse_embeddings],
            )
        for side in ("encoder", "decoder"):
            layers = getattr(hub, f"{side}_transformer_layers")
            for name, ours in getattr(self, side).weights_by_name():
                # Only the first layer has a bias.
                owners = layers[:1] if name.endswith("_bias") else layers
                yield ours, [attrgetter(name)(layer) for layer in owners]
            norm = f"{side}_layer_norm"
            yield getattr(self, norm).weight, [getattr(hub, norm).weight]

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            **{name: getattr(self, name) for name in _SIZES},
            "activation": keras.activations.serialize(self.activation),
        }


class T5Stack(keras.layers.Layer):
    """All layers of an encoder or a decoder.

    Args:
        sizes: The backbone, whose sizes are taken.
        is_decoder: Whether there is cross attention.
        **kwargs: As for `keras.layers.Layer`.
    """

    def __init__(
        self, sizes: StackedT5Backbone, is_decoder: bool, **kwargs: Any
    ):
        super().__init__(**kwargs)
        self.num_layers = sizes.num_layers
        self.is_decoder = is_decoder
        self.activation = sizes.activation
        self.use_gated_activation = sizes.use_gated_activation
        shape = (sizes.num_layers, sizes.hidden_dim)
        policy = {"dtype": self.dtype_policy}

        def norm(name: str) -> None:
            # keras-hub's name for all of them.
            epsilon = sizes.layer_norm_epsilon
            layer = _Norm(shape, epsilon, name="t5_layer_norm", **policy)
            setattr(self, name, layer)

        def kernel(name: str, inputs: int, outputs: int) -> None:
            kernels = (sizes.num_layers, inputs, outputs)
            layer = StackedKernel(kernels, "btd,de->bte", name=name, **policy)
            setattr(self, name, layer)

        self.self_attention = _Attention(
            sizes, has_bias=True, name="self_attention", **policy
        )
        norm("self_attention_layer_norm")
        if is_decoder:
            self.cross_attention = _Attention(
                sizes, has_bias=False, name="cross_attention", **policy
            )
            norm("cross_attention_layer_norm")
        kernel("input_projector", sizes.hidden_dim, sizes.intermediate_dim)
        if self.use_gated_activation:
            kernel("gate_projector", sizes.hidden_dim, sizes.intermediate_dim)
        kernel("output_projector", sizes.intermediate_dim, sizes.hidden_dim)
        norm("layer_norm")

    def build(self, input_shape: Any = None) -> None:
        for _, layer in self._parts():
            layer.build()

    @property
    def bias_table(self) -> Any:
        """The weight of the relative bias, `(buckets, heads)`."""
        return self.self_attention.relative_attention_bias

    def tensors(self) -> Tensors:
        """Returns the weights by the names of their layers, to be scanned."""
        found = {}
        for name, layer in self._parts():
            if isinstance(layer, _Attention):
                for inner, kernel in layer.kernels():
                    found[f"{name}.{inner}"] = kernel.tensors()
            elif isinstance(layer, _Norm):
                found[name] = ops.convert_to_tensor(layer.weight)
            else:
                found[name] = layer.tensors()
        return found

    def view(self, tensors: Tensors) -> SimpleNamespace:
        """Returns a layer for `keras_flan.models.t5.layers`.

        Args:
            tensors: One layer's part of `tensors()`.
        """
        view = SimpleNamespace(use_gated_activation=self.use_gated_activation)
        for name, layer in self._parts():
            part: Any
            if isinstance(layer, _Attention):
                part = SimpleNamespace(
                    num_heads=layer.num_heads,
                    key_value_dim=layer.key_value_dim,
                    **{
                        inner: _projector(kernel, tensors[f"{name}.{inner}"])
                        for inner, kernel in layer.kernels()
                    },
                )
            elif isinstance(layer, _Norm):
                part = SimpleNamespace(
                    weight=tensors[name], epsilon=layer.epsilon
                )
            else:
                activation = None
                if name == "input_projector":
                    activation = self.activation
                part = _projector(layer, tensors[name], activation)
            setattr(view, name, part)
        return view

    def views(self) -> list[SimpleNamespace]:
        """Returns a view of each layer."""
        tensors = self.tensors()
        return [
            self.view(tree.map_structure(lambda x, i=i: x[i], tensors))
            for i in range(self.num_layers)
        ]

    def weights_by_name(self) -> Iterator[tuple[str, Any]]:
        """Yields the path of each weight in a keras-hub layer, and it."""
        for name, layer in self._parts():
            if isinstance(layer, _Attention):
                for inner, kernel in layer.kernels():
                    yield f"{name}.{inner}.kernel", kernel.kernel
                if layer.has_bias:
                    bias = "relative_attention_bias"
                    yield f"{name}.{bias}", getattr(layer, bias)
            elif isinstance(layer, _Norm):
                yield f"{name}.weight", layer.weight
            else:
                yield f"{name}.kernel", layer.kernel

    def _parts(self) -> list[tuple[str, Any]]:
        names = ["self_attention", "self_attention_layer_norm"]
        if self.is_decoder:
            names += ["cross_attention", "cross_attention_layer_norm"]
        names += ["input_projector"]
        if self.use_gated_activation:
            names += ["gate_projector"]
        names += ["output_projector", "layer_norm"]
        return [(name, getattr(self, name)) for name in names]


class _Attention(keras.layers.Layer):
    """The attention of all layers."""

    def __init__(self, sizes: StackedT5Backbone, has_bias: bool, **kwargs: Any):
        super().__init__(**kwargs)
        self.num_heads = sizes.num_heads
        self.key_value_dim = width = sizes.key_value_dim
        self.has_bias = has_bias
        outer, inner = sizes.hidden_dim, sizes.num_heads * width
        for name, inputs, outputs, gain in (
            # Scores are not scaled; the queries are small instead.
            ("query_projector", outer, inner, width**-0.5),
            ("key_projector", outer, inner, 1.0),
            ("value_projector", outer, inner, 1.0),
            ("output_projector", inner, outer, 1.0),
        ):
            kernel = StackedKernel(
                (sizes.num_layers, inputs, outputs),
                "btd,de->bte",
                gain,
                dtype=self.dtype_policy,
                name=name,
            )
            setattr(self, name, kernel)

    def kernels(self) -> Iterator[tuple[str, StackedKernel]]:
        """Yields the kernels with their names."""
        for kind in ("query", "key", "value", "output"):
            name = f"{kind}_projector"
            yield name, getattr(self, name)

    def build(self, input_shape: Any = None) -> None:
        for _, kernel in self.kernels():
            kernel.build()
        if self.has_bias:
            # keras-hub's name; one table serves all layers.
            self.relative_attention_bias = self.add_weight(
                name="embeddings",
                shape=(32, self.num_heads),
                initializer=keras.initializers.RandomNormal(
                    stddev=(self.num_heads * self.key_value_dim) ** -0.5
                ),
                autocast=False,
            )


class _Norm(keras.layers.Layer):
    """The scale of one norm, or of the same norm of all layers."""

    def __init__(self, shape: tuple[int, ...], epsilon: float, **kwargs: Any):
        super().__init__(**kwargs)
        self.shape = shape
        self.epsilon = epsilon

    def build(self, input_shape: Any = None) -> None:
        self.weight = self.add_weight(
            name="weight", shape=self.shape, initializer="ones", autocast=False
        )


class _Embedding(keras.layers.ReversibleEmbedding):
    """An embedding whose own projection back is drawn by its inputs."""

    def add_weight(self, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("name") == "reverse_embeddings":
            kwargs["initializer"] = keras.initializers.RandomNormal(
                stddev=self.output_dim**-0.5
            )
        return super().add_weight(*args, **kwargs)


def _projector(
    kernel: StackedKernel, tensors: Any, activation: Callable | None = None
) -> Callable[[Tensor], Tensor]:
    """A function of inputs, as keras-hub's dense layers are."""

    def project(x: Tensor) -> Tensor:
        output = kernel.project(x, tensors)
        return output if activation is None else activation(output)

    return project
