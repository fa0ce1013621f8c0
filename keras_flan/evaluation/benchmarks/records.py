"""Record folders as a benchmark: asked with their own templates."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from keras_flan.data.records.example import Example
from keras_flan.data.records.info import INFO_FILE
from keras_flan.data.templates.families import Format, record_fields
from keras_flan.data.templates.prompts import render_prompt
from keras_flan.data.templates.task import Task
from keras_flan.errors import InputError
from keras_flan.evaluation.benchmarks.base import Asked, Benchmark, Item
from keras_flan.evaluation.benchmarks.sources import (
    SourceQuestion,
    by_task,
    draw,
    question_of,
    require_shots,
)

_SPLIT = "test"
# Training examples that exemplars are taken from.
_POOL = 128
# Where a record's answer is; the second in those of T0 and Natural
# Instructions.
_ANSWERS = ("answer", "targets")


class RecordsBenchmark(Benchmark):
    """Folders of `write_records`; exemplars from the `train` folder beside.

    Question k is asked with template k mod T of its task, as in training.
    """

    def _find(self) -> dict[str, Path]:
        found = [
            path
            for path in (self.data, self.data / _SPLIT)
            if (path / INFO_FILE).is_file()
        ][:1] or [
            folder
            for child in sorted(self.data.glob("*/"))
            for folder in (child, child / _SPLIT)
            if (folder / INFO_FILE).is_file()
        ]
        if not found:
            raise InputError(
                f"{self.data}: expected {INFO_FILE} in it, in {_SPLIT}/, in "
                f"<task>/ or in <task>/{_SPLIT}/, found none; write records "
                "with `keras-flan import` or `keras-flan universe`"
            )
        return by_task(
            (Task.from_directory(folder).name, folder) for folder in found
        )

    def _items(self, asked: Asked) -> list[Item]:
        source = Task.from_directory(self._sources[asked.task])
        blank, answer = _blank_fields(source, asked.format)
        examples = [
            dataclasses.replace(
                e, fields={"answer": e.fields[answer], **e.fields}
            )
            for e in source.read()
        ]
        pool = _Pool(self._sources[asked.task], asked) if asked.shots else None
        questions = [question_of(e.source_id, e.fields) for e in examples]
        targets = (question.fields["answer"] for question in questions)
        kind = source.answer_kind or self.protocol.kind_of(asked.task, targets)
        items = []
        for index, question in enumerate(questions[: asked.limit]):
            prompt = render_prompt(
                source.family,
                Example({**blank, **question.fields}, asked.task),
                asked.format,
                index,
                pool.exemplars(source, examples[index]) if pool else (),
                letters=source.answers_are_letters,
            )
            own = prompt.answer == question.fields["answer"]
            names = (
                _names(source, question, blank, asked, index)
                if asked.ranked or not own
                else ()
            )
            choices = names if asked.ranked else ()
            items.append(
                Item(
                    task=asked.task,
                    id=question.id,
                    prompt=prompt.inputs,
                    target=prompt.answer,
                    references=question.references if own else (),
                    # A marker or text of an option is compared as a text.
                    answer_kind=kind if own else "text",
                    options=question.options,
                    shots=prompt.shots,
                    stop=self.protocol.stop,
                    choices=choices,
                    continuations=choices,
                    names=() if own else names,
                    language=source.language,
                )
            )
        return items


def _names(
    source: Task,
    question: SourceQuestion,
    blank: Mapping[str, str],
    asked: Asked,
    index: int,
) -> tuple[str, ...]:
    """Returns how a prompt names the options: what each is as the answer."""
    fields = {**blank, **question.fields}
    return tuple(
        render_prompt(
            source.family,
            Example({**fields, "answer": option}, asked.task),
            asked.format,
            index,
        ).answer
        for option in question.options
    )


class _Pool:
    """Examples of the `train` folder beside a task, as exemplars of it.

    Raises:
        InputError: If the folder is not there, or has too few examples.
    """

    def __init__(self, folder: Path, asked: Asked):
        self._shots, self._place = asked.shots, folder.parent / "train"
        if not (self._place / INFO_FILE).is_file():
            raise InputError(
                f"{self._place / INFO_FILE}: no such file, needed for "
                f"exemplars of {asked.task!r}; import the training split "
                "there, or give --shots 0"
            )
        train = Task.from_directory(self._place)
        train.require(asked.format)
        number, place = train.num_examples, str(self._place)
        require_shots(asked.shots, number, place)
        order = draw(number, number, f"{asked.seed}/{asked.task}", place)
        blank = dict.fromkeys(train.fields, "")
        self._examples = [
            Example({**blank, **example.fields}, asked.task)
            for example in train.read_at(order[: _POOL + asked.shots])
        ]

    def exemplars(self, task: Task, example: Example) -> list[Example]:
        """Returns the first that ask another question, each question once."""
        chosen = task.exemplars(example, self._examples, self._shots)
        require_shots(self._shots, len(chosen), str(self._place))
        return chosen


def _blank_fields(task: Task, format: Format) -> tuple[dict[str, str], str]:
    """Returns empty texts for fields that a query may lack, and the answer's.

    The target of a chain-of-thought prompt needs a rationale, but asking
    does not: a task without rationales can be asked to reason.

    Raises:
        InputError: If a field is missing that the question itself needs, or
            the templates lack the format.
    """
    answer = next((name for name in _ANSWERS if name in task.fields), None)
    if answer is None:
        raise InputError(
            f"{task.directory}: expected a field 'answer' to compare with, "
            f"found {', '.join(task.fields)}; import the task with one, such "
            "as by --map answer=COLUMN"
        )
    templates = task.family.templates(format)
    asked = record_fields(
        name for template in templates for name in template.query.fields
    )
    if not templates or not asked <= set(task.fields):
        task.require(format)
    return dict.fromkeys(task.family.fields, ""), answer
