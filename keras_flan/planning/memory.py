"""How many bytes a job takes on each device, term by term.

Every term is a tensor that the program has to hold, so that a plan can say
what to change. The largest moment of a training step is in the backward pass
of one layer: weights, their optimizer's statistics and gradients are there,
and the inputs of all layers, and what the layer computes; or in the loss,
before any gradient is there.
"""

import dataclasses
import math

from keras_flan.distribution.mesh import BATCH, MODEL
from keras_flan.planning.jobs import PlannedJob
from keras_flan.planning.kernels import kernel_of
from keras_flan.planning.weights import moments_per_device, numbers_per_device

FLOAT32, BFLOAT16 = 4, 2
# Numbers in a row of the chip's memory.
_LANES = 128


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes on one device.

    Attributes:
        weights: In the run's precision; bfloat16 in decoding. In training
            with the masks of what is pruned.
        optimizer: Adafactor's rows and columns, or Adam's and AdamW's two
            moments, of
            what is trained; with accumulation the gradients so far.
        gradients: Of what is trained.
        copies: float32 weights in bfloat16; the compiler makes them once for
            all layers, before the first. In decoding, keys and values of the
            generated tokens once more, in the order that the chip's products
            want: rows of 128 numbers.
        kept: The inputs of all layers, for the backward pass.
        layer: What one layer holds in its backward pass.
        gathered: Weights of one layer, brought together from other devices,
            and a gradient before it is spread; or made of few bits.
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


def job_memory(job: PlannedJob) -> Memory:
    """Returns the bytes that a job takes on each device.

    Args:
        job: The job; rows that can't be divided count as the largest part.
    """
    parts = model_parts(job)
    memory = _weights(job)
    gathered = _gathered(job, parts)
    if job.side == "decode":
        return _decoding(job, parts, memory, gathered)
    stacks = [
        (_kept(job, parts, length), _layer(job, parts, length, keys))
        for length, keys in _stacks(job)
    ]
    kept = sum(inputs for inputs, _ in stacks)
    if job.model.remat is not True:
        # All that a layer computes is kept of each.
        kept += job.shape.num_layers * sum(layer for _, layer in stacks)
    return dataclasses.replace(
        memory,
        kept=kept,
        layer=max(layer for _, layer in stacks),
        gathered=gathered,
        loss=_loss(job, parts),
    )


def model_parts(job: PlannedJob) -> int:
    """Returns in how many parts heads and feed-forward blocks are split."""
    return job.axes.size(MODEL) if "mlp" in job.split else 1


def expert_parts(job: PlannedJob) -> int:
    """Returns in how many parts the experts of a block are split."""
    parts = job.axes.size(job.split.get("experts", ""))
    return parts if job.shape.experts % parts == 0 else 1


def _weights(job: PlannedJob) -> Memory:
    """Returns the bytes of weights and of what goes with them."""
    mesh, split, size = job.axes, job.split, job.weight_bytes
    held = state = gradients = copies = 0.0
    for weight in job.shape.weights:
        numbers = numbers_per_device(weight, split, mesh)
        each = weight.each or (FLOAT32 if weight.wide else size)
        held += each * numbers
        if each > job.compute_bytes:
            copies += job.compute_bytes * numbers
        if not weight.trained:
            continue
        gradients += each * numbers
        if job.optimizer.keeps_moments:
            state += 2 * each * numbers
        else:
            state += FLOAT32 * moments_per_device(weight, split, mesh)
        if job.optimizer.accumulate > 1:
            state += each * numbers
    if job.side == "decode":
        return Memory(weights=held)
    return Memory(held + job.shape.masks, state, gradients, copies)


def _decoding(
    job: PlannedJob, parts: int, memory: Memory, gathered: float
) -> Memory:
    shape, rows = job.shape, job.rows
    width = shape.head_dim
    prompts, past = _caches(job, parts)
    return dataclasses.replace(
        memory,
        cache=prompts + past,
        copies=past * math.ceil(width / _LANES) * _LANES / width,
        gathered=gathered,
        loss=FLOAT32 * rows * job.paths * shape.vocabulary_size / parts,
        # Prompts are read one at a time.
        layer=max(_layer(job, parts, *s, rows=1) for s in _stacks(job)) / 2,
    )


def _stacks(job: PlannedJob) -> list[tuple[int, tuple[int, ...]]]:
    """Returns the length of each stack of layers, and of what it sees."""
    inputs, targets = job.data.input_length, job.data.target_length
    if job.shape.decoder_only:
        length = inputs + (targets if job.side == "train" else 0)
        return [(length, (length,))]
    return [(inputs, (inputs,)), (targets, (targets, inputs))]


def _kept(job: PlannedJob, parts: int, length: int) -> float:
    """Returns the bytes of the inputs of a stack's layers."""
    along = parts if job.distribution.sequence and length % parts == 0 else 1
    tokens = job.rows * length / along
    shape = job.shape
    return job.compute_bytes * shape.num_layers * tokens * shape.hidden_dim


def _layer(
    job: PlannedJob,
    parts: int,
    length: int,
    keys: tuple[int, ...],
    rows: int | None = None,
) -> float:
    """Returns the bytes of the largest moment of a layer's backward pass.

    Its normalised input and the gradient of its output are there, and then
    either the feed-forward block, three tensors and the gradients of two, or
    attention: queries, keys, values and output with their gradients, and two
    times the scores of the queries that are attended at a time; a kernel
    writes none.
    """
    shape = job.shape
    rows = job.rows if rows is None else rows
    tokens = rows * length
    block = 5 * tokens * shape.intermediate_dim / parts
    if shape.crowding:
        # Places at all experts, filled or not: as wide as a block, and in
        # front of it and behind it; and each token's place, twice, made in
        # float32.
        inner, share = shape.intermediate_dim, shape.crowding
        wide = (5 * inner + 4 * shape.hidden_dim) / expert_parts(job)
        maps = 2 * length * (1 + FLOAT32 / job.compute_bytes)
        block = max(block, tokens * share * (wide + maps / expert_parts(job)))
    # Queries and output, keys and values, and the gradients of all.
    wide = 4 * shape.attention_dim / parts
    if shape.num_key_value_heads > 1:
        wide += 4 * shape.key_value_dim / parts
    attention = tokens * wide
    kernel = kernel_of(job)
    if kernel is None:
        chunk = min(job.model.query_chunk or length, length)
        attention += 2 * rows * chunk * max(keys) * shape.num_heads / parts
    elif kernel == "splash":
        # It writes its statistics, float32, a row of numbers for each.
        statistics = tokens * shape.num_heads / parts
        attention += _LANES * statistics * FLOAT32 / job.compute_bytes
    return job.compute_bytes * (
        2 * tokens * shape.hidden_dim + max(block, attention)
    )


def _gathered(job: PlannedJob, parts: int) -> float:
    """Returns the bytes of a layer's kernels, brought together.

    Two at a time, while the next is on its way, and a gradient. Of weights in
    few bits the numbers of a kernel are made, in float32 and as they are
    multiplied.
    """
    kernel = job.shape.hidden_dim * job.shape.intermediate_dim / parts
    if any(weight.each is not None for weight in job.shape.weights):
        return (FLOAT32 + job.compute_bytes) * kernel
    if "embed" not in job.split or job.axes.size(BATCH) == 1:
        return 0.0
    if job.shape.experts:
        its = kernel * parts * job.shape.experts / expert_parts(job)
        kernel = max(kernel, its)
    return 3 * job.compute_bytes * kernel


def _loss(job: PlannedJob, parts: int) -> float:
    """Returns the bytes of the loss, see `Memory`."""
    shape, data = job.shape, job.data
    length = data.target_length
    if shape.decoder_only:
        length += data.input_length
    some = job.rows * min(job.optimizer.loss_chunk or length, length)
    some = min(job.optimizer.loss_gather or some, some)
    logits = 2 * FLOAT32 * some * shape.vocabulary_size / parts
    rows = shape.vocabulary_size * shape.hidden_dim / parts
    return logits + (FLOAT32 + job.compute_bytes) * rows


def _caches(job: PlannedJob, parts: int) -> tuple[float, float]:
    """Returns the bytes of keys and values of prompts, and of paths.

    Those of a prompt are there once for all its paths. Heads that the mesh
    can't divide are not split.
    """
    shape = job.shape
    whole = shape.num_key_value_heads % parts == 0
    width = shape.key_value_dim / (parts if whole else 1)
    token = BFLOAT16 * 2 * shape.num_layers * width
    generated = job.paths * job.data.target_length
    rows = job.rows
    return rows * job.data.input_length * token, rows * generated * token
