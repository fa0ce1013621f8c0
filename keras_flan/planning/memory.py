"""How many bytes a job takes on each device, term by term.

Every term is a tensor that the program has to hold, so that a plan can say
what to change. The largest moment of a training step is in the backward pass
of one layer: weights, their optimizer's statistics and gradients are there,
and the inputs of all layers, and what the layer computes; or in the loss,
before any gradient is there.
"""

import dataclasses

from keras_flan.distribution.mesh import BATCH, MODEL
from keras_flan.planning.jobs import Chip, PlannedJob
from keras_flan.planning.weights import (
    BFLOAT16,
    FLOAT32,
    moments_per_device,
    numbers_per_device,
    weights,
)

# Numbers in a row of the chip's memory.
_LANES = 128


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes on one device.

    Attributes:
        weights: float32 in training, bfloat16 in decoding.
        optimizer: Adafactor's rows and columns.
        gradients: As large as the weights.
        copies: The weights in bfloat16; the compiler makes them once for all
            layers, before the first. In decoding, keys and values of the
            generated tokens once more, in the order that the chip's products
            want: rows of 128 numbers.
        kept: The inputs of all layers, for the backward pass.
        layer: What one layer holds in its backward pass.
        gathered: Weights of one layer, brought together from other devices,
            and a gradient before it is spread.
        loss: Logits of the positions that are projected at a time, with
            their gradient; the output projection brought together, and its
            gradient.
        cache: Keys and values of prompts and paths, in decoding.
    """

    weights: float = 0
    optimizer: float = 0
    gradients: float = 0
    copies: float = 0
    kept: float = 0
    layer: float = 0
    gathered: float = 0
    loss: float = 0
    cache: float = 0

    @property
    def activations(self) -> float:
        """All but weights, optimizer and gradients."""
        return self.total - self.weights - self.optimizer - self.gradients

    @property
    def total(self) -> float:
        """The largest moment: in the last layer, or before it in the loss."""
        steady = self.weights + self.optimizer + self.copies
        return (
            steady
            + self.kept
            + self.cache
            + max(self.gradients + self.layer + self.gathered, self.loss)
        )


def usable(chip: Chip) -> float:
    """Returns the bytes that a program can have on a device.

    The compiler keeps some for itself: of the 16 GiB of a core of v4 it
    gives 15.25.
    """
    return chip.memory_per_device - 3 * 2**28


def job_memory(job: PlannedJob) -> Memory:
    """Returns the bytes that a job takes on each device.

    Args:
        job: The job; rows that can't be divided count as the largest part.
    """
    mesh, size, split = job.axes, job.size, job.split
    rows = -(-job.data.batch_size // mesh.size(BATCH))
    parts = mesh.size(MODEL) if MODEL in split.values() else 1
    held = optimizer = 0.0
    for weight in weights(job.family, size):
        held += numbers_per_device(weight, split, mesh)
        optimizer += moments_per_device(weight, split, mesh)
    gathered = _gathered(job, parts)
    if job.side == "decode":
        width = size.key_value_dim
        memory, past = _caches(job, rows, parts)
        return Memory(
            weights=BFLOAT16 * held,
            cache=memory + past,
            copies=past * -(-width // _LANES) * _LANES / width,
            gathered=gathered,
            loss=FLOAT32 * rows * job.paths * size.vocabulary_size / parts,
            # Prompts are read one at a time.
            layer=max(_layer(job, 1, parts, *s) for s in _stacks(job)) / 2,
        )
    stacks = [
        (
            _kept(job, rows, parts, length),
            _layer(job, rows, parts, length, keys),
        )
        for length, keys in _stacks(job)
    ]
    kept = sum(inputs for inputs, _ in stacks)
    if job.model.remat is not True:
        # All that a layer computes is kept of each.
        kept += size.num_layers * sum(layer for _, layer in stacks)
    return Memory(
        weights=FLOAT32 * held,
        optimizer=FLOAT32 * optimizer,
        gradients=FLOAT32 * held,
        copies=BFLOAT16 * held,
        kept=kept,
        layer=max(layer for _, layer in stacks),
        gathered=gathered,
        loss=_loss(job, rows, parts),
    )


def _stacks(job: PlannedJob) -> list[tuple[int, tuple[int, ...]]]:
    """Returns the length of each stack of layers, and of what it sees."""
    inputs, targets = job.data.input_length, job.data.target_length
    if job.family == "palm":
        length = inputs + (targets if job.side == "train" else 0)
        return [(length, (length,))]
    return [(inputs, (inputs,)), (targets, (targets, inputs))]


def _kept(job: PlannedJob, rows: int, parts: int, length: int) -> float:
    """Returns the bytes of the inputs of a stack's layers."""
    along = parts if job.distribution.sequence and length % parts == 0 else 1
    tokens = rows * length / along
    return BFLOAT16 * job.size.num_layers * tokens * job.size.hidden_dim


def _layer(
    job: PlannedJob, rows: int, parts: int, length: int, keys: tuple[int, ...]
) -> float:
    """Returns the bytes of the largest moment of a layer's backward pass.

    Its normalised input and the gradient of its output are there, and then
    either the feed-forward block, three tensors and the gradients of two, or
    attention: queries, keys, values and output with their gradients, and two
    times the scores of the queries that are attended at a time.
    """
    size, tokens = job.size, rows * length
    inner = size.intermediate_dim / parts
    heads = size.attention_dim / parts
    chunk = min(job.model.query_chunk or length, length)
    scores = rows * chunk * max(keys) * size.num_heads / parts
    # PaLM's keys and values are one head's.
    tensors = 4 if job.family == "palm" else 8
    attention = tensors * tokens * heads + 2 * scores
    return BFLOAT16 * (
        2 * tokens * size.hidden_dim + max(5 * tokens * inner, attention)
    )


def _gathered(job: PlannedJob, parts: int) -> float:
    """Returns the bytes of a layer's kernels, brought together.

    Two at a time, while the next is on its way, and a gradient.
    """
    if "embed" not in job.split or job.axes.size(BATCH) == 1:
        return 0.0
    kernel = job.size.hidden_dim * job.size.intermediate_dim / parts
    return 3 * BFLOAT16 * kernel


def _loss(job: PlannedJob, rows: int, parts: int) -> float:
    """Returns the bytes of the loss, see `Memory`."""
    size, data = job.size, job.data
    length = data.target_length
    if job.family == "palm":
        length += data.input_length
    some = min(job.optimizer.loss_chunk or length, length)
    logits = 2 * FLOAT32 * rows * some * size.vocabulary_size / parts
    head = (FLOAT32 + BFLOAT16) * size.vocabulary_size * size.hidden_dim / parts
    return logits + head


def _caches(job: PlannedJob, rows: int, parts: int) -> tuple[float, float]:
    """Returns the bytes of keys and values of prompts, and of paths.

    Those of a prompt are there once for all its paths. PaLM has one head of
    them, which isn't split.
    """
    size, width = job.size, float(job.size.key_value_dim)
    if job.family == "t5":
        whole = size.num_heads % parts == 0
        width = size.attention_dim / (parts if whole else 1)
    token = BFLOAT16 * 2 * size.num_layers * width
    generated = job.paths * job.data.target_length
    return rows * job.data.input_length * token, rows * generated * token
