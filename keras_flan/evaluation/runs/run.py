"""What a run is: one benchmark, asked in one way."""

import dataclasses
import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keras_flan.errors import InputError
from keras_flan.evaluation.benchmarks.protocols import PromptProtocol
from keras_flan.generation.sampling_settings import Sampling, sampling_of
from keras_flan.outputs import Kind, head_of
from keras_flan.storage import as_path

METRICS_FILE = "metrics.json"
JOURNAL_FILE = "journal.jsonl"

_DEFAULT = functools.partial(Sampling.for_votes, max_new_tokens=256)


def _is_evaluation(folder: Path) -> bool:
    heads = (head_of(folder / name) for name in (METRICS_FILE, JOURNAL_FILE))
    runs = (head.get("run") for head in heads)
    return any(isinstance(r, dict) and "extractor_version" in r for r in runs)


# What takes up the folder of an evaluation.
EVALUATION = Kind("evaluation", _is_evaluation)


@dataclasses.dataclass(frozen=True)
class Run:
    """One benchmark, asked in one way.

    Args:
        benchmark: `"mmlu"`, `"bbh"`, `"gsm8k"`, ..., the path of a protocol
            of your own, or a protocol, see `load_benchmark`.
        data: Its file or folder, see `load_benchmark`.
        output: The folder to write.
        mode: `"direct"`, `"cot"` to let the model reason first, or `"rank"`
            to compare the likelihoods of given answers.
        shots: Exemplars in the prompt; `None` is as many as the published
            protocol has.
        limit: The most examples of each task; the first ones.
        tasks: Only these tasks.
        split: Of the benchmarks that have several.
        batch_paths: Paths that are decoded, and put into the journal, at a
            time. Default: as generation does.
        metrics: What to score beside what the protocol says; names in
            `keras_flan.evaluation.scores.metrics.METRICS`, or of a module of
            your own.
        sampling: How to sample the paths of an example; their answers vote.
            Its seed also chooses the exemplars.

    Raises:
        InputError: If `output` is a file, or the sampling has stop strings.
    """

    benchmark: str | os.PathLike | PromptProtocol
    data: str | os.PathLike | None
    output: Path
    mode: str = "direct"
    shots: int | None = 0
    limit: int | None = None
    tasks: Sequence[str] | None = None
    split: str | None = None
    batch_paths: int | None = None
    metrics: Sequence[str] = ()
    sampling: Sampling = dataclasses.field(default_factory=_DEFAULT)

    def __post_init__(self) -> None:
        if self.output.exists() and not self.output.is_dir():
            raise InputError(
                f"{self.output}: expected a folder to write, found a file"
            )
        if self.sampling.stop:
            raise InputError(
                "stop: a benchmark says itself where an output ends"
            )

    @classmethod
    def of(
        cls,
        benchmark: str | os.PathLike | PromptProtocol,
        data: str | os.PathLike | None,
        output: str | os.PathLike,
        **settings: Any,
    ) -> "Run":
        """Returns a run by further fields, and those of its sampling.

        `settings` may have the arguments of `Sampling.for_votes` in place of
        a whole `sampling`. Default: one greedy path of at most 256 tokens.

        Raises:
            InputError: If a name is unknown or a value is out of range.
        """
        own = {field.name for field in dataclasses.fields(cls)}
        given = {name: settings.pop(name) for name in own & settings.keys()}
        given["sampling"] = sampling_of(
            given.get("sampling"), settings, cls, _DEFAULT
        )
        if given.get("tasks") is not None:
            given["tasks"] = list(given["tasks"])
        return cls(benchmark, data, as_path(output), **given)
