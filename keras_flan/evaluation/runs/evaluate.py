"""Evaluation: prompts out, outputs in, answers, votes, scores, files.

A run writes `predictions.jsonl` (one line per example: prompt, raw outputs,
log-probabilities, extracted answers with the rules that found them, votes,
target, versions, model hash), `metrics.json` and `timing.json`, and of a
protocol of your own a copy, `protocol.yaml`. They take the place of earlier
ones only when the whole run went well. The same run writes the same bytes, but
for `timing.json`. `keras-flan score` gives the same scores for the predictions.

Until then finished examples are kept in `journal.jsonl`, batch by batch:
after a crash, or `kill -9`, the same call with `resume` goes on.
"""

import dataclasses
import functools
import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_flan.answers import EXTRACTOR_VERSION, KINDS
from keras_flan.evaluation.benchmarks.base import Item
from keras_flan.evaluation.benchmarks.files import load_benchmark
from keras_flan.evaluation.benchmarks.protocols import (
    PROTOCOL_FILE,
    PromptProtocol,
)
from keras_flan.evaluation.benchmarks.readers import READERS
from keras_flan.evaluation.runs.identity import model_hash
from keras_flan.evaluation.runs.journal import Journal
from keras_flan.evaluation.runs.run import (
    EVALUATION,
    JOURNAL_FILE,
    METRICS_FILE,
    Run,
)
from keras_flan.evaluation.scores.judging import judge
from keras_flan.evaluation.scores.metrics import METRICS
from keras_flan.evaluation.scores.predictions import (
    PREDICTIONS_FILE,
    Prediction,
    Ranking,
    Verdict,
    read_predictions,
    write_predictions,
)
from keras_flan.evaluation.scores.scoring import summarise
from keras_flan.extensions import digests
from keras_flan.files import atomic_write, read_json_object, write_json
from keras_flan.generation.language_model_like import (
    DecodedModel,
    StandIn,
    as_language_model,
)
from keras_flan.outputs import output_folder, removed, replace_files, settle
from keras_flan.progress import track

TIMING_FILE = "timing.json"

# Paths that are asked for in one call; generation makes its own batches.
_PATHS_PER_CALL = 256


def evaluate(
    model: Any,
    benchmark: str | os.PathLike | PromptProtocol,
    data: str | os.PathLike | None = None,
    *,
    output: str | os.PathLike,
    resume: bool = False,
    progress: bool = False,
    overwrite: bool = False,
    **settings: Any,
) -> dict[str, Any]:
    """Scores a model on a benchmark and logs every example; see the module.

    Args:
        model: A model with a vocabulary, as `keras_flan.models.load` returns
            it, or what answers in its stead: a
            `keras_flan.generation.LanguageModelLike`, or a callable that is
            its `generate`.
        benchmark: `"mmlu"`, `"bbh"`, `"gsm8k"`, ..., the path of a protocol
            of your own, or a protocol, see `load_benchmark`.
        data: The benchmark's file or folder, see `load_benchmark`.
        output: The folder to write.
        resume: Go on with the journal of a run that was cut short; of a
            finished run with the same settings, model and data, return the
            metrics.
        progress: Show progress and the time left on stderr.
        overwrite: Write to an output that is neither empty nor of an
            evaluation: what has the names of its files is replaced.
        **settings: The other fields of a `Run` (`mode`, `shots`, `limit`,
            `tasks`, `split`, `batch_paths`, `metrics`, `sampling`), or those
            of its `Sampling` by name (`samples`, `temperature`, ...).

    Returns:
        The content of `metrics.json`: what `score` returns, and under `run`
        the settings.

    Raises:
        InputError: If data are missing or broken (nothing is written), the
            journal is of another run, the output holds something else, or
            another process writes there.

    Example:
        >>> metrics = evaluate(
        ...     keras_flan.models.load("my_model"),
        ...     "gsm8k",
        ...     "data/gsm8k",
        ...     output="runs/gsm8k",
        ...     mode="cot",
        ...     samples=8,
        ... )
        >>> metrics["accuracy"], metrics["tasks"]["gsm8k"]["unparsed"]
        (0.0, 1290)

    Reference: arXiv:2210.11416, section 3; arXiv:2203.11171.
    """
    run = Run.of(benchmark, data, output, **settings)
    return evaluate_run(
        model, run, resume=resume, progress=progress, overwrite=overwrite
    )


def evaluate_run(
    model: Any,
    run: Run,
    *,
    resume: bool = False,
    progress: bool = False,
    overwrite: bool = False,
) -> dict[str, Any]:
    """As `evaluate`."""
    begin = time.monotonic()
    source = load_benchmark(run.benchmark, run.data, run.split)
    protocol = source.protocol.with_metrics(run.metrics)
    shots = source.protocol.shots if run.shots is None else run.shots
    items = source.items(
        mode=run.mode,
        shots=shots,
        limit=run.limit,
        tasks=run.tasks,
        seed=run.sampling.seed,
    )
    # A right answer that cannot be read fails before anything is asked.
    judge(
        protocol,
        [_prediction(item, [""]) for item in items],
        source=str(run.data),
    )
    asked = as_language_model(model)
    row_fields = {
        "protocol": source.name,
        "protocol_version": source.protocol.version,
        "extractor_version": EXTRACTOR_VERSION,
        "mode": run.mode,
        "seed": run.sampling.seed,
        "model": model_hash(model),
    }
    identity = {
        **row_fields,
        "shots": shots,
        "vote": "majority",
        **_settings(run),
        "limit": run.limit,
        "tasks": run.tasks,
        "split": source.split,
        "data": _digest(items),
    }
    told = {**identity, **_own_parts(protocol, run, items)}
    settle(run.output)
    finished = _finished(run.output, identity) if resume else None
    if finished and finished["run"] == told:
        return finished
    predict = functools.partial(_predict, asked, run, protocol, row_fields)
    with output_folder(run.output, EVALUATION, overwrite):
        if finished:  # Scored in another way: nothing is asked again.
            rows, before = read_predictions(run.output), len(items)
        else:
            journal = Journal(run.output / JOURNAL_FILE, identity, resume)
            before = len(journal.rows)
            by_task = getattr(getattr(asked, "decoding", None), "causal", False)
            _fill(journal, run, items, predict, source.name, progress, by_task)
            rows = [journal.rows[index] for index in range(len(items))]
        results = judge(protocol, rows)
        metrics = {**summarise(protocol, results), "run": told}
        timing = {
            "seconds": round(time.monotonic() - begin, 3),
            "examples": len(items) - before,
            "resumed": before,
        }
        _write(run.output, protocol, rows, results, metrics, timing)
    return metrics


def _write(
    output: Path,
    protocol: PromptProtocol,
    rows: Sequence[Prediction],
    results: Sequence[Verdict],
    metrics: Mapping[str, Any],
    timing: Mapping[str, Any],
) -> None:
    """Puts the files of a finished run in place, all at once."""
    judged = (
        dataclasses.replace(row, verdict=found)
        for row, found in zip(rows, results, strict=True)
    )
    with replace_files(output, METRICS_FILE) as made:
        write_predictions(made / PREDICTIONS_FILE, judged)
        if protocol.shipped:
            removed(made, PROTOCOL_FILE)
        else:
            with atomic_write(made / PROTOCOL_FILE) as file:
                file.write(protocol.to_yaml())
        write_json(made / TIMING_FILE, timing)
        write_json(made / METRICS_FILE, metrics)
        removed(made, JOURNAL_FILE)  # Its rows are in the others.


# What a run says of its scoring: with another, nothing is asked again.
_SCORING = ("metrics", "protocol_digest", "modules")


def _own_parts(
    protocol: PromptProtocol, run: Run, items: Sequence[Item]
) -> dict[str, Any]:
    """Returns what of the scoring is not of the package, see `_SCORING`."""
    told: dict[str, Any] = {}
    if run.metrics:
        told["metrics"] = list(run.metrics)
    if not protocol.shipped:
        text = protocol.to_yaml().encode()
        told["protocol_digest"] = hashlib.sha256(text).hexdigest()[:16]
    modules = digests(
        [
            *map(KINDS.origin, {item.answer_kind for item in items}),
            READERS.origin(protocol.reader),
            *map(METRICS.origin, protocol.metrics),
        ]
    )
    return {**told, **({"modules": modules} if modules else {})}


def _digest(items: Sequence[Item]) -> str:
    """Returns 16 hexadecimal digits that change when the questions do."""
    digest = hashlib.sha256()
    for item in items:
        row = dataclasses.asdict(item)
        # Of earlier versions no item has any.
        for name in ("names", "language"):
            if not row[name]:
                del row[name]
        digest.update(json.dumps(row, sort_keys=True).encode())
    return digest.hexdigest()[:16]


def _finished(output: Path, identity: Mapping[str, Any]) -> dict | None:
    """Returns the metrics of the same run, if it is there already."""
    files = [output / name for name in (METRICS_FILE, PREDICTIONS_FILE)]
    if not all(file.is_file() for file in files):
        return None
    if (output / JOURNAL_FILE).exists():
        return None
    metrics = read_json_object(files[0], allow_nan=True)
    found = metrics.get("run")
    if not isinstance(found, dict):
        return None
    asked = {k: v for k, v in found.items() if k not in _SCORING}
    return metrics if asked == identity else None


def _fill(
    journal: Journal,
    run: Run,
    items: Sequence[Item],
    predict: Callable[[list[Item]], list[Prediction]],
    name: str = "",
    progress: bool = False,
    by_task: bool = False,
) -> None:
    """Generates what the journal lacks.

    Prompts of a task are asked together `by_task`, if they are of about the
    same length: they begin alike, and a causal model reads that once.
    """
    # Prompts of like length are asked together: little padding, and the
    # longest batch, which needs the most memory, comes first. A batch that
    # was cut short is made again as it was, so that its rows are the same.
    order = sorted(range(len(items)), key=_by_length(items, by_task))
    size = max(1, (run.batch_paths or _PATHS_PER_CALL) // run.sampling.samples)
    batches = (order[i : i + size] for i in range(0, len(order), size))
    left = [b for b in batches if not journal.rows.keys() >= set(b)]
    for batch in track(
        left,
        f"evaluating {name}",
        total=sum(map(len, left)),
        unit="examples",
        size=len,
        enabled=progress,
    ):
        rows = predict([items[i] for i in batch])
        journal.add(dict(zip(batch, rows, strict=True)))


def _by_length(
    items: Sequence[Item], by_task: bool
) -> Callable[[int], tuple[int, str, int]]:
    """Returns what to sort the numbers of items by, the longest first."""

    def key(i: int) -> tuple[int, str, int]:
        length = len(items[i].prompt)
        if by_task:
            return -length.bit_length(), items[i].task or "", -length
        return -length, "", 0

    return key


# === Asking the model ===


def _settings(run: Run) -> dict[str, Any]:
    """Returns how to generate, by name."""
    batch = {"batch_paths": run.batch_paths} if run.batch_paths else {}
    return {**run.sampling.to_dict(), **batch}


def _predict(
    asked: DecodedModel | StandIn,
    run: Run,
    protocol: PromptProtocol,
    fields: Mapping[str, Any],
    items: Sequence[Item],
) -> list[Prediction]:
    """Returns the judged outputs of items that are asked together."""
    protocol = protocol.model_copy(update={"metrics": ()})  # Scored later.
    made = (_rank if run.mode == "rank" else _generate)(asked, run, items)
    return [
        dataclasses.replace(row, verdict=found, **fields)
        for row, found in zip(made, judge(protocol, made), strict=True)
    ]


def _generate(
    asked: DecodedModel | StandIn, run: Run, items: Sequence[Item]
) -> list[Prediction]:
    settings = _settings(run)
    # Saves time only: what follows a stop text is cut anyway. Blank ones
    # don't count before something was written, which generation ignores.
    stop = [text for text in items[0].stop if text.strip()]
    if stop and isinstance(asked, DecodedModel):
        settings["stop"] = stop
    made = []
    found = asked.generate([item.prompt for item in items], **settings)
    for item, paths in zip(items, found, strict=True):
        scores: dict[str, Any] = {}
        if not any(math.isnan(path.log_probability) for path in paths):
            scores["log_probabilities"] = [p.log_probability for p in paths]
            scores["token_counts"] = [len(p.token_ids) for p in paths]
        made.append(_prediction(item, [p.text for p in paths], **scores))
    return made


def _rank(
    asked: DecodedModel | StandIn, run: Run, items: Sequence[Item]
) -> list[Prediction]:
    made = []
    found = asked.log_likelihoods(
        [item.prompt for item in items], [item.continuations for item in items]
    )
    for item, scores in zip(items, found, strict=True):
        ranking = Ranking(
            list(item.choices),
            [s.log_probability for s in scores],
            [s.token_count for s in scores],
        )
        best = ranking.best()
        row = _prediction(
            item,
            [item.choices[best]],
            log_probabilities=[scores[best].log_probability],
            token_counts=[scores[best].token_count],
            ranking=ranking,
        )
        made.append(row)
    return made


def _prediction(item: Item, outputs: list[str], **scores: Any) -> Prediction:
    """Returns what the log says before anything is judged."""
    keys = ("task", "id", "prompt", "shots", "target", "answer_kind")
    return Prediction(
        **{key: getattr(item, key) for key in keys},
        options=item.options,
        stop=item.stop,
        references=item.references or None,
        names=item.names or None,
        language=item.language,
        outputs=outputs,
        **scores,
    )
