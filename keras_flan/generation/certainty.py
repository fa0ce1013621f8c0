"""How certain a model was of each path, told by a second look at it."""

from collections.abc import Sequence

from keras_flan.generation.likelihood import score_tokens
from keras_flan.generation.outputs import Path
from keras_flan.models.language_model import LanguageModel


def path_certainties(
    model: LanguageModel,
    prompts: Sequence[str],
    paths: Sequence[Sequence[Path]],
    *,
    top: int = 20,
    max_input_tokens: int = 2048,
) -> list[list[float]]:
    """Returns how certain the model was of each path: more is surer.

    It is the mean, over the tokens of a path, of `-mean log p` of the `top`
    most probable tokens there: where the model is torn, these are all
    probable, and it is low. That needs one reading of each path, all of its
    tokens at once; decoding stays as it is. The paths then vote by
    `rank_weights`.

    Args:
        model: A `keras_flan.models.T5` or `keras_flan.models.DecoderOnly`
            with a vocabulary.
        prompts: The texts.
        paths: The paths of each, as `generate` returns them.
        top: How many tokens count in each place.
        max_input_tokens: As for `generate`.

    Returns:
        For each prompt the certainty of each path; 0 of an empty one.

    Example:
        >>> [paths] = generate(model, [prompt], samples=8, temperature=0.7)
        >>> [certainties] = path_certainties(model, [prompt], [paths])
        >>> vote(answers, rank_weights(certainties), "sum").winner
        '9'

    Source: DeepConf (arXiv:2508.15260), section 3.1; self-certainty
    (arXiv:2502.18581), which weighs the whole vocabulary.
    """
    frame, vocabulary = model.decoding.frame, model.vocabulary
    framed = [
        frame(ids, max_input_tokens)
        for ids in vocabulary.encode_batch(list(map(str, prompts)))
    ]
    places = [
        (row, number)
        for row, made in enumerate(paths)
        for number, path in enumerate(made)
        if path.token_ids
    ]
    found = [[0.0] * len(made) for made in paths]
    scores = score_tokens(
        model,
        [framed[row] for row, _ in places],
        [paths[row][number].token_ids for row, number in places],
        top,
    )
    for (row, number), score in zip(places, scores, strict=True):
        means = [
            -sum(gain for _, gain in best) / len(best) for best in score.top
        ]
        found[row][number] = sum(means) / len(means)
    return found
