"""How long a step takes: products, memory, and what goes between devices."""

import dataclasses

from keras_flan.distribution.mesh import BATCH, MODEL
from keras_flan.planning.flops import done_flops, forward_flops, parameters
from keras_flan.planning.jobs import PlannedJob
from keras_flan.planning.memory import BFLOAT16, Memory

# Of the peak, what PaLM 540B reached with all it computed, on 6,144 chips of
# v4 (arXiv:2204.02311, table 3: hardware FLOPs utilization). Paper and plan
# differ in batch and mesh, so take the hours as an order of magnitude.
UTILIZATION = 0.578


@dataclasses.dataclass(frozen=True)
class Time:
    """Seconds of a step, were each of its three needs the only one.

    Attributes:
        compute: The products, at 57.8% of the chips' peak.
        network: What every device receives from others.
        memory: Weights and caches read once for each use.
    """

    compute: float
    network: float
    memory: float

    @property
    def step(self) -> float:
        """The longest; the others go on meanwhile."""
        return max(self.compute, self.network, self.memory)

    @property
    def bound(self) -> str:
        """What a step waits for: `compute`, `network` or `memory`."""
        needs = dataclasses.asdict(self)
        return max(needs, key=needs.__getitem__)


def collective_bytes(job: PlannedJob) -> dict[str, float]:
    """Returns what each device receives in a step, by what it is.

    Weights that lie on several devices along `batch` are brought together for
    the forward and again for the backward pass, and their gradients summed
    (all in bfloat16). Between devices along `model` every block's input is
    brought together and its output summed: forward, backward, and once more
    if activations are computed again.

    Args:
        job: A training job, or a decoding one, for one token of each path.
    """
    mesh, size, data = job.axes, job.size, job.data
    batches, parts = mesh.size(BATCH), mesh.size(MODEL)
    split = job.split
    if MODEL not in split.values():
        parts = 1
    train = job.side == "train"
    numbers = parameters(job.family, size) / parts
    others = (batches - 1) / batches
    # A gather takes each byte once; a sum of what all have, twice.
    gathers = (2 if train else 1) if "embed" in split else 0
    gradients = (1 if gathers else 2) if train else 0
    rows = data.batch_size / batches
    # Blocks per layer, each with a gather and a sum: the PaLM block has one,
    # T5's encoder two, its decoder three and the encoded inputs.
    if not train:
        tokens = rows * job.paths
        blocks = 1 if job.family == "palm" else 3
        crossings = size.num_layers * tokens * 2 * blocks
    elif job.family == "palm":
        tokens = rows * (data.input_length + data.target_length)
        crossings = size.num_layers * tokens * 2
    else:
        crossings = (
            size.num_layers
            * rows
            * (5 * data.input_length + 6 * data.target_length)
        )
    if train:
        crossings *= 3 if job.model.remat else 2
    if not job.distribution.sequence:
        crossings *= 2
    return {
        "weights": gathers * BFLOAT16 * numbers * others,
        "gradients": gradients * BFLOAT16 * numbers * others,
        "activations": crossings
        * size.hidden_dim
        * BFLOAT16
        * (parts - 1)
        / parts,
    }


def step_time(job: PlannedJob, memory: Memory) -> Time:
    """Returns the seconds of a step (decoding: of a token of each path).

    Args:
        job: The job.
        memory: Its bytes, from `plan_memory`.
    """
    slice, chip = job.slice, job.slice.chip
    received = sum(collective_bytes(job).values()) * chip.devices
    if job.side == "train":
        flops = done_flops(job)
        # Weights in the forward and backward pass, then weights, gradients
        # and statistics read and written.
        touched = 4 * memory.weights + 2 * memory.kept
    else:
        flops = token_flops(job)
        touched = memory.weights + memory.cache
    return Time(
        compute=flops / (slice.chips * chip.flops * UTILIZATION),
        network=received / chip.network,
        memory=touched * chip.devices / chip.bandwidth,
    )


def token_flops(job: PlannedJob) -> float:
    """Returns the operations of generating one token on each path."""
    row = forward_flops(job.family, job.size, job.data.input_length, 1)
    before = forward_flops(job.family, job.size, job.data.input_length, 0)
    one = sum(row.values()) - sum(before.values())
    return job.data.batch_size * job.paths * one


def prefill_seconds(job: PlannedJob) -> float:
    """Returns the seconds of reading the prompts."""
    row = forward_flops(job.family, job.size, job.data.input_length, 0)
    chip = job.slice.chip
    flops = job.data.batch_size * (sum(row.values()) - row["logits"])
    return flops / (job.slice.chips * chip.flops * UTILIZATION)
