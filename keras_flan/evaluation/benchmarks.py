"""Benchmarks: their files, and the prompts that their protocols make."""

import abc
import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from keras_flan.data.templates import Format
from keras_flan.errors import InputError, did_you_mean
from keras_flan.evaluation.layouts import (
    PromptProtocol,
    load_protocol,
    parse_exemplars,
)
from keras_flan.evaluation.sources import (
    draw,
    first_file,
    list_tasks,
    read_json,
    read_questions,
    require_shots,
    task_kind,
)
from keras_flan.files import read_text

MODES = ("direct", "cot")


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
    """

    task: str
    id: str
    prompt: str
    target: str
    answer_kind: str
    options: tuple[str, ...] = ()
    shots: int = 0
    stop: tuple[str, ...] = ()


class Benchmark(abc.ABC):
    """Files of a benchmark, asked by its prompt protocol.

    Made by `load_benchmark`. A subclass finds the files, reads questions and
    exemplars; the layout is data, in `protocols/<name>.yaml`.

    Args:
        data: The file or folder of the data.
    """

    name: str

    def __init__(self, data: str | os.PathLike):
        self.data = Path(data)
        if not self.data.exists():
            raise InputError(
                f"{self.data}: no such file or folder; give the data of "
                f"{self.name} with --data"
            )
        self._sources = self._find()

    @property
    def protocol(self) -> PromptProtocol:
        """The prompt protocol."""
        return load_protocol(self.name)

    @property
    def tasks(self) -> list[str]:
        """Names of the tasks that were found."""
        return list(self._sources)

    def items(
        self,
        *,
        mode: str = "direct",
        shots: int = 0,
        limit: int | None = None,
        tasks: Iterable[str] | None = None,
        seed: int = 0,
    ) -> list[Item]:
        """Renders the prompts.

        Args:
            mode: `"direct"`, or `"cot"` to let the model reason first.
            shots: Number of exemplars; 0 asks without any.
            limit: Only the first so many questions of each task.
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
        form = ("few" if shots else "zero") + f"_shot_{mode}"
        return [
            item
            for task in chosen
            for item in self._items(task, Format(form), shots, limit, seed)
        ]

    def _items(self, task, format, shots, limit, seed) -> list[Item]:
        questions = read_questions(self.name, self._sources[task])
        layout = self.protocol.formats[format]
        shared, exemplars = {}, []
        if shots:
            shared, exemplars = self._exemplars(task, format, shots, seed)
        # The kind is that of the whole task, whatever the limit.
        kind = task_kind(self.name, task, questions)
        return [
            Item(
                task=task,
                id=question.id,
                prompt=layout.render({**shared, **question.fields}, exemplars),
                target=question.fields["answer"],
                answer_kind=kind,
                options=question.options,
                shots=len(exemplars),
                stop=layout.stop,
            )
            for question in questions[:limit]
        ]

    @abc.abstractmethod
    def _find(self) -> dict[str, Path]:
        """Returns the data of each task; InputError if there are none."""

    @abc.abstractmethod
    def _exemplars(
        self, task: str, format: Format, shots: int, seed: int
    ) -> tuple[Mapping[str, str], Sequence[Mapping[str, str]]]:
        """Returns fields for the header, and the fields of each exemplar."""


def load_benchmark(name: str, data: str | os.PathLike) -> Benchmark:
    """Opens the files of a benchmark.

    Args:
        name: `"gsm8k"`, `"bbh"`, `"mmlu"` or `"records"`.
        data: Its file, or the folder that holds its files as published:
            gsm8k `test.jsonl` and `train.jsonl`; bbh `bbh/<task>.json` and
            `cot-prompts/<task>.txt`; mmlu `test/`, `val/`, `dev/` with
            `<subject>_<split>.csv` and `mmlu-cot.json` (files may end in
            `.gz`); records: a folder of `write_records`, or a folder of
            such folders, `<task>` or `<task>/test`.

    Raises:
        InputError: If the benchmark is unknown or its files aren't there.

    Example:
        >>> bbh = load_benchmark("bbh", "BIG-Bench-Hard")
        >>> items = bbh.items(mode="cot", shots=3, tasks=["snarks"])
        >>> items[0].target, len(items)
        ('(B)', 178)
    """
    from keras_flan.evaluation.records_benchmark import RecordsBenchmark

    classes = {c.name: c for c in (GSM8K, BBH, MMLU, RecordsBenchmark)}
    if name not in classes:
        raise InputError(
            f"no benchmark {name!r}." + did_you_mean(name, classes)
        )
    return classes[name](data)


class GSM8K(Benchmark):
    """Grade-school maths (arXiv:2110.14168); exemplars from `train.jsonl`."""

    name = "gsm8k"

    def _find(self):
        if self.data.is_file():
            return {"gsm8k": self.data}
        return {"gsm8k": first_file([self.data], "test.jsonl", self.name)}

    def _exemplars(self, task, format, shots, seed):
        folder = self._sources[task].parent
        path = first_file([folder], "train.jsonl", "gsm8k exemplars")
        pool = read_questions(self.name, path)
        drawn = draw(len(pool), shots, f"{seed}/{task}", str(path))
        return {}, [pool[i].fields for i in drawn]


class BBH(Benchmark):
    """BIG-Bench Hard (arXiv:2210.09261); exemplars from `cot-prompts`."""

    name = "bbh"

    def _find(self):
        inner = self.data / "bbh"
        return list_tasks(inner if inner.is_dir() else self.data, "json")

    def _exemplars(self, task, format, shots, seed):
        folder = self._sources[task].parent
        beside = [f / "cot-prompts" for f in (folder.parent, folder)]
        path = first_file(beside, f"{task}.txt", "bbh exemplars")
        # The file opens with a canary and a dashed line.
        _, dashes, text = read_text(path).partition("\n-----\n")
        if not dashes:
            raise InputError(
                f"{path}: expected a canary line and a line '-----' before "
                "the prompt; restore the file as it was published"
            )
        description, exemplars = parse_exemplars(text, str(path))
        require_shots(shots, len(exemplars), str(path))
        return {"description": description}, exemplars[:shots]


class MMLU(Benchmark):
    """MMLU (arXiv:2009.03300); exemplars from `dev/` or `mmlu-cot.json`.

    Of a whole folder the test split is asked; give its `val` folder as data
    for the validation split, on which most of the Flan paper reports.
    """

    name = "mmlu"

    def _find(self):
        splits = (self.data / split for split in ("test", "val"))
        return list_tasks(next(filter(Path.is_dir, splits), self.data), "csv")

    def _exemplars(self, task, format, shots, seed):
        folder = self._sources[task].parent
        if format.cot:
            return {}, _cot_exemplars(folder.parent, task, shots)
        beside = [f / "dev" for f in (folder.parent, folder)]
        path = first_file(beside, f"{task}_dev.csv", "mmlu exemplars")
        pool = read_questions(self.name, path)
        require_shots(shots, len(pool), str(path))
        return {}, [question.fields for question in pool[:shots]]


def _cot_exemplars(root: Path, task: str, shots: int) -> list[dict[str, str]]:
    """Reads the exemplars of an MMLU subject from `mmlu-cot.json`."""
    path = first_file(
        [root, root.parent / "mmlu_cot"],
        "mmlu-cot.json",
        "mmlu exemplars with chain of thought",
    )
    prompts = read_json(path)
    if not isinstance(prompts.get(task), str):
        raise InputError(
            f"{path}: no prompt for {task!r}." + did_you_mean(task, prompts)
        )
    place = f"{path}: {task}"
    _, exemplars = parse_exemplars(prompts[task], place)
    # Three subjects of the published file have four exemplars; all are shown.
    require_shots(shots, max(len(exemplars), 5), place)
    return exemplars[:shots]
