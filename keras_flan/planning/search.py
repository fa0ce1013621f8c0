"""What to change so that a job fits; the smallest and fastest slice."""

import dataclasses
from collections.abc import Iterator
from operator import attrgetter

from keras_flan.planning.jobs import PlannedJob, Topology, override
from keras_flan.planning.memory import job_memory, usable
from keras_flan.planning.seconds import step_time

# Larger model axes split a head or a few rows of a kernel; no use.
_LARGEST_MODEL_AXIS = 64
# As many chips as the paper had.
MAX_CHIPS = 512
# What advice changes, by the names of a training run's YAML, and the options
# of `keras-flan plan`. A slice is not the YAML's business.
OPTIONS = {
    "topology": "--topology",
    "distribution.mesh": "--mesh",
    "distribution.preset": "--layout",
    "distribution.sequence": "--sequence",
    "model.remat": "--remat",
    "model.query_chunk": "--attention-chunk",
    "data.batch_size": "--batch",
    "optimizer.loss_chunk": "--loss-chunk",
}
Change = dict[str, object]
# What saves memory, the cheapest first.
_SAVING: tuple[tuple[str, str, object], ...] = (
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
    """

    text: str
    overrides: list[str]
    options: list[str]
    bytes_per_device: int
    fits: bool


def fits(job: PlannedJob) -> bool:
    """Whether a job can run, by the estimate."""
    if job.data.batch_size % job.axes.size("batch"):
        return False
    return job_memory(job).total <= usable(job.slice.chip)


def meshes(job: PlannedJob) -> Iterator[PlannedJob]:
    """Yields the job on every mesh of its slice that divides its rows."""
    devices, model = job.slice.devices, 1
    while model <= min(devices, _LARGEST_MODEL_AXIS):
        batch = devices // model
        if devices % model == 0 and job.data.batch_size % batch == 0:
            mesh = f"batch={batch}" + (f",model={model}" if model > 1 else "")
            yield job.changed({"distribution.mesh": mesh})
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


def suggest(
    job: PlannedJob, max_chips: int = MAX_CHIPS
) -> dict[str, PlannedJob | None]:
    """Searches slices, meshes and remat.

    Args:
        job: The job; its topology names the chip.
        max_chips: The largest slice to look at.

    Returns:
        `smallest`: the fastest of those on the smallest slice that fits;
        `fastest`: the fastest of all; `None` if nothing fits.
    """
    smallest = fastest = None
    for topology in _slices(job, max_chips):
        candidates = [
            other.changed({"model.remat": remat})
            for remat in (True, False)
            for other in meshes(job.changed({"topology": topology}))
        ]
        fitting = [other for other in candidates if fits(other)]
        if not fitting:
            continue
        best = min(fitting, key=_seconds)
        smallest = smallest or best
        if fastest is None or _seconds(best) < 0.99 * _seconds(fastest):
            fastest = best
    return {"smallest": smallest, "fastest": fastest}


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
        whole = job.data.batch_size % job.axes.size("batch") == 0
        if after >= before and whole:
            continue
        job = changed
        overrides = [
            override(key, value)
            for key, value in change.items()
            if job.side == "train" and key != "topology"
        ]
        advice.append(
            Advice(text, overrides, _options(change), round(after), fits(job))
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
        if job.family == "palm" and key == "model.query_chunk":
            continue  # All its queries attend at once.
        settings[key] = value
        yield text, {key: value}
    leanest = job.changed(settings)
    for topology in [job.topology, *_slices(job, 2**12)]:
        other = best_mesh(leanest.changed({"topology": topology}))
        larger = other.slice.chips > job.slice.chips
        if topology != job.topology and not larger:
            continue
        if topology == job.topology or fits(other):
            mesh = other.distribution.mesh
            what = f"take the slice {topology}" if larger else "change the mesh"
            # With all of the above: some saves only on another mesh.
            change = {**settings, "distribution.mesh": mesh}
            if larger:
                change["topology"] = topology
            yield f"{what}, as {mesh}", change
    batch = job.data.batch_size
    while batch > 1:
        batch //= 2
        other = best_mesh(leanest.changed({"data.batch_size": batch}))
        if fits(other):
            rows: Change = {
                "data.batch_size": batch,
                "distribution.mesh": other.distribution.mesh,
            }
            yield f"take {batch} rows per step", {**settings, **rows}


def _options(change: Change) -> list[str]:
    """Returns a change as options of `keras-flan plan`."""
    options: list[str] = []
    for name, value in change.items():
        # Advice turns nothing off.
        options += [OPTIONS[name], *([] if value is True else [str(value)])]
    return options


def _slices(job: PlannedJob, max_chips: int) -> list[str]:
    name = job.slice.name
    found = [f"{name}:{shape}" for shape in job.slice.chip.slices]
    return [text for text in found if Topology(text).chips <= max_chips]


def _seconds(job: PlannedJob) -> float:
    return step_time(job, job_memory(job)).step
