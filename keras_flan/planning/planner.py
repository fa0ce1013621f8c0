"""The plan of a job: what it computes, holds and sends, and whether it fits."""

import dataclasses
from typing import Any

from keras_flan.planning.flops import (
    GROWTH,
    parameters,
    pretraining_flops,
    rule_flops,
    step_flops,
)
from keras_flan.planning.jobs import Job, Model, model_preset
from keras_flan.planning.memory import Memory, job_memory, usable
from keras_flan.planning.seconds import (
    Time,
    collective_bytes,
    prefill_seconds,
    step_time,
    token_flops,
)


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a job takes.

    Attributes:
        job: The job.
        name: The preset's name, or the family's.
        steps: Steps of the whole run.
        parameters: Of the model.
        flops_per_step: By the paper's rule, 6 N (T5: 3 N) a token.
        total_flops: The same, of all steps.
        percent_of_pretraining: `total_flops` in percent of what the
            initialisation took; `None` if nobody knows.
        counted_flops: One training step's products, by what they are for.
        memory: Bytes on each device.
        limit: Bytes that a program can have on a device.
        collectives: Bytes that each device receives in a step.
        time: Seconds of a step.
        prefill: Seconds of reading the prompts, when decoding.
        published: What the paper prints, and a misprint.
        advice: What to change so that it fits; empty if it does.
        compiler: What the TPU's compiler said, if it was asked.
    """

    job: Job
    name: str
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
    published: dict[str, Any] | None = None
    advice: tuple = ()
    compiler: dict[str, Any] | None = None

    @property
    def problem(self) -> str:
        """Why it can't run, in one line; empty if it can."""
        return _problem(self.job, self.memory, self.limit)

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
                "weights": round(memory.weights),
                "optimizer": round(memory.optimizer),
                "gradients": round(memory.gradients),
                "activations": round(memory.activations),
                "copies": round(memory.copies),
                "kept": round(memory.kept),
                "loss": round(memory.loss),
                "cache": round(memory.cache),
                "total": round(memory.total),
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
    **settings,
) -> Plan:
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
        steps: Steps of the run; default the paper's.
        **settings: Fields of `Job` to use instead of the preset's.

    Raises:
        InputError: If preset, topology, mesh or a setting are wrong.

    Example:
        >>> made = plan("flan_palm_540b", "v4:8x8x8", "batch=32,model=32")
        >>> made.fits, f"{made.total_flops:.2g}"
        (True, '5.6e+21')
    """
    from keras_flan.planning.search import best_mesh

    model = _model(preset, settings)
    values = {
        "family": model.family,
        "size": model.size,
        "batch": model.batch,
        "dropout": model.dropout,
        "topology": topology,
        **settings,
    }
    if mesh is None:
        job = best_mesh(_job({**values, "mesh": "batch=-1"}))
    else:
        job = _job({**values, "mesh": mesh})
    return plan_job(job, preset, model, steps=steps, compile=compile)


def plan_job(
    job: Job,
    name: str | None = None,
    model: Model | None = None,
    *,
    steps: int | None = None,
    compile: bool = False,
    advise: bool = True,
) -> Plan:
    """Plans a job; see `plan`.

    Args:
        job: The job.
        name: What to call it.
        model: The model, for its name's N, steps and published numbers.
        steps: Steps of the run; default the model's, or 1.
        compile: Ask the TPU's compiler too.
        advise: Whether to look for what to change if it doesn't fit.
    """
    job.axes  # noqa: B018  A mesh that isn't the slice's raises.
    train = job.side == "train"
    if steps is None:
        steps = model.steps if model and train else 1
    numbers = parameters(job.family, job.size)
    nominal = (model and model.nominal) or numbers
    memory = job_memory(job)
    if train:
        flops = rule_flops(job.family, nominal, job.tokens)
    else:
        flops = token_flops(job)
        steps = job.target_length
    whole = pretraining_flops(model) if model and train else None
    made = Plan(
        job=job,
        name=name or job.family,
        steps=steps,
        parameters=numbers,
        flops_per_step=flops,
        total_flops=flops * steps,
        percent_of_pretraining=whole and 100 * flops * steps / whole,
        counted_flops=step_flops(job) if train else {},
        memory=memory,
        limit=usable(job.slice.chip),
        collectives=collective_bytes(job),
        time=step_time(job, memory),
        prefill=0.0 if train else prefill_seconds(job),
        published=_published(model) if train else None,
    )
    if compile:
        from keras_flan.planning.compiler import compile_job

        made = dataclasses.replace(made, compiler=compile_job(job))
    if advise and not made.fits:
        from keras_flan.planning.search import advise as search

        made = dataclasses.replace(made, advice=tuple(search(job)))
    return made


def _problem(job: Job, memory: Memory, limit: float) -> str:
    mesh = job.axes
    if job.batch % mesh.size("batch"):
        return (
            f"{job.batch} rows can't be divided by batch={mesh.size('batch')}"
        )
    if memory.total > limit:
        return (
            f"{memory.total / 2**30:.1f} GiB on a device that has "
            f"{limit / 2**30:.1f}"
        )
    return ""


def _model(preset: str | None, settings: dict[str, Any]) -> Model:
    if preset is not None:
        return model_preset(preset)
    from keras_flan.schema import validate

    given = {
        name: settings[name]
        for name in ("family", "size", "batch", "dropout")
        if name in settings
    }
    return validate(Model, given, "plan")


def _job(values: dict[str, Any]) -> Job:
    from keras_flan.schema import validate

    size = values["size"]
    if not isinstance(size, dict):
        values = {**values, "size": size.model_dump()}
    return validate(Job, values, "plan")


def _published(model: Model | None) -> dict[str, Any] | None:
    if model is None or model.published is None:
        return None
    values = model.published.model_dump(exclude_none=True)
    if model.misprint:
        values["misprint"] = model.misprint.model_dump()
    return values


def suggest_plans(
    preset: str | None = None,
    chip: str = "v4",
    *,
    max_chips: int = 512,
    compile: bool = False,
    steps: int | None = None,
    **settings,
) -> dict[str, Plan | None]:
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
    from keras_flan.planning.jobs import Topology
    from keras_flan.planning.search import suggest

    model = _model(preset, settings)
    first = Topology(f"{chip}:" + _first_slice(chip))
    job = _job(
        {
            "family": model.family,
            "size": model.size,
            "batch": model.batch,
            "dropout": model.dropout,
            **settings,
            "topology": str(first),
            "mesh": "batch=-1",
        }
    )
    return {
        name: found
        and plan_job(found, preset, model, steps=steps, compile=compile)
        for name, found in suggest(job, max_chips).items()
    }


def _first_slice(chip: str) -> str:
    from keras_flan.planning.jobs import chips

    return chips()[chip].slices[0] if chip in chips() else ""
