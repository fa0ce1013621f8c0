"""Task: a set of records together with the templates that ask them."""

import dataclasses
import functools
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from keras_flan.data.records.example import Example
from keras_flan.data.records.info import (
    AGAIN,
    INFO_FILE,
    TEMPLATES_DIGEST,
    RecordInfo,
    read_info,
)
from keras_flan.data.records.reader import RecordReader
from keras_flan.data.records.shards import check_sizes, read_records
from keras_flan.data.templates.families import (
    BASIC_FORMATS,
    Format,
    TemplateFamily,
)
from keras_flan.data.templates.library import is_library_name, load_family
from keras_flan.data.templates.localisation import localised
from keras_flan.data.templates.own import FamilySource, is_python
from keras_flan.errors import InputError, did_you_mean
from keras_flan.storage import as_path


@dataclasses.dataclass(frozen=True)
class Task:
    """Records on disk and the templates that turn them into prompts.

    Args:
        name: The name of the task.
        directory: The folder of the records.
        family: The templates.
        split: The split that the records are of.
        num_examples: How many records there are.
        fields: Names of the fields that the records have.
        answer_kind: `"number"`, `"option"`, `"yes_no"`, `"text"` or `None`:
            how an answer is read from a model's output.
        record_type: `"conversation"` if the records have turns, else `None`.
        language: The code of the records' language, if it is known; `"ko"`.
        flan_rounds: Whether only whole rounds of templates are used, as in
            the paper; else all records are.

    Example:
        >>> task = Task.from_directory("records/gsm8k")
        >>> [format.value for format in task.formats]
        ['zero_shot_direct', 'zero_shot_cot', 'few_shot_direct',
        'few_shot_cot']
    """

    name: str
    directory: Path
    family: TemplateFamily
    split: str
    num_examples: int
    fields: tuple[str, ...]
    answer_kind: str | None = None
    record_type: str | None = None
    language: str | None = None
    flan_rounds: bool = False

    @classmethod
    def from_directory(
        cls,
        path: str | os.PathLike,
        templates: FamilySource | None = None,
        language: str | None = None,
    ) -> "Task":
        """Returns the task of a record folder.

        Args:
            path: A folder that `write_records` or `keras-flan import` wrote.
            templates: A family, as `load_family` takes it; by default the one
                that the records name.
            language: The code of the records' language; by default what the
                records say.

        Raises:
            InputError: If the folder holds no records, no templates are
                known, or no format of the templates suits the fields.
        """
        info = read_info(path)
        check_sizes(path, info)
        templates = templates or _own_templates(as_path(path), info)
        if templates is None:
            raise InputError(
                f"{path}: the records name no templates; pass a family's "
                "name or YAML file as `templates` (in a mixture: `{name: "
                f"{info.name}, templates: generic}}`), or import again "
                "with --templates"
            )
        language = language or info.extra.get("language")
        task = cls(
            name=info.name,
            directory=as_path(path),
            family=localised(load_family(templates), language),
            split=info.split,
            num_examples=info.num_examples,
            fields=info.fields,
            answer_kind=info.answer_kind,
            record_type=info.extra.get("record_type"),
            language=language,
        )
        if not task.formats:
            task.require(next(f for f in Format if task.num_templates(f)))
        return task

    @property
    def formats(self) -> tuple[Format, ...]:
        """The formats that the templates and the records allow.

        Few-shot formats need a second example to show.
        """
        return tuple(
            format
            for format in Format
            if self.num_templates(format)
            and self.family.record_fields(format) <= set(self.fields)
            and not (format.few_shot and self.num_examples < 2)
        )

    def require(self, format: Format) -> None:
        """Checks that the task can be asked in a format.

        Raises:
            InputError: If it can't, with the reason.
        """
        if format in self.formats:
            return
        place = f"{self.directory}: {self.name!r} has no {format.value} form:"
        if not self.num_templates(format):
            raise InputError(
                f"{place} the template family {self.family.name!r} has no "
                f"templates under {format.value}; add some, or choose another "
                "format"
            )
        needed = self.family.record_fields(format)
        for field in sorted(needed - set(self.fields)):
            raise InputError(
                f"{place} the template family {self.family.name!r} needs the "
                f"field {field!r}, which the records lack."
                + did_you_mean(field, self.fields)
            )
        raise InputError(
            f"{place} exemplars need at least 2 examples, found "
            f"{self.num_examples}"
        )

    def num_templates(self, format: Format) -> int:
        """Returns how many templates there are for a format."""
        return len(self.family.templates(format))

    def usable(self, format: Format) -> int:
        """Returns how many examples are asked in a format: all.

        Example k takes template k mod T. With `flan_rounds`, the last
        incomplete round of the T templates is left out, so that each template
        is seen equally often. (A task smaller than one round keeps all its
        examples.) This is how the paper's counts come about: of GSM8K's 7,473
        rows 7,470 are used.
        """
        if not self.flan_rounds:
            return self.num_examples
        count = self.num_templates(format)
        return self.num_examples // count * count or self.num_examples

    @property
    def num_usable(self) -> int:
        """How many examples every basic format of the task can use.

        The variants ask the same examples, whatever the number of their
        templates; only a task that has nothing else is measured by them.
        """
        basic = [format for format in self.formats if format in BASIC_FORMATS]
        return min(self.usable(format) for format in basic or self.formats)

    @property
    def answers_are_letters(self) -> bool:
        """Whether an answer such as "B" is the letter of an option."""
        return self.answer_kind == "option"

    def question(self, fields: Mapping[str, str]) -> tuple[str, ...]:
        """Returns what examples share that ask the same question.

        As `PromptRenderer.identities` tells them apart, for one example.

        Example:
            >>> task = Task.from_directory("records/gsm8k")
            >>> task.question({"question": "1 + 1  = ?", "answer": "2"})
            ('1 + 1 = ?',)
        """
        names = sorted(self.family.question_fields or self.fields)
        return tuple(" ".join(fields.get(n, "").lower().split()) for n in names)

    def exemplars(
        self, asked: Example, others: Iterable[Example], shots: int
    ) -> list[Example]:
        """Returns the first of others that ask other questions, each once."""
        seen = {self.question(asked.fields)}
        chosen: list[Example] = []
        remaining = iter(others)
        while len(chosen) < shots:
            other = next(remaining, None)
            if other is None:
                break
            question = self.question(other.fields)
            if question not in seen:
                seen.add(question)
                chosen.append(other)
        return chosen

    def read_at(self, positions: Sequence[int]) -> list[Example]:
        """Returns the examples at positions in the order of writing."""
        places = np.array(positions, np.int64)
        records = self._reader.read(np.zeros_like(places), places)
        return [Example.from_proto(record) for record in records]

    @functools.cached_property
    def _reader(self) -> RecordReader:
        return RecordReader([self.directory])

    def read(self, limit: int | None = None) -> Iterator[Example]:
        """Yields the examples in their original order."""
        return read_records(self.directory, limit=limit)


def _own_templates(directory: Path, info: RecordInfo) -> str | Path | None:
    """Returns the templates of records: a name, or a file beside them."""
    templates, digest = info.templates, info.extra.get(TEMPLATES_DIGEST)
    if templates is None or is_library_name(templates):
        return templates
    if is_python(templates):
        raise InputError(
            f"{as_path(directory, INFO_FILE)}: templates: found {templates!r}; "
            "records name no code. Give it to the mixture (`{name: "
            f"{info.name}, templates: {templates}}}`), or register the family"
        )
    path = as_path(directory, templates)
    if digest is not None and path.is_file():
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != digest:
            raise InputError(
                f"{path}: expected SHA-256 {str(digest)[:12]}..., found "
                f"{found[:12]}...; these templates came with the records: "
                f"give changed ones another name, or {AGAIN}"
            )
    return path
