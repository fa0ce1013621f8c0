"""Several benchmarks and modes, one after the other, with one model."""

import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_flan.errors import InputError, did_you_mean
from keras_flan.evaluation.benchmarks.files import BUILT_IN, load_benchmark
from keras_flan.evaluation.benchmarks.protocols import load_protocol

# How a run is asked: its mode, and whether several paths vote.
WAYS = ("direct", "cot", "cot-vote", "rank")
# Paths of `cot-vote` where nothing else is said.
_VOTES = 8


@dataclasses.dataclass(frozen=True)
class Run:
    """One benchmark asked in one way.

    Args:
        benchmark: Its name.
        data: Its files.
        output: The folder to write.
        mode: A mode of `evaluate`.
        samples: Paths an example.
    """

    benchmark: str
    data: Path | None
    output: Path
    mode: str
    samples: int


def plan(
    benchmarks: Sequence[str],
    ways: Sequence[str],
    data: Iterable[str],
    output: str | os.PathLike,
    samples: int = 1,
) -> list[Run]:
    """Returns the runs of benchmarks and ways.

    Args:
        benchmarks: Names of benchmarks.
        ways: Names in `WAYS`. `"cot-vote"` is chain of thought with a vote
            over `samples` paths (8, if 1); beside it the other ways have one
            greedy path.
        data: A file or folder for all benchmarks, or `NAME=PATH` for one.
        output: The folder to write. A single run writes to it, several to
            `<benchmark>-<way>` in it.
        samples: Paths an example.

    Raises:
        InputError: If a name is unknown, or a benchmark has no data.

    Example:
        >>> [run.output.name for run in plan(
        ...     ["bbh"], ["direct", "cot-vote"], ["data"], "runs")]
        ['bbh-direct', 'bbh-cot-vote']
    """
    for way in ways:
        if way not in WAYS:
            raise InputError(f"mode: found {way!r}." + did_you_mean(way, WAYS))
    places = _places(data, benchmarks)
    pairs = [(name, way) for name in benchmarks for way in ways]
    votes = "cot-vote" in ways
    runs = []
    for name, way in dict.fromkeys(pairs):
        load_protocol(name)  # says if there is none
        if way == "cot-vote":
            number = samples if samples > 1 else _VOTES
        else:
            number = 1 if votes or way == "rank" else samples
        folder = Path(output)
        if len(pairs) > 1:
            folder = folder / f"{name}-{way}"
        mode = "cot" if way == "cot-vote" else way
        runs.append(Run(name, places[name], folder, mode, number))
    return runs


def check(runs: Iterable[Run], split: str | None = None) -> None:
    """Raises InputError if a run lacks its files, or none has the split."""
    runs = list(runs)
    splits = {s for r in runs for s in load_protocol(r.benchmark).splits}
    if split is not None and split not in splits:
        raise InputError(
            f"split: found {split!r}." + did_you_mean(split, splits)
        )
    for run in runs:
        load_benchmark(run.benchmark, run.data, _split_of(run, split))


def run_all(
    model: Any,
    runs: Sequence[Run],
    *,
    split: str | None = None,
    done: Callable[[Run, dict], None] = lambda run, metrics: None,
    **settings,
) -> list[dict]:
    """Evaluates the runs, in order.

    Args:
        model: See `evaluate`.
        runs: What `plan` returned.
        split: The split of the benchmarks that have it.
        done: Called with each run and its metrics.
        **settings: Further arguments of `evaluate`.

    Returns:
        The metrics of each.
    """
    from keras_flan.evaluation.runs.evaluate import evaluate

    results = []
    for run in runs:
        metrics = evaluate(
            model,
            run.benchmark,
            run.data,
            output=run.output,
            mode=run.mode,
            samples=run.samples,
            split=_split_of(run, split),
            **settings,
        )
        done(run, metrics)
        results.append(metrics)
    return results


def _split_of(run: Run, split: str | None) -> str | None:
    return split if split in load_protocol(run.benchmark).splits else None


def _places(
    data: Iterable[str], names: Sequence[str]
) -> Mapping[str, Path | None]:
    places, everywhere = {}, None
    for text in data:
        name, equals, path = str(text).partition("=")
        if equals and not Path(text).exists():
            if name not in names:
                raise InputError(
                    f"--data {text}: no such benchmark among those asked for."
                    + did_you_mean(name, names)
                )
            places[name] = Path(path)
        else:
            everywhere = Path(text)
    for name in names:
        if name not in (*places, *BUILT_IN) and everywhere is None:
            raise InputError(f"no data for {name}; give --data {name}=PATH")
    return {name: places.get(name, everywhere) for name in names}
