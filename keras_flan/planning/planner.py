"""The plan of a job: what it computes, holds and sends, and whether it fits."""

import dataclasses
from typing import Any

from keras_flan.errors import InputError, did_you_mean
from keras_flan.planning.flops import GROWTH, parameters, rule_flops, step_flops
from keras_flan.planning.jobs import PlannedJob, chips, make_job
from keras_flan.planning.memory import Memory, job_memory, usable
from keras_flan.planning.search import Advice, advise, best_mesh, suggest
from keras_flan.planning.seconds import (
    Time,
    collective_bytes,
    prefill_seconds,
    step_time,
    token_flops,
)
from keras_flan.training.recipe_table import Recipe, recipes

# Of `Memory`, for `--json`.
_HELD = (
    "weights", "optimizer", "gradients", "activations", "copies", "kept",
    "loss", "cache", "total",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class JobPlan:
    """What a job takes.

    Attributes:
        job: The job.
        name: The preset's name, or the family's.
        recipe: The preset's recipe, or `None`.
        steps: Steps of the whole run.
        parameters: Of the model.
        flops_per_step: By the paper's rule, 6 N (T5: 3 N) per token.
        total_flops: The same, of all steps.
        percent_of_pretraining: `total_flops` in percent of what the
            initialisation took; `None` if nobody knows.
        counted_flops: One training step's products, by what they are for.
        memory: Bytes on each device.
        limit: Bytes that a program can have on a device.
        collectives: Bytes that each device receives in a step.
        time: Seconds of a step.
        prefill: Seconds of reading the prompts, when decoding.
        advice: What to change so that it fits; empty if it does.
        compiler: What the TPU's compiler said, if it was asked.
    """

    job: PlannedJob
    name: str
    recipe: Recipe | None
    steps: int
    parameters: int
    flops_per_step: float
    total_flops: float
    percent_of_pretraining: float | None
    counted_flops: dict[str, float]
    memory: Memory
    limit: float
    collectives: dict[str, float]
    time: Time
    prefill: float
    advice: tuple[Advice, ...] = ()
    compiler: dict[str, Any] | None = None

    @property
    def problem(self) -> str:
        """Why it can't run, in one line; empty if it can."""
        rows, parts = self.job.data.batch_size, self.job.axes.size("batch")
        if rows % parts:
            return f"{rows} rows can't be divided by batch={parts}"
        if self.memory.total > self.limit:
            return (
                f"{self.memory.total / 2**30:.1f} GiB on a device that has "
                f"{self.limit / 2**30:.1f}"
            )
        return ""

    @property
    def fits(self) -> bool:
        """Whether it fits, by the estimate."""
        return not self.problem

    @property
    def hours(self) -> float:
        """Hours of all steps (decoding: of one batch's answers)."""
        seconds = self.time.step * self.steps
        return (seconds + self.prefill) / 3600

    @property
    def chip_hours(self) -> float:
        """Hours times chips."""
        return self.hours * self.job.slice.chips

    @property
    def published(self) -> dict[str, Any] | None:
        """What the paper prints of the training, and a misprint."""
        if self.recipe is None or self.job.side != "train":
            return None
        values = self.recipe.published.model_dump(exclude_none=True)
        if self.recipe.misprint:
            values["misprint"] = self.recipe.misprint.model_dump()
        return values

    @property
    def training(self) -> str:
        """The step as options and overrides of `train`; empty in decoding."""
        if self.job.side != "train":
            return ""
        given = [f"--recipe {self.name}"] if self.recipe else []
        return " ".join(given + self.job.overrides(self.recipe))

    def as_dict(self) -> dict[str, Any]:
        """Returns the plan for `--json`; all bytes are of one device."""
        memory, job = self.memory, self.job
        values = {
            "preset": self.name,
            "job": job.model_dump(mode="json"),
            "chips": job.slice.chips,
            "devices": job.slice.devices,
            "steps": self.steps,
            "parameters": self.parameters,
            "flops_per_step": self.flops_per_step,
            "total_flops": self.total_flops,
            "percent_of_pretraining": self.percent_of_pretraining,
            "counted_flops_per_step": {
                part: {"flops": flops, "grows_with": GROWTH[part]}
                for part, flops in self.counted_flops.items()
            },
            "bytes_per_device": {
                **{name: round(getattr(memory, name)) for name in _HELD},
                "limit": round(self.limit),
            },
            "collective_bytes_per_device": {
                name: round(value) for name, value in self.collectives.items()
            },
            "seconds_per_step": self.time.step,
            "bound": self.time.bound,
            "hours": self.hours,
            "chip_hours": self.chip_hours,
            "fits": self.fits,
            "problem": self.problem,
            "advice": [dataclasses.asdict(step) for step in self.advice],
        }
        if job.side == "decode":
            values["prefill_seconds"] = self.prefill
        if self.published is not None:
            values["published"] = self.published
        if self.compiler is not None:
            values["compiler"] = self.compiler
        return values


def plan(
    preset: str | None = None,
    topology: str = "v4:2x2x1",
    mesh: str | None = None,
    *,
    compile: bool = False,
    steps: int | None = None,
    **settings: Any,
) -> JobPlan:
    """Plans a job of the paper, or one of your own.

    Args:
        preset: `"flan_t5_small"` to `"flan_t5_xxl"`, `"flan_palm_8b"`,
            `"flan_palm_62b"`, `"flan_palm_540b"`, `"flan_cont_palm_62b"`,
            `"flan_u_palm_540b"`; or `None`, with `family` and `size` among
            the settings.
        topology: The slice, such as `"v4:8x8x8"`.
        mesh: Such as `"batch=32,model=32"`; default: the one that fits, and
            is fastest, by the estimate.
        compile: Ask the TPU's compiler too (extra `[tpu]`); takes minutes.
        steps: Steps of the run; default the paper's, or 1.
        **settings: Fields of `PlannedJob` to use instead of the preset's:
            `side`, `paths`, and sections as in the YAML of a training run,
            such as `data={"batch_size": 16}`.

    Raises:
        InputError: If preset, topology, mesh or a setting are wrong.

    Example:
        >>> made = plan("flan_palm_540b", "v4:8x8x8", "batch=32,model=32")
        >>> made.fits, f"{made.total_flops:.2g}"
        (True, '5.6e+21')
    """
    recipe = _recipe(preset)
    job = make_job(recipe, topology, mesh, settings)
    if mesh is None and "mesh" not in settings.get("distribution", ()):
        job = best_mesh(job)
    return plan_job(job, preset, steps=steps, compile=compile)


def plan_job(
    job: PlannedJob,
    preset: str | None = None,
    *,
    steps: int | None = None,
    compile: bool = False,
) -> JobPlan:
    """Plans a job; see `plan`.

    Args:
        job: The job.
        preset: The model of the paper that it is about, for its name's N,
            steps and published numbers.
        steps: Steps of the run; default the paper's, or 1.
        compile: Ask the TPU's compiler too.
    """
    job.axes  # noqa: B018  A mesh that isn't the slice's raises.
    train, recipe = job.side == "train", _recipe(preset)
    numbers, percent = parameters(job.family, job.size), None
    memory = job_memory(job)
    if not train:
        flops, steps = token_flops(job), job.data.target_length
    else:
        steps = steps or (recipe.steps if recipe else 1)
        nominal = recipe.nominal if recipe else numbers
        flops = rule_flops(job.family, nominal, job.tokens)
        if recipe:
            before = rule_flops(
                job.family, recipe.nominal, recipe.pretraining_tokens
            )
            percent = 100 * flops * steps / before
    made = JobPlan(
        job=job,
        name=preset or job.family,
        recipe=recipe,
        steps=steps,
        parameters=numbers,
        flops_per_step=flops,
        total_flops=flops * steps,
        percent_of_pretraining=percent,
        counted_flops=step_flops(job) if train else {},
        memory=memory,
        limit=usable(job.slice.chip),
        collectives=collective_bytes(job),
        time=step_time(job, memory),
        prefill=0.0 if train else prefill_seconds(job),
    )
    if compile:
        from keras_flan.planning.compiler import compile_job

        made = dataclasses.replace(made, compiler=compile_job(job))
    if not made.fits:
        made = dataclasses.replace(made, advice=tuple(advise(job)))
    return made


def _recipe(preset: str | None) -> Recipe | None:
    if preset is None or preset in recipes():
        return recipes()[preset] if preset else None
    raise InputError(
        f"preset {preset!r} is not known.{did_you_mean(preset, recipes())}"
    )


def suggest_plans(
    preset: str | None = None,
    chip: str = "v4",
    *,
    max_chips: int = 512,
    compile: bool = False,
    steps: int | None = None,
    **settings: Any,
) -> dict[str, JobPlan | None]:
    """Searches slices, meshes and remat; see `plan` for the arguments.

    Args:
        preset: See `plan`.
        chip: `"v4"` or `"v5e"`.
        max_chips: The largest slice to look at.
        compile: Ask the TPU's compiler about the two that are found.
        steps: See `plan`.
        **settings: See `plan`.

    Returns:
        `smallest`: the fastest plan on the smallest slice that fits;
        `fastest`: the fastest plan of all; `None` if nothing fits.
    """
    first = chips()[chip].slices[0] if chip in chips() else ""
    job = make_job(_recipe(preset), f"{chip}:{first}", None, settings)
    job.slice  # noqa: B018  An unknown chip raises.
    return {
        name: plan_job(found, preset, steps=steps, compile=compile)
        if found
        else None
        for name, found in suggest(job, max_chips).items()
    }
