"""What the kernels of attention do and move: the compiler does not count it.

Plain arithmetic. `cost_analysis()` of a compiled program counts the operands
and results of a kernel once, and none of its operations.
"""

import math

# Rows of statistics are float32; JAX's kernel writes each number 128 times.
_FLOAT, _LANES = 4, 128
_LARGEST = 512
_VECTOR_MEMORY = 15 * 2**20


def block_size(length: int, largest: int = _LARGEST) -> int:
    """Returns the side of the blocks in which a row of a length is worked on.

    The largest of 512, 256 and 128 that makes a row at most an eighth longer.

    Args:
        length: Of the row.
        largest: No block is larger.

    Example:
        >>> block_size(2560), block_size(640), block_size(100)
        (512, 128, 128)
    """
    size = largest
    while size > _LANES and padded(length, size) * 8 > length * 9:
        size //= 2
    return size


def padded(length: int, block: int) -> int:
    """Returns the length in whole blocks."""
    return math.ceil(length / block) * block


def flash_blocks(
    queries: int,
    keys: int,
    width: int,
    *,
    bytes_per_number: int = 2,
    biased: bool = True,
) -> tuple[int, int] | None:
    """Returns the blocks of queries and of keys of the kernel `pallas`.

    Whole rows of a head stay in the chip's vector memory, of which a v4 has
    16 MiB: blocks become smaller until all fits.

    Args:
        queries: Places of a row that attend.
        keys: Places that are attended to.
        width: Of a head.
        bytes_per_number: Of queries, keys and values.
        biased: Whether there is a bias by distance.

    Returns:
        Two sizes, or `None` if rows are too long.
    """
    for largest in (_LARGEST, _LARGEST // 2, _LANES):
        block = block_size(queries, largest), block_size(keys, largest)
        long, source = padded(queries, block[0]), padded(keys, block[1])
        distances = long + source if biased else 0
        # The larger of the two passes: what is read and written has two
        # buffers, and the compiler wants room for some tiles of scores.
        backward = 6 * long * bytes_per_number + 4 * long
        backward += 8 * block[1] * bytes_per_number + 8 * block[1]
        forward = 4 * (source + block[0]) * bytes_per_number
        taken = max(width, 8) * max(forward, backward)
        taken += _FLOAT * (2 * _LANES + 4 * 8) * distances
        taken += _FLOAT * 6 * (8 * long + block[0] * block[1])
        if taken <= _VECTOR_MEMORY:
            return block
    return None


def attention_cost(
    kind: str,
    *,
    rows: int,
    heads: int,
    kv_heads: int,
    queries: int,
    keys: int,
    width: int,
    causal: bool,
    training: bool,
    bytes_per_number: int = 2,
) -> tuple[float, float]:
    """Returns the operations of one attention and the bytes it moves.

    Of matrix products alone, a multiply-add as two; bytes are those between
    the kernel and the chip's memory. Padding counts as it is computed, and
    blocks that a causal mask hides don't; blocks that segments hide are taken
    to be computed, which is more than happens in a packed row.

    Args:
        kind: `splash`, `pallas`, or `cudnn`, which is counted as `pallas`.
        rows: Of the batch; all that are on a device for numbers of a device.
        heads: Query heads; likewise.
        kv_heads: Heads of keys and values.
        queries: Places of a row that attend.
        keys: Places that are attended to.
        width: Of a head.
        causal: Whether only earlier places are seen.
        training: Whether there is a backward pass. Its forward pass is
            counted once, also under rematerialisation: that is a second call
            with `training=False`.
        bytes_per_number: Of queries, keys and values.

    Example:
        >>> flops, moved = attention_cost(
        ...     "splash", rows=4, heads=16, kv_heads=1, queries=2560,
        ...     keys=2560, width=128, causal=True, training=True)
        >>> f"{flops:.3g} {moved:.3g}"
    """
    queries = padded(queries, block_size(queries))
    keys = padded(keys, block_size(keys))
    across, down = keys // block_size(keys), queries // block_size(queries)
    seen = (across + 1) / (2 * across) if causal else 1.0
    product = 2.0 * rows * heads * queries * keys * width * seen
    wide = rows * heads * queries * width * bytes_per_number
    source = rows * kv_heads * keys * width * bytes_per_number
    statistics = rows * heads * queries * _FLOAT
    if kind == "splash":
        # Each query head reads keys and values anew for each of its blocks.
        fetched = 2 * heads // kv_heads * source * seen
        moved = 2 * wide + fetched * down
        moved += _LANES * statistics if training else 0
        products = 2
        if training:
            # Two passes: one for queries, one for keys and values, which
            # reads the queries and their gradients for each block of keys.
            products += 3 + 4
            moved += 3 * wide + fetched * down + 2 * statistics
            moved += 2 * wide * across * seen + fetched + 2 * source
            moved += 2 * statistics * across * seen
    else:
        # Rows of keys and values, and of queries, stay in the chip.
        moved, products = 2 * wide + 2 * heads // kv_heads * source, 2
        if training:
            products += 5
            moved += statistics + 3 * wide + 2 * statistics
            moved += 4 * heads // kv_heads * source
    return product * products, float(moved)
