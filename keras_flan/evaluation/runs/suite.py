"""Several benchmarks and modes, one after the other, with one model."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_flan.errors import InputError, did_you_mean
from keras_flan.evaluation.benchmarks.files import BUILT_IN, load_benchmark
from keras_flan.evaluation.benchmarks.protocols import load_protocol
from keras_flan.evaluation.benchmarks.ways import Way
from keras_flan.evaluation.runs.run import EVALUATION, Run
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
        benchmarks: Names of benchmarks.
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
    places = _places(data, benchmarks)
    pairs = [(name, way) for name in benchmarks for way in asked]
    votes = any(way.votes for way in asked)
    runs = []
    for name, way in dict.fromkeys(pairs):
        number = samples
        if way.votes:
            number = samples if samples > 1 else _VOTES
        elif votes or way is Way.rank:
            number = 1
        run = Run.of(
            name,
            places[name],
            as_path(output, f"{name}-{way.value}" if len(pairs) > 1 else ""),
            mode=way.mode,
            split=split if split in load_protocol(name).splits else None,
            samples=number,
            **settings,
        )
        runs.append(run)
    if split is not None and not any(run.split for run in runs):
        splits = {s for name in benchmarks for s in load_protocol(name).splits}
        raise InputError(
            f"split: found {split!r}.{did_you_mean(split, splits)}"
        )
    return runs


def check(runs: Iterable[Run], overwrite: bool = False) -> None:
    """Raises InputError if a run lacks its files, or may not be written."""
    for run in runs:
        load_benchmark(run.benchmark, run.data, run.split)
        check_output(run.output, EVALUATION, overwrite)


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
