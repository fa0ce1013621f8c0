"""What to change so that a job fits; the smallest and fastest slice."""

import dataclasses
from collections.abc import Iterator

from keras_flan.planning.jobs import Job, Topology
from keras_flan.planning.memory import job_memory, usable
from keras_flan.planning.seconds import step_time

# Larger model axes split a head or a few rows of a kernel; no use.
_LARGEST_MODEL_AXIS = 64
# As many chips as the paper had.
MAX_CHIPS = 512


@dataclasses.dataclass(frozen=True)
class Advice:
    """One change; those before it are to be kept.

    Attributes:
        text: What to do and why.
        options: The same for `keras-flan plan`.
        change: Fields of `Job`.
        bytes_per_device: The estimate after it.
        fits: Whether the job fits then.
    """

    text: str
    options: list[str]
    change: dict[str, object]
    bytes_per_device: int
    fits: bool


def fits(job: Job) -> bool:
    """Whether a job can run, by the estimate."""
    if job.batch % job.axes.size("batch"):
        return False
    return job_memory(job).total <= usable(job.slice.chip)


def meshes(job: Job) -> Iterator[Job]:
    """Yields the job on every mesh of its slice that divides its rows."""
    devices, model = job.slice.devices, 1
    while model <= min(devices, _LARGEST_MODEL_AXIS):
        batch = devices // model
        if devices % model == 0 and job.batch % batch == 0:
            mesh = f"batch={batch}" + (f",model={model}" if model > 1 else "")
            yield job.model_copy(update={"mesh": mesh})
        model *= 2


def best_mesh(job: Job) -> Job:
    """Returns the job on the fastest mesh that fits, or else the leanest.

    If no mesh divides the rows, the job as it is, with all devices along
    `batch`.
    """
    found = list(meshes(job))
    if not found:
        return job.model_copy(update={"mesh": f"batch={job.slice.devices}"})
    fitting = [other for other in found if fits(other)]
    if fitting:
        return min(fitting, key=_seconds)
    return min(found, key=lambda other: job_memory(other).total)


def suggest(job: Job, max_chips: int = MAX_CHIPS) -> dict[str, Job | None]:
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
            other.model_copy(update={"remat": remat})
            for remat in (True, False)
            for other in meshes(job.model_copy(update={"topology": topology}))
        ]
        fitting = [other for other in candidates if fits(other)]
        if not fitting:
            continue
        best = min(fitting, key=_seconds)
        smallest = smallest or best
        if fastest is None or _seconds(best) < 0.99 * _seconds(fastest):
            fastest = best
    return {"smallest": smallest, "fastest": fastest}


def advise(job: Job) -> list[Advice]:
    """Returns changes that, made one after the other, let a job fit.

    What costs nothing comes first, then time, then chips, and fewer rows at
    the last.
    """
    advice: list[Advice] = []
    for text, change in _changes(job):
        change = {
            name: value
            for name, value in change.items()
            if getattr(job, name) != value
        }
        if not change:
            continue
        changed = job.model_copy(update=change)
        before, after = job_memory(job).total, job_memory(changed).total
        whole = job.batch % job.axes.size("batch") == 0
        if after >= before and whole:
            continue
        job = changed
        advice.append(
            Advice(text, _options(change), change, round(after), fits(job))
        )
        if advice[-1].fits:
            return advice
    return advice


def _changes(job: Job) -> Iterator[tuple[str, dict[str, object]]]:
    """Yields changes, each to the job as those before it have left it."""
    train = job.side == "train"
    settings: dict[str, object] = {}
    steps = []
    if train:
        steps = [
            ("take the loss in chunks of 256 positions", {"loss_chunk": 256}),
            ("attend in chunks of 256 queries", {"attention_chunk": 256}),
            (
                "split what goes from layer to layer over the model axis",
                {"sequence": True},
            ),
        ]
    steps.append(("split weights over all devices", {"layout": "fsdp+model"}))
    if train:
        steps.append(
            ("compute activations again, a third more time", {"remat": True})
        )
    for text, change in steps:
        settings |= change
        yield text, change
    leanest = job.model_copy(update=settings)
    for topology in [job.topology, *_slices(job, 2**12)]:
        other = best_mesh(leanest.model_copy(update={"topology": topology}))
        larger = other.slice.chips > job.slice.chips
        if topology != job.topology and not larger:
            continue
        if topology == job.topology or fits(other):
            what = f"take the slice {topology}" if larger else "change the mesh"
            # With all of the above: some saves only on another mesh.
            change = {**settings, "mesh": other.mesh}
            if larger:
                change["topology"] = topology
            yield f"{what}, as {other.mesh}", change
    batch = job.batch
    while batch > 1:
        batch //= 2
        other = best_mesh(leanest.model_copy(update={"batch": batch}))
        if fits(other):
            yield (
                f"take {batch} rows a step",
                {**settings, "batch": batch, "mesh": other.mesh},
            )


def _options(change: dict[str, object]) -> list[str]:
    """Returns a change as options of `keras-flan plan`."""
    options = []
    for name, value in change.items():
        option = "--" + name.replace("_", "-")
        if isinstance(value, bool):
            options.append(option if value else "--no-" + option[2:])
        else:
            options += [option, str(value)]
    return options


def _slices(job: Job, max_chips: int) -> list[str]:
    name = job.slice.name
    found = [f"{name}:{shape}" for shape in job.slice.chip.slices]
    return [text for text in found if Topology(text).chips <= max_chips]


def _seconds(job: Job) -> float:
    return step_time(job, job_memory(job)).step
