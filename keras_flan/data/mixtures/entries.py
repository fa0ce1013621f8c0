"""What a mixture file may say: its keys, and those of its groups and tasks."""

import enum
from typing import Annotated, Literal

import pydantic

from keras_flan.data.mixtures.groups import DEFAULT_FORMATS
from keras_flan.data.templates.families import Format
from keras_flan.schema import AnyPath, Strict


class Missing(enum.StrEnum):
    """What to do about tasks without records."""

    error = "error"
    skip = "skip"


class TaskEntry(Strict):
    """A task of a group; its name alone will do.

    Args:
        name: The task; `*` stands for all tasks of the folder of records that
            the groups don't name.
        registry: A sub-mixture of the paper instead of a name: all of its
            tasks, except held-out ones (`keras-flan tasks` lists them).
        records: Its folder of records, instead of `<records>/<task>`; of `*`,
            the folder of all tasks.
        split: Its split, instead of the mixture's.
        templates: Its templates, instead of those that the records name: a
            family of the library, a YAML file of your own, or `FILE.py:NAME`.
        cap: As the group's, for this task.
        language: The code of its records' language, such as `ko`, where they
            don't say it themselves.
    """

    name: str = ""
    registry: str | None = None
    records: AnyPath | None = None
    split: str | None = None
    templates: str | None = None
    cap: pydantic.PositiveInt | None = None
    language: str | None = None

    @pydantic.model_validator(mode="after")
    def _check(self):
        if bool(self.name) == bool(self.registry):
            raise ValueError("give either a name or a registry's sub-mixture")
        if self.registry and len(self.model_fields_set) > 1:
            raise ValueError(
                "`registry` stands alone; give the cap to the group"
            )
        return self


def _as_entry(value):
    return {"name": value} if isinstance(value, str) else value


def _as_list(value):
    return [value] if value == "*" or isinstance(value, dict) else value


class GroupEntry(Strict):
    """Tasks that share a proportion.

    Args:
        proportion: The group's share of the mixture, relative to the other
            groups'; without it, in all groups alike, they share by examples.
        cap: At most this many examples of a task count for its rate.
        formats: The ways of asking, and their weights.
        language_temperature: With T, languages share by `n^(1/T)` of their
            examples `n`: from 1 (by examples) on, a higher one makes them more
            alike. T5's multilingual models had 3.33.
        tasks: The tasks: names, or entries of names and more.
    """

    proportion: pydantic.PositiveFloat | None = None
    cap: pydantic.PositiveInt | None = None
    formats: dict[Format, pydantic.NonNegativeFloat] = DEFAULT_FORMATS
    language_temperature: pydantic.PositiveFloat | None = None
    tasks: Annotated[
        list[
            Annotated[
                TaskEntry,
                pydantic.BeforeValidator(
                    _as_entry, json_schema_input_type=str | TaskEntry
                ),
            ]
        ],
        pydantic.BeforeValidator(
            _as_list,
            json_schema_input_type=list[str | TaskEntry]
            | TaskEntry
            | Literal["*"],
        ),
    ]


Groups = dict[str, GroupEntry]


class Stage(Strict):
    """A part of training with a mixture of its own.

    Args:
        steps: How many batches it lasts; the last stage has none, and lasts
            to the end.
        groups: Its groups.
        mixture: A mixture instead of groups: a name of the library, or a file.
    """

    steps: pydantic.PositiveInt | None = None
    groups: Groups | None = None
    mixture: str | None = None

    @pydantic.model_validator(mode="after")
    def _check(self):
        if (self.groups is None) == (self.mixture is None):
            raise ValueError("give either groups or a mixture")
        return self


class MixtureFile(Strict):
    """A mixture: either `groups`, or a `mixture`, or `stages`.

    Args:
        name: Its name, for reports; default: the file's.
        records: The folder of the tasks' records, `<records>/<task>` or
            `<records>/<task>/<split>` or a folder deeper, relative to the
            file.
        split: The split to train on.
        shots: The most exemplars in few-shot prompts.
        missing: `error`, or `skip` to leave out tasks without records.
        flan_rounds: Whether a task's examples are used in whole rounds of its
            templates only, as in the paper; default: as the mixture of the
            library says, else all examples are used.
        groups: Groups of tasks, by name.
        mixture: A mixture whose groups are taken: a name of the library, such
            as `flan2022_paper_b`, or a file.
        stages: Mixtures that follow each other.
    """

    name: str | None = None
    records: AnyPath | None = None
    split: str = "train"
    shots: pydantic.NonNegativeInt = 3
    missing: Missing = Missing.error
    flan_rounds: bool | None = None
    groups: Groups | None = None
    mixture: str | None = None
    stages: Annotated[list[Stage], pydantic.Field(min_length=1)] | None = None

    @property
    def all_stages(self) -> list[Stage]:
        """The stages; one, if the file has groups or a mixture."""
        return self.stages or [Stage(groups=self.groups, mixture=self.mixture)]

    @pydantic.model_validator(mode="after")
    def _check(self):
        contents = (self.groups, self.mixture, self.stages)
        if sum(content is not None for content in contents) != 1:
            raise ValueError(
                "groups: give this key, or mixture, or stages: just one"
            )
        stages = self.stages or []
        for i, stage in enumerate(stages):
            last = i == len(stages) - 1
            if last and stage.steps:
                raise ValueError(
                    f"stages.{i}.steps: the last stage lasts to the end of "
                    "training; remove this key"
                )
            if not last and not stage.steps:
                raise ValueError(
                    f"stages.{i}.steps: this key is missing; say how many "
                    "batches the stage lasts"
                )
        return self
