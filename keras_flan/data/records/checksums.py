"""CRC-32C of many records at once: the checksum of TFRecord files.

A CRC is linear: what a word adds to it depends on the word and its distance
from the end alone. So the words of all records are looked up together, and
then folded in pairs, which takes some twenty array operations, however many
records there are.

Source: RFC 3720, appendix B.4 (the polynomial); TensorFlow's
`tensorflow/core/lib/hash/crc32c.h` (the mask).
"""

import functools
from collections.abc import Sequence

import numpy as np

_POLYNOMIAL = 0x82F63B78
_MASK_DELTA = np.uint32(0xA282EAD8)
_ALL = np.uint64(0xFFFFFFFF)
# Records are padded in front to blocks of this many bytes, 8 words of 8.
_BLOCK = 64


def masked_checksums(records: Sequence[bytes]) -> np.ndarray:
    """Returns each record's CRC-32C as TFRecord files hold it.

    Args:
        records: `n` texts.

    Returns:
        uint32 of shape `[n]`.

    Example:
        >>> hex(masked_checksums([b"123456789"])[0])
        '0xc78ab0e5'
    """
    sizes = np.fromiter(map(len, records), np.int64, len(records))
    if tiny := np.flatnonzero(sizes < 4).tolist():  # One by one.
        filled = list(records)
        for i in tiny:
            filled[i] = bytes(4)
        found = masked_checksums(filled)
        found[tiny] = [_mask(_checksum(records[i]))[0] for i in tiny]
        return found
    pads = -sizes % _BLOCK
    blocks = (sizes + pads) // _BLOCK
    zeros = [bytes(i) for i in range(_BLOCK)]
    parts: list[bytes] = [b""] * (2 * len(records))
    parts[::2] = map(zeros.__getitem__, pads.tolist())
    parts[1::2] = records
    words = np.frombuffer(bytearray(b"".join(parts)), "<u8")
    _invert_first(words, (np.cumsum(blocks) - blocks) * _BLOCK + pads)
    halves = words.view("<u2").reshape(-1, 4)
    found = _look_up(_word_tables(), halves)
    level = 0
    for _ in range(3):  # the 8 words of a block
        pairs = found.reshape(-1, 2)
        found = _advance(pairs[:, 0], level) ^ pairs[:, 1]
        level += 1
    return _mask(~_fold(found, blocks, level))


def _mask(crc: np.ndarray) -> np.ndarray:
    return ((crc >> np.uint32(15)) | (crc << np.uint32(17))) + _MASK_DELTA


def _checksum(record: bytes) -> np.ndarray:
    """Returns the CRC-32C of one record, byte by byte."""
    crc, table = np.array([0xFFFFFFFF], np.uint32), _byte_table()
    for byte in record:
        crc = (crc >> np.uint32(8)) ^ table[(crc ^ np.uint32(byte)) & 0xFF]
    return ~crc


def _invert_first(words: np.ndarray, begins: np.ndarray) -> None:
    """Inverts the first 4 bytes of records, which makes zeros before free."""
    place, byte = begins // 8, (begins % 8).astype(np.uint64)
    bits = byte * np.uint64(8)
    words[place] ^= _ALL << bits
    crossing = byte > 4
    rest = np.uint64(64) - bits[crossing]
    words[place[crossing] + 1] ^= _ALL >> rest


def _fold(found: np.ndarray, counts: np.ndarray, level: int) -> np.ndarray:
    """Folds what `counts` blocks of each record add, in pairs from the end."""
    found, counts = found[::-1], counts[::-1]
    while counts.max(initial=1) > 1:
        starts = np.cumsum(counts) - counts
        odd = (np.arange(len(found)) - np.repeat(starts, counts)) % 2 > 0
        partner = (np.cumsum(~odd) - 1)[odd]
        folded = found[~odd]
        folded[partner] ^= _advance(found[odd], level)
        found, counts, level = folded, (counts + 1) // 2, level + 1
    return found[::-1]


def _advance(crc: np.ndarray, level: int) -> np.ndarray:
    """Returns what a CRC becomes after `8 * 2**level` bytes of zeros."""
    halves = np.ascontiguousarray(crc).view("<u2").reshape(-1, 2)
    return _look_up(_advance_tables(level), halves)


def _look_up(tables: Sequence[np.ndarray], halves: np.ndarray) -> np.ndarray:
    # A table has all that a half word can be: "wrap" only spares the check.
    result = tables[0].take(halves[:, 0], mode="wrap")
    for i, table in enumerate(tables[1:], 1):
        result ^= table.take(halves[:, i], mode="wrap")
    return result


@functools.cache
def _byte_table() -> np.ndarray:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        odd = (table & 1) > 0
        table >>= 1
        table[odd] ^= np.uint32(_POLYNOMIAL)
    return table


def _zeros_after(crc: np.ndarray, number: int) -> np.ndarray:
    table = _byte_table()
    for _ in range(number):
        crc = (crc >> 8) ^ table[crc & 0xFF]
    return crc


@functools.cache
def _word_tables() -> list[np.ndarray]:
    """Returns what each half word of 8 bytes adds, by its place."""
    values = np.arange(1 << 16, dtype=np.uint32)
    pair = _zeros_after(values, 2)
    return [_zeros_after(pair, 2 * (3 - place)) for place in range(4)]


@functools.cache
def _advance_tables(level: int) -> list[np.ndarray]:
    """Returns `_advance` of each half of a CRC."""
    values = np.arange(1 << 16, dtype=np.uint32)
    tables = [values, values << 16]
    if level == 0:
        return [_zeros_after(table, 8) for table in tables]
    for _ in range(2):
        tables = [_advance(table, level - 1) for table in tables]
    return tables
