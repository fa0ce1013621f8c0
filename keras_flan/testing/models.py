"""What a model family promises."""

from typing import Any

import keras
import numpy as np

from keras_flan.data.pipeline.feature_converters import (
    DecoderOnlyRows,
    EncoderDecoderRows,
)
from keras_flan.generation.compiling import compiled
from keras_flan.generation.engine import generate
from keras_flan.models.decoding import Rows
from keras_flan.models.language_model import LanguageModel
from keras_flan.runtime.tensorflow import tf

# Tokens of the inputs and targets of three examples.
_INPUTS, _TARGETS = (7, 12, 3), (5, 9, 2)
_END = 1


def check_model(
    model: LanguageModel, *, tolerance: float = 1e-4, seed: int = 0
) -> None:
    """Checks that a model keeps packed examples apart, and decodes as it reads.

    Three examples in one row have the logits that they have alone; a changed
    one changes no logits of its neighbours; and a path that is decoded token by
    token has the log-probability of the same tokens read at once.

    Args:
        model: A small model with a vocabulary of at least 8 ids. Its weights
            stay as they are.
        tolerance: Largest difference of logits, absolute and relative.
        seed: Seed of the examples.

    Raises:
        AssertionError: If a promise is broken.

    Example:
        >>> check_model(keras_flan.models.DecoderOnly(backbone, vocabulary))
    """
    rng = np.random.default_rng(seed)
    most = min(model.vocabulary.size, 1000)
    examples = [
        (rng.integers(2, most, n).tolist(), rng.integers(2, most, m).tolist())
        for n, m in zip(_INPUTS, _TARGETS, strict=True)
    ]
    together = target_logits(model, examples, packed=True)
    alone = target_logits(model, examples, packed=False)
    np.testing.assert_allclose(
        np.concatenate(together),
        np.concatenate(alone),
        rtol=tolerance,
        atol=tolerance,
        err_msg="packed examples have other logits than they have alone",
    )
    inputs, targets = examples[1]
    other = [2 + (i - 1) % (most - 2) for i in inputs], targets
    changed = target_logits(
        model, [examples[0], other, examples[2]], packed=True
    )
    for i in (0, 2):
        assert np.abs(changed[i] - together[i]).max() < tolerance, (
            f"example {i} of a row sees its neighbour"
        )
    _check_decoding(model, tolerance)


def target_logits(
    model: LanguageModel,
    examples: list[tuple[list[int], list[int]]],
    *,
    packed: bool,
) -> list[np.ndarray]:
    """Returns the logits that predict each example's targets.

    Args:
        model: The model.
        examples: The ids of inputs and targets, without special ids.
        packed: Whether all are in one row.

    Returns:
        For each example float32 `(target tokens and end, vocabulary)`.
    """
    inputs, targets = zip(*examples, strict=True)
    lengths = [len(ids) + 2 for ids in inputs], [len(t) + 1 for t in targets]
    rows = DecoderOnlyRows if model.decoder_only else EncoderDecoderRows
    x, _, weight = rows(sum(lengths[0]), sum(lengths[1]), _END).lay_out(
        tf().ragged.constant(inputs, "int32"),
        tf().ragged.constant(targets, "int32"),
        tf().constant([0 if packed else i for i in range(len(examples))]),
    )
    arrays: dict[str, Any] = {name: value.numpy() for name, value in x.items()}
    logits = model.predict_on_batch(arrays)
    own = logits[weight.numpy() > 0]
    return np.split(own, np.cumsum(lengths[1])[:-1])


def _check_decoding(model: LanguageModel, tolerance: float) -> None:
    """Compares a decoded path with the forward pass over the same tokens."""
    prompt = "ab cd"
    [[path]] = generate(model, [prompt], max_new_tokens=6)
    # The last token may be the end, which a path has no id of.
    target = path.token_ids
    if len(target) < len(path.token_log_probabilities):
        target = [*target, model.vocabulary.eos_id]
    read, first = model.decoding.continued(
        model.vocabulary.encode(prompt), target, 2048
    )
    ids = np.array([read], "int32")
    lengths, places = np.array([[len(read)], [first]], "int32")
    targets = np.array([[target]], "int32")
    mask = np.ones(targets.shape, "float32")
    score, _ = compiled(model, model.decoding.score)
    scored = score(Rows(ids, lengths, places, targets, mask))
    found = float(keras.ops.convert_to_numpy(scored)[0, 0])
    assert abs(found - path.log_probability) < tolerance * len(target), (
        f"a decoded path has the log-probability {path.log_probability}, its "
        f"tokens read at once have {found}"
    )
