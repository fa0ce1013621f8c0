"""Evaluation: prompts out, outputs in, answers, votes, scores, files."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from keras_flan.errors import InputError
from keras_flan.evaluation.benchmarks import Item, load_benchmark
from keras_flan.evaluation.layouts import cut_at_stop
from keras_flan.evaluation.scoring import score
from keras_flan.files import write_json, write_jsonl
from keras_flan.generation.answers import (
    EXTRACTOR_VERSION,
    extract_answer,
    is_correct,
    normalise_answer,
    protocol,
)
from keras_flan.generation.voting import vote
from keras_flan.progress import track

PREDICTIONS_FILE = "predictions.jsonl"
METRICS_FILE = "metrics.json"

# Self-consistency samples at this temperature (arXiv:2203.11171, PaLM).
VOTING_TEMPERATURE = 0.7
# Paths that are asked for in one call; generation makes its own batches.
_PATHS_PER_CALL = 256


def evaluate(
    model: Any,
    benchmark: str,
    data: str | os.PathLike,
    *,
    output: str | os.PathLike,
    mode: str = "direct",
    shots: int = 0,
    samples: int = 1,
    temperature: float | None = None,
    top_k: int = 40,
    limit: int | None = None,
    tasks: Iterable[str] | None = None,
    max_new_tokens: int = 256,
    seed: int = 0,
    progress: bool = False,
) -> dict[str, Any]:
    """Scores a model on a benchmark and logs every example.

    Writes `predictions.jsonl` (one line an example: prompt, outputs,
    extracted answers with the rules that found them, votes, target) and
    `metrics.json` to `output`. Both take the place of earlier ones only when
    the whole run went well. `keras-flan score` gives the same scores for the
    predictions.

    Args:
        model: A model with a vocabulary, as `keras_flan.models.load` returns
            it, or a callable that is called like
            `keras_flan.generation.generate`, without the model.
        benchmark: `"gsm8k"`, `"bbh"`, `"mmlu"` or `"records"`.
        data: The benchmark's file or folder, see `load_benchmark`.
        output: The folder to write.
        mode: `"direct"`, or `"cot"` to let the model reason first.
        shots: Number of exemplars in the prompt.
        samples: Paths an example; their answers are put to the vote.
        temperature: Of the sampling; default: 0 (greedy) for one path, else
            0.7.
        top_k: Sample from the k most probable tokens; 0 is all.
        limit: Only the first so many examples of each task.
        tasks: Only these tasks.
        max_new_tokens: Longest output, in tokens.
        seed: Seed of the exemplars and of the sampling.
        progress: Show progress on stderr.

    Returns:
        The content of `metrics.json`: what `score` returns, and under `run`
        the settings.

    Raises:
        InputError: If data are missing or broken; nothing is written.

    Example:
        >>> metrics = evaluate(
        ...     keras_flan.models.load("my_model"),
        ...     "gsm8k",
        ...     "data/gsm8k",
        ...     output="runs/gsm8k",
        ...     mode="cot",
        ...     shots=4,
        ...     samples=8,
        ... )
        >>> metrics["accuracy"], metrics["tasks"]["gsm8k"]["unparsed"]
        (0.0, 1290)

    Reference: arXiv:2210.11416, section 3; arXiv:2203.11171.
    """
    output = Path(output)
    if output.exists() and not output.is_dir():
        raise InputError(f"{output}: expected a folder to write, found a file")
    if temperature is None:
        temperature = VOTING_TEMPERATURE if samples > 1 else 0.0
    source = load_benchmark(benchmark, data)
    items = source.items(
        mode=mode, shots=shots, limit=limit, tasks=tasks, seed=seed
    )
    paths = _generate(
        _generator(model),
        items,
        progress=progress,
        samples=samples,
        temperature=temperature,
        top_k=top_k,
        seed=seed,
        max_new_tokens=max_new_tokens,
    )
    run = {
        "protocol": source.protocol.name,
        "protocol_version": source.protocol.version,
        "extractor_version": EXTRACTOR_VERSION,
        "mode": mode,
        "seed": seed,
    }
    rows = [
        {**_judge(benchmark, item, made), **run}
        for item, made in zip(items, paths, strict=True)
    ]
    metrics = {
        **score(benchmark, rows),
        "run": {
            **run,
            "shots": shots,
            "samples": samples,
            "temperature": temperature,
            "top_k": top_k,
            "max_new_tokens": max_new_tokens,
            "limit": limit,
        },
    }
    write_jsonl(output / PREDICTIONS_FILE, rows)
    write_json(output / METRICS_FILE, metrics)
    return metrics


def _generator(model: Any) -> Callable:
    """Returns `generate` without the model; a callable is one already."""
    if getattr(model, "vocabulary", None) is not None:
        from keras_flan.generation.engine import generate

        return lambda prompts, **settings: generate(model, prompts, **settings)
    if callable(model):
        return model
    raise InputError(
        f"expected a model with a vocabulary or a callable, found "
        f"{type(model).__name__}; load one with keras_flan.models.load"
    )


def _generate(
    generate: Callable, items: Sequence[Item], *, progress: bool, **settings
) -> list[Sequence[Any]]:
    """Returns the paths of each item, in order."""
    # Prompts of like length are asked together: little padding, and the
    # longest batch, which needs the most memory, comes first.
    order = sorted(range(len(items)), key=lambda i: -len(items[i].prompt))
    size = max(1, _PATHS_PER_CALL // settings["samples"])
    paths: list[Sequence[Any]] = [()] * len(items)
    for batch in track(
        list(_chunks(order, size)),
        "evaluating",
        total=len(items),
        unit="examples",
        size=len,
        enabled=progress,
    ):
        made = generate([items[i].prompt for i in batch], **settings)
        for i, of_item in zip(batch, made, strict=True):
            paths[i] = of_item
    return paths


def _chunks(values: list[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]


def _judge(benchmark: str, item: Item, paths: Sequence[Any]) -> dict[str, Any]:
    """Returns the row of an example: outputs, answers, votes, verdict."""
    outputs = [cut_at_stop(path.text, item.stop) for path in paths]
    choices = list(item.options) or protocol(benchmark).letters
    found = [
        extract_answer(text, item.answer_kind, choices) for text in outputs
    ]
    answers = [answer and answer.value for answer in found]
    elected = vote(answers)
    target = normalise_answer(item.target, item.answer_kind)
    return {
        "task": item.task,
        "id": item.id,
        "prompt": item.prompt,
        "shots": item.shots,
        "target": item.target,
        "answer_kind": item.answer_kind,
        "options": list(item.options),
        "outputs": outputs,
        "log_probabilities": [path.log_probability for path in paths],
        "token_counts": [len(path.token_ids) for path in paths],
        "answers": answers,
        "rules": [answer and answer.rule for answer in found],
        "spans": [answer and [answer.start, answer.end] for answer in found],
        "votes": elected.counts,
        "answer": elected.winner,
        "confidence": elected.confidence,
        "correct": is_correct(elected.winner, target),
    }
