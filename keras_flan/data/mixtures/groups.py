"""Groups of tasks: their proportions and caps, turned into sampling rates."""

import dataclasses
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

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
        cap: At most this many examples of a task count for its rate.
        caps: Caps of single tasks, by name.
        language_temperature: With T, the languages of the group's tasks share
            its proportion by `n^(1/T)`, `n` being the examples of a language
            that count, and the tasks of a language share by examples. Tasks
            that state no language count as one. `None` is as 1.
        formats: Relative weights of the formats; by default the four basic
            ones alike. Those that a task lacks are left out for that task.
        skipped: Names of tasks that belong to the group, but have no
            records. A group may consist of such tasks only; the others then
            share its proportion.

    Example:

    ```python
    sums = Task.from_directory("records/gsm8k")
    group = MixtureGroup("cot", [sums], proportion=0.4, cap=30000)
    ```
    """

    name: str
    tasks: Sequence[Task]
    proportion: float | None = None
    cap: int | None = None
    caps: Mapping[str, int] = dataclasses.field(default_factory=dict)
    formats: Mapping[Format, float] | Mapping[str, float] = dataclasses.field(
        default_factory=lambda: DEFAULT_FORMATS
    )
    skipped: Sequence[str] = ()
    language_temperature: float | None = None

    def __post_init__(self) -> None:
        temperature = self.language_temperature
        if temperature is not None and not temperature > 0:
            raise InputError(
                f"the group {self.name!r}: language_temperature: expected "
                f"more than 0, found {temperature}"
            )

    def shares(self) -> list[float]:
        """Returns the share of each task of the group; they sum to 1.

        Example:
            >>> [t.num_examples for t in (english, korean)]
            [900, 100]
            >>> group = MixtureGroup("all", [english, korean],
            ...                      language_temperature=2)
            >>> group.shares()
            [0.75, 0.25]

        Source: mT5 (arXiv:2010.11934), section 3.1.
        """
        weights = [float(self.weight_of(task)) for task in self.tasks]
        if self.language_temperature is not None:
            sums: defaultdict[str | None, float] = defaultdict(float)
            for task, weight in zip(self.tasks, weights, strict=True):
                sums[task.language] += weight
            power = 1 / self.language_temperature - 1
            weights = [
                weight * sums[task.language] ** power
                for task, weight in zip(self.tasks, weights, strict=True)
            ]
        total = sum(weights)
        return [weight / total for weight in weights]

    def cap_of(self, task: Task) -> int | None:
        """Returns the cap of a task of the group."""
        return self.caps.get(task.name, self.cap)

    def weight_of(self, task: Task) -> int:
        """Returns how many examples of a task count for its rate."""
        cap = self.cap_of(task)
        return min(task.num_usable, cap) if cap else task.num_usable


@dataclasses.dataclass(frozen=True)
class MixtureTask:
    """A task as part of a mixture."""

    task: Task
    group: str  # The name of its group.
    cap: int | None  # At most this many examples count for the rate.
    weight: int  # The number of examples that count.
    rate: float  # The probability that a training example is of this task.
    formats: dict[Format, float]  # The probability of each, given the task.

    def summary(self) -> dict:
        """Returns what `Mixture.summary` says about the task."""
        return {
            "name": self.task.name,
            "examples": self.task.num_examples,
            "usable": self.task.num_usable,
            "cap": self.cap,
            "weight": self.weight,
            "rate": self.rate,
            "formats": {f.value: share for f, share in self.formats.items()},
        }


def check_groups(name: str, groups: Sequence[MixtureGroup]) -> None:
    """Checks that the groups of a mixture have tasks, none of them twice.

    Raises:
        InputError: If not; begins with the name of the mixture.
    """
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


def group_shares(name: str, groups: Sequence[MixtureGroup]) -> list[float]:
    """Returns the groups' shares of the mixture; they sum to 1."""
    without = [g.name for g in groups if g.proportion is None]
    if without and len(without) < len(groups):
        raise InputError(
            f"{name}: the group {without[0]!r} has no proportion, but others "
            "have; give all groups one, or none"
        )
    shares = [
        sum(map(g.weight_of, g.tasks)) if g.proportion is None else g.proportion
        for g in groups
    ]
    return [share / sum(shares) for share in shares]


def weigh_tasks(
    name: str, group: MixtureGroup, share: float, shots: int
) -> Iterator[MixtureTask]:
    """Yields the tasks of a group, of the mixture `name`, with their rates."""
    for task, of_group in zip(group.tasks, group.shares(), strict=True):
        yield MixtureTask(
            task=task,
            group=group.name,
            cap=group.cap_of(task),
            weight=group.weight_of(task),
            rate=share * of_group,
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
