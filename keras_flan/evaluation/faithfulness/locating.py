"""Which step of a chain a model finds the least probable."""

import dataclasses
from collections.abc import Sequence

from keras_flan.evaluation.faithfulness.chains import Chain
from keras_flan.generation.likelihood import score_tokens
from keras_flan.models.language_model import LanguageModel


@dataclasses.dataclass(frozen=True)
class Located:
    """Where a mistake is, as far as a model can tell.

    Args:
        place: The step, from 0, with the least probable token.
        surprise: Of each step, minus the log-probability of its least
            probable token, in nats.
    """

    place: int
    surprise: tuple[float, ...]


def locate_mistakes(
    model: LanguageModel,
    prompts: Sequence[str],
    chains: Sequence[Chain | Sequence[str]],
    max_input_tokens: int = 2048,
) -> list[Located]:
    """Says which step of each chain looks most like a mistake.

    A result that doesn't follow is improbable where it stands; what is then
    calculated from it is not. One reading of each chain tells.

    Args:
        model: A `keras_flan.models.T5` or `keras_flan.models.DecoderOnly`
            with a vocabulary.
        prompts: What the model read.
        chains: The steps of each, with blanks between them, or a `Chain`,
            which knows what stands between its own.
        max_input_tokens: Longer prompts lose their beginning.

    Example:
        >>> [found] = locate_mistakes(model, [prompt], [["7 - 2 = 6."]])
        >>> found.place
        0
    """
    vocabulary, frame = model.vocabulary, model.decoding.frame
    read = [
        frame(ids, max_input_tokens)
        for ids in vocabulary.encode_batch(list(prompts))
    ]
    # A target of its own begins at once; else a blank ends the prompt.
    leads = [
        "" if model.decoding.ends_targets or prompt[-1:].isspace() else " "
        for prompt in prompts
    ]
    # Of each chain its first step, its first two, ...: where steps end.
    begun = [
        [lead + between.join(steps[: n + 1]) for n in range(len(steps))]
        for lead, chain in zip(leads, chains, strict=True)
        for steps, between in [
            (chain.steps, chain.between)
            if isinstance(chain, Chain)
            else (chain, " ")
        ]
    ]
    encoded = iter(
        vocabulary.encode_batch([text for texts in begun for text in texts])
    )
    parts = [[next(encoded) for _ in texts] for texts in begun]
    scores = score_tokens(model, read, [ids[-1] for ids in parts])
    found = []
    for ids, score in zip(parts, scores, strict=True):
        ends = [len(one) for one in ids]
        starts = [0, *ends[:-1]]
        surprise = tuple(
            -min(score.log_probabilities[start:end] or [0.0])
            for start, end in zip(starts, ends, strict=True)
        )
        place = max(range(len(surprise)), key=surprise.__getitem__)
        found.append(Located(place, surprise))
    return found
