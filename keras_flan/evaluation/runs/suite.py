"""Several benchmarks and modes, one after the other, with one model."""

import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_flan.errors import InputError, did_you_mean
from keras_flan.evaluation.benchmarks.files import BUILT_IN, load_benchmark
from keras_flan.evaluation.benchmarks.protocols import load_protocol
from keras_flan.evaluation.benchmarks.showing import golden_prompts
from keras_flan.evaluation.benchmarks.ways import Way
from keras_flan.evaluation.runs.run import EVALUATION, Run
from keras_flan.evaluation.scores.metrics import METRICS
from keras_flan.outputs import check_output
from keras_flan.storage import as_path, is_remote

# Paths of a vote where nothing else is said.
_VOTES = 8


def plan(
    benchmarks: Sequence[str],
    ways: Sequence[str],
    data: Iterable[str],
    output: str | os.PathLike,
    samples: int = 1,
    split: str | None = None,
    **settings: Any,
) -> list[Run]:
    """Returns the runs of benchmarks and ways.

    Args:
        benchmarks: Names of benchmarks, or paths of protocols.
        ways: Values of `Way`. `"cot-vote"` is chain of thought with a vote
            over `samples` paths (8, if 1); beside it the other ways have one
            greedy path.
        data: A file or folder for all benchmarks, or `NAME=PATH` for one.
        output: The folder to write. A single run writes to it, several to
            `<benchmark>-<way>` in it.
        samples: Paths per example.
        split: The split of the benchmarks that have it.
        **settings: Further ones of `Run.of`.

    Raises:
        InputError: If a name is unknown, a benchmark has no data, or none
            has the split.

    Example:
        >>> [run.output.name for run in plan(
        ...     ["bbh"], ["direct", "cot-vote"], ["data"], "runs")]
        ['bbh-direct', 'bbh-cot-vote']
    """
    asked = [Way.named(way) for way in ways]
    protocols = [load_protocol(name) for name in dict.fromkeys(benchmarks)]
    places = _places(data, [protocol.name for protocol in protocols])
    pairs = list(itertools.product(protocols, dict.fromkeys(asked)))
    votes = any(way.votes for way in asked)
    runs = []
    for protocol, way in pairs:
        number = samples
        if way.votes:
            number = samples if samples > 1 else _VOTES
        elif votes or way is Way.rank:
            number = 1
        folder = f"{protocol.name}-{way.value}" if len(pairs) > 1 else ""
        run = Run.of(
            protocol,
            places[protocol.name],
            as_path(output, folder),
            mode=way.mode,
            split=split if split in protocol.splits else None,
            samples=number,
            **settings,
        )
        runs.append(run)
    if split is not None and not any(run.split for run in runs):
        splits = {s for protocol in protocols for s in protocol.splits}
        raise InputError(
            f"split: found {split!r}.{did_you_mean(split, splits)}"
        )
    return runs


def check(runs: Iterable[Run], overwrite: bool = False) -> None:
    """Raises InputError if a run lacks what it names, or may not be written."""
    for run in runs:
        source = load_benchmark(run.benchmark, run.data, run.split)
        for metric in source.protocol.with_metrics(run.metrics).metrics:
            METRICS.named(metric)
        check_output(run.output, EVALUATION, overwrite)


def prompts_of(runs: Iterable[Run], number: int) -> list[dict[str, Any]]:
    """Returns the first prompts of each run, see `golden_prompts`."""
    return [
        row
        for run in runs
        for row in golden_prompts(
            run.benchmark,
            run.data,
            mode=run.mode,
            shots=run.shots,
            number=number,
            tasks=run.tasks,
            split=run.split,
            seed=run.sampling.seed,
        )
    ]


def run_all(
    model: Any,
    runs: Sequence[Run],
    *,
    done: Callable[[dict[str, Any]], None] = lambda metrics: None,
    **settings: bool,
) -> list[dict[str, Any]]:
    """Evaluates the runs, in order.

    Args:
        model: See `evaluate`.
        runs: What `plan` returned.
        done: Called with the metrics of each.
        **settings: `resume`, `progress` and `overwrite`, as for `evaluate`.

    Returns:
        The metrics of each.
    """
    from keras_flan.evaluation.runs.evaluate import evaluate_run

    results = []
    for run in runs:
        results.append(evaluate_run(model, run, **settings))
        done(results[-1])
    return results


def _places(
    data: Iterable[str], names: Sequence[str]
) -> Mapping[str, Path | None]:
    for name, number in Counter(names).items():
        if number > 1:
            raise InputError(
                f"{name}: two of the benchmarks have this name; give one of "
                "the protocols another"
            )
    places, everywhere = {}, None
    for text in data:
        name, equals, path = str(text).partition("=")
        if equals and not (is_remote(text) or Path(text).exists()):
            if name not in names:
                raise InputError(
                    f"--data {text}: no such benchmark among those asked for."
                    + did_you_mean(name, names)
                )
            places[name] = as_path(path)
        else:
            everywhere = as_path(text)
    for name in names:
        if name not in (*places, *BUILT_IN) and everywhere is None:
            raise InputError(f"no data for {name}; give --data {name}=PATH")
    return {name: places.get(name, everywhere) for name in names}
