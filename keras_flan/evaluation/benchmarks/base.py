"""A benchmark: its questions as items, laid out by its protocol."""

import abc
import dataclasses
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from keras_flan.data.templates.families import Format
from keras_flan.errors import InputError, did_you_mean
from keras_flan.evaluation.benchmarks.protocols import (
    PromptProtocol,
    load_protocol,
)
from keras_flan.evaluation.benchmarks.ways import MODES
from keras_flan.storage import as_path


@dataclasses.dataclass(frozen=True)
class Item:
    """A question as a model is asked it.

    Args:
        task: The task of the benchmark.
        id: Where the question came from.
        prompt: What the model reads.
        target: The right answer.
        answer_kind: How an answer is read from an output, see
            `keras_flan.generation.extract_answer`.
        options: The texts of the answer options, if the data give them.
        shots: How many exemplars stand in the prompt.
        stop: An output ends before the first of these texts.
        references: All right answers, where there may be several.
        choices: The answers that the mode `rank` compares; empty if the
            question is open.
        continuations: The same as they would continue the prompt.
        names: How the prompt names the options, in their order, where the
            target is such a name.
        language: The code of the language that it is asked in, if known.
    """

    task: str
    id: str
    prompt: str
    target: str
    answer_kind: str
    options: tuple[str, ...] = ()
    shots: int = 0
    stop: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    continuations: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    language: str | None = None


class Asked(NamedTuple):
    """What is asked of a task, see `Benchmark.items`."""

    task: str
    format: Format
    shots: int
    limit: int | None
    seed: int
    ranked: bool = False


class Benchmark(abc.ABC):
    """Files of a benchmark, asked by its prompt protocol.

    Made by `load_benchmark`. The layout, and where files and exemplars are,
    is data, in `protocol_library/<name>.yaml`.

    Args:
        name: The benchmark, or its protocol.
        data: The file or folder of the data, if it needs some.
        split: The split to ask, where the benchmark has several.

    Example:

    ```python
    benchmark = keras_flan.evaluation.load_benchmark("gsm8k", "data")
    print(list(benchmark.tasks))
    ```
    """

    def __init__(
        self,
        name: str | os.PathLike | PromptProtocol,
        data: str | os.PathLike | None = None,
        split: str | None = None,
    ):
        self.protocol = load_protocol(name)
        self.name = self.protocol.name
        # Some benchmarks are a part of the package.
        self.data = as_path("." if data is None else data)
        if not self.data.exists():
            raise InputError(
                f"{self.data}: no such file or folder; give the data of "
                f"{self.name} with --data"
            )
        self.split = split
        splits = self.protocol.splits
        if split is not None and split not in splits:
            raise InputError(
                f"{self.name}: no split {split!r}."
                + did_you_mean(split, splits)
            )
        self._sources = self._find()

    @property
    def tasks(self) -> list[str]:
        """Names of the tasks that were found."""
        return list(self._sources)

    def items(
        self,
        *,
        mode: str = "direct",
        shots: int | None = 0,
        limit: int | None = None,
        tasks: Iterable[str] | None = None,
        seed: int = 0,
    ) -> list[Item]:
        """Renders the prompts.

        Args:
            mode: `"direct"`; `"cot"` to let the model reason first; or
                `"rank"` to compare the likelihoods of given answers.
            shots: Number of exemplars; 0 asks without any, None takes as
                many as the published protocol.
            limit: The largest number of questions of each task.
            tasks: Only these tasks.
            seed: Chooses the exemplars, where they are drawn.

        Returns:
            The items, task by task, in the order of the files.

        Raises:
            InputError: If a task or a file is missing, a row is broken, or
                there are too few exemplars.
        """
        if mode not in MODES:
            raise InputError(
                f"mode: found {mode!r}." + did_you_mean(mode, MODES)
            )
        chosen = list(tasks or self.tasks)
        for task in chosen:
            if task not in self._sources:
                raise InputError(
                    f"{self.data}: no task {task!r} of {self.name}."
                    + did_you_mean(task, self.tasks)
                )
        shots = self.protocol.shots if shots is None else shots
        form = Format(
            ("few" if shots else "zero")
            + "_shot_"
            + ("cot" if mode == "cot" else "direct")
        )
        items = [
            item
            for task in chosen
            for item in self._items(
                Asked(task, form, shots, limit, seed, mode == "rank")
            )
        ]
        if mode == "rank":
            items = [item for item in items if item.choices]
            if not items:
                raise InputError(
                    f"{self.name}: its questions have no answers to choose "
                    "from; give the mode 'direct' or 'cot'"
                )
        return items

    @abc.abstractmethod
    def _find(self) -> dict[str, Path]:
        """Returns the data of each task; InputError if there are none."""

    @abc.abstractmethod
    def _items(self, asked: Asked) -> list[Item]:
        """Returns the items of a task."""
