"""What all models here share: hidden states, and a projection to logits."""

import contextlib

import keras

from keras_flan.errors import InputError


class LanguageModel(keras.Model):
    """A model of two halves, so that a loss can project in chunks.

    A subclass has `hidden(inputs, training)`, which returns the last hidden
    states `(batch, length, hidden_dim)`, and `logits(x)`, which projects
    them to float32 logits `(batch, length, vocabulary_size)`. Calling the
    model gives logits.

    Compiled with a loss that has a `chunk` (see
    `keras_flan.training.TokenCrossentropy`), `fit` and `evaluate` leave the
    projection to the loss, which keeps the logits of a few positions at a
    time only, forward and backward. The loss is the same.
    """

    _projects = True

    def call(self, inputs, training=False):
        x = self.hidden(inputs, training=training)
        return self.logits(x) if self._projects else x

    def hidden(self, inputs, training=False):
        """Returns what `logits` takes, `(batch, length, hidden_dim)`."""
        raise NotImplementedError

    def logits(self, x):
        """Projects `hidden`'s output to float32 logits."""
        raise NotImplementedError

    def compile(
        self,
        optimizer="rmsprop",
        loss=None,
        loss_weights=None,
        metrics=None,
        weighted_metrics=None,
        **kwargs,
    ):
        """Prepares the model for `fit`, as `keras.Model.compile` does.

        Raises:
            InputError: If metrics are to read logits that the loss won't
                keep.
        """
        if _chunk(loss) and (metrics or weighted_metrics):
            raise InputError(
                f"compile: found metrics={metrics or weighted_metrics} beside "
                f"a loss with chunk={loss.chunk}, which keeps no logits for "
                "them; leave out the metrics or the chunk"
            )
        super().compile(
            optimizer=optimizer,
            loss=loss,
            loss_weights=loss_weights,
            metrics=metrics,
            weighted_metrics=weighted_metrics,
            **kwargs,
        )

    # Each backend's `fit` and `evaluate` go through these two, tracing or
    # not, and take the model's output to `compute_loss`.

    def train_step(self, *args):
        with self._leaving_the_projection():
            return super().train_step(*args)

    def test_step(self, *args):
        with self._leaving_the_projection():
            return super().test_step(*args)

    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True
    ):
        if not self._projects:
            y_pred = self.loss.by_chunks(y, y_pred, self.logits)
        return super().compute_loss(
            x, y, y_pred, sample_weight, training=training
        )

    @contextlib.contextmanager
    def _leaving_the_projection(self):
        self._projects = not _chunk(self.loss)
        try:
            yield
        finally:
            self._projects = True


def _chunk(loss):
    return getattr(loss, "chunk", None)
