"""What generating and ranking need of a model, whatever its family."""

from collections.abc import Callable
from typing import Any, NamedTuple

from keras import ops

from keras_flan.tensors import Tensor, Tensors


class Fed(NamedTuple):
    """What is fed in a step.

    Args:
        lengths: int `(slots)`, tokens of each prompt.
        tokens: int `(slots, lanes)`, one per path.
        ages: int `(slots, lanes)`, tokens each path was fed before.
        clock: int scalar, steps since the caches were empty.
    """

    lengths: Tensor
    tokens: Tensor
    ages: Tensor
    clock: Tensor


class Rows(NamedTuple):
    """What is scored.

    Args:
        inputs: int `(rows, length)`, of `Decoding.continued`.
        lengths: int `(rows)`, tokens of each; the rest is padding.
        first: int `(rows)`, of `Decoding.continued`.
        targets: int `(rows, targets, tokens)`.
        mask: float32, as `targets`: 1 at tokens, 0 at padding.
    """

    inputs: Tensor
    lengths: Tensor
    first: Tensor
    targets: Tensor
    mask: Tensor


class Behind(NamedTuple):
    """Texts behind a beginning that they share, packed, and what is scored.

    Args:
        token_ids: int `(rows, length)`.
        segment_ids: int, likewise: counts the texts of a row from 1; 0 is
            padding.
        positions: int, likewise, within the texts behind the beginning.
        at: int `(rows, places)`, the places that predict what is scored.
        targets: int `(rows, places, n)`, tokens each of them is scored for.
    """

    token_ids: Tensor
    segment_ids: Tensor
    positions: Tensor
    at: Tensor
    targets: Tensor


class Decoding:
    """How a family reads a prompt once, continues it and scores targets.

    Keys and values of a prompt are stored once, in the memory: its paths are
    queries of the same. What a path generates is stored per path, in the
    past; see `keras_flan.models.path_attention.cache_shapes`. A family has a
    subclass, which `model.decoding` returns.

    Args:
        model: A model of the family, with a vocabulary.

    Attributes:
        ends_targets: Whether a target is a text of its own, closed by the
            end token.
        causal: Whether no token sees those behind it, so that what texts
            begin with alike can be read once for all of them.
    """

    ends_targets: bool
    causal = False

    def __init__(self, model: Any):
        self.model = model

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

    def read_block(self, held: Any, token_ids: Tensor, begin: Tensor) -> Any:
        """Reads the next tokens of one prompt, if it is `causal`.

        Args:
            held: What `read` returns of one prompt, so far as it was read.
            token_ids: int `(1, tokens)`; what is behind the prompt's end is
                seen by nobody.
            begin: int scalar, the place of the first of them.

        Returns:
            As `held`, with the keys and values of the tokens.
        """
        raise NotImplementedError

    def prepare(self, length: int) -> Any:
        """Returns what all steps of up to `length` tokens share."""
        return None

    def step(
        self, state: Tensors, prepared: Any, fed: Fed
    ) -> tuple[Tensor, Any]:
        """Feeds one token per path; returns the logits of the next one.

        Args:
            state: `{"memory": ..., "past": ...}`, the caches.
            prepared: From `prepare`.
            fed: What is fed.

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

    def joined(
        self, framed: list[int], target: list[int]
    ) -> tuple[list[int], int]:
        """Returns what `continued` does, of a prompt that is framed."""
        raise NotImplementedError

    def foretell(self, rows: Rows, scales: Tensor | None = None) -> Tensor:
        """Returns the states that predict the tokens of targets.

        Args:
            rows: What is scored.
            scales: float `(rows, tokens)`, factors of the embeddings of the
                tokens of targets, of which there is one per row then.

        Returns:
            `(rows, targets, tokens, width)`, for `model.logits`; or `(rows, 1,
            tokens, width)` if all targets of a row are predicted by the same.
        """
        raise NotImplementedError

    def score(self, rows: Rows, scales: Tensor | None = None) -> Tensor:
        """Returns log-probabilities of targets, float32 `(rows, targets)`.

        Args:
            rows: What is scored.
            scales: As for `foretell`.
        """
        hidden = self.foretell(rows, scales)
        log_p = ops.log_softmax(self.model.logits(hidden), axis=-1)
        sums = [
            ops.sum(
                picked(log_p[:, j % log_p.shape[1]], rows.targets[:, j])
                * rows.mask[:, j],
                axis=-1,
            )
            for j in range(rows.targets.shape[1])
        ]
        return ops.stack(sums, axis=1)

    def score_tokens(
        self, rows: Rows, top: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Returns what is thought of each token of the targets, one per row.

        Args:
            rows: With one target each.
            top: How many of the most probable tokens to return.

        Returns:
            The log-probabilities of the tokens, float32 `(rows, tokens)`; and
            the most probable tokens in their places: log-probabilities,
            float32 `(rows, tokens, top)`, the highest first, and int32 ids.
        """
        hidden, targets = self.foretell(rows)[:, 0], rows.targets[:, 0]

        def scored(part: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
            states, ids = part
            log_p = ops.log_softmax(self.model.logits(states), axis=-1)
            return picked(log_p, ids), *ops.top_k(log_p, top)

        found, best, ids = _by_blocks(scored, hidden, targets)
        return found, best, ops.cast(ids, "int32")

    def read_behind(self, held: Any, known: Tensor, texts: Behind) -> Tensor:
        """Reads texts behind a beginning, if it is `causal`.

        Args:
            held: What `read` returned of the beginning.
            known: int scalar, its tokens.
            texts: The texts, without the beginning.

        Returns:
            `(rows, length, width)`, for `model.logits`.
        """
        raise NotImplementedError

    def score_behind(self, held: Any, known: Tensor, texts: Behind) -> Tensor:
        """Returns log-probabilities of tokens, float32 `(rows, places, n)`.

        Args:
            held: As for `read_behind`.
            known: Likewise.
            texts: The texts, and the tokens.
        """
        hidden = self.read_behind(held, known, texts)
        states = ops.take_along_axis(hidden, texts.at[..., None], axis=1)

        def scored(part: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
            states, ids = part
            log_p = ops.log_softmax(self.model.logits(states), axis=-1)
            return (ops.take_along_axis(log_p, ids, axis=-1),)

        return _by_blocks(scored, states, texts.targets)[0]


def _by_blocks(
    function: Callable[[tuple[Tensor, Tensor]], tuple[Tensor, ...]],
    states: Tensor,
    ids: Tensor,
) -> list[Tensor]:
    """Maps places block by block: all logits at once would be gigabytes.

    Args:
        function: Of states `(places, width)` and ids `(places, ...)`.
        states: `(rows, length, width)`; the length is a power of two.
        ids: `(rows, length, ...)`.

    Returns:
        What it returned, `(rows, length, ...)`.
    """
    size, length, width = states.shape
    block = min(length, _BLOCK)
    parts = ops.map(
        function,
        (
            ops.reshape(states, (-1, block, width)),
            ops.reshape(ids, (-1, block, *ids.shape[2:])),
        ),
    )
    return [ops.reshape(x, (size, length, *x.shape[2:])) for x in parts]


# Places that are scored at a time. Lengths are powers of two.
_BLOCK = 128


def picked(log_p: Tensor, token_ids: Tensor) -> Tensor:
    """Returns one number of the last axis for each of the ids."""
    return ops.take_along_axis(log_p, token_ids[..., None], axis=-1)[..., 0]
