"""Which kernel a job's attention runs, and what it does and moves."""

from collections.abc import Iterator
from typing import NamedTuple

from keras_flan.models.kernels.choice import kernel_on
from keras_flan.models.kernels.cost import attention_cost, flash_blocks
from keras_flan.planning.jobs import PlannedJob


class Attention(NamedTuple):
    """One attention of a layer, on a device.

    Attributes:
        queries: Places of a row that attend.
        keys: Places that are attended to.
        causal: Whether only earlier places are seen.
    """

    queries: int
    keys: int
    causal: bool


def attentions(job: PlannedJob) -> Iterator[Attention]:
    """Yields what each layer attends to."""
    inputs, targets = job.data.input_length, job.data.target_length
    if job.shape.decoder_only:
        yield Attention(inputs + targets, inputs + targets, True)
        return
    yield Attention(inputs, inputs, False)
    yield Attention(targets, targets, True)
    yield Attention(targets, inputs, False)


def kernel_of(job: PlannedJob) -> str | None:
    """Returns the kernel that a training job's attention runs, if any.

    As `LanguageModel.chosen_attention` does on the job's devices.
    """
    setting = job.model.attention
    if job.side != "train":
        return None
    platform = "gpu" if job.slice.chip.gpu else "tpu"
    kernel = kernel_on(platform, setting, job.shape.kernels)
    if kernel != "pallas":
        return kernel
    longest = max(job.data.input_length, job.data.target_length)
    blocks = flash_blocks(
        longest, longest, job.shape.head_dim, bytes_per_number=job.compute_bytes
    )
    return kernel if blocks else None


def kernel_cost(job: PlannedJob) -> tuple[float, float]:
    """Returns a step's operations and bytes in kernels, on a device.

    Zeros without a kernel. The compiler leaves both out.
    """
    kind = kernel_of(job)
    flops = moved = 0.0
    if kind is None:
        return flops, moved
    shape = job.shape
    parts = 1 if "heads" not in job.split else job.axes.size("model")
    calls = [True] + ([False] if job.model.remat else [])
    for its in attentions(job):
        for training in calls:
            done = attention_cost(
                kind,
                rows=job.rows,
                heads=_on_device(shape.num_heads, parts),
                kv_heads=_on_device(shape.num_key_value_heads, parts),
                queries=its.queries,
                keys=its.keys,
                width=shape.head_dim,
                causal=its.causal,
                training=training,
                bytes_per_number=job.compute_bytes,
            )
            flops += done[0]
            moved += done[1]
    times = shape.num_layers * job.optimizer.accumulate
    return times * flops, times * moved


def _on_device(heads: int, parts: int) -> int:
    """Returns the heads that a device works on; all if they can't be split."""
    return heads if heads % parts else heads // parts
