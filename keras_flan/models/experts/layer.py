"""A feed-forward block of many experts."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_flan.models.activation_layouts import constrain
from keras_flan.models.experts.routing import (
    Routing,
    choose,
    losses,
    place,
    with_loss,
)
from keras_flan.models.stacking import scan_layers
from keras_flan.tensors import Tensor


class Experts(keras.layers.Layer):
    """The experts of one layer and their router.

    Called, it gives each token all of its experts, however many tokens want
    the same one: what a text gets depends on nothing beside it, so decoding
    and scoring agree. `routed`, for training, gives an expert only as many
    tokens of a row as it has places.

    Its variables are `router` `(width, experts)`, float32, and `into`, `gate`
    (if gated) `(experts, width, inner)` and `out` `(experts, inner, width)`.

    Args:
        how: How tokens are sent.
        width: Of the model.
        inner: Of each expert.
        activation: Inside an expert.
        gated: Whether a second projection is multiplied with it.
    """

    def __init__(
        self,
        how: Routing,
        width: int,
        inner: int,
        activation: Callable[[Tensor], Tensor],
        gated: bool,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.how = how
        self.activation = activation
        shape = (how.experts, width, inner)
        self.router = self._weight("router", (width, how.experts), 0.02)
        self.into = self._weight("into", shape, width**-0.5)
        self.gate = None
        if gated:
            self.gate = self._weight("gate", shape, width**-0.5)
        self.out = self._weight("out", (how.experts, inner, width), inner**-0.5)
        self.built = True

    def _weight(self, name: str, shape: tuple[int, ...], spread: float) -> Any:
        return self.add_weight(
            name=name,
            shape=shape,
            dtype="float32" if name == "router" else None,
            initializer=keras.initializers.RandomNormal(stddev=spread),
            autocast=False,
        )

    @property
    def kernels(self) -> dict[str, Any]:
        """The experts' variables, by name."""
        named = {"into": self.into, "gate": self.gate, "out": self.out}
        return {name: v for name, v in named.items() if v is not None}

    def call(self, x: Tensor) -> Tensor:
        chosen, gates = choose(self._logits(x), self.how)
        shares = ops.sum(chosen * gates[..., None], axis=-2)

        def step(total: Tensor, part: Any) -> tuple[Tensor, Any]:
            kernels, share = part
            y = self._block(x, kernels, "...d,df->...f", "...f,fd->...d")
            return total + y * ops.cast(share[..., None], y.dtype), ()

        kernels = {
            name: ops.convert_to_tensor(v) for name, v in self.kernels.items()
        }
        shares = ops.moveaxis(shares, -1, 0)
        return scan_layers(step, ops.zeros_like(x), (kernels, shares))[0]

    def routed(
        self,
        x: Tensor,
        real: Tensor,
        drop: Callable[[Tensor], Tensor] = lambda x: x,
    ) -> Tensor:
        """Returns what training computes, and has the router's loss count.

        Args:
            x: `(batch, length, width)`.
            real: bool `(batch, length)`, `False` at padding.
            drop: Dropout inside the experts.
        """
        logits, real = self._logits(x), ops.cast(real, "float32")
        chosen, gates = choose(logits, self.how)
        cost = losses(logits, chosen, real, self.how)
        chosen = chosen * real[..., None, None]
        count = self.how.places(x.shape[1])
        here, gated = (
            ops.cast(tensor, x.dtype) for tensor in place(chosen, gates, count)
        )
        y = constrain(ops.einsum("btec,btd->becd", here, x), "dispatched")
        y = self._block(
            y, self.kernels, "becd,edf->becf", "becf,efd->becd", drop
        )
        y = ops.einsum("btec,becd->btd", gated, constrain(y, "dispatched"))
        return with_loss(y, cost)

    def _logits(self, x: Tensor) -> Tensor:
        x = ops.cast(x, "float32")
        return ops.matmul(x, ops.convert_to_tensor(self.router))

    def _block(
        self,
        x: Tensor,
        kernels: dict[str, Any],
        into: str,
        out: str,
        drop: Callable[[Tensor], Tensor] = lambda x: x,
    ) -> Tensor:
        cast = {n: ops.cast(kernel, x.dtype) for n, kernel in kernels.items()}
        y = self.activation(ops.einsum(into, x, cast["into"]))
        if "gate" in cast:
            y = y * ops.einsum(into, x, cast["gate"])
        return ops.einsum(out, drop(y), cast["out"])


class Ones(keras.layers.Layer):
    """What a gate of an expert's block is to keras-hub's own forward pass."""

    def call(self, x: Tensor) -> Tensor:
        return ops.ones_like(x)


class Same(keras.layers.Layer):
    """What the projection back is there: `Experts` gives all of the block."""

    def call(self, x: Tensor) -> Tensor:
        return x
