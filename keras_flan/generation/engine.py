"""Decoding many prompts, k paths each, in few compiled programs."""

import dataclasses
import functools
from collections.abc import Iterator, Sequence

import keras
import numpy as np
from keras import ops

from keras_flan.errors import InputError
from keras_flan.generation import sampling
from keras_flan.models import decoder_only_decoding, t5_decoding
from keras_flan.progress import track

# Prompts are padded to one of these lengths (or the next power of two), so
# the number of compiled programs is bounded by the number of buckets.
_SHORTEST_BUCKET = 32


@dataclasses.dataclass(frozen=True)
class Path:
    """One generated output.

    Attributes:
        text: The decoded text, without the end token.
        token_ids: The tokens, without the end token.
        log_probability: Sum of the log-probabilities (natural, at
            temperature 1) of the tokens and, if finished, of the end token.
        finished: Whether the end token was generated.
    """

    text: str
    token_ids: list[int]
    log_probability: float
    finished: bool


def generate(
    model,
    prompts: Sequence[str],
    *,
    samples: int = 1,
    temperature: float = 0.0,
    top_k: int = 0,
    seed: int = 0,
    max_new_tokens: int = 128,
    batch_paths: int = 64,
    max_input_tokens: int = 2048,
    progress: bool = False,
) -> list[list[Path]]:
    """Generates `samples` outputs for each prompt.

    A prompt is read once for all its paths. A path depends only on the
    model, its prompt, its number and the seed.

    Args:
        model: A `keras_flan.models.T5` or `keras_flan.models.DecoderOnly`
            with a vocabulary.
        prompts: The texts.
        samples: Paths a prompt, k.
        temperature: 0 is greedy. The paper's self-consistency uses 0.7.
        top_k: Sample from the k most probable tokens (1 to 64); 0 is all.
        seed: Seed of the sampling.
        max_new_tokens: Longest output, in tokens.
        batch_paths: Paths that are decoded at a time.
        max_input_tokens: Longer prompts lose their beginning.
        progress: Whether to show a progress bar on stderr.

    Returns:
        A list with, for each prompt in order, a list of `samples` `Path`s.

    Raises:
        InputError: If a setting is out of range or the model has no
            vocabulary.

    Example:
        >>> generate(model, ["What is 2 + 2?"], samples=8, temperature=0.7)
        [[Path(text='2 + 2 = 4. The answer is 4.', ...), ...]]

    Reference: self-consistency, https://arxiv.org/abs/2203.11171.
    """
    results: list[list[Path | None]] = [[None] * samples for _ in prompts]
    for row, number, path in stream(
        model,
        prompts,
        samples=samples,
        temperature=temperature,
        top_k=top_k,
        seed=seed,
        max_new_tokens=max_new_tokens,
        batch_paths=batch_paths,
        max_input_tokens=max_input_tokens,
        progress=progress,
    ):
        results[row][number] = path
    return results


def stream(
    model,
    prompts: Sequence[str],
    *,
    samples: int = 1,
    temperature: float = 0.0,
    top_k: int = 0,
    seed: int = 0,
    max_new_tokens: int = 128,
    batch_paths: int = 64,
    max_input_tokens: int = 2048,
    progress: bool = False,
) -> Iterator[tuple[int, int, Path]]:
    """Yields each path when it is done; see `generate`, which collects them.

    Yields:
        The index of the prompt, the number of the path, and the `Path`.
    """
    if getattr(model, "vocabulary", None) is None:
        raise InputError("Expected a model with a vocabulary. Received: None")
    if samples < 1 or max_new_tokens < 1 or temperature < 0:
        raise InputError(
            "Expected samples >= 1, max_new_tokens >= 1, temperature >= 0. "
            f"Received: samples={samples}, max_new_tokens={max_new_tokens}, "
            f"temperature={temperature}"
        )
    if not 0 <= top_k <= sampling.MAX_TOP_K:
        raise InputError(
            f"Expected 0 <= top_k <= {sampling.MAX_TOP_K}. Received: {top_k}"
        )
    vocabulary = model.vocabulary
    frame = decoding(model).frame
    token_ids = [
        frame(model, ids, max_input_tokens)
        for ids in vocabulary.encode_batch(list(prompts))
    ]
    # Greedy paths of a prompt are all the same: decode one.
    paths = samples if temperature > 0 else 1
    program = _program(model, temperature, top_k, paths, max_new_tokens)
    for rows, bucket in track(
        _batches(token_ids, max(1, batch_paths // paths)),
        "generating",
        unit="prompts",
        size=lambda batch: len(batch[0]),
        total=len(prompts),
        enabled=progress,
    ):
        # A batch always has the same number of rows; spare ones are padding.
        size = _batch_size(len(rows), max(1, batch_paths // paths))
        inputs = np.zeros((size, bucket), "int32")
        lengths = np.zeros(size, "int32")
        uniform = np.zeros((size, paths, max_new_tokens), "float32")
        for i, row in enumerate(rows):
            lengths[i] = len(token_ids[row])
            inputs[i, : lengths[i]] = token_ids[row]
            if temperature > 0:
                uniform[i] = sampling.uniforms(
                    prompts[row], paths, max_new_tokens, seed
                )
        tokens, log_probabilities = program(
            inputs,
            lengths,
            uniform,
            np.float32(temperature or 1),
            np.int32(top_k),
        )
        for i, row in enumerate(rows):
            made = [
                _path(vocabulary, tokens[i, k], log_probabilities[i, k])
                for k in range(paths)
            ]
            for number, path in enumerate(made * (samples // paths)):
                yield row, number, path


def decoding(model):
    """Returns the module that decodes with models of this class.

    It has `frame(model, token_ids, limit)`, which makes a prompt of the ids
    of a text; `start(model, token_ids, lengths, paths, length)`, which reads
    the prompts; and `step(model, state, tokens, index)`.
    """
    from keras_flan.models.decoder_only import DecoderOnly

    if isinstance(model, DecoderOnly):
        return decoder_only_decoding
    return t5_decoding


def _batches(token_ids, size):
    """Groups rows of like length; yields (rows, bucket length)."""
    order = sorted(range(len(token_ids)), key=lambda i: len(token_ids[i]))
    batches: list[tuple[list[int], int]] = []
    for row in order:
        bucket = _SHORTEST_BUCKET
        while bucket < len(token_ids[row]):
            bucket *= 2
        if batches and batches[-1][1] == bucket and len(batches[-1][0]) < size:
            batches[-1][0].append(row)
        else:
            batches.append(([row], bucket))
    return batches


def _batch_size(rows, largest):
    """The full size, or for a single prompt (interactive use) one row."""
    return 1 if rows == 1 else largest


def _path(vocabulary, tokens, log_probability):
    ends = np.flatnonzero(tokens == vocabulary.eos_id)
    ids = tokens[: ends[0]] if len(ends) else tokens
    ids = ids.tolist()
    return Path(
        text=vocabulary.decode(ids),
        token_ids=ids,
        log_probability=float(log_probability),
        finished=bool(len(ends)),
    )


def _program(model, temperature, top_k, paths, length):
    """Returns a function of a batch to its tokens and log p, see `_decode`.

    The programs are kept with the model: a call with the same kind of
    sampling, number of paths and lengths compiles nothing.
    """
    sampler = "top_k" if top_k else "full"
    kind = sampler if temperature > 0 else "greedy"
    if not hasattr(model, "_decoding_programs"):
        # Not an attribute that Keras should track.
        object.__setattr__(model, "_decoding_programs", {})
    key = (kind, paths, length)
    if key not in model._decoding_programs:
        function = functools.partial(
            _decode, model, kind=kind, paths=paths, length=length
        )
        model._decoding_programs[key] = _compiled(model, function)
    return model._decoding_programs[key]


def _decode(
    model,
    inputs,
    lengths,
    uniform,
    temperature,
    top_k,
    *,
    kind,
    paths,
    length,
):
    """Decodes a batch; the whole of it is one compiled program.

    Args:
        model: The model.
        inputs: int32 `(batch, input_length)` prompt tokens.
        lengths: int32 `(batch)`, how many of them are no padding.
        uniform: float32 `(batch, paths, length)`.
        temperature: float32 scalar.
        top_k: int32 scalar.
        kind: `"greedy"`, `"top_k"` or `"full"`.
        paths: int.
        length: int.

    Returns:
        int32 tokens `(batch, paths, length)` and float32 summed
        log-probabilities `(batch, paths)`.
    """
    eos = model.vocabulary.eos_id
    batch = inputs.shape[0]
    module = decoding(model)
    constant = module.start(model, inputs, lengths, paths, length)
    past, first = constant.pop("past"), constant.pop("token")
    # Spare rows of the batch have no tokens: they are done at once.
    finished = ops.tile(lengths[:, None] == 0, (1, paths))

    def unfinished(index, _past, _token, _tokens, _sums, finished):
        return ops.logical_and(
            index < length, ops.logical_not(ops.all(finished))
        )

    def advance(index, past, token, tokens, sums, finished):
        logits, new = module.step(
            model, {**constant, "past": past}, token, index
        )
        if kind == "greedy":
            chosen = sampling.greedy(logits)
        else:
            drawn = ops.take(uniform, index, axis=2)
            if kind == "top_k":
                chosen = sampling.sample_top_k(
                    logits, drawn, temperature, top_k
                )
            else:
                chosen = sampling.sample(logits, drawn, temperature)
        picked = ops.take_along_axis(
            logits, ops.expand_dims(chosen, -1), axis=-1
        )[..., 0]
        gain = picked - ops.logsumexp(logits, axis=-1)
        sums = sums + ops.where(finished, 0.0, gain)
        chosen = ops.where(finished, 0, chosen)
        tokens = ops.slice_update(tokens, (0, 0, index), chosen[..., None])
        finished = ops.logical_or(finished, chosen == eos)
        return index + 1, new["past"], chosen, tokens, sums, finished

    _, _, _, tokens, sums, _ = ops.while_loop(
        unfinished,
        advance,
        (
            ops.convert_to_tensor(0, "int32"),
            past,
            first,
            ops.zeros((batch, paths, length), "int32"),
            ops.zeros((batch, paths), "float32"),
            finished,
        ),
    )
    return tokens, sums


def _compiled(model, function):
    """Compiles `function` with the backend in use; numpy in, numpy out."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        @jax.jit
        def run(values, *arguments):
            mapping = zip(model.variables, values, strict=True)
            with keras.StatelessScope(state_mapping=mapping):
                return function(*arguments)

        def call(*arguments):
            # The weights are an argument: after more training the same
            # program runs on the new ones.
            return run([v.value for v in model.variables], *arguments)

    elif backend == "tensorflow":
        import tensorflow as tf

        call = tf.function(function, reduce_retracing=False)
    else:
        import torch

        call = torch.no_grad()(function)

    def program(*arguments):
        if backend != "jax":
            arguments = [ops.convert_to_tensor(a) for a in arguments]
        tokens, sums = call(*arguments)
        return ops.convert_to_numpy(tokens), ops.convert_to_numpy(sums)

    return program
