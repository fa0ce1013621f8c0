"""Records: TFRecord shards of examples and their `dataset_info.json`.

A record set is one folder: shards whose names hold a digest of the content,
and `dataset_info.json`, which lists them. They come into place together (see
`keras_flan.outputs`), so a killed run leaves the old set or the new one, never
a half.
"""

import hashlib
import mmap
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from keras_flan.data.records.example import Example
from keras_flan.data.records.frames import (
    FOOTER,
    HEADER,
    first_wrong,
    mapped,
    slices,
    walk,
)
from keras_flan.data.records.info import (
    AGAIN,
    INFO_FILE,
    RecordInfo,
    Shard,
    read_info,
)
from keras_flan.errors import InputError
from keras_flan.storage import as_path, each, is_remote, local_copy

# Records that are read at once.
_BATCH = 512
# Bytes of a frame's length.
_LENGTH = 8


def find_records(root: str | os.PathLike, split: str) -> dict[str, Path]:
    """Returns the record sets of a split in a folder of tasks, by task.

    They are in `root/<task>` or `root/<task>/<split>`, or a folder deeper,
    as many tasks that were imported into one folder of the root are.

    Raises:
        InputError: If two folders are of one task.
    """
    root = as_path(root)
    paths = _folders(root)
    found: dict[str, Path] = {}
    for part in each(lambda path: _tasks(path, split), paths, root):
        for name, folder in part.items():
            if name in found:
                raise InputError(
                    f"{root}: two folders are of the task {name!r}: "
                    f"{found[name]} and {folder}; remove one, or give the "
                    "task its `records`"
                )
            found[name] = folder
    return found


def _folders(path: Path) -> list[Path]:
    return sorted(p for p in path.glob("*/") if p.name[0] != ".")


def _tasks(path: Path, split: str) -> dict[str, Path]:
    """Returns the record sets of a task's folder, or one of many tasks."""
    folder = records_folder(path, split)
    if folder is not None:
        return {path.name: folder}
    if (path / INFO_FILE).is_file():
        return {}
    # A task's other splits have its name, not theirs.
    inner = ((p, records_folder(p, split)) for p in _folders(path))
    return {
        p.name: f
        for p, f in inner
        if f is not None and read_info(f).name == p.name
    }


def records_folder(path: Path, split: str) -> Path | None:
    """Returns where under a task's folder the records of a split are."""
    for folder in (path / split, path):
        is_set = (folder / INFO_FILE).is_file()
        if is_set and read_info(folder).split == split:
            return folder
    return None


def read_records(
    directory: str | os.PathLike,
    *,
    verify: bool = False,
    limit: int | None = None,
) -> Iterator[Example]:
    """Yields the examples of a set in the order in which they were written.

    Each record's own checksum and each shard's count are always checked.

    Args:
        directory: The folder of the set.
        verify: Run `verify_records` first.
        limit: Stop after this number of examples.

    Raises:
        InputError: If a shard is missing, truncated or corrupt: names the
            shard and the number of the record, counted from 0.

    Example:
        >>> next(read_records("records/sums")).fields["question"]
        '1 + 1?'
    """
    info = read_info(directory)
    if verify:
        verify_records(directory)
    number = (
        info.num_examples if limit is None else min(limit, info.num_examples)
    )
    return _read(as_path(directory), info.shards, number)


def verify_records(directory: str | os.PathLike) -> None:
    """Checks every record's checksum, and each shard's count, size, SHA-256.

    Raises:
        InputError: At the first shard that is not as it was written.
    """
    for shard in read_info(directory).shards:
        path = as_path(directory, shard.file)
        for _ in _read_shard(path, shard.num_examples):
            pass
        size = path.stat().st_size
        if size != shard.bytes:
            raise InputError(
                f"{path}: expected {shard.bytes} bytes, found {size}; {AGAIN}"
            )
        sha256 = sha256_of(path)
        if sha256 != shard.sha256:
            raise InputError(
                f"{path}: expected SHA-256 {shard.sha256[:12]}..., found "
                f"{sha256[:12]}...; {AGAIN}"
            )


def check_sizes(directory: str | os.PathLike, info: RecordInfo) -> None:
    """Checks that the shards are there and have their size, which is cheap.

    Raises:
        InputError: If not; names the shard and, if it is truncated, the
            record.
    """
    for shard in info.shards:
        path = as_path(directory, shard.file)
        if not path.is_file() or path.stat().st_size != shard.bytes:
            verify_records(directory)


def _read(
    directory: Path, shards: Sequence[Shard], number: int
) -> Iterator[Example]:
    """Yields the first `number` examples, from the shards in turn."""
    paths = [directory / shard.file for shard in shards]
    counts = [shard.num_examples for shard in shards]
    readers = list(map(_read_shard, paths, counts))
    for i in range(number):
        record, shard = divmod(i, len(shards))
        data = next(readers[shard])
        try:
            yield Example.from_proto(data)
        except InputError as error:
            raise InputError(
                f"{paths[shard]}: record {record}: {error}; {AGAIN}"
            ) from None
    if number == sum(counts):
        for reader in readers:  # Each checks that nothing follows.
            next(reader, None)


def _read_shard(path: Path, count: int) -> Iterator[bytes]:
    """Yields the records of one shard, whose checksums are right."""
    if not path.is_file():
        raise InputError(f"{path}: no such shard; {AGAIN}")
    found = 0
    with local_copy(path) as local:
        data = mapped(local)
        begins = walk(data, count)
        while found < len(begins) - 1:
            wanted = slice(found, found + _BATCH + 1)
            records = _checked(data, begins[wanted])
            yield from records
            found += len(records)
            if len(records) < min(_BATCH, len(begins[wanted]) - 1):
                break
    place = f"{path}: record {found}:"
    is_whole = found == len(begins) - 1
    if is_whole and found == count and begins[-1] < len(data):
        raise InputError(
            f"{place} expected the end after {count} records; {AGAIN}"
        )
    if not is_whole or begins[-1] < len(data):
        raise InputError(f"{place} truncated or corrupt; {AGAIN}")
    if found != count:
        raise InputError(
            f"{place} expected {count} records, found the end of the file; "
            f"{AGAIN}"
        )


def _checked(data: bytes | mmap.mmap, begins: np.ndarray) -> list[bytes]:
    """Returns the records of some frames, up to the first that is not right."""
    starts, ends = begins[:-1], begins[1:]
    maps = [data] * len(starts)
    lengths = slices(maps, starts, starts + _LENGTH)
    checks = slices(maps, starts + _LENGTH, starts + HEADER)
    records = slices(maps, starts + HEADER, ends - FOOTER)
    right = min(
        first_wrong(lengths, checks),
        first_wrong(records, slices(maps, ends - FOOTER, ends)),
    )
    return records[:right]


def sha256_of(path: Path) -> str:
    """Returns the digest of a file, which is on disk afterwards."""
    digest = hashlib.sha256()
    with path.open("rb") as f:
        while block := f.read(1 << 20):
            digest.update(block)
        if not is_remote(path):
            os.fsync(f.fileno())
    return digest.hexdigest()
