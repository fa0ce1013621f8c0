"""A plan as a person reads it."""

from collections.abc import Iterator
from typing import Any

from keras_flan.planning.flops import GROWTH
from keras_flan.planning.planner import JobPlan


def plan_text(plan: JobPlan) -> str:
    """Returns what is to be said about a plan, without a last line's end."""
    return "\n".join(_lines(plan))


def _lines(plan: JobPlan) -> Iterator[str]:
    job, slice, data = plan.job, plan.job.slice, plan.job.data
    yield (
        f"{plan.name}, {job.side}: {plan.parameters:,} parameters on "
        f"{slice} ({slice.chips} chips, {slice.devices} devices), "
        f"{job.distribution.mesh}, layout {job.distribution.preset}"
    )
    yield (
        f"{data.batch_size} rows of {data.input_length} + "
        f"{data.target_length} tokens"
        + ("" if job.side == "train" else f", {job.paths} paths each")
    )
    yield ""
    yield from _flops(plan)
    yield from _memory(plan)
    yield ""
    yield from _time(plan)
    for number, step in enumerate(plan.advice, 1):
        if number == 1:
            yield ""
            yield "to make it fit:"
        yield f"  {number}. {step.text}: " + " ".join(
            [
                *(step.overrides or step.options),
                f" ({_gib(step.bytes_per_device)}"
                + (", fits)" if step.fits else ")"),
            ]
        )
    if plan.fits and plan.training:
        yield ""
        yield f"train it with: {plan.training}"
    if plan.compiler is not None:
        yield ""
        yield from _compiler(plan.compiler)


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
    yield (
        f"a step takes {_seconds(time.step)} (products {_seconds(time.compute)}"
        f", network {_seconds(time.network)}, memory {_seconds(time.memory)})"
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
