"""What to change so that a job fits; the smallest and fastest slice."""

import dataclasses
from collections.abc import Iterator
from operator import attrgetter

from keras_flan.planning.jobs import PlannedJob, override
from keras_flan.planning.kernels import kernel_of
from keras_flan.planning.memory import job_memory
from keras_flan.planning.seconds import step_time
from keras_flan.planning.topology import slices

# Larger model axes split a head or a few rows of a kernel; no use.
_LARGEST_MODEL_AXIS = 64
# As many chips as the paper had.
MAX_CHIPS = 512
# What advice changes, by the names of a training run's YAML, and the options
# of `keras-flan plan`. A slice is not the YAML's business.
OPTIONS = {
    "topology": "--topology",
    "precision": "--precision",
    "distribution.mesh": "--mesh",
    "distribution.preset": "--layout",
    "distribution.sequence": "--sequence",
    "model.remat": "--remat",
    "model.query_chunk": "--attention-chunk",
    "model.dropout": "--dropout",
    "data.batch_size": "--batch",
    "optimizer.loss_chunk": "--loss-chunk",
    "optimizer.accumulate": "--accumulate",
}
Change = dict[str, object]
# Weights in 4 bits, and an adapter on them, which alone is trained.
QLORA: Change = {
    "model.quantize": "int4",
    "adapter": {"kind": "lora", "targets": "all"},
    "optimizer.name": "adam",
}
# What saves memory, the cheapest first.
_SAVING: tuple[tuple[str, str, object], ...] = (
    ("compute in bfloat16", "precision", "mixed_bfloat16"),
    ("take the loss in chunks of 256 positions", "optimizer.loss_chunk", 256),
    ("attend in chunks of 256 queries", "model.query_chunk", 256),
    (
        "split what goes from layer to layer over the model axis",
        "distribution.sequence",
        True,
    ),
    ("split weights over all devices", "distribution.preset", "fsdp+model"),
    ("compute activations again, a third more time", "model.remat", True),
)


@dataclasses.dataclass(frozen=True)
class Advice:
    """One change; those before it are to be kept.

    Attributes:
        text: What to do and why.
        overrides: The same for `keras-flan train`, but for the slice; none
            when decoding.
        options: The same for `keras-flan plan`.
        bytes_per_device: The estimate after it.
        fits: Whether the job fits then.
        job: The job then.
    """

    text: str
    overrides: list[str]
    options: list[str]
    bytes_per_device: int
    fits: bool
    job: PlannedJob


def fits(job: PlannedJob) -> bool:
    """Whether a job can run, by the estimate."""
    return job.divides and job_memory(job).total <= job.slice.chip.usable


def meshes(job: PlannedJob) -> Iterator[PlannedJob]:
    """Yields the job on every mesh of its slice that divides its rows."""
    devices, model = job.slice.devices, 1
    while model <= min(devices, _LARGEST_MODEL_AXIS):
        if devices % model == 0:
            mesh = f"batch={devices // model}"
            mesh += f",model={model}" if model > 1 else ""
            other = job.changed({"distribution.mesh": mesh})
            if other.divides:
                yield other
        model *= 2


def best_mesh(job: PlannedJob) -> PlannedJob:
    """Returns the job on the fastest mesh that fits, or else the leanest.

    If no mesh divides the rows, the job as it is, with all devices along
    `batch`.
    """
    found = list(meshes(job))
    if not found:
        return job.changed({"distribution.mesh": f"batch={job.slice.devices}"})
    fitting = [other for other in found if fits(other)]
    if fitting:
        return min(fitting, key=_seconds)
    return min(found, key=lambda other: job_memory(other).total)


def suggest(job: PlannedJob, max_chips: int = MAX_CHIPS) -> list[PlannedJob]:
    """Searches slices, meshes and remat.

    Args:
        job: The job; its topology names the chip.
        max_chips: The largest slice to look at.

    Returns:
        The fastest that fits of each slice, the least chip-hours first; and
        behind them QLoRA on the smallest slice that it fits, if training all
        weights does not fit there.
    """
    every = list(slices(job.slice.name, max_chips))
    best = {slice.chips: _fastest(job, str(slice)) for slice in every}
    found = [other for other in best.values() if other is not None]
    found.sort(key=lambda o: _seconds(o) * o.slice.chips)
    plain = job.adapter is None and job.model.experts is None
    if job.side == "train" and plain and job.model.trainable == "all":
        few = job.changed(QLORA)
        for slice in every:
            if best[slice.chips] is not None:
                break
            if (other := _fastest(few, str(slice))) is not None:
                found.append(other)
                break
    return found


def _fastest(job: PlannedJob, topology: str) -> PlannedJob | None:
    """Returns the fastest on a slice that fits; `None` if none does."""
    candidates = [
        other.changed({"model.remat": remat})
        for remat in _remats(job)
        for other in meshes(job.changed({"topology": topology}))
    ]
    fitting = [other for other in candidates if fits(other)]
    return min(fitting, key=_seconds) if fitting else None


def _remats(job: PlannedJob) -> tuple[object, ...]:
    """Returns what `model.remat` may be without changing what is learned."""
    return (job.model.remat,) if _forbids_remat(job) else (True, False)


def _forbids_remat(job: PlannedJob) -> bool:
    """Whether the layers can't be run again with dropout.

    keras-hub's own can't: their dropout draws anew.
    """
    hub = job.shape.family not in ("t5", "palm")
    return hub and job.model.dropout > 0


def advise(job: PlannedJob) -> list[Advice]:
    """Returns changes that, made one after the other, let a job fit.

    What costs nothing comes first, then time, then chips, and fewer rows at
    the last.
    """
    advice: list[Advice] = []
    for text, change in _changes(job):
        change = {k: v for k, v in change.items() if attrgetter(k)(job) != v}
        if not change:
            continue
        changed = job.changed(change)
        before, after = job_memory(job).total, job_memory(changed).total
        if after >= before and job.divides:
            continue
        job = changed
        overrides = [
            override(key, value)
            for key, value in change.items()
            if job.side == "train" and key != "topology"
        ]
        advice.append(
            Advice(
                text, overrides, _options(change), round(after), fits(job), job
            )
        )
        if advice[-1].fits:
            return advice
    return advice


def _changes(job: PlannedJob) -> Iterator[tuple[str, Change]]:
    """Yields changes, each to the job as those before it have left it."""
    settings: Change = {}
    for text, key, value in _SAVING:
        if job.side == "decode" and key != "distribution.preset":
            continue
        if key == "model.query_chunk" and (
            job.shape.decoder_only or kernel_of(job)
        ):
            continue  # All queries attend at once.
        if key == "precision" and job.precision != "float32":
            continue
        settings[key] = value
        if key == "model.remat" and _forbids_remat(job):
            settings["model.dropout"] = 0.0
            yield (
                f"{text}, which needs dropout off",
                {key: value, "model.dropout": 0.0},
            )
            continue
        yield text, {key: value}
    leanest = job.changed(settings)
    mesh = best_mesh(leanest).distribution.mesh
    # With all of the above: some saves only on another mesh.
    yield f"change the mesh, as {mesh}", {**settings, "distribution.mesh": mesh}
    yield from _in_parts(leanest, settings)
    for slice in slices(job.slice.name, 2**12):
        other = best_mesh(leanest.changed({"topology": str(slice)}))
        if slice.chips > job.slice.chips and fits(other):
            mesh = other.distribution.mesh
            yield (
                f"take the slice {slice}, as {mesh}",
                {**settings, "distribution.mesh": mesh, "topology": str(slice)},
            )
    batch = job.data.batch_size
    while batch > 1:
        batch //= 2
        whole = {"data.batch_size": batch, "optimizer.accumulate": 1}
        other = best_mesh(leanest.changed(whole))
        if fits(other):
            rows = {**whole, "distribution.mesh": other.distribution.mesh}
            yield f"take {batch} rows per step", {**settings, **rows}


def _in_parts(
    job: PlannedJob, settings: Change
) -> Iterator[tuple[str, Change]]:
    """Yields the fewest parts of a batch that let the job fit."""
    rows, parts = job.data.batch_size, 2 * job.optimizer.accumulate
    while job.side == "train" and rows % parts == 0:
        other = best_mesh(job.changed({"optimizer.accumulate": parts}))
        if fits(other):
            yield (
                f"compute a batch in {parts} parts",
                {
                    **settings,
                    "optimizer.accumulate": parts,
                    "distribution.mesh": other.distribution.mesh,
                },
            )
            return
        parts *= 2


def _options(change: Change) -> list[str]:
    """Returns a change as options of `keras-flan plan`."""
    options: list[str] = []
    for name, value in change.items():
        # Advice turns nothing off.
        options += [OPTIONS[name], *([] if value is True else [str(value)])]
    return options


def _seconds(job: PlannedJob) -> float:
    return step_time(job, job_memory(job)).step
