"""What all models here share: hidden states, logits, and how to go on."""

import contextlib
from typing import Any, ClassVar

import keras
from keras import ops

from keras_flan.errors import InputError
from keras_flan.tensors import Tensor


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

    Attributes:
        decoder_only: Whether inputs and targets share a row. Else an encoder
            reads the inputs and a decoder the targets.
    """

    decoder_only: ClassVar[bool]
    _projects = True

    @property
    def decoding(self) -> "Decoding":
        """How the family reads, continues and scores texts."""
        raise NotImplementedError

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


class Decoding:
    """How a family reads a prompt once, continues it and scores targets.

    Keys and values of a prompt are stored once, in the memory: its paths are
    queries of the same. What a path generates is stored per path, in the
    past; see `keras_flan.models.path_attention.cache_shapes`. A family has a
    subclass, which `model.decoding` returns.

    Args:
        model: A model of the family, with a vocabulary.
    """

    def __init__(self, model: LanguageModel):
        self.model: Any = model

    @property
    def ends_targets(self) -> bool:
        """Whether a target is a text of its own, closed by the end token."""
        raise NotImplementedError

    def frame(self, token_ids: list[int], limit: int) -> list[int]:
        """Returns a prompt as the model was trained to read it.

        Args:
            token_ids: The text's ids.
            limit: The most tokens; the beginning of a longer text is dropped.
        """
        raise NotImplementedError

    def first_token(self, prompt: list[int]) -> int:
        """Returns the token that a path of a framed prompt is fed first."""
        raise NotImplementedError

    def read(self, token_ids: Tensor, lengths: Tensor) -> Any:
        """Computes the keys and values of prompts.

        Args:
            token_ids: int `(batch, input_length)`.
            lengths: int `(batch)`, tokens of each prompt; the rest is padding.

        Returns:
            Keys `(batch, key_heads, width, input_length)` and values `(batch,
            key_heads, input_length, width)`: a list of them, one per layer,
            or, where a family stacks its layers, `(num_layers, batch, ...)`.
        """
        raise NotImplementedError

    def prepare(self, length: int) -> Any:
        """Returns what all steps of up to `length` tokens share."""
        return None

    def step(
        self,
        state: dict[str, Any],
        prepared: Any,
        lengths: Tensor,
        tokens: Tensor,
        ages: Tensor,
        clock: Tensor,
    ) -> tuple[Tensor, Any]:
        """Feeds one token per path; returns the logits of the next one.

        Args:
            state: `{"memory": ..., "past": ...}`, the caches.
            prepared: From `prepare`.
            lengths: int `(slots)`, tokens of each prompt.
            tokens: int `(slots, lanes)`.
            ages: int `(slots, lanes)`, tokens each path was fed before.
            clock: int scalar, steps since the caches were empty.

        Returns:
            float32 logits `(slots, lanes, vocabulary_size)`, and the newest
            block of the past.
        """
        raise NotImplementedError

    def continued(
        self, prompt: list[int], target: list[int], limit: int
    ) -> tuple[list[int], int]:
        """Returns what is read to score a target, and where it begins.

        Args:
            prompt: The ids of the prompt's text.
            target: The ids of the target.
            limit: The most tokens; see `frame`.

        Returns:
            The ids to read, and the place among them at which the first
            token of the target is predicted.
        """
        raise NotImplementedError

    def score(
        self,
        inputs: Tensor,
        lengths: Tensor,
        first: Tensor,
        targets: Tensor,
        mask: Tensor,
    ) -> Tensor:
        """Returns log-probabilities of targets, float32 `(rows, targets)`.

        Args:
            inputs: int `(rows, length)`, of `continued`.
            lengths: int `(rows)`, tokens of each; the rest is padding.
            first: int `(rows)`, of `continued`.
            targets: int `(rows, targets, tokens)`.
            mask: float32, as `targets`: 1 at tokens, 0 at padding.
        """
        raise NotImplementedError


def picked(log_p: Tensor, token_ids: Tensor) -> Tensor:
    """Returns one number of the last axis for each of the ids."""
    return ops.take_along_axis(log_p, token_ids[..., None], axis=-1)[..., 0]


def _chunk(loss):
    return getattr(loss, "chunk", None)
