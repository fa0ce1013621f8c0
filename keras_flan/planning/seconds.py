"""How long a step takes: products, memory, and what goes between devices.

Two estimates without the compiler: the old rule, all products at a share of
the peak; and a roofline, where each part of a step takes as long as its
products at the peak or its bytes of memory, whichever is longer.
"""

import dataclasses

from keras_flan.distribution.mesh import BATCH
from keras_flan.planning.flops import done_flops, done_parts, forward_flops
from keras_flan.planning.jobs import PlannedJob
from keras_flan.planning.kernels import attentions, kernel_cost, kernel_of
from keras_flan.planning.memory import BFLOAT16, Memory, model_parts

# Of the peak, what PaLM 540B reached with all it computed, on 6,144 chips of
# v4 (arXiv:2204.02311, table 3: hardware FLOPs utilization). Paper and plan
# differ in batch and mesh, so take the hours as an order of magnitude.
UTILIZATION = 0.578
# Bytes that the TPU's compiler moves for each score of attention without a
# kernel, in the forward and in the backward pass: it writes scores and
# weights in two precisions and reads them for softmax, mask and products.
_SCORE = (13, 26)
# The same for each logit, in float32.
_LOGIT = (12, 20)


@dataclasses.dataclass(frozen=True)
class Time:
    """Seconds of a step, were each of its needs the only one.

    Attributes:
        compute: The products, at 57.8% of the chips' peak.
        network: What every device receives from others.
        memory: Weights and caches read once for each use.
        roofline: Every part of the step one after the other, each as long as
            its products at the peak or its bytes take.
    """

    compute: float
    network: float
    memory: float
    roofline: float

    @property
    def rule(self) -> float:
        """The old rule: the longest of products, network and memory."""
        return max(self.compute, self.network, self.memory)

    @property
    def step(self) -> float:
        """The roofline, or the network if it takes longer."""
        return max(self.roofline, self.network)

    @property
    def bound(self) -> str:
        """What a step waits for: `compute`, `network` or `memory`."""
        if self.network > self.roofline:
            return "network"
        products = self.compute * UTILIZATION
        return "compute" if products > self.roofline / 2 else "memory"


def collective_bytes(job: PlannedJob) -> dict[str, float]:
    """Returns what each device receives in a step, by what it is.

    Weights that lie on several devices along `batch` are brought together for
    the forward and again for the backward pass, and the gradients of what is
    trained summed, for each part of an accumulated batch. Between devices
    along `model` every block's input is brought together and its output
    summed: forward, backward, and once more if activations are computed
    again.

    Args:
        job: A training job, or a decoding one, for one token of each path.
    """
    shape, data, split = job.shape, job.data, job.split
    batches, parts = job.axes.size(BATCH), model_parts(job)
    train = job.side == "train"
    others = (batches - 1) / batches * job.compute_bytes / parts
    calls = job.optimizer.accumulate if train else 1
    # A gather takes each byte once; a sum of what all have, twice.
    gathers = (2 if train else 1) if "embed" in split else 0
    sums = (1 if gathers else 2) if train else 0
    inputs, targets = data.input_length, data.target_length
    # Blocks per layer, each with a gather and a sum: the PaLM block has one,
    # others two; T5's encoder two, its decoder three and the encoded inputs.
    blocks = 1 if shape.family == "palm" else 2 if shape.decoder_only else 3
    if not train:
        crossings = 2.0 * blocks * job.paths
    elif shape.decoder_only:
        crossings = 2.0 * blocks * (inputs + targets)
    else:
        crossings = 5.0 * inputs + 6 * targets
    if train:
        crossings *= 3 if job.model.remat else 2
    if not job.distribution.sequence:
        crossings *= 2
    crossings *= shape.num_layers * data.batch_size / batches
    return {
        "weights": calls * gathers * shape.parameters * others,
        "gradients": calls * sums * shape.trained * others,
        "activations": crossings
        * shape.hidden_dim
        * job.compute_bytes
        * (parts - 1)
        / parts,
    }


def step_time(job: PlannedJob, memory: Memory) -> Time:
    """Returns the seconds of a step (decoding: of a token of each path).

    Args:
        job: The job.
        memory: Its bytes, from `job_memory`.
    """
    slice, chip = job.slice, job.slice.chip
    received = sum(collective_bytes(job).values())
    if job.side == "train":
        flops = done_flops(job)
        # Weights in the forward and backward pass, then weights, gradients
        # and statistics read and written.
        touched = 4 * memory.weights + 2 * memory.kept
        parts = step_parts(job, memory)
    else:
        flops = token_flops(job)
        touched = memory.weights + memory.cache
        parts = {"token": (flops / slice.devices, touched)}
    return Time(
        compute=flops / (slice.chips * chip.flops * UTILIZATION),
        network=received / chip.network,
        memory=touched / chip.bandwidth,
        roofline=sum(
            max(done / chip.flops, moved / chip.bandwidth)
            for done, moved in parts.values()
        ),
    )


def step_parts(
    job: PlannedJob, memory: Memory
) -> dict[str, tuple[float, float]]:
    """Returns operations and bytes of each part of a step, on a device.

    Args:
        job: A training job.
        memory: Its bytes.
    """
    done = {k: v / job.slice.devices for k, v in done_parts(job).items()}
    calls = job.optimizer.accumulate
    projections = sum(
        done.get(part, 0.0)
        for part in ("attention_projections", "feedforward", "adapter")
    )
    attention = kernel_cost(job)
    if kernel_of(job) is None:
        attention = done["attention_products"], calls * _score_bytes(job)
    return {
        "layers": (projections, calls * _layer_bytes(job)),
        "attention": attention,
        "loss": (done["logits"], calls * _logit_bytes(job)),
        # Each read, and written.
        "update": (
            0.0,
            2 * memory.weights + 2 * memory.optimizer + 3 * memory.gradients,
        ),
    }


def _layer_bytes(job: PlannedJob) -> float:
    """Returns what all layers move but for attention itself, in a call."""
    shape, parts = job.shape, model_parts(job)
    tokens = job.rows * (job.data.input_length + job.data.target_length)
    # Norms and sums, projections, and the inside of the feed-forward block.
    wide = 8 * shape.hidden_dim + 6 * shape.intermediate_dim / parts
    wide += 6 * shape.attention_dim / parts
    passes = 4 if job.model.remat else 3
    numbers = tokens * shape.num_layers * wide + shape.parameters / parts
    return passes * numbers * job.compute_bytes


def _score_bytes(job: PlannedJob) -> float:
    """Returns what attention without a kernel moves in a call."""
    shape, (forward, backward) = job.shape, _SCORE
    scores = job.rows * shape.num_layers * shape.num_heads / model_parts(job)
    scores *= sum(its.queries * its.keys for its in attentions(job))
    each = backward + forward * (2 if job.model.remat else 1)
    return scores * each * job.compute_bytes / BFLOAT16


def _logit_bytes(job: PlannedJob) -> float:
    """Returns what the loss moves in a call."""
    shape, (forward, backward) = job.shape, _LOGIT
    length = job.data.target_length
    if shape.decoder_only:
        length += job.data.input_length
    logits = job.rows * length * shape.vocabulary_size / model_parts(job)
    again = 2 if job.optimizer.loss_chunk else 1
    return logits * (backward + forward * again)


def token_flops(job: PlannedJob) -> float:
    """Returns the operations of generating one token on each path."""
    row = forward_flops(job.shape, job.data.input_length, 1)
    before = forward_flops(job.shape, job.data.input_length, 0)
    one = sum(row.values()) - sum(before.values())
    return job.data.batch_size * job.paths * one


def prefill_seconds(job: PlannedJob) -> float:
    """Returns the seconds of reading the prompts."""
    row = forward_flops(job.shape, job.data.input_length, 0)
    chip = job.slice.chip
    flops = job.data.batch_size * (sum(row.values()) - row["logits"])
    return flops / (job.slice.chips * chip.flops * UTILIZATION)
