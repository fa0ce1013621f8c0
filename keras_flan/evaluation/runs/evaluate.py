"""Evaluation: prompts out, outputs in, answers, votes, scores, files."""

import dataclasses
import functools
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_flan.errors import InputError
from keras_flan.generation.asking import generator_of, likelihoods_of
from keras_flan.generation.sampling_settings import Sampling, sampling_of
from keras_flan.evaluation.benchmarks.base import Item
from keras_flan.evaluation.benchmarks.files import load_benchmark
from keras_flan.evaluation.benchmarks.protocols import PromptProtocol
from keras_flan.evaluation.runs.identity import model_hash
from keras_flan.evaluation.runs.journal import JOURNAL_FILE, Journal
from keras_flan.evaluation.scores.judging import judge
from keras_flan.evaluation.scores.predictions import (
    PREDICTIONS_FILE,
    Ranking,
    as_predictions,
    write_predictions,
)
from keras_flan.evaluation.scores.scoring import score
from keras_flan.files import read_json_object, write_json
from keras_flan.answers import EXTRACTOR_VERSION
from keras_flan.progress import Progress

METRICS_FILE = "metrics.json"
TIMING_FILE = "timing.json"

_DEFAULT = functools.partial(Sampling.for_votes, max_new_tokens=256)
# Paths that are asked for in one call; generation makes its own batches.
_PATHS_PER_CALL = 256


def evaluate(
    model: Any,
    benchmark: str | PromptProtocol,
    data: str | os.PathLike | None = None,
    *,
    output: str | os.PathLike,
    mode: str = "direct",
    shots: int | None = 0,
    limit: int | None = None,
    tasks: Iterable[str] | None = None,
    split: str | None = None,
    batch_paths: int | None = None,
    sampling: Sampling | None = None,
    resume: bool = False,
    progress: bool = False,
    **settings: Any,
) -> dict[str, Any]:
    """Scores a model on a benchmark and logs every example.

    Writes `predictions.jsonl` (one line an example: prompt, raw outputs, log
    probabilities, extracted answers with the rules that found them, votes,
    target, versions, model hash), `metrics.json` and `timing.json` to
    `output`. They take the place of earlier ones only when the whole run
    went well. The same run writes the same bytes, but for `timing.json`.
    `keras-flan score` gives the same scores for the predictions.

    Until then finished examples are kept in `journal.jsonl`, batch by batch:
    after a crash, or `kill -9`, the same call with `resume` goes on.

    Args:
        model: A model with a vocabulary, as `keras_flan.models.load` returns
            it, or a callable that is called like
            `keras_flan.generation.generate`, without the model; its paths
            may be plain texts. For the mode `rank` a callable needs a method
            `log_likelihoods(prompts, continuations)`.
        benchmark: `"mmlu"`, `"bbh"`, `"gsm8k"`, ..., or a protocol, see
            `load_benchmark`.
        data: The benchmark's file or folder, see `load_benchmark`.
        output: The folder to write.
        mode: `"direct"`, `"cot"` to let the model reason first, or `"rank"`
            to compare the likelihoods of given answers.
        shots: Number of exemplars in the prompt; None is as many as the
            published protocol has.
        limit: Only the first so many examples of each task.
        tasks: Only these tasks.
        split: Of the benchmarks that have several.
        batch_paths: Paths that are decoded, and put into the journal, at a
            time. Default: as generation does.
        sampling: How to sample the paths of an example, whose answers are
            put to the vote; the seed is that of the exemplars too. Default:
            `Sampling.for_votes(max_new_tokens=256)`.
        resume: Go on with the journal of a run that was cut short; of a
            finished run with the same settings, model and data, return the
            metrics.
        progress: Show progress and the time left on stderr.
        **settings: Or the arguments of `Sampling.for_votes`, by name.

    Returns:
        The content of `metrics.json`: what `score` returns, and under `run`
        the settings.

    Raises:
        InputError: If data are missing or broken (nothing is written), or
            the journal is of another run.

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
    output, begin = Path(output), time.monotonic()
    if output.exists() and not output.is_dir():
        raise InputError(f"{output}: expected a folder to write, found a file")
    sampling = sampling_of(sampling, settings, evaluate, _DEFAULT)
    if sampling.stop:
        raise InputError("stop: a benchmark says itself where an output ends")
    source = load_benchmark(benchmark, data, split)
    tasks = None if tasks is None else list(tasks)
    shots = source.protocol.shots if shots is None else shots
    items = source.items(
        mode=mode, shots=shots, limit=limit, tasks=tasks, seed=sampling.seed
    )
    settings = sampling.to_dict()
    if batch_paths is not None:
        settings["batch_paths"] = batch_paths
    make = _maker(model, mode, settings)
    row_fields = {
        "protocol": source.name,
        "protocol_version": source.protocol.version,
        "extractor_version": EXTRACTOR_VERSION,
        "mode": mode,
        "seed": sampling.seed,
        "model": model_hash(model),
    }
    run = {
        **row_fields,
        "shots": shots,
        "vote": "majority",
        **settings,
        "limit": limit,
        "tasks": tasks,
        "split": source.split,
        "data": _digest(items),
    }
    if resume and (finished := _finished(output, run)):
        return finished
    journal = Journal(output / JOURNAL_FILE, run, resume)
    before = len(journal.rows)
    size = max(1, (batch_paths or _PATHS_PER_CALL) // sampling.samples)
    _fill(journal, source.protocol, items, make, size, row_fields, progress)
    rows = [journal.rows[index] for index in range(len(items))]
    metrics = {**score(source.protocol, rows), "run": run}
    write_predictions(output / PREDICTIONS_FILE, rows)
    write_json(output / METRICS_FILE, metrics)
    timing = {
        "seconds": round(time.monotonic() - begin, 3),
        "examples": len(items) - before,
        "resumed": before,
    }
    write_json(output / TIMING_FILE, timing)
    journal.close()
    return metrics


def _digest(items: Sequence[Item]) -> str:
    """Returns 16 hexadecimal digits that change when the questions do."""
    digest = hashlib.sha256()
    for item in items:
        row = dataclasses.asdict(item)
        digest.update(json.dumps(row, sort_keys=True).encode())
    return digest.hexdigest()[:16]


def _finished(output: Path, run: dict) -> dict | None:
    """Returns the metrics of the same run, if it is there already."""
    files = [output / name for name in (METRICS_FILE, PREDICTIONS_FILE)]
    if not all(file.is_file() for file in files):
        return None
    if (output / JOURNAL_FILE).exists():
        return None
    metrics = read_json_object(files[0], allow_nan=True)
    return metrics if metrics.get("run") == run else None


def _fill(
    journal: Journal,
    protocol: PromptProtocol,
    items: Sequence[Item],
    make: Callable[[Sequence[Item]], list[dict[str, Any]]],
    size: int,
    fields: dict[str, Any],
    progress: bool,
) -> None:
    """Generates what the journal lacks."""
    # Prompts of like length are asked together: little padding, and the
    # longest batch, which needs the most memory, comes first. A batch that
    # was cut short is made again as it was, so that its rows are the same.
    order = sorted(range(len(items)), key=lambda i: -len(items[i].prompt))
    left = [
        batch
        for batch in _chunks(order, size)
        if any(i not in journal.rows for i in batch)
    ]
    with Progress(
        f"evaluating {protocol.name}",
        total=sum(map(len, left)),
        unit="examples",
        enabled=progress,
    ) as bar:
        for batch in left:
            made = make([items[i] for i in batch])
            logged = as_predictions(
                {**_row(items[i], one), **fields}
                for i, one in zip(batch, made, strict=True)
            )
            judged = judge(protocol, logged)
            journal.add(
                {
                    i: dataclasses.replace(row, verdict=found)
                    for i, row, found in zip(batch, logged, judged, strict=True)
                }
            )
            bar.advance(len(batch))


def _chunks(values: list[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]


# === Asking the model ===


def _maker(model: Any, mode: str, settings: dict) -> Callable:
    """Returns a function of items to what the log says of their outputs."""
    if mode == "rank":
        return lambda items: _rank(model, items)
    generate = generator_of(model)
    stops = getattr(model, "vocabulary", None) is not None

    def make(items: Sequence[Item]) -> list[dict]:
        # Saves time only: what follows a stop text is cut anyway. Blank ones
        # don't count before something was written, which generation ignores.
        stop = [text for text in items[0].stop if text.strip()]
        paths = generate(
            [item.prompt for item in items],
            **settings,
            **({"stop": stop} if stops and stop else {}),
        )
        return [_outputs(of_item) for of_item in paths]

    return make


def _outputs(paths: Sequence[Any]) -> dict:
    logged = {"outputs": [p if isinstance(p, str) else p.text for p in paths]}
    if not any(isinstance(path, str) for path in paths):
        logged["log_probabilities"] = [p.log_probability for p in paths]
        logged["token_counts"] = [len(p.token_ids) for p in paths]
    return logged


def _rank(model: Any, items: Sequence[Item]) -> list[dict]:
    found = likelihoods_of(model)(
        [item.prompt for item in items],
        [item.continuations for item in items],
    )
    made = []
    for item, scores in zip(items, found, strict=True):
        ranking = Ranking(
            list(item.choices),
            [s.log_probability for s in scores],
            [s.token_count for s in scores],
        )
        best = ranking.best()
        made.append(
            {
                "outputs": [item.choices[best]],
                "log_probabilities": [scores[best].log_probability],
                "token_counts": [scores[best].token_count],
                "ranking": vars(ranking),
            }
        )
    return made


def _row(item: Item, made: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what the log says before anything is judged."""
    keys = ("task", "id", "prompt", "shots", "target", "answer_kind")
    return {
        **{key: getattr(item, key) for key in keys},
        "options": list(item.options),
        "stop": list(item.stop),
        "references": list(item.references),
        **made,
    }
