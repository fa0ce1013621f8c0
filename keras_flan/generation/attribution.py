"""What each token of some reasoning adds to an answer, by gradients."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_flan.generation.compiling import compiled, power_of_four
from keras_flan.models.decoding import Rows
from keras_flan.models.language_model import LanguageModel
from keras_flan.models.programs import programs_of
from keras_flan.tensors import Tensor

# Lengths are padded to a power of two from here on, so that few programs are
# compiled.
_SHORTEST = 32


def token_attributions(
    model: LanguageModel,
    prompt: str,
    reasoning: str,
    continuations: Sequence[str],
    max_input_tokens: int = 2048,
) -> list[float]:
    """Says what each token of the reasoning adds to the first continuation.

    It is the gradient of the log-odds of the first continuation against the
    others by the token's embedding, times that embedding: to first order,
    what the log-odds lose if the embedding is taken away.

    Args:
        model: A `keras_flan.models.T5`, `T5Gemma` or `DecoderOnly` with a
            vocabulary.
        prompt: What the model reads.
        reasoning: What stands before all continuations.
        continuations: Two or more; each is the reasoning with an answer.
        max_input_tokens: Longer prompts lose their beginning.

    Returns:
        A number for each token of the reasoning.

    Example:
        >>> token_attributions(model, "Apples?", "23 - 20 = 3. ",
        ...                    ["23 - 20 = 3. So 3.", "23 - 20 = 3. So 4."])
        [0.1, 0.0, 0.3, -0.1, 2.2, 0.4]

    Source: Shrikumar et al. (arXiv:1605.01713), gradient times input.
    """
    decoding, vocabulary = model.decoding, model.vocabulary
    [own] = vocabulary.encode_batch([prompt])
    texts = [reasoning, *continuations]
    before, *targets = vocabulary.encode_batch(
        [text.strip() for text in texts] if decoding.ends_targets else texts
    )
    if decoding.ends_targets:
        targets = [[*target, vocabulary.eos_id] for target in targets]
    framed = decoding.frame(own, max_input_tokens)
    rows = _rows(decoding, framed, targets)
    number = np.arange(len(rows.inputs)) < len(targets)
    found = _program(model)(rows, number.astype("float32"))
    return ops.convert_to_numpy(found)[: len(before)].tolist()


def _rows(
    decoding: Any, framed: list[int], targets: Sequence[list[int]]
) -> Rows:
    """Returns one target per row; rows that fill up repeat the first."""
    joined = [decoding.joined(framed, target) for target in targets]
    size = power_of_four(len(targets))
    read = max(len(ids) for ids, _ in joined)
    length = 1 << (max(read, _SHORTEST) - 1).bit_length()
    longest = 1 << (max(map(len, targets)) - 1).bit_length()
    inputs = np.zeros((size, length), "int32")
    lengths, first = np.zeros(size, "int32"), np.zeros(size, "int32")
    ids = np.zeros((size, 1, longest), "int32")
    mask = np.zeros((size, 1, longest), "float32")
    for i in range(size):
        place = i if i < len(targets) else 0
        (own, begin), target = joined[place], targets[place]
        inputs[i, : len(own)] = own
        lengths[i], first[i] = len(own), begin
        ids[i, 0, : len(target)] = target
        mask[i, 0, : len(target)] = 1
    return Rows(inputs, lengths, first, ids, mask)


def _program(model: LanguageModel) -> Callable[..., Tensor]:
    """Returns the compiled gradient of a model; it is kept with it."""
    kept = programs_of(model, "attribution")
    if not kept:

        def attributed(rows: Rows, number: Tensor) -> Tensor:
            def log_odds(scales: Tensor) -> Tensor:
                # All continuations share the factors of a place.
                each = ops.broadcast_to(scales, rows.mask[:, 0].shape)
                scores = model.decoding.score(rows, each)[:, 0]
                others = ops.where(number > 0, scores, -1e9)[1:]
                return scores[0] - ops.logsumexp(others)

            return gradient(log_odds, ops.ones((1, rows.mask.shape[-1])))[0]

        kept[()], _ = compiled(model, attributed)
    return kept[()]


def gradient(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Returns the gradient of a number by an array, on any backend."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        return jax.grad(function)(x)
    if backend == "torch":
        import torch

        with torch.enable_grad():
            x = x.detach().requires_grad_()
            return torch.autograd.grad(function(x), x)[0]
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(x)
        y = function(x)
    return tape.gradient(y, x)
