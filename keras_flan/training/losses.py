"""The loss of sequence models, averaged over real target tokens."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_flan")
class TokenCrossentropy(keras.losses.Loss):
    """Cross-entropy per target token, with an optional z-loss.

    With the loss weights of `keras_flan.data.build_dataset` as
    `sample_weight` the result is the mean over the real target tokens of the
    batch, whatever the padding; packed and unpacked batches of the same
    examples have the same loss.

    Args:
        z_loss: float. Weight of `log(Z) ** 2`, which keeps the logits from
            drifting; T5X and PaLM use 1e-4.
        name: The name of the loss.

    Call arguments:
        y_true: int `(batch, length)` token ids.
        y_pred: `(batch, length, vocabulary_size)` logits.
        sample_weight: float `(batch, length)`; 0 drops a position.

    Example:

    ```python
    model.compile(optimizer=Adafactor(1e-3), loss=TokenCrossentropy())
    ```
    """

    def __init__(
        self,
        z_loss=0.0,
        reduction="mean_with_sample_weight",
        name="token_crossentropy",
        **kwargs,
    ):
        super().__init__(name=name, reduction=reduction, **kwargs)
        self.z_loss = z_loss

    def call(self, y_true, y_pred):
        logits = ops.cast(y_pred, "float32")
        log_z = ops.logsumexp(logits, axis=-1)
        index = ops.expand_dims(ops.cast(y_true, "int32"), -1)
        picked = ops.take_along_axis(logits, index, axis=-1)
        loss = log_z - ops.squeeze(picked, -1)
        if self.z_loss:
            loss = loss + self.z_loss * ops.square(log_z)
        return loss

    def get_config(self):
        return {**super().get_config(), "z_loss": self.z_loss}
