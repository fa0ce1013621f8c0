"""A template family looked at with real rows: what it shows, what is odd."""

import os
from collections.abc import Iterable, Iterator, Sequence

from keras_flan.data.mixtures.inspection import check_folder
from keras_flan.data.records.example import Example
from keras_flan.data.templates.families import Format, PromptTemplate
from keras_flan.data.templates.library import load_family
from keras_flan.data.templates.options import DERIVED_FIELDS, option_values
from keras_flan.data.templates.own import FamilySource
from keras_flan.data.templates.prompts import render_prompt
from keras_flan.data.templates.task import Task
from keras_flan.data.templates.template import is_filled
from keras_flan.storage import as_path

# Rows that are looked at.
_ROWS = 200
# Exemplars that are shown of few-shot templates.
_SHOTS = 2
# Formats that take the templates of others.
_MADE = (
    Format.zero_shot_no_options,
    Format.few_shot_no_options,
    Format.few_shot_mixed,
)
# What tells the answer, in a prompt that is to ask for it.
_ANSWERS = {"answer", "rationale", "choice_", "letter_", "styled_choice_"}
# An answer of so many characters does not stand in a prompt by chance.
_LONG_ANSWER = 20


def review_templates(
    source: FamilySource, records: str | os.PathLike, seed: int = 0
) -> dict:
    """Renders each template of a family with rows of a record set.

    Args:
        source: The family, as `load_family` takes it.
        records: The folder of the records.
        seed: Seeds the styles of answer options.

    Returns:
        A JSON-able dict: `family`, the number of `rows` looked at, `prompts`,
        one of each template (dicts as of `inspect`), and `warnings`, texts:
        fields that no template shows, prompts that tell the answer, templates
        that ask as another one does, and fields that are shown though they
        are often empty.

    Raises:
        InputError: If the family is broken, or no format of it suits the
            fields of the records.

    Example:
        >>> found = review_templates("mine.yaml", "records/mine")
        >>> found["warnings"]
        ["zero_shot_direct 2: the input tells {answer}"]
    """
    folder = as_path(records)
    check_folder(folder)
    task = Task.from_directory(folder, load_family(source))
    count = min(task.num_examples, _ROWS)
    step = task.num_examples / count
    examples = task.read_at([int(i * step) for i in range(count)])
    return {
        "family": task.family.name,
        "rows": count,
        "prompts": list(_prompts(task, examples, seed)),
        "warnings": [
            *_unused(task),
            *(
                warning
                for format in _written(task)
                for warning in _Review(task, format, examples).warnings()
            ),
        ],
    }


def _written(task: Task) -> list[Format]:
    """Returns the formats of a task whose templates are not made of others."""
    return [format for format in task.formats if format not in _MADE]


def _prompts(
    task: Task, examples: Sequence[Example], seed: int
) -> Iterator[dict]:
    """Yields a prompt of each template, each of another row if there are."""
    for format in _written(task):
        for number in range(task.num_templates(format)):
            place = number % len(examples)
            others = [*examples[place + 1 :], *examples[:place]]
            shown = task.exemplars(examples[place], others, _SHOTS)
            prompt = render_prompt(
                *(task, examples[place], format, number, shown), seed=seed
            )
            yield {
                "task": task.name,
                "index": place,
                "format": format.value,
                "template": number,
                "shots": prompt.shots,
                "inputs": prompt.inputs,
                "targets": prompt.targets,
            }


def _unused(task: Task) -> Iterator[str]:
    """Yields a warning of fields and formats that are never used."""
    family = task.family
    used = {
        source
        for format in Format
        for template in family.templates(format)
        for name in template.fields
        for source in DERIVED_FIELDS.get(name, (name,))
    }
    for name in family.fields:
        if name not in used:
            yield f"no template shows the field {name!r} of the family"
    for name in task.fields:
        if name not in used and name not in family.fields:
            yield f"no template shows the field {name!r} of the records"
    for format in Format:
        if format in _MADE:
            continue
        if family.templates(format) and format not in task.formats:
            lacking = family.record_fields(format) - set(task.fields)
            why = f"the records lack {', '.join(sorted(lacking))}"
            if not lacking:
                why = "there is one row only"
            yield f"{format.value}: these templates are never used: {why}"


class _Review:
    """Looks at the templates of one format; see `review_templates`."""

    def __init__(self, task: Task, format: Format, examples: list[Example]):
        self._format = format
        self._templates = task.family.templates(format)
        missing = dict.fromkeys(task.fields, "")
        letters = task.answers_are_letters
        known = [{**missing, **example.fields} for example in examples]
        self._rows = [
            {**fields, **option_values(fields, letters=letters)}
            for fields in known
        ]

    def warnings(self) -> Iterator[str]:
        for number, template in enumerate(self._templates):
            for warning in self._leaks(template):
                yield f"{self._format.value} {number}: {warning}"
            for warning in self._empty(template):
                yield f"{self._format.value} {number}: {warning}"
        yield from self._equal()

    def _count(self, wanted: Iterable[bool]) -> str:
        return f"{sum(wanted):,} of {len(self._rows):,} rows"

    def _leaks(self, template: PromptTemplate) -> Iterator[str]:
        """Yields what tells the answer to whoever reads the prompt."""
        shown = [*template.header.shown, *template.query.shown]
        if self._format.value.endswith("inverted"):
            return  # The answer is what is given.
        told = [name for name in shown if name in _ANSWERS]
        for name in told:
            yield f"the input tells {{{name}}}"
        others = [
            name
            for name in shown
            if name not in (*told, *DERIVED_FIELDS, "options")
        ]
        answers = [row.get("answer", "").strip() for row in self._rows]
        varied = len(set(answers)) > 1
        for name in others:
            texts = [row.get(name, "").strip() for row in self._rows]
            pairs = list(zip(texts, answers, strict=True))
            same = [text == answer != "" for text, answer in pairs]
            within = [
                len(answer) >= _LONG_ANSWER and answer in text
                for text, answer in pairs
            ]
            if varied and sum(same) > len(same) / 2:
                yield (
                    f"the input tells {{{name}}}, which is the answer in "
                    + self._count(same)
                )
            elif sum(within) > len(within) / 2:
                yield (
                    f"the whole answer stands in {{{name}}} in "
                    f"{self._count(within)}: right where it is to be found "
                    "there, else it tells the answer"
                )

    def _empty(self, template: PromptTemplate) -> Iterator[str]:
        """Yields which fields are shown though they are often empty."""
        for name in dict.fromkeys(template.required):
            if name in DERIVED_FIELDS:
                continue
            blank = [not is_filled(row.get(name, "")) for row in self._rows]
            if any(blank):
                yield (
                    f"{{{name}}} is empty in {self._count(blank)}: write "
                    f"{{{name}?...{{{name}}}...?}}, which is left out there"
                )

    def _equal(self) -> Iterator[str]:
        """Yields which templates ask all rows as another one does."""
        seen: dict[tuple[str, ...], int] = {}
        for number, template in enumerate(self._templates):
            parts = (template.header, template.query, template.solved)
            texts = tuple(
                part.render(row) for part in parts for row in self._rows
            )
            texts += (template.separator,)
            first = seen.setdefault(texts, number)
            if first != number:
                yield (
                    f"{self._format.value} {number}: its prompts are those of "
                    f"template {first}"
                )
