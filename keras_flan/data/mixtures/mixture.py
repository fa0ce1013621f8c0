"""Mixture: tasks, caps and proportions, turned into sampling rates."""

import os
from collections.abc import Sequence

from keras_flan.data.mixtures.files import FileStage, read_stages
from keras_flan.data.mixtures.groups import (
    MixtureGroup,
    MixtureTask,
    check_groups,
    group_shares,
    weigh_tasks,
)
from keras_flan.errors import InputError


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
        wrong = steps is not None and steps < 1
        if (then is None) != (steps is None) or wrong:
            raise InputError(
                f"{name}: `steps`, at least 1, and `then` belong together; "
                "the last stage has neither"
            )
        self.name = name
        self.shots = shots
        self.steps = steps
        self.then = then
        check_groups(name, groups)
        self._all_groups = tuple(groups)
        self.groups = tuple(group for group in groups if group.tasks)
        self._shares = group_shares(name, self.groups)
        self.tasks: tuple[MixtureTask, ...] = tuple(
            part
            for group, share in zip(self.groups, self._shares, strict=True)
            for part in weigh_tasks(name, group, share, shots)
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
            source: A file (the module `files` describes its form), or a
                name such as `"flan2022_paper_b"`.
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
        return cls._of_stages(*read_stages(source, records, missing))

    @classmethod
    def _of_stages(cls, stage: FileStage, *others: FileStage) -> "Mixture":
        then = cls._of_stages(*others) if others else None
        try:
            named = (stage.name, stage.groups, stage.shots)
            return cls(*named, steps=stage.steps, then=then)
        except InputError as error:
            raise InputError(f"{stage.file}: {error}") from None

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
        summary: dict = {"name": self.name, "shots": self.shots}
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
        names = [group.name for group in self.groups]
        shares = dict(zip(names, self._shares, strict=True))
        some_skipped = any(group.skipped for group in self._all_groups)
        rows = []
        for group in self._all_groups:
            share = shares.get(group.name, 0)
            row: dict = {"name": group.name, "proportion": share}
            if some_skipped:
                row["stated"] = self._stated(group)
                row["skipped"] = list(group.skipped)
            row["tasks"] = [
                part.summary()
                for part in self.tasks
                if part.group == group.name
            ]
            rows.append(row)
        return rows

    def _stated(self, group: MixtureGroup) -> float | None:
        """Returns a group's share of the proportions, skipped or not."""
        if group.proportion is None:
            return None
        stated = (g.proportion or 0 for g in self._all_groups)
        return group.proportion / sum(stated)
