"""Record folders as a benchmark: asked with their own templates."""

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
)

_SPLIT = "test"


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
        blank = _blank_fields(source, asked.format)
        examples = list(source.read())
        exemplars = self._exemplars(asked) if asked.shots else []
        questions = [SourceQuestion(e.source_id, e.fields) for e in examples]
        targets = (question.fields["answer"] for question in questions)
        kind = source.answer_kind or self.protocol.kind_of(asked.task, targets)
        items = []
        for index, question in enumerate(questions[: asked.limit]):
            prompt = render_prompt(
                source.family,
                Example({**blank, **question.fields}, asked.task),
                asked.format,
                index,
                exemplars,
                letters=source.answers_are_letters,
            )
            items.append(
                Item(
                    task=asked.task,
                    id=question.id,
                    prompt=prompt.inputs,
                    target=prompt.answer,
                    # A marker or text of an option is compared as a text.
                    answer_kind=(
                        kind
                        if prompt.answer == question.fields["answer"]
                        else "text"
                    ),
                    options=question.options,
                    shots=prompt.shots,
                )
            )
        return items

    def _exemplars(self, asked: Asked) -> list[Example]:
        task = asked.task
        folder = self._sources[task].parent / "train"
        if not (folder / INFO_FILE).is_file():
            raise InputError(
                f"{folder / INFO_FILE}: no such file, needed for exemplars of "
                f"{task!r}; import the training split there, or give --shots 0"
            )
        train = Task.from_directory(folder)
        train.require(asked.format)
        seed, place = f"{asked.seed}/{task}", str(folder)
        drawn = draw(train.num_examples, asked.shots, seed, place)
        pool = list(train.read(limit=max(drawn) + 1))
        blank = dict.fromkeys(train.fields, "")
        return [Example({**blank, **pool[i].fields}, task) for i in drawn]


def _blank_fields(task: Task, format: Format) -> dict[str, str]:
    """Returns empty texts for the fields that a query may lack.

    The target of a chain-of-thought prompt needs a rationale, but asking
    does not: a task without rationales can be asked to reason.

    Raises:
        InputError: If a field is missing that the question itself needs, or
            the templates lack the format.
    """
    if "answer" not in task.fields:
        raise InputError(
            f"{task.directory}: expected a field 'answer' to compare with, "
            f"found {', '.join(task.fields)}; import the task with one"
        )
    templates = task.family.templates(format)
    asked = record_fields(
        name for template in templates for name in template.query.fields
    )
    if not templates or not asked <= set(task.fields):
        task.require(format)
    return dict.fromkeys(task.family.fields, "")
