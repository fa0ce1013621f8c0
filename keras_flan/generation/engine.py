"""Texts in, sampled texts out; see `decoding` for what lies between."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from keras_flan.data.vocabularies.sentencepiece import Vocabulary
from keras_flan.errors import InputError
from keras_flan.generation.decoding import Stop, TokenPath, decode
from keras_flan.generation.outputs import Path
from keras_flan.generation.sampling import uniforms
from keras_flan.generation.sampling_settings import Sampling, sampling_of
from keras_flan.generation.texts import ChatPrompt, as_texts
from keras_flan.models.language_model import LanguageModel
from keras_flan.progress import Progress


def generate(
    model: LanguageModel,
    prompts: str | Sequence[str],
    *,
    sampling: Sampling | None = None,
    **settings: Any,
) -> list[list[Path]]:
    """Generates outputs for each prompt.

    A prompt is read once for all its paths. A path depends only on the
    model, its prompt, its number and the seed.

    Args:
        model: A `keras_flan.models.T5` or `keras_flan.models.DecoderOnly`
            with a vocabulary.
        prompts: The texts, or one.
        sampling: How to sample; default: one greedy path per prompt.
        **settings: Or the fields of a `Sampling` by name; and the further
            arguments of `stream`.

    Returns:
        A list with, for each prompt in order, a list of its `Path`s in the
        order of their numbers: `samples`, or fewer where `enough` said so.

    Raises:
        InputError: If a setting is unknown or out of range, a prompt is no
            text, or the model has no vocabulary.

    Example:
        >>> generate(model, ["What is 2 + 2?"], samples=8, temperature=0.7)
        [[Path(text='2 + 2 = 4. The answer is 4.', ...), ...]]

    Reference: self-consistency, https://arxiv.org/abs/2203.11171.
    """
    prompts = as_texts(prompts, "prompts")
    results: list[dict[int, Path]] = [{} for _ in prompts]
    for row, number, path in stream(
        model, prompts, sampling=sampling, **settings
    ):
        results[row][number] = path
    return [[made[number] for number in sorted(made)] for made in results]


def generate_texts(
    model: Any,
    inputs: str | Sequence[str],
    *,
    samples: int | None = None,
    **settings: Any,
) -> Any:
    """Generates as `generate` does, and returns the texts alone.

    Args:
        model: As for `generate`.
        inputs: A prompt, or several.
        samples: Texts for each prompt; default: one, which stands alone.
        **settings: As for `generate`.

    Returns:
        A text for a prompt, and a list of them for several; with `samples`
        a list of texts for each.

    Example:
        >>> generate_texts(model, "What is 2 + 2?", max_new_tokens=32)
        '2 + 2 = 4. The answer is 4.'
        >>> generate_texts(model, ["2 + 2?", "3 + 3?"], samples=8)
        [['4', '4', ...], ['6', '6', ...]]
    """
    if samples is not None:
        settings["samples"] = samples
    prompts = [inputs] if isinstance(inputs, str) else inputs
    made = generate(model, prompts, **settings)
    sampling: Sampling | None = settings.get("sampling")
    alone = samples is None and (sampling is None or sampling.samples == 1)
    texts = [
        paths[0].text if alone else [path.text for path in paths]
        for paths in made
    ]
    return texts[0] if isinstance(inputs, str) else texts


def stream(
    model: LanguageModel,
    prompts: str | Sequence[str],
    *,
    sampling: Sampling | None = None,
    batch_paths: int = 64,
    prompt_paths: int | None = None,
    max_input_tokens: int = 2048,
    enough: Callable[[int], bool] | None = None,
    progress: bool = False,
    **settings: Any,
) -> Iterator[tuple[int, int, Path]]:
    """Yields each path when it is done; see `generate`, which collects them.

    Args:
        model: As for `generate`.
        prompts: The texts.
        sampling: As for `generate`.
        batch_paths: Paths that are decoded at a time. A path that is done
            makes room for the next.
        prompt_paths: The most of them that are of one prompt; default: all.
        max_input_tokens: Longer prompts lose their beginning.
        enough: Called with the index of a prompt after each of its paths;
            `True` drops the paths that are not done.
        progress: Whether to show a progress bar on stderr.
        **settings: Or the fields of a `Sampling` by name.

    Yields:
        The index of the prompt, the number of the path, and the `Path`.

    Example:

    ```python
    for prompt, number, path in stream(model, questions, samples=8):
        print(prompt, number, path.text)
    ```
    """
    sampling = sampling_of(sampling, settings, stream)
    prompts = as_texts(prompts, "prompts")
    # Greedy paths of a prompt are all the same: decode one.
    paths = sampling.samples if sampling.temperature > 0 else 1
    made = _decode(
        model,
        prompts,
        dataclasses.replace(sampling, samples=paths),
        max_input_tokens,
        batch_paths=batch_paths,
        prompt_paths=prompt_paths,
        enough=enough,
    )
    total = len(prompts) * paths
    with Progress(
        "generating", total=total, unit="paths", enabled=progress
    ) as bar:
        for row, number, tokens in made:
            path = path_of(model.vocabulary, tokens, sampling.stop)
            bar.advance()
            for copy in range(sampling.samples // paths):
                yield row, number + copy, path


def _decode(
    model: LanguageModel,
    prompts: Sequence[str],
    sampling: Sampling,
    max_input_tokens: int,
    *,
    batch_paths: int,
    prompt_paths: int | None,
    enough: Callable[[int], bool] | None,
) -> Iterator[tuple[int, int, TokenPath]]:
    """Encodes the prompts; returns what `decode` yields of them."""
    vocabulary = getattr(model, "vocabulary", None)
    if vocabulary is None:
        raise InputError("Expected a model with a vocabulary. Received: None")
    least = min(batch_paths, 1 if prompt_paths is None else prompt_paths)
    if least < 1 or max_input_tokens < 2:
        raise InputError(
            "Expected batch_paths >= 1, prompt_paths >= 1 and "
            f"max_input_tokens >= 2. Received: batch_paths={batch_paths}, "
            f"prompt_paths={prompt_paths}, "
            f"max_input_tokens={max_input_tokens}"
        )
    return decode(
        model,
        _framed(model, prompts, max_input_tokens),
        sampling,
        ends=end_tokens(vocabulary, prompts),
        uniforms=lambda row, number: uniforms(
            prompts[row], number, sampling.max_new_tokens, sampling.seed
        ),
        batch_paths=batch_paths,
        prompt_paths=prompt_paths,
        stop=stopper(vocabulary, sampling.stop),
        enough=enough,
    )


def end_tokens(vocabulary: Any, prompts: Sequence[str]) -> tuple[int, ...]:
    """Returns the tokens that end a path: the model's, and a template's."""
    own = getattr(vocabulary, "end_ids", (vocabulary.eos_id,))
    chats = [p for p in prompts if isinstance(p, ChatPrompt)]
    return tuple(dict.fromkeys([*own, *(i for c in chats for i in c.end_ids)]))


def _framed(
    model: LanguageModel, prompts: Sequence[str], limit: int
) -> list[list[int]]:
    """Returns what is read: of a conversation its own tokens."""
    frame = model.decoding.frame
    found = []
    encoded = model.vocabulary.encode_batch(list(map(str, prompts)))
    for prompt, ids in zip(prompts, encoded, strict=True):
        if not isinstance(prompt, ChatPrompt):
            found.append(frame(ids, limit))
            continue
        if len(prompt.token_ids) > limit:
            raise InputError(
                f"the conversation has {len(prompt.token_ids):,} tokens, more "
                f"than max_input_tokens {limit:,}; leave out its first turns, "
                "or raise that"
            )
        found.append(prompt.token_ids)
    return found


def stopper(vocabulary: Vocabulary, stop: Sequence[str]) -> Stop | None:
    """Returns a function that finds the token that completes a stop string."""
    if not stop:
        return None

    def holds(ids: list[int]) -> bool:
        text = vocabulary.decode(ids)
        return any(string in text for string in stop)

    def ends(ids: list[int], seen: int) -> int | None:
        if not holds(ids):
            return None
        low, high = seen, len(ids)
        while low + 1 < high:
            middle = (low + high) // 2
            if holds(ids[:middle]):
                high = middle
            else:
                low = middle
        return high

    return ends


def path_of(
    vocabulary: Vocabulary, tokens: TokenPath, stop: Sequence[str]
) -> Path:
    """Returns decoded tokens as a `Path`, cut before a stop string."""
    ids = tokens.token_ids[:-1] if tokens.ended else tokens.token_ids
    text = vocabulary.decode(ids)
    if tokens.stopped:
        text = text[: min(text.find(s) for s in stop if s in text)]
    return Path(
        text=text,
        token_ids=ids,
        log_probability=sum(tokens.log_probabilities),
        finished=tokens.ended or tokens.stopped,
        token_log_probabilities=tokens.log_probabilities,
        end_id=tokens.token_ids[-1] if tokens.ended else None,
    )
