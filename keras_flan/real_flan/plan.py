"""What is trained and asked, as data: see plans.yaml."""

import os
from pathlib import Path
from typing import Any, Literal

import pydantic

from keras_flan.data.templates.families import Format
from keras_flan.errors import InputError
from keras_flan.schema import Strict, read_yaml, validate

PLANS = Path(__file__).with_name("plans.yaml")
# The shortest budget that pays for more than the demonstration.
TABLE_MINUTES = 120
# What is asked as it came, beside the arms.
BASE = "base"
SOURCES = ("natural_instructions", "t0", "classification", "cot")
# What a mean is of; `normalised` is accuracy above guessing.
Metric = Literal["accuracy", "normalised", "exact_match", "rouge_l"]


class View(Strict):
    """One way of asking held-out questions.

    Attributes:
        asked: `instructions`, whole tasks of Natural Instructions; `options`,
            classification sets with options; or a benchmark, `mgsm`, `bbh`.
        mode: `direct`, `cot` or `rank`.
        shots: Exemplars.
        limit: The most questions of each task.
        tasks: Only these tasks.
        new_tokens: Longest output.
        metrics: What is measured; the first one is the headline.
    """

    asked: str
    mode: Literal["direct", "cot", "rank"] = "direct"
    shots: pydantic.NonNegativeInt = 0
    limit: pydantic.PositiveInt
    tasks: list[str] | None = None
    new_tokens: pydantic.PositiveInt = 24
    metrics: list[Metric]


class Arm(Strict):
    """A finetuning run; without changes it is trained on everything.

    Attributes:
        only: Sources of the training data, instead of all.
        clusters: How many clusters of tasks; None is all. The clusters of a
            smaller number are among those of a larger one.
        templates: How many wordings of each kind; None is all.
        seeds: Of the order of the data, and of the draw of clusters.
    """

    only: list[str] | None = None
    clusters: pydantic.PositiveInt | None = None
    templates: pydantic.PositiveInt | None = None
    seeds: list[int] = pydantic.Field(default_factory=lambda: [0])


class Claim(Strict):
    """A claim of the paper as a comparison of two arms; `base` is one too.

    Attributes:
        claim: In a sentence.
        more: The arm that should be better.
        less: The other arm.
        view: The way of asking.
        margin: The difference in points that is demanded: 0 is "better", -2
            "at most 2 points worse".
    """

    claim: str
    more: str
    less: str
    view: str
    margin: float = 0.0


class FlanPlan(Strict):
    """Arms, what they are trained with, and how they are asked.

    Attributes:
        train: Settings of a `TrainConfig`; output, mixture and steps are the
            run's own.
        licence: That of the model.
        proportions: Shares of the sources, see `SOURCES`.
        formats: Weights of the formats.
        task_cap: At most this many examples of a task count for its rate.
        answer_words: Tasks whose answers have more words than this, on
            average, are neither trained on nor asked.
        prompt_words: The same of what is in a prompt, its instruction too.
        questions: Of each held-out task that are kept to be asked.
        views: Ways of asking, by name.
        arms: By name; the first is the headline.
        claims: See `Claim`.
    """

    train: dict[str, Any]
    licence: str = ""
    proportions: dict[str, pydantic.PositiveFloat]
    formats: dict[Format, pydantic.NonNegativeFloat]
    task_cap: pydantic.PositiveInt = 1000
    answer_words: pydantic.PositiveFloat = 12
    prompt_words: pydantic.PositiveFloat = 100
    questions: pydantic.PositiveInt = 64
    views: dict[str, View]
    arms: dict[str, Arm]
    claims: list[Claim] = pydantic.Field(default_factory=list)

    @pydantic.model_validator(mode="after")
    def _check(self) -> "FlanPlan":
        known = {
            "arms": {*self.arms, BASE},
            "views": set(self.views),
            "proportions": set(SOURCES),
        }
        named = [
            *(("proportions", name) for name in self.proportions),
            *(
                ("proportions", name)
                for arm in self.arms.values()
                for name in arm.only or ()
            ),
            *(("arms", c.more) for c in self.claims),
            *(("arms", c.less) for c in self.claims),
            *(("views", c.view) for c in self.claims),
        ]
        for kind, name in named:
            if name not in known[kind]:
                raise ValueError(
                    f"{kind}: no such name {name!r}; there are "
                    + ", ".join(sorted(known[kind]))
                )
        return self

    def cells(self) -> list[tuple[str, int]]:
        """Returns arms and seeds in the order in which they are run.

        Every arm has its first seed before one has its second.
        """
        turns = max(len(arm.seeds) for arm in self.arms.values())
        return [
            (name, arm.seeds[turn])
            for turn in range(turns)
            for name, arm in self.arms.items()
            if turn < len(arm.seeds)
        ]


class _Plans(Strict):
    demonstration: FlanPlan
    table: FlanPlan


def load_plan(
    minutes: float, path: str | os.PathLike | None = None
) -> FlanPlan:
    """Returns the plan of a budget, or one of your own.

    Args:
        minutes: The budget. From 120 on it is the table of all arms, below
            that the demonstration of one.
        path: A YAML file with the keys of `FlanPlan` instead.

    Raises:
        InputError: Names what is wrong and where.

    Example:
        >>> list(load_plan(30).arms)
        ['all']
    """
    if minutes <= 0:
        raise InputError(f"minutes: expected more than 0, found {minutes:g}")
    if path is not None:
        return validate(FlanPlan, read_yaml(path), str(path))
    plans = validate(_Plans, read_yaml(PLANS), str(PLANS))
    return plans.table if minutes >= TABLE_MINUTES else plans.demonstration
