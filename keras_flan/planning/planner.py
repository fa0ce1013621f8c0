"""The plan of a job: what it computes, holds and sends, and whether it fits."""

import dataclasses
from typing import Any

from keras_flan.distribution.chips import chips
from keras_flan.distribution.mesh import Mesh
from keras_flan.errors import InputError, did_you_mean
from keras_flan.planning.flops import GROWTH, rule_flops, step_flops
from keras_flan.planning.jobs import PlannedJob, recipe_job, run_job
from keras_flan.planning.kernels import kernel_cost, kernel_of
from keras_flan.planning.memory import Memory, job_memory
from keras_flan.planning.search import Advice, advise, best_mesh, suggest
from keras_flan.planning.seconds import (
    Time,
    collective_bytes,
    prefill_seconds,
    step_time,
    token_flops,
)
from keras_flan.training.config import JobConfig, TrainConfig, merged
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
        name: The preset's name, or that of the run's model.
        recipe: The preset's recipe, or `None`.
        config: The run's settings, or `None`.
        steps: Steps of the whole run.
        parameters: Of the model.
        trained: How many of them are trained.
        flops_per_step: By the paper's rule, 6 N (T5: 3 N) per token.
        total_flops: The same, of all steps.
        percent_of_pretraining: `total_flops` in percent of what the
            initialisation took; `None` if nobody knows.
        counted_flops: One training step's products, by what they are for.
        memory: Bytes on each device.
        limit: Bytes that a program can have on a device.
        collectives: Bytes that each device receives in a step.
        time: Seconds of a step, without the compiler.
        prefill: Seconds of reading the prompts, when decoding.
        advice: What to change so that it fits; empty if it does.
        compiler: What the TPU's compiler said, if it was asked.
    """

    job: PlannedJob
    name: str
    recipe: Recipe | None
    config: TrainConfig | None
    steps: int
    parameters: int
    trained: int
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
        if not self.job.divides:
            rows, its = self.job.data.batch_size, self.job.optimizer
            parts = self.job.axes.size("batch")
            whole = "" if its.accumulate == 1 else f" in {its.accumulate} parts"
            return f"{rows} rows{whole} can't be divided by batch={parts}"
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
    def compiled_seconds(self) -> float | None:
        """Seconds of a step by the compiled program, if there is one."""
        cost = (self.compiler or {}).get("cost")
        if cost is None:
            return None
        return cost["seconds"] * self.job.optimizer.accumulate + _kernel_time(
            self.job
        )

    @property
    def step_seconds(self) -> float:
        """Seconds of a step: the compiler's, or else the roofline's."""
        compiled = self.compiled_seconds
        if compiled is None:
            return self.time.step
        return max(compiled, self.time.network)

    @property
    def hours(self) -> float:
        """Hours of all steps (decoding: of one batch's answers)."""
        return (self.step_seconds * self.steps + self.prefill) / 3600

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
        """The step as options and overrides of `train`; empty in decoding.

        Of a plan of a run, what the run's own YAML does not say.
        """
        if self.job.side != "train":
            return ""
        if self.config is not None:
            return " ".join(self.job.overrides(self.config.model_dump()))
        known, given = JobConfig().model_dump(), []
        if self.recipe is not None:
            known = merged(known, self.recipe.settings())
            given = [f"--recipe {self.name}"]
        return " ".join(given + self.job.overrides(known))

    @property
    def fitting(self) -> PlannedJob:
        """The job, with all advice taken if it doesn't fit.

        Raises:
            InputError: If no advice makes it fit.
        """
        if self.fits:
            return self.job
        if self.advice and self.advice[-1].fits:
            return self.advice[-1].job
        raise InputError(
            f"plan: {self.name} fits no slice of {self.job.slice.name}; take "
            "a smaller model or shorter rows"
        )

    def as_dict(self) -> dict[str, Any]:
        """Returns the plan for `--json`; all bytes are of one device."""
        memory, job = self.memory, self.job
        values = {
            "preset": self.name,
            "job": job.model_dump(mode="json"),
            "mesh": str(job.axes),
            "chips": job.slice.chips,
            "devices": job.slice.devices,
            "steps": self.steps,
            "parameters": self.parameters,
            "trained_parameters": self.trained,
            "attention": kernel_of(job) or "einsum",
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
            "seconds_per_step": self.step_seconds,
            "seconds": {
                "compiler": self.compiled_seconds,
                "roofline": self.time.roofline,
                "rule": self.time.rule,
                "network": self.time.network,
            },
            "bound": self.time.bound,
            "hours": self.hours,
            "chip_hours": self.chip_hours,
            "fits": self.fits,
            "problem": self.problem,
            "advice": [
                {k: v for k, v in vars(step).items() if k != "job"}
                for step in self.advice
            ],
        }
        if job.side == "decode":
            values["prefill_seconds"] = self.prefill
        if self.published is not None:
            values["published"] = self.published
        if self.compiler is not None:
            values["compiler"] = self.compiler
        return values


def _kernel_time(job: PlannedJob) -> float:
    """Returns the seconds of a step in kernels, which no compiler counts."""
    flops, moved = kernel_cost(job)
    chip = job.slice.chip
    return max(flops / chip.flops, moved / chip.bandwidth)


def plan(
    job: str | TrainConfig,
    topology: str = "v4:2x2x1",
    mesh: str | None = None,
    *,
    compile: bool = False,
    steps: int | None = None,
    **settings: Any,
) -> JobPlan:
    """Plans a training run, or a job of the paper.

    Args:
        job: A `TrainConfig`, whose step is planned as `train` runs it; or
            the name of a model of the paper, with all that saves memory:
            `"flan_t5_small"` to `"flan_t5_xxl"`, `"flan_palm_8b"`,
            `"flan_palm_62b"`, `"flan_palm_540b"`, `"flan_cont_palm_62b"`,
            `"flan_u_palm_540b"`.
        topology: The slice, such as `"v4:8x8x8"` or `"v5litepod-8"`; see
            `keras_flan.planning.topology.Topology`.
        mesh: Such as `"batch=32,model=32"`; default: the run's, or the one
            that fits, and is fastest, by the estimate.
        compile: Ask the TPU's compiler too (extra `[tpu]`); takes minutes.
        steps: Steps of the run; default the run's, or the paper's.
        **settings: Fields of `PlannedJob` to use instead of the job's:
            `side`, `paths`, and sections as in the YAML of a training run,
            such as `data={"batch_size": 16}`.

    Raises:
        InputError: If job, topology, mesh or a setting are wrong.

    Example:
        >>> made = plan("flan_palm_540b", "v4:8x8x8", "batch=32,model=32")
        >>> made.fits, f"{made.total_flops:.2g}"
        (True, '5.6e+21')
        >>> plan(TrainConfig.from_yaml("train.yaml"), "v5litepod-8").problem
        ''
    """
    planned = _job(job, topology, mesh, settings)
    its = "mesh" in settings.get("distribution", ())
    if isinstance(job, TrainConfig):
        its = its or job.distribution is not None
    if mesh is None and not its:
        planned = best_mesh(planned)
    return plan_job(planned, job, steps=steps, compile=compile)


def plan_job(
    job: PlannedJob,
    source: str | TrainConfig | None = None,
    *,
    steps: int | None = None,
    compile: bool = False,
) -> JobPlan:
    """Plans a job; see `plan`.

    Args:
        job: The job.
        source: The run, or the name of the model of the paper, that it is
            about: for its steps, its name's N and published numbers.
        steps: Steps of the run; default the paper's, or the run's.
        compile: Ask the TPU's compiler too.
    """
    shape = job.shape
    Mesh(job.distribution.mesh, devices=job.slice.devices)  # Raises.
    recipe = _recipe(source) if isinstance(source, str) else None
    config = source if isinstance(source, TrainConfig) else None
    train, percent = job.side == "train", None
    memory = job_memory(job)
    if not train:
        flops, steps = token_flops(job), job.data.target_length
    else:
        steps = steps or (recipe.steps if recipe else job.steps)
        nominal = recipe.nominal if recipe else shape.parameters
        flops = rule_flops(shape.decoder_only, nominal, job.tokens)
        if recipe:
            before = rule_flops(
                shape.decoder_only, recipe.nominal, recipe.pretraining_tokens
            )
            percent = 100 * flops * steps / before
    made = JobPlan(
        job=job,
        name=str(source) if recipe else job.model.init or shape.family,
        recipe=recipe,
        config=config,
        steps=steps,
        parameters=shape.parameters,
        trained=shape.trained,
        flops_per_step=flops,
        total_flops=flops * steps,
        percent_of_pretraining=percent,
        counted_flops=step_flops(job) if train else {},
        memory=memory,
        limit=job.slice.chip.usable,
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


def suggest_plans(
    job: str | TrainConfig,
    chip: str = "v4",
    *,
    max_chips: int = 512,
    steps: int | None = None,
    **settings: Any,
) -> list[JobPlan]:
    """Searches slices, meshes and remat; see `plan` for the arguments.

    Args:
        job: See `plan`.
        chip: The name of a TPU or GPU, such as `"v4"` or `"a100-80"`.
        max_chips: The largest slice to look at.
        steps: See `plan`.
        **settings: See `plan`.

    Returns:
        The fastest plan of each slice that fits, the least chip-hours first;
        none if nothing fits.

    Example:

    ```python
    for plan in suggest_plans("flan_t5_xl", "v5e", steps=38000):
        print(plan)
    ```
    """
    first = chips()[chip].slices[0] if chip in chips() else ""
    planned = _job(job, f"{chip}:{first}", "batch=-1", settings)
    planned.slice  # noqa: B018  An unknown chip raises.
    return [
        plan_job(found, job, steps=steps)
        for found in suggest(planned, max_chips)
    ]


def _job(
    job: str | TrainConfig,
    topology: str,
    mesh: str | None,
    settings: dict[str, Any],
) -> PlannedJob:
    if isinstance(job, TrainConfig):
        return run_job(job, topology, mesh, settings)
    return recipe_job(_recipe(job), topology, mesh, settings)


def _recipe(name: str) -> Recipe:
    if name in recipes():
        return recipes()[name]
    raise InputError(
        f"preset {name!r} is not known.{did_you_mean(name, recipes())}"
    )
