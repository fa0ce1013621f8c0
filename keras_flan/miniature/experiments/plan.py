"""The experiments as data: what is trained, and what is measured on it.

A plan is a YAML file. An experiment has arms (settings of a run that differ
from the defaults) or a grid (all combinations of values), and every arm is
run with every seed. One such run is a cell; equal cells of two experiments
are run once.
"""

import hashlib
import itertools
import json
import os
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic

from keras_flan.data.templates.families import Format
from keras_flan.errors import InputError, did_you_mean
from keras_flan.miniature.pretraining.pretrain import PretrainConfig
from keras_flan.schema import Strict, read_yaml, validate

PLAN = Path(__file__).parent / "experiments.yaml"
GROUPS = ("trained", "held_out_tasks", "held_out_families")

Positive = Annotated[int, pydantic.Field(gt=0)]


def _empty() -> Any:
    return pydantic.Field(default_factory=dict)


class View(Strict):
    """One way of asking the tasks of the evaluation.

    Attributes:
        mode: `direct` or `cot`.
        shots: Exemplars.
        samples: Paths of a vote; 1 is greedy.
    """

    mode: Literal["direct", "cot"] = "direct"
    shots: pydantic.NonNegativeInt = 0
    samples: Positive = 1


class Evaluation(Strict):
    """How much is asked.

    Attributes:
        trained: Tasks of the first group; the others are the other groups'.
        held_out_tasks: Tasks of trained families, kept out.
        held_out_families: Tasks of families that are kept out as a whole.
        examples: Of each task.
    """

    trained: Positive = 20
    held_out_tasks: Positive = 20
    held_out_families: Positive = 20
    examples: Positive = 20


class PretrainedBase(Strict):
    """A pretrained model.

    Attributes:
        preset: A name that `keras_flan.models.load` knows. If the package
            does not have it, the model is pretrained.
        pretrain: Settings of `PretrainConfig` for that.
    """

    preset: str | None = None
    pretrain: dict[str, int | float] = _empty()

    def config(self) -> PretrainConfig:
        """Returns how it is pretrained."""
        values: dict[str, Any] = {**self.pretrain}
        return PretrainConfig(**values)


class Cell(Strict):
    """One finetuning run.

    Attributes:
        base: A name in the plan's `bases`.
        tasks: Number of trained tasks, drawn by the seed; None is all. The
            tasks of a smaller number are among those of a larger one.
        train_examples: Of each task.
        formats: Weights of the formats.
        templates: Number of instruction templates of each list, the first
            ones, and of each task's own ways of asking; None is all.
        balance: Whether families have equal shares; otherwise tasks have.
        method: What is trained: all weights, `lora` or `houlsby` adapters.
        stages: `joint`; `fewer_first`, half of the steps on a quarter of the
            tasks; or `direct_first`, half of them without rationales.
        debugging: Of the tasks of programs with bugs: `none`; `asked`, after
            training without them; `joint`, trained from the first step on; or
            `last`, in the second half, when the mixture grows by them. Kinds
            of bugs that are held out are asked.
        steps: Optimizer steps; 0 leaves the model as it is.
        learning_rate: Adafactor's.
        batch_size: Packed rows per step.
        input_length: Encoder tokens per row.
        target_length: Decoder tokens per row.
        seed: Of the order of the data, and the draw of tasks.
    """

    base: str = "nano"
    tasks: Positive | None = None
    train_examples: Positive = 400
    formats: dict[Format, pydantic.NonNegativeFloat] = pydantic.Field(
        default_factory=lambda: {
            Format.zero_shot_direct: 1.0,
            Format.zero_shot_cot: 1.0,
        }
    )
    templates: Positive | None = None
    balance: bool = True
    method: Literal["full", "lora", "houlsby"] = "full"
    stages: Literal["joint", "fewer_first", "direct_first"] = "joint"
    debugging: Literal["none", "asked", "joint", "last"] = "none"
    steps: pydantic.NonNegativeInt = 400
    learning_rate: pydantic.PositiveFloat = 0.005
    batch_size: Positive = 4
    input_length: Positive = 128
    target_length: Positive = 64
    seed: int = 0


class Check(Strict):
    """A claim of the paper as a comparison of two arms.

    Attributes:
        claim: In a sentence.
        more: The arm that should be better; see `margin`.
        less: The other arm.
        view: The way of asking.
        less_view: That of the other arm; default: the same.
        one_path: Whether the vote of `view` is compared with one of its own
            sampled paths instead: exact match, of all tasks together.
        group: The tasks.
        margin: The difference in points that is demanded: 0 is "better",
            -2 "at most 2 points worse".
    """

    claim: str
    more: str
    less: str
    view: str
    less_view: str | None = None
    one_path: bool = False
    group: Literal[
        "trained",
        "held_out_tasks",
        "held_out_families",
        "held_out",
        "debugging",
        "all",
    ]
    margin: float = 0.0


class Experiment(Strict):
    """Arms that are compared.

    Attributes:
        title: What is asked.
        paper: What the paper found, and where.
        arms: Changes of the defaults, by name.
        grid: Values by setting; all combinations are arms.
        views: Names in the plan's `views`.
        seeds: Its own seeds, where the plan's leave too much open.
        x: The setting on the horizontal axis; without one, bars.
        checks: The claims.
    """

    title: str
    paper: str
    arms: dict[str, dict[str, Any]] = _empty()
    grid: dict[str, list[Any]] = _empty()
    views: list[str]
    seeds: list[int] | None = None
    x: str | None = None
    checks: list[Check] = pydantic.Field(default_factory=list)

    def all_arms(self) -> dict[str, dict[str, Any]]:
        """Returns the changes of every arm by name."""
        arms = dict(self.arms)
        names = list(self.grid)
        # The product of nothing would be one arm without changes.
        combinations = itertools.product(*self.grid.values()) if names else ()
        for values in combinations:
            changes = dict(zip(names, values, strict=True))
            name = ", ".join(
                f"{key}={'all' if value is None else value}"
                for key, value in changes.items()
            )
            arms[name] = changes
        return arms


class ExperimentPlan(Strict):
    """All experiments.

    Attributes:
        seeds: Of every arm, unless its experiment has its own.
        defaults: Settings of `Cell` for all arms.
        evaluation: See `Evaluation`.
        views: Ways of asking, by name.
        bases: Pretrained models, by name.
        experiments: By name.
    """

    seeds: list[int]
    defaults: Cell = Cell()
    evaluation: Evaluation = Evaluation()
    views: dict[str, View]
    bases: dict[str, PretrainedBase]
    experiments: dict[str, Experiment]

    def only(self, names: list[str] | None) -> "ExperimentPlan":
        """Returns the plan with these experiments alone; None is all."""
        if not names:
            return self
        for name in names:
            if name not in self.experiments:
                raise InputError(
                    f"{name}: no such experiment."
                    + did_you_mean(name, self.experiments)
                )
        chosen = {name: self.experiments[name] for name in names}
        return self.model_copy(update={"experiments": chosen})

    def seeds_of(self, experiment: str) -> list[int]:
        """Returns the seeds of an experiment's arms."""
        return self.experiments[experiment].seeds or self.seeds

    def cells(self) -> dict[tuple[str, str, int], tuple[Cell, list[str]]]:
        """Returns cell and views of each experiment, arm and seed."""
        found = {}
        for name, experiment in self.experiments.items():
            for arm, changes in experiment.all_arms().items():
                for seed in self.seeds_of(name):
                    place = f"experiments.{name}.{arm}"
                    values = self.defaults.model_dump()
                    values.update(changes, seed=seed)
                    if values["steps"] == 0:
                        values["seed"] = 0  # it decides nothing
                    cell = validate(Cell, values, place)
                    found[name, arm, seed] = cell, experiment.views
        return found


class _PlanFile(ExperimentPlan):
    quick: dict[str, Any] = _empty()


def load_plan(
    path: str | os.PathLike = PLAN, *, quick: bool = False
) -> ExperimentPlan:
    """Reads a plan.

    Args:
        path: The YAML file; default: the plan of the package.
        quick: Put the file's `quick` in the place of what it names, at any
            depth: fewer seeds, smaller runs.

    Raises:
        InputError: Names what is wrong and where.

    Example:
        >>> len(load_plan().experiments)
        12
    """
    data = read_yaml(path)
    if quick and isinstance(data, dict):
        data = _overlaid(data, data.get("quick") or {})
    file = validate(_PlanFile, data, str(path))
    values = {k: v for k, v in dict(file).items() if k != "quick"}
    plan = ExperimentPlan(**values)
    _check(plan, path)
    return plan


def _check(plan: ExperimentPlan, path: str | os.PathLike) -> None:
    """Raises InputError for the first name or check that does not fit."""
    for name, experiment in plan.experiments.items():
        arms = experiment.all_arms()
        wanted = [
            *(("views", view, plan.views) for view in experiment.views),
            *(
                ("checks", view, experiment.views)
                for c in experiment.checks
                for view in (c.view, c.less_view or c.view)
            ),
            *(
                ("checks", arm, arms)
                for c in experiment.checks
                for arm in (c.more, c.less)
            ),
        ]
        for key, value, known in wanted:
            if value not in known:
                raise InputError(
                    f"{path}: experiments.{name}.{key}: no such name "
                    f"{value!r}; known here: {', '.join(known)}"
                )
        for check in experiment.checks:
            votes = plan.views[check.view].samples > 1
            if check.one_path != (check.group == "all") or (
                check.one_path and not votes
            ):
                raise InputError(
                    f"{path}: experiments.{name}.checks: found one_path "
                    f"{check.one_path}, group {check.group!r} and a view "
                    f"{'with' if votes else 'without'} votes; group 'all' "
                    "and one_path go together, with a view of several samples"
                )
    for (name, arm, _), (cell, _) in plan.cells().items():
        if cell.base not in plan.bases:
            raise InputError(
                f"{path}: experiments.{name}.{arm}: no such base "
                f"{cell.base!r}; there are {', '.join(plan.bases)}"
            )


def _overlaid(data: dict, changes: dict) -> dict:
    """Returns data with changes put into it, at any depth."""
    result = dict(data)
    for key, value in changes.items():
        old = result.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            value = _overlaid(old, value)
        result[key] = value
    return result


def content_hash(*parts: Any) -> str:
    """Returns 16 hexadecimal digits for JSON-able values or models."""
    values = [
        part.model_dump(mode="json")
        if isinstance(part, pydantic.BaseModel)
        else part
        for part in parts
    ]
    text = json.dumps(values, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
