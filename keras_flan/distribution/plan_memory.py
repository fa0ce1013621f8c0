"""How many bytes a job takes on each device, term by term.

Every term is a tensor that the program has to hold, so that a plan can say
what to change. The largest moment of a training step is in the backward pass
of one layer: weights, their optimizer's statistics and gradients are there,
and the inputs of all layers, and what the layer computes; or in the loss,
before any gradient is there.
"""

import dataclasses

from keras_flan.distribution.mesh import BATCH, MODEL, PRESETS
from keras_flan.distribution.plan_jobs import Job
from keras_flan.distribution.plan_weights import (
    BFLOAT16,
    FLOAT32,
    moments_per_device,
    numbers_per_device,
    weights,
)


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes on one device.

    Attributes:
        weights: float32 in training, bfloat16 in decoding.
        optimizer: Adafactor's rows and columns.
        gradients: As large as the weights.
        kept: The inputs of all layers, for the backward pass.
        layer: What one layer holds while it runs (forward and backward).
        gathered: Weights of one layer, brought together from other devices,
            and their gradient before it is spread.
        logits: Of the positions that are projected at a time.
        cache: Keys and values of prompts and paths, in decoding.
    """

    weights: float = 0
    optimizer: float = 0
    gradients: float = 0
    kept: float = 0
    layer: float = 0
    gathered: float = 0
    logits: float = 0
    cache: float = 0

    @property
    def activations(self) -> float:
        """All but weights, optimizer and gradients."""
        return self.kept + self.cache + self.working

    @property
    def working(self) -> float:
        """What comes and goes: the larger of a layer and the loss."""
        return max(self.layer + self.gathered, self.logits)

    @property
    def total(self) -> float:
        """The largest moment."""
        steady = self.weights + self.optimizer + self.kept + self.cache
        return steady + max(
            self.gradients + self.layer + self.gathered, self.logits
        )


def job_memory(job: Job) -> Memory:
    """Returns the bytes that a job takes on each device.

    Args:
        job: The job; rows that can't be divided count as the largest part.
    """
    mesh, size, split = job.axes, job.size, PRESETS[job.layout]
    train = job.side == "train"
    held = optimizer = 0
    for weight in weights(job.family, size):
        held += numbers_per_device(weight, split, mesh)
        optimizer += moments_per_device(weight, split, mesh)
    if not train:
        return _decoding(job, BFLOAT16 * held)
    rows = -(-job.batch // mesh.size(BATCH))
    parts = mesh.size(MODEL) if MODEL in split.values() else 1
    stacks = _stacks(job, rows, parts)
    kept = sum(stack.kept for stack in stacks)
    if not job.remat:
        kept += sum(size.num_layers * stack.layer for stack in stacks)
    return Memory(
        weights=FLOAT32 * held,
        optimizer=FLOAT32 * optimizer,
        gradients=FLOAT32 * held,
        kept=kept,
        layer=max(stack.layer for stack in stacks),
        gathered=_gathered(job, parts),
        logits=_logits(job, rows, parts),
    )


@dataclasses.dataclass(frozen=True)
class _Stack:
    """An encoder or decoder: bytes kept of its layers, and held in one."""

    kept: float
    layer: float


def _stacks(job: Job, rows: int, parts: int) -> list[_Stack]:
    """Returns the bytes of an encoder's and a decoder's layers."""
    if job.family == "palm":
        length = job.input_length + job.target_length
        return [_stack(job, rows, parts, length, (length,), 2)]
    encoder = _stack(job, rows, parts, job.input_length, (job.input_length,), 2)
    decoder = _stack(
        job,
        rows,
        parts,
        job.target_length,
        (job.target_length, job.input_length),
        2,
    )
    return [encoder, decoder]


def _stack(job, rows, parts, length, keys, _):
    size = job.size
    along = parts if job.sequence and length % parts == 0 else 1
    tokens = rows * length
    width, inner = size.hidden_dim, size.intermediate_dim // parts
    heads = size.attention_dim / parts
    queries = min(job.attention_chunk or length, length)
    scores = max(rows * size.num_heads * queries * n / parts for n in keys)
    return _Stack(
        kept=size.num_layers * BFLOAT16 * tokens * width / along,
        layer=BFLOAT16 * tokens * (4 * width + 4 * inner + 6 * heads)
        + 10 * scores,
    )


def _gathered(job: Job, parts: int) -> float:
    """Returns the bytes of the largest layer's weights and gradient."""
    if "embed" not in PRESETS[job.layout].values() or job.axes.size(BATCH) == 1:
        return 0.0
    layer = 0
    return 2 * BFLOAT16 * layer / parts


def _logits(job: Job, rows: int, parts: int) -> float:
    """Returns the bytes of the logits of a chunk, and their gradient."""
    length = job.target_length
    if job.family == "palm":
        length += job.input_length
    some = min(job.loss_chunk or length, length)
    return 3 * FLOAT32 * rows * some * job.size.vocabulary_size / parts


def usable(chip) -> float:
    """Returns the bytes that a program can have on a device."""
    return 0.95 * chip.memory_per_device


def _decoding(job: Job, held: float) -> Memory:
    """Returns the bytes of decoding: weights, and keys and values.

    Those of a prompt are there once for all its paths.
    """
    size = job.size
    rows = -(-job.batch // job.axes.size(BATCH))
    width = size.head_dim if job.family == "palm" else size.attention_dim
    tokens = rows * (job.input_length + job.paths * job.target_length)
    parts = job.axes.size(MODEL) if MODEL in PRESETS[job.layout].values() else 1
    return Memory(
        weights=held,
        cache=tokens * size.num_layers * 2 * width * BFLOAT16,
        logits=FLOAT32 * rows * job.paths * size.vocabulary_size / parts,
        gathered=_gathered(job, parts) / 2,
        layer=_stacks(job, rows, parts)[0].layer / 2,
    )
