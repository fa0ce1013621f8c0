"""Mixture: tasks, caps and proportions, turned into sampling rates."""

import dataclasses
import os
from collections.abc import Mapping, Sequence

from keras_flan.data.templates.families import BASIC_FORMATS, Format
from keras_flan.data.templates.task import Task
from keras_flan.errors import InputError

DEFAULT_FORMATS = dict.fromkeys(BASIC_FORMATS, 1.0)


@dataclasses.dataclass(frozen=True)
class MixtureGroup:
    """Tasks that share a proportion of the mixture, such as "cot".

    Args:
        name: The name of the group.
        tasks: Its tasks.
        proportion: The group's share of the mixture, relative to the other
            groups'; `None`, in all groups alike, shares by examples.
        cap: At most so many examples of a task count for its rate.
        caps: Caps of single tasks, by name.
        formats: Relative weights of the formats; by default the four basic
            ones alike. Those that a task lacks are left out for that task.
        skipped: Names of tasks that belong to the group, but have no
            records. A group may consist of such tasks only; the others then
            share its proportion.
    """

    name: str
    tasks: Sequence[Task]
    proportion: float | None = None
    cap: int | None = None
    caps: Mapping[str, int] = dataclasses.field(default_factory=dict)
    formats: Mapping[Format | str, float] = dataclasses.field(
        default_factory=lambda: DEFAULT_FORMATS
    )
    skipped: Sequence[str] = ()


@dataclasses.dataclass(frozen=True)
class MixtureTask:
    """A task as part of a mixture.

    Args:
        task: The task.
        group: The name of its group.
        cap: At most so many examples count for the rate.
        weight: The number of examples that count.
        rate: The probability that a training example is of this task.
        formats: The probability of each format, given the task.
    """

    task: Task
    group: str
    cap: int | None
    weight: int
    rate: float
    formats: dict[Format, float]


class Mixture:
    """Tasks with the rates at which training draws from them.

    A task of `n` usable examples in a group of cap `K` and proportion `P`
    weighs `w = min(n, K)`, and is drawn with the probability

        p = P * w / (sum of w over the group),

    the proportions being normalised over the groups.

    Args:
        name: The name of the mixture.
        groups: Its groups of tasks.
        shots: Exemplars in few-shot prompts; 0 leaves those formats out.
        steps: For how many batches it is used, if another mixture follows.
        then: The mixture that follows.

    Attributes:
        groups: The groups that have tasks.
        tasks: The tasks of all groups, each a `MixtureTask`.

    Raises:
        InputError: If names repeat, a group is empty, proportions are given
            for a part of the groups only, or a task has no allowed format.

    Example:
        >>> mixture = Mixture(
        ...     "two", [MixtureGroup("all", [gsm8k, aqua], cap=30_000)]
        ... )
        >>> mixture.rates()
        {'gsm8k': 0.7331..., 'aqua': 0.2669...}

    Source: arXiv:2210.11416, table 23 and section 2.1.
    """

    def __init__(
        self,
        name: str,
        groups: Sequence[MixtureGroup],
        shots: int = 3,
        *,
        steps: int | None = None,
        then: "Mixture | None" = None,
    ):
        if (then is None) != (steps is None) or (then and steps < 1):
            raise InputError(
                f"{name}: `steps`, at least 1, and `then` belong together; "
                "the last stage has neither"
            )
        self.name = name
        self.shots = shots
        self.steps = steps
        self.then = then
        _check_names(name, groups)
        self._all_groups = tuple(groups)
        self.groups = tuple(group for group in groups if group.tasks)
        self._shares = _shares(name, self.groups)
        self.tasks: tuple[MixtureTask, ...] = tuple(
            part
            for group, share in zip(self.groups, self._shares, strict=True)
            for part in _weigh(name, group, share, shots)
        )

    @classmethod
    def from_yaml(
        cls,
        source: str | os.PathLike,
        records: str | os.PathLike | None = None,
        missing: str | None = None,
    ) -> "Mixture":
        """Reads a mixture from a YAML file, or one of the library by name.

        Args:
            source: A file (its form is in `mixture_files`), or a name such
                as `"flan2022_paper_b"`.
            records: The folder of records, instead of the file's; for a
                mixture of the library by default `records`.
            missing: `"error"` or `"skip"`, instead of the file's choice:
                what to do about tasks without records.

        Raises:
            InputError: If a key is unknown or wrong, or a task isn't there.

        Example:
            >>> mixture = Mixture.from_yaml("flan2022_paper_b", "records")
            >>> {g.name: g.proportion for g in mixture.groups}
            {'muffin': 46.0, 't0_sf': 27.9, 'cot': 1.8, 'niv2': 24.2}
        """
        from keras_flan.data.mixtures.files import read_mixture

        return read_mixture(source, records, missing)

    @property
    def stages(self) -> "tuple[Mixture, ...]":
        """The mixture and those that follow it, in the order of training."""
        return (self, *(self.then.stages if self.then else ()))

    def rates(self) -> dict[str, float]:
        """Returns the sampling probability of each task; they sum to 1."""
        return {part.task.name: part.rate for part in self.tasks}

    def summary(self) -> dict:
        """Returns the groups, tasks, weights and rates, ready for JSON.

        If tasks were skipped, each group has their names under `skipped`,
        and under `stated` the proportion that it would have if no group had
        lost all of its tasks. If other mixtures follow, `stages` has them
        all, each with its `steps`.
        """
        summary = {"name": self.name, "shots": self.shots}
        if self.steps:
            summary["steps"] = self.steps
        summary["groups"] = self._summarise_groups()
        if self.then:
            stages = [stage.summary() for stage in self.then.stages]
            for stage in stages:
                stage.pop("stages", None)
            summary["stages"] = [dict(summary), *stages]
        return summary

    def _summarise_groups(self) -> list[dict]:
        shares = dict(
            zip((g.name for g in self.groups), self._shares, strict=True)
        )
        some_skipped = any(group.skipped for group in self._all_groups)
        rows = []
        for group in self._all_groups:
            row = {"name": group.name, "proportion": shares.get(group.name, 0)}
            if some_skipped:
                row["stated"] = self._stated(group)
                row["skipped"] = list(group.skipped)
            row["tasks"] = [
                _describe(part)
                for part in self.tasks
                if part.group == group.name
            ]
            rows.append(row)
        return rows

    def _stated(self, group: MixtureGroup) -> float | None:
        """Returns a group's share of the proportions, skipped or not."""
        if group.proportion is None:
            return None
        return group.proportion / sum(g.proportion for g in self._all_groups)


def _describe(part: MixtureTask) -> dict:
    return {
        "name": part.task.name,
        "examples": part.task.num_examples,
        "usable": part.task.num_usable,
        "cap": part.cap,
        "weight": part.weight,
        "rate": part.rate,
        "formats": {f.value: share for f, share in part.formats.items()},
    }


def _check_names(name: str, groups: Sequence[MixtureGroup]) -> None:
    if not groups:
        raise InputError(f"{name}: a mixture needs at least one group")
    if not any(group.tasks for group in groups):
        skipped = sum(len(group.skipped) for group in groups)
        if skipped:
            raise InputError(
                f"{name}: none of its {skipped:,} tasks has records; "
                "`keras-flan tasks` says how to get them"
            )
    seen: dict[str, str] = {}
    for group in groups:
        if not (group.tasks or group.skipped):
            raise InputError(f"{name}: the group {group.name!r} has no tasks")
        for task in group.tasks:
            if task.name in seen:
                raise InputError(
                    f"{name}: the task {task.name!r} is in the mixture twice "
                    f"(groups {seen[task.name]!r} and {group.name!r}); keep "
                    "one of them"
                )
            seen[task.name] = group.name


def _shares(name: str, groups: Sequence[MixtureGroup]) -> list[float]:
    """Returns the groups' shares of the mixture; they sum to 1."""
    without = [g.name for g in groups if g.proportion is None]
    if without and len(without) < len(groups):
        raise InputError(
            f"{name}: the group {without[0]!r} has no proportion, but others "
            "have; give all groups one, or none"
        )
    shares = [
        sum(_weight(g, t) for t in g.tasks) if without else g.proportion
        for g in groups
    ]
    return [share / sum(shares) for share in shares]


def _weight(group: MixtureGroup, task: Task) -> int:
    cap = group.caps.get(task.name, group.cap)
    return min(task.num_usable, cap) if cap else task.num_usable


def _weigh(name: str, group: MixtureGroup, share: float, shots: int):
    total = sum(_weight(group, task) for task in group.tasks)
    for task in group.tasks:
        weight = _weight(group, task)
        yield MixtureTask(
            task=task,
            group=group.name,
            cap=group.caps.get(task.name, group.cap),
            weight=weight,
            rate=share * weight / total,
            formats=_formats(f"{name}: {group.name}", group, task, shots),
        )


def _formats(
    place: str, group: MixtureGroup, task: Task, shots: int
) -> dict[Format, float]:
    wanted = {
        Format(format): weight
        for format, weight in group.formats.items()
        if weight > 0 and (shots > 0 or not Format(format).few_shot)
    }
    weights = {f: wanted[f] for f in task.formats if f in wanted}
    if not weights:
        raise InputError(
            f"{place}: the task {task.name!r} can be asked in "
            f"{', '.join(f.value for f in task.formats)}, but the group "
            f"allows {', '.join(f.value for f in wanted) or 'nothing'}; "
            "change `formats` or move the task to another group"
        )
    total = sum(weights.values())
    return {f: weight / total for f, weight in weights.items()}
