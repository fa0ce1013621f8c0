"""The frames of TFRecord files: walked before a record is read.

A frame is the length of a record (8 bytes), the checksum of the length, the
record, and its own checksum. A length is not believed, but held against the
file: TensorFlow allocates what it says.

Source: `tensorflow/core/lib/io/record_writer.h`.
"""

import contextlib
import mmap
import operator
import os
import struct
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_flan.data.records.checksums import masked_checksums

HEADER, FOOTER = 12, 4
_LENGTH = struct.Struct("<Q")
# `operator.getitem` of a map or of bytes, without a step of Python.
_part: Callable[[Any, slice], bytes] = operator.getitem


def mapped(path: Path) -> bytes | mmap.mmap:
    """Returns the content of a local file, which is read when it is used."""
    with path.open("rb") as f:
        # An empty file can't be mapped.
        if not os.fstat(f.fileno()).st_size:
            return b""
        return mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)


def walk(data: bytes | mmap.mmap, count: int) -> np.ndarray:
    """Returns where the first whole frames of a file begin.

    Args:
        data: The file.
        count: Up to how many frames.

    Returns:
        int64 of shape `[n + 1]`, `n <= count`: the frames' beginnings, and
        where the last ends.
    """
    most = min(count, len(data) // (HEADER + FOOTER))
    begins = array("q", bytes(8 * (most + 1)))
    place, unpack, found = 0, _LENGTH.unpack_from, 0
    with contextlib.suppress(struct.error):
        for i in range(most):
            place += unpack(data, place)[0] + HEADER + FOOTER
            if place > len(data):
                break
            begins[i + 1] = place
            found = i + 1
    return np.frombuffer(begins, np.int64)[: found + 1]


def is_whole(data: bytes | mmap.mmap) -> bool:
    """Whether a file is made of whole frames, however many."""
    place, unpack = 0, _LENGTH.unpack_from
    with contextlib.suppress(struct.error):
        while place < len(data):
            place += unpack(data, place)[0] + HEADER + FOOTER
    return place == len(data)


def slices(
    maps: Sequence[bytes | mmap.mmap], begins: np.ndarray, ends: np.ndarray
) -> list[bytes]:
    """Returns a part of each file; loops in C, not in Python."""
    parts = map(slice, begins.tolist(), ends.tolist())
    return list(map(_part, maps, parts))


def first_wrong(records: Sequence[bytes], checks: Sequence[bytes]) -> int:
    """Returns the index of the first record with another checksum.

    Args:
        records: The records.
        checks: The 4 bytes that follow each in its file.

    Returns:
        The number of the records if all are right.
    """
    if not records:
        return 0
    expected = np.frombuffer(b"".join(checks), "<u4")
    wrong = np.flatnonzero(masked_checksums(records) != expected)
    return int(wrong[0]) if len(wrong) else len(records)
