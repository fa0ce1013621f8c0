"""A plan as a person reads it."""

from collections.abc import Iterator, Sequence
from typing import Any

from keras_flan.planning.flops import GROWTH
from keras_flan.planning.jobs import PlannedJob
from keras_flan.planning.kernels import kernel_of
from keras_flan.planning.planner import JobPlan

_SUGGESTED = (
    "slice", "mesh", "trains", "remat", "GiB per device", "per step", "hours",
    "chip-hours",
)  # fmt: skip
_QLORA = "QLoRA"


def plan_text(plan: JobPlan, run: str = "") -> str:
    """Returns what is to be said about a plan, without a last line's end.

    Args:
        plan: The plan.
        run: What `train` was given, such as `train.yaml`.
    """
    return "\n".join(_lines(plan, run))


def suggestions_text(plans: Sequence[JobPlan], max_chips: int) -> str:
    """Returns the table of what `suggest_plans` found, best first."""
    if not plans:
        return f"nothing fits, up to {max_chips} chips"
    rows = [_SUGGESTED] + [
        (
            str(plan.job.slice),
            str(plan.job.axes),
            _trains(plan.job),
            "yes" if plan.job.model.remat else "no",
            f"{plan.memory.total / 2**30:.2f}",
            _seconds(plan.step_seconds),
            f"{plan.hours:,.1f}",
            f"{plan.chip_hours:,.0f}",
        )
        for plan in plans
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if number < 3 else cell.rjust(width)
            for number, (cell, width) in enumerate(
                zip(row, widths, strict=True)
            )
        ).rstrip()
        for row in rows
    ]
    if last := [plan for plan in plans if _trains(plan.job) == _QLORA]:
        given = " ".join(last[0].job.of_adapter())
        lines.append(
            f"{_QLORA}: the weights in 4 bits, and an adapter of "
            f"{last[0].trained:,} numbers that is trained: {given}"
        )
    return "\n".join(lines)


def _trains(job: PlannedJob) -> str:
    if job.adapter is None:
        return "all"
    return _QLORA if job.model.quantize else job.adapter.kind


def _lines(plan: JobPlan, run: str) -> Iterator[str]:
    job, slice, data = plan.job, plan.job.slice, plan.job.data
    frozen = plan.trained != plan.parameters
    devices = "1 device" if slice.devices == 1 else f"{slice.devices} devices"
    yield (
        f"{plan.name}, {job.side}: {plan.parameters:,} parameters"
        + (f", {plan.trained:,} of them trained," if frozen else "")
        + f" on {slice} ({devices})"
    )
    yield f"mesh {job.axes}, layout {job.preset}"
    parts = job.optimizer.accumulate
    yield (
        f"{data.batch_size} rows of {data.input_length} + "
        f"{data.target_length} tokens"
        + (f" in {parts} parts" if parts > 1 else "")
        + (
            f", {job.precision}, {job.optimizer.name}, attention by "
            f"{kernel_of(job) or 'einsum'}"
            if job.side == "train"
            else f", {job.paths} paths each"
        )
    )
    yield ""
    yield from _flops(plan)
    yield from _memory(plan)
    yield ""
    yield from _time(plan)
    yield from _advice(plan, run)
    if plan.compiler is not None:
        yield ""
        yield from _compiler(plan.compiler)


def _advice(plan: JobPlan, run: str) -> Iterator[str]:
    """Yields what to change, and how to run what fits."""
    for number, step in enumerate(plan.advice, 1):
        if number == 1:
            yield ""
            yield "to make it fit:"
        pasted = step.overrides or step.options
        yield (
            f"  {number}. {step.text}: {' '.join(pasted)} "
            f"({_gib(step.bytes_per_device)}{', fits' if step.fits else ''})"
        )
    if not plan.fits or plan.job.side != "train":
        return
    alone = plan.config is not None and plan.config.distribution is None
    if alone and plan.job.slice.devices > 1:
        yield ""
        yield f"without a mesh {run} runs on one device"
    if plan.training or plan.config is None:
        yield ""
        run = run or "train.yaml"
        yield f"train it with: keras-flan train {run} {plan.training}"


def _flops(plan: JobPlan) -> Iterator[str]:
    yield f"operations per step, by the paper's rule: {plan.flops_per_step:.3g}"
    if plan.counted_flops:
        whole = sum(plan.counted_flops.values())
        yield f"  each product counted: {whole:.3g}, of which"
        for part, flops in plan.counted_flops.items():
            yield f"  {part:22} {flops:10.3g}  grows with {GROWTH[part]}"


def _memory(plan: JobPlan) -> Iterator[str]:
    memory = plan.memory
    yield ""
    yield "bytes per device:"
    for name in (
        "weights",
        "optimizer",
        "gradients",
        "copies",
        "kept",
        "layer",
        "gathered",
        "loss",
        "cache",
    ):
        value = getattr(memory, name)
        if value:
            yield f"  {name:10} {_gib(value)}"
    verdict = "fits" if plan.fits else f"does not fit: {plan.problem}"
    yield (
        f"  {'together':10} {_gib(memory.total)} of {_gib(plan.limit)}: "
        f"{verdict}"
    )


def _time(plan: JobPlan) -> Iterator[str]:
    time, published = plan.time, plan.published or {}
    compiled = plan.compiled_seconds
    yield f"a step takes {_seconds(plan.step_seconds)}, by"
    if compiled is not None:
        yield f"  the compiled program {_seconds(compiled)}"
    yield (
        f"  a roofline {_seconds(time.roofline)}, the network "
        f"{_seconds(time.network)}"
    )
    yield (
        f"  the old rule {_seconds(time.rule)}: products at 57.8% of the peak "
        f"{_seconds(time.compute)}, weights read {_seconds(time.memory)}"
    )
    if plan.job.side == "decode":
        yield (
            f"reading the prompts takes {_seconds(plan.prefill)}, and all "
            f"answers {_seconds(plan.hours * 3600)}"
        )
        return
    beside = (
        f" (the paper: {published['hours']:.0f} h on {published['chips']})"
        if "hours" in published
        else ""
    )
    yield (
        f"{plan.steps:,} steps take {plan.hours:.1f} h, "
        f"{plan.chip_hours:,.0f} chip-hours{beside}"
    )
    if published:
        yield (
            f"{plan.total_flops:.2g} operations, "
            f"{plan.percent_of_pretraining:.1f}% of pretraining (the paper: "
            f"{published['finetuning_flops']:.2g}, {published['percent']}%)"
        )
    if "misprint" in published:
        right = published["misprint"]
        yield (
            "  the paper's row is a misprint: it repeats the operations of "
            f"{right['steps_printed']:,} steps, and pretraining took "
            f"{right['pretraining_flops']:.2g}"
        )


def _compiler(said: dict[str, Any]) -> Iterator[str]:
    total = said["bytes_per_device"]["total"]
    yield (
        f"the TPU's compiler: {'fits' if said['fits'] else 'does not fit'}, "
        + (f"{_gib(total)} per device" if total else "bytes unknown")
        + f" ({said['seconds']:.0f} s, {_gib(said['host_bytes'])} of this "
        "machine's memory)"
    )
    if said["message"]:
        yield "  " + said["message"].splitlines()[0][:200]


def _gib(value: float) -> str:
    return f"{value / 2**30:.2f} GiB"


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value >= 0.1 else f"{1000 * value:.2f} ms"
