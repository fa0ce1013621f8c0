"""Benchmarks: their files, and the prompts that their protocols make."""

import functools
import itertools
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from keras_flan.answers.option_texts import option_names
from keras_flan.data.templates.families import Format
from keras_flan.data.templates.template import Template
from keras_flan.errors import InputError
from keras_flan.evaluation.benchmarks.base import Asked, Benchmark, Item
from keras_flan.evaluation.benchmarks.protocols import (
    ExemplarSource,
    PromptLayout,
    PromptProtocol,
    load_protocol,
)
from keras_flan.evaluation.benchmarks.readers import (
    read_questions,
    same_place,
    squad_languages,
)
from keras_flan.evaluation.benchmarks.records import RecordsBenchmark
from keras_flan.evaluation.benchmarks.sources import (
    SourceQuestion,
    by_task,
    draw,
    find_tasks,
    first_file,
    require_shots,
)
from keras_flan.evaluation.benchmarks.winogender import Winogender

_OTHERS = {"records": RecordsBenchmark, "winogender": Winogender}
# Benchmarks whose questions are a part of the package.
BUILT_IN = ("winogender",)
# A question with more answers than this is open.
_MOST_CHOICES = 26


def load_benchmark(
    name: str | os.PathLike | PromptProtocol,
    data: str | os.PathLike | None = None,
    split: str | None = None,
) -> Benchmark:
    """Opens the files of a benchmark.

    Args:
        name: `"mmlu"`, `"bbh"`, `"tydiqa"`, `"mgsm"`, `"gsm8k"`,
            `"records"` or another name in `protocol_library/`; the path of a
            protocol of your own, `"mine.yaml"`; or a protocol.
        data: Its file, the folder that holds its files as published, or a
            folder of such folders; where files are looked for is in the
            protocol (files may end in `.gz`). `"records"` takes a folder of
            `write_records`, or a folder of such folders, `<task>` or
            `<task>/test`. `"winogender"` needs none.
        split: Of `"mmlu"`, `"test"` or `"val"`; the Flan paper reports the
            validation split. Default: the first that is there.

    Raises:
        InputError: If the benchmark is unknown or its files aren't there.

    Example:
        >>> bbh = load_benchmark("bbh", "BIG-Bench-Hard")
        >>> items = bbh.items(mode="cot", shots=3, tasks=["snarks"])
        >>> items[0].target, len(items)
        ('(B)', 178)
    """
    protocol = load_protocol(name)
    if not protocol.formats and protocol.name not in _OTHERS:
        raise InputError(
            f"{protocol.name}: there is nothing to ask; `keras-flan score` "
            "reads recorded outputs"
        )
    kind = _OTHERS.get(protocol.name, FileBenchmark)
    if data is None and protocol.name not in BUILT_IN:
        raise InputError(
            f"{protocol.name}: no data; give its files with --data"
        )
    return kind(protocol, data, split)


class FileBenchmark(Benchmark):
    """Files of a benchmark, found, read and laid out by its protocol."""

    def _find(self) -> dict[str, Path]:
        splits = [self.split] if self.split else self.protocol.splits
        found, path = find_tasks(
            self.name, self.data, self.protocol.files, splits
        )
        if len(self.protocol.splits) > 1:
            # What was read, not what was asked for; a run is labelled by it.
            stems = [path.name.partition(".")[0], path.parent.name]
            self.split = next(
                (
                    split
                    for split in self.protocol.splits
                    if any(re.search(rf"(^|_){split}$", stem) for stem in stems)
                ),
                self.split,
            )
        if found is not None:
            aliases = self.protocol.aliases
            return by_task((aliases.get(t, t), p) for t, p in found)
        if not self.protocol.aliases:
            return {self.name: path}
        # One file holds all languages; its ids name them.
        return dict.fromkeys(squad_languages(path), path)

    def _items(self, asked: Asked) -> list[Item]:
        protocol, task = self.protocol, asked.task
        questions = self._read(protocol.reader, self._sources[task], task)
        layout = self._layout(asked.format)
        extra = protocol.fields.get(task, {})
        # Kind and choices are those of the whole task, whatever the limit.
        targets = (question.fields["answer"] for question in questions)
        kind = protocol.kind_of(task, targets)
        answers = _answers(protocol.choices, questions)
        pool = self._pool(asked, questions) if asked.shots else []
        items = []
        for question in questions[: asked.limit]:
            exemplars: list[Mapping[str, str]] = []
            fields = {**question.fields, **extra}
            if asked.shots:
                exemplars = self._choose(pool, question, asked)
                fields = {**_shared(exemplars[0]), **fields}
            choices = answers(question)
            items.append(
                Item(
                    task=task,
                    id=question.id,
                    prompt=layout.render(
                        fields, [{**e, **extra} for e in exemplars]
                    ),
                    target=question.fields["answer"],
                    answer_kind=kind,
                    options=question.options,
                    shots=len(exemplars),
                    stop=layout.stop,
                    references=question.references,
                    choices=choices,
                    continuations=tuple(
                        Template.parse(protocol.choice).render({"choice": c})
                        for c in choices
                    ),
                )
            )
        return items

    def _layout(self, format: Format) -> PromptLayout:
        if format in self.protocol.formats:
            return self.protocol.formats[format]
        raise InputError(
            f"{self.name}: its protocol has no {format.value} form; add one "
            "under 'formats', or ask it as "
            f"{' or '.join(form.value for form in self.protocol.formats)}"
        )

    def _source(self, asked: Asked) -> ExemplarSource:
        way: Literal["direct", "cot"] = "cot" if asked.format.cot else "direct"
        if way in self.protocol.exemplars:
            return self.protocol.exemplars[way]
        raise InputError(
            f"{self.name}: its protocol has no exemplars for {way!r}; add "
            "some under 'exemplars', or give --shots 0"
        )

    def _pool(
        self, asked: Asked, questions: Sequence[SourceQuestion]
    ) -> Sequence[SourceQuestion]:
        """Returns the exemplars to choose from."""
        source = self._source(asked)
        if source.written:
            return [
                SourceQuestion(f"{self.name} protocol:{n}", fields)
                for n, fields in enumerate(source.written, 1)
            ]
        folder = self._sources[asked.task].parent
        roots = [folder, folder.parent, folder.parent.parent]
        names = [name.replace("{task}", asked.task) for name in source.files]
        try:
            path = first_file(roots, names, f"{self.name} exemplars")
        except InputError:
            if source.otherwise == "questions":
                return questions
            raise
        return self._read(source.reader, path, asked.task)

    def _read(
        self, reader: str, path: Path, task: str
    ) -> Sequence[SourceQuestion]:
        """Reads a file; without a reader of its own, as the questions."""
        protocol = self.protocol
        if reader and reader != protocol.reader:
            return read_questions(reader, path, task)
        return read_questions(
            protocol.reader, path, task, protocol.columns, protocol.labels
        )

    def _choose(
        self,
        pool: Sequence[SourceQuestion],
        question: SourceQuestion,
        asked: Asked,
    ) -> list[Mapping[str, str]]:
        """Returns the fields of the exemplars of a question."""
        source = self._source(asked)
        order: Sequence[int] = range(len(pool))
        if source.chosen == "drawn":
            order = _shuffled(len(pool), f"{asked.seed}/{asked.task}")
        others = (pool[i] for i in order if not same_place(pool[i], question))
        chosen = [q.fields for q in itertools.islice(others, asked.shots)]
        place = f"{self.data}: {asked.task}"
        require_shots(asked.shots, max(len(chosen), source.counts_as), place)
        return chosen


@functools.lru_cache(maxsize=64)
def _shuffled(number: int, seed: str) -> tuple[int, ...]:
    return tuple(draw(number, number, seed, ""))


def _shared(fields: Mapping[str, str]) -> dict[str, str]:
    """What an exemplar says about the whole task."""
    return {k: fields[k] for k in ("description",) if k in fields}


def _answers(
    choices: str | tuple[str, ...], questions: Sequence[SourceQuestion]
) -> Callable[[SourceQuestion], tuple[str, ...]]:
    """Returns a function of a question to the answers that are ranked."""
    if choices == "letters":
        return lambda q: tuple(option_names(len(q.options)))
    if choices == "options":
        return lambda q: q.options
    if not isinstance(choices, str):
        return lambda q: choices
    targets = tuple(sorted({q.fields["answer"] for q in questions}))
    if len(targets) > _MOST_CHOICES:
        return lambda q: ()

    def of_question(question: SourceQuestion) -> tuple[str, ...]:
        text = question.fields.get("question", "")
        letters = re.findall(r"^\([A-Z]\)", text, re.M)
        if letters and question.fields["answer"] in letters:
            return tuple(dict.fromkeys(letters))
        is_option = re.fullmatch(r"\([A-Z]\)", question.fields["answer"])
        return () if letters or is_option else targets

    # What can't be told apart by form is no choice: sorted words, numbers.
    closed = all(re.fullmatch(r"\([A-Z]\)|[A-Za-z]+", t) for t in targets)
    return of_question if closed else lambda q: ()
