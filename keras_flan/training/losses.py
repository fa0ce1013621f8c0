"""The loss of sequence models, averaged over real target tokens."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_flan.errors import InputError
from keras_flan.models.stacking import scan_layers
from keras_flan.tensors import Tensor
from keras_flan.training.gathering import gathered_losses


@keras.saving.register_keras_serializable(package="keras_flan")
class TokenCrossentropy(keras.losses.Loss):
    """Cross-entropy per target token, with an optional z-loss.

    With the loss weights of `keras_flan.data.build_dataset` as
    `sample_weight` the result is the mean over the real target tokens of the
    batch, whatever the padding; packed and unpacked batches of the same
    examples have the same loss.

    Args:
        z_loss: Weight of `log(Z) ** 2`, which keeps the logits from
            drifting; T5X and PaLM use 1e-4.
        chunk: How many positions of each row are projected
            at a time. The logits of a batch, `(batch, length,
            vocabulary_size)`, are the largest tensor of a training step;
            with a chunk, the models of `keras_flan.models` never hold more
            than `(batch, chunk, vocabulary_size)` of them in `fit` and
            `evaluate`, forward or backward, and compute them twice. Rows
            must have a static length. The loss is the same.
        gather: How many positions of the batch are projected at a time, of
            those alone whose `sample_weight` is not 0: the others cost
            nothing. The loss and its gradients are the same, and any number
            of positions may count. For batches of one shape on one device;
            backends other than JAX project all positions, by parts as large.
            Not together with `chunk`.
        name: The name of the loss.

    Call arguments:
        y_true: int `(batch, length)` token ids.
        y_pred: `(batch, length, vocabulary_size)` logits, or
            `(batch, length)` losses that `by_chunks` has computed.
        sample_weight: float `(batch, length)`; 0 drops a position.

    Example:

    ```python
    model.compile(optimizer=Adafactor(1e-3), loss=TokenCrossentropy(chunk=64))
    ```
    """

    def __init__(
        self,
        z_loss: float = 0.0,
        chunk: int | None = None,
        gather: int | None = None,
        reduction: str = "mean_with_sample_weight",
        name: str = "token_crossentropy",
        **kwargs: Any,
    ):
        # Not Keras's default dtype, in which Keras would round token ids.
        kwargs = {"dtype": "float32", **kwargs}
        super().__init__(name=name, reduction=reduction, **kwargs)
        if chunk and gather:
            raise InputError(
                f"TokenCrossentropy: found chunk={chunk} and gather={gather}, "
                "expected one of them"
            )
        self.z_loss = z_loss
        self.chunk = chunk
        self.gather = gather

    @property
    def projects(self) -> bool:
        """Whether it takes hidden states, and makes logits by parts."""
        return bool(self.chunk or self.gather)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        if len(y_pred.shape) == len(y_true.shape):
            return y_pred
        logits = ops.cast(y_pred, "float32")
        log_z = ops.logsumexp(logits, axis=-1)
        index = ops.expand_dims(ops.cast(y_true, "int32"), -1)
        picked = ops.take_along_axis(logits, index, axis=-1)
        loss = log_z - ops.squeeze(picked, -1)
        if self.z_loss:
            loss = loss + self.z_loss * ops.square(log_z)
        return loss

    def by_chunks(
        self,
        y_true: Tensor,
        hidden: Tensor,
        project: Callable[[Tensor], Tensor],
        sample_weight: Tensor | None = None,
    ) -> Tensor:
        """Returns the loss of each position, its logits made by chunks.

        Args:
            y_true: int `(batch, length)` token ids.
            hidden: `(batch, length, hidden_dim)`.
            project: A function of hidden states to logits.
            sample_weight: `(batch, length)`; with `gather` the losses of
                positions where it is 0 are 0.

        Returns:
            float32 `(batch, length)`, to be given to the loss as `y_pred`.
        """
        if self.gather is not None:
            return self._gathered(
                y_true, hidden, project, sample_weight, self.gather
            )
        return self._by_chunks(y_true, hidden, project, self.chunk)

    def _gathered(
        self,
        y_true: Tensor,
        hidden: Tensor,
        project: Callable[[Tensor], Tensor],
        sample_weight: Tensor | None,
        part: int,
    ) -> Tensor:
        distribution = keras.distribution.distribution()
        if distribution and distribution.device_mesh.devices.size > 1:
            raise InputError(
                f"TokenCrossentropy: gather={part} puts the positions "
                "of all rows in one order, which lie on many devices here; "
                "take chunk instead"
            )
        shape = ops.shape(hidden)
        if keras.backend.backend() != "jax":
            rows = shape[0] if isinstance(shape[0], int) else 1
            chunk = max(1, part // rows)
            return self._by_chunks(y_true, hidden, project, chunk)
        x = ops.reshape(hidden, (-1, shape[-1]))
        y = ops.reshape(ops.convert_to_tensor(y_true), (-1,))
        counts = ops.ones(ops.shape(y), "bool")
        if sample_weight is not None:
            weight = ops.convert_to_tensor(sample_weight)
            if len(weight.shape) == 1:  # One per row.
                weight = weight[:, None]
            weight = ops.broadcast_to(weight, shape[:-1])
            counts = ops.not_equal(ops.reshape(weight, (-1,)), 0)
        made = gathered_losses(
            lambda x, y: self.call(y, project(x)), x, y, counts, part
        )
        return ops.reshape(made, shape[:-1])

    def _by_chunks(
        self,
        y_true: Tensor,
        hidden: Tensor,
        project: Callable[[Tensor], Tensor],
        chunk: int | None,
    ) -> Tensor:
        if chunk is None:
            return self.call(y_true, project(hidden))
        # Remat: the backward pass makes a chunk's logits again.
        losses = keras.remat(lambda x, y: self.call(y, project(x)))
        y_true = ops.convert_to_tensor(y_true)
        batch, length = ops.shape(hidden)[:2]
        if not isinstance(length, int):
            raise InputError(
                f"TokenCrossentropy: chunk={chunk} needs rows of a static "
                "length; found an unknown one; give the batches one shape, as "
                "`keras_flan.data.build_dataset` does, or leave out the chunk"
            )
        count = length // chunk
        scanned = count * chunk

        def split(x: Tensor) -> Tensor:
            """`(batch, length, ...)` to `(count, batch, chunk, ...)`."""
            shape = (batch, count, chunk, *ops.shape(x)[2:])
            return ops.moveaxis(ops.reshape(x[:, :scanned], shape), 1, 0)

        parts = []
        if count:
            _, made = scan_layers(
                lambda carry, part: (carry, losses(*part)),
                ops.zeros(()),
                (split(hidden), split(y_true)),
            )
            parts.append(
                ops.reshape(ops.moveaxis(made, 0, 1), (batch, scanned))
            )
        if scanned < length:
            parts.append(losses(hidden[:, scanned:], y_true[:, scanned:]))
        return ops.concatenate(parts, axis=1)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "z_loss": self.z_loss,
            "chunk": self.chunk,
            "gather": self.gather,
        }
