"""A T5 whose layers are one stack of weights, run by one scan."""

from collections.abc import Callable, Iterator
from operator import attrgetter
from types import SimpleNamespace
from typing import Any

import keras
from keras import ops, tree

from keras_flan.models.backbones import undrawn
from keras_flan.models.compression.places import (
    prepare,
    record_of,
    refuse_experts,
    stacked_record,
    whole_record,
)
from keras_flan.models.compression.quantised import variables_of
from keras_flan.models.stacking import StackedKernel
from keras_flan.runtime.keras_hub import keras_hub
from keras_flan.tensors import Tensor, Tensors

_SIZES = (
    "vocabulary_size", "num_layers", "num_heads", "hidden_dim",
    "intermediate_dim", "key_value_dim", "dropout", "use_gated_activation",
    "layer_norm_epsilon", "tie_embedding_weights",
)  # fmt: skip

# What a kernel in few bits is.
_IN_FEW_BITS = ["kernel.codes", "kernel.scales"]


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
        refuse_experts(hub, "scan")
        config = {name: getattr(hub, name) for name in _SIZES}
        with undrawn():
            backbone = cls(
                activation=hub.activation, dtype=hub.dtype_policy, **config
            )
        prepare(backbone, stacked_record(record_of(hub)))
        for ours, parts in backbone._weights_in(hub):
            if ours.shape == parts[0].shape:
                ours.assign(parts[0])
            else:
                ours.assign(ops.stack([part.value for part in parts]))
        return backbone

    def to_hub(self) -> Any:
        """Returns a copy as a `keras_hub.models.T5Backbone`."""
        config = {name: getattr(self, name) for name in _SIZES}
        with undrawn():
            hub = keras_hub.models.T5Backbone(
                activation=self.activation, dtype=self.dtype_policy, **config
            )
        prepare(hub, whole_record(record_of(self), self.num_layers))
        for ours, parts in self._weights_in(hub):
            for i, part in enumerate(parts):
                part.assign(ours if ours.shape == part.shape else ours[i])
        return hub

    def _weights_in(self, hub: Any) -> Iterator[tuple[Any, list[Any]]]:
        """Yields each weight here, and those of keras-hub that it stacks."""
        for name, ours in self._tables():
            theirs = getattr(hub.token_embedding, name)
            pairs = variables_of(ours), variables_of(theirs)
            for one, other in zip(*pairs, strict=True):
                yield one, [other]
        for side in ("encoder", "decoder"):
            layers = getattr(hub, f"{side}_transformer_layers")
            for name, ours in getattr(self, side).weights_by_name():
                # Only the first layer has a bias.
                owners = layers[:1] if name.endswith("_bias") else layers
                yield ours, [attrgetter(name)(layer) for layer in owners]
            norm = f"{side}_layer_norm"
            yield getattr(self, norm).weight, [getattr(hub, norm).weight]

    def _tables(self) -> Iterator[tuple[str, Any]]:
        """Yields the embedding and the head, if it has one of its own."""
        yield "embeddings", self.token_embedding.embeddings
        if not self.tie_embedding_weights:
            head = self.token_embedding.reverse_embeddings
            yield "reverse_embeddings", head

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            **{name: getattr(self, name) for name in _SIZES},
            "activation": keras.activations.serialize(self.activation),
        }


class _Group(keras.layers.Layer):
    """Layers by their names in keras-hub, which a scan takes apart at once.

    A member is a group again, a `_Kernel` or a `_Norm`.
    """

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.members: list[str] = []

    def _add(self, name: str, layer: Any) -> None:
        setattr(self, name, layer)
        self.members.append(name)

    def build(self, input_shape: Any = None) -> None:
        for name in self.members:
            getattr(self, name).build()

    def tensors(self) -> Tensors:
        """Returns the weights by the names of their layers, to be scanned."""
        return {name: getattr(self, name).tensors() for name in self.members}

    def view(self, tensors: Tensors) -> SimpleNamespace:
        """Returns what `keras_flan.models.t5.layers` runs.

        Args:
            tensors: One layer's part of `tensors()`.
        """
        return SimpleNamespace(
            **{n: getattr(self, n).view(tensors[n]) for n in self.members}
        )

    def weights_by_name(self) -> Iterator[tuple[str, Any]]:
        """Yields the path of each weight in a keras-hub layer, and it."""
        for name in self.members:
            for inner, weight in getattr(self, name).weights_by_name():
                yield f"{name}.{inner}", weight


class T5Stack(_Group):
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
        self.use_gated_activation = sizes.use_gated_activation
        outer, inner = sizes.hidden_dim, sizes.intermediate_dim
        policy = {"dtype": self.dtype_policy}

        def norm(name: str) -> None:
            shape = (sizes.num_layers, sizes.hidden_dim)
            epsilon = sizes.layer_norm_epsilon
            # keras-hub's name for all of them.
            layer = _Norm(shape, epsilon, name="t5_layer_norm", **policy)
            self._add(name, layer)

        def kernel(name: str, *shape: int, **settings: Any) -> None:
            shape = (sizes.num_layers, *shape)
            layer = _Kernel(shape, name=name, **settings, **policy)
            self._add(name, layer)

        for name in ("self_attention", "cross_attention")[: 1 + is_decoder]:
            own = name == "self_attention"
            self._add(name, _Attention(sizes, own, name=name, **policy))
            norm(f"{name}_layer_norm")
        kernel("input_projector", outer, inner, activation=sizes.activation)
        if self.use_gated_activation:
            kernel("gate_projector", outer, inner)
        kernel("output_projector", inner, outer)
        norm("layer_norm")

    @property
    def bias_table(self) -> Any:
        """The weight of the relative bias, `(buckets, heads)`."""
        return self.self_attention.relative_attention_bias

    def view(self, tensors: Tensors) -> SimpleNamespace:
        view = super().view(tensors)
        view.use_gated_activation = self.use_gated_activation
        return view

    def views(self) -> list[SimpleNamespace]:
        """Returns a view of each layer."""
        tensors = self.tensors()
        return [
            self.view(tree.map_structure(lambda x, i=i: x[i], tensors))
            for i in range(self.num_layers)
        ]


class _Attention(_Group):
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
            shape = (sizes.num_layers, inputs, outputs)
            policy = self.dtype_policy
            self._add(name, _Kernel(shape, gain, dtype=policy, name=name))

    def build(self, input_shape: Any = None) -> None:
        super().build()
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

    def view(self, tensors: Tensors) -> SimpleNamespace:
        view = super().view(tensors)
        view.num_heads, view.key_value_dim = self.num_heads, self.key_value_dim
        return view

    def weights_by_name(self) -> Iterator[tuple[str, Any]]:
        yield from super().weights_by_name()
        if self.has_bias:
            yield "relative_attention_bias", self.relative_attention_bias


class _Kernel(StackedKernel):
    """The kernels of one dense layer of keras-hub's, with its activation."""

    def __init__(
        self,
        shape: tuple[int, ...],
        gain: float = 1.0,
        activation: Callable[[Tensor], Tensor] | None = None,
        **kwargs: Any,
    ):
        super().__init__(shape, "btd,de->bte", gain, **kwargs)
        self.activation = activation

    def view(self, tensors: Any) -> Callable[[Tensor], Tensor]:
        def project(x: Tensor) -> Tensor:
            output = self.project(x, tensors)
            return self.activation(output) if self.activation else output

        return project

    def weights_by_name(self) -> Iterator[tuple[str, Any]]:
        held = variables_of(self.kernel)
        names = ["kernel"] if len(held) == 1 else _IN_FEW_BITS
        yield from zip(names, held, strict=True)


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

    def tensors(self) -> Tensor:
        return ops.convert_to_tensor(self.weight)

    def view(self, tensors: Tensor) -> SimpleNamespace:
        return SimpleNamespace(weight=tensors, epsilon=self.epsilon)

    def weights_by_name(self) -> Iterator[tuple[str, Any]]:
        yield "weight", self.weight


class _Embedding(keras.layers.ReversibleEmbedding):
    """An embedding whose own projection back is drawn by its inputs."""

    def add_weight(self, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("name") == "reverse_embeddings":
            kwargs["initializer"] = keras.initializers.RandomNormal(
                stddev=self.output_dim**-0.5
            )
        return super().add_weight(*args, **kwargs)
