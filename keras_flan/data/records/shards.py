"""Records: TFRecord shards of examples and their `dataset_info.json`.

A record set is one folder: shards whose names hold a digest of the content,
and `dataset_info.json`, which lists them. The latter is put into place last,
so a killed run leaves the old set or the new one, never a half.
"""

import contextlib
import dataclasses
import hashlib
import itertools
import mmap
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

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
from keras_flan.files import write_json, write_jsonl
from keras_flan.runtime.tensorflow import tf
from keras_flan.storage import as_path, each, is_remote, local_copy, upload

REJECTS_FILE = "rejects.jsonl"

_TEMPORARY = ".writing-"
# Only files of this shape are ever removed: a folder may hold others.
_SHARD_NAME = re.compile(r".+-[0-9a-f]{8}-\d{5}-of-\d{5}\.tfrecord")
# Records that are read at once.
_BATCH = 512
# Bytes of a frame's length.
_LENGTH = 8


def write_records(
    examples: Iterable[Example],
    directory: str | os.PathLike,
    *,
    name: str,
    split: str = "train",
    shards: int = 1,
    source: str = "",
    license: str = "",
    templates: str | None = None,
    answer_kind: str | None = None,
    rejects: Sequence[Mapping[str, Any]] = (),
    extra: Mapping[str, Any] | None = None,
) -> RecordInfo:
    """Writes examples as sharded TFRecords; replaces the set in `directory`.

    Examples are streamed, dealt out to the shards in turn (example `i` goes
    to shard `i % shards`). The same examples give the same bytes. If the run
    fails or is killed, an earlier set in the folder stays as it was. One
    process at a time may write to a folder.

    Args:
        examples: The examples, in the order in which they shall be read.
        directory: The folder of the set; made if missing.
        name: Task name: letters, digits, `_`, `-`, `.` and `+`.
        split: Name of the split, of the same letters.
        shards: Number of files.
        source: Where the data came from.
        license: License of the data.
        templates: Template family that fits the fields, or None.
        answer_kind: `number`, `option`, `yes_no`, `text` or None.
        rejects: Descriptions of source rows left out, for `rejects.jsonl`.
            May be filled while `examples` is consumed.
        extra: Further keys for `dataset_info.json`.

    Raises:
        InputError: If there is no example, or a name or an example is bad.

    Example:
        >>> info = write_records(
        ...     [Example({"question": "1 + 1?", "answer": "2"}, "sums")],
        ...     "records/sums",
        ...     name="sums",
        ... )
        >>> info.shards[0].file
        'sums-train-5c22e25c-00000-of-00001.tfrecord'
    """
    _check_names(name, split, shards)
    facts = RecordInfo(
        *(name, split, 0, (), ()),
        *(source, license, templates, answer_kind),
        extra=extra or {},
    )
    return _write(examples, as_path(directory), facts, shards, rejects)


def find_records(root: str | os.PathLike, split: str) -> dict[str, Path]:
    """Returns the record sets of a split in a folder of tasks, by task.

    They are in `root/<task>` or `root/<task>/<split>`.
    """
    root = as_path(root)
    paths = sorted(root.glob("*/"))
    found = each(lambda path: records_folder(path, split), paths, root)
    pairs = zip(paths, found, strict=True)
    return {path.name: folder for path, folder in pairs if folder}


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
        sha256 = _sha256(path)
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


def _check_names(name: str, split: str, shards: int) -> None:
    for what, value in (("name", name), ("split", split)):
        if not re.fullmatch(r"\w[\w.+-]*", value):
            raise InputError(
                f"{what} {value!r}: expected letters, digits, '_', '-', '.' "
                "and '+', of which the last three not in front"
            )
    if not 1 <= shards <= 99_999:
        raise InputError(f"shards: expected 1 to 99999, found {shards}")


def _write(
    examples: Iterable[Example],
    directory: Path,
    facts: RecordInfo,
    number: int,
    rejects: Sequence[Mapping[str, Any]],
) -> RecordInfo:
    """Writes a set of `number` shards; returns `facts`, completed."""
    examples = iter(examples)
    # The usual errors come at the first example: before any file is touched
    # and before the seconds that TensorFlow's import takes.
    first = next(examples, None)
    if first is None:
        raise InputError(f"{facts.name}: no examples to write to {directory}")
    examples = itertools.chain([first], examples)
    with _folder_aside(directory) as aside:
        paths = [aside / str(i) for i in range(number)]
        counts, fields = _write_shards(examples, paths)
        info = dataclasses.replace(
            facts,
            num_examples=sum(counts),
            fields=tuple(sorted(fields)),
            shards=_describe(paths, counts, f"{facts.name}-{facts.split}"),
            num_rejected=len(rejects),
        )
        write_json(aside / INFO_FILE, info.to_dict())
        if rejects:
            write_jsonl(aside / REJECTS_FILE, rejects)
            _place(aside / REJECTS_FILE, directory / REJECTS_FILE)
        for path, shard in zip(paths, info.shards, strict=True):
            _place(path, directory / shard.file)
        _place(aside / INFO_FILE, directory / INFO_FILE)
    files = {shard.file for shard in info.shards}
    _remove_leftovers(directory, keep=files, rejects=bool(rejects))
    return info


def _place(made: Path, path: Path) -> None:
    """Puts a file of the folder aside where it belongs."""
    if is_remote(path):
        upload(made, path)
    else:
        os.replace(made, path)


@contextlib.contextmanager
def _folder_aside(directory: Path) -> Iterator[Path]:
    """Yields a new folder, from which files are placed in `directory`.

    It is in there, or, if that is in a bucket, on this machine. Where all
    fails, `directory` is as it was.
    """
    if is_remote(directory):
        with tempfile.TemporaryDirectory(prefix="keras_flan-") as temporary:
            yield Path(temporary)
        return
    is_new = not directory.exists()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=directory))
    except OSError as error:
        raise InputError(
            f"{directory}: cannot be used as a folder ({error.strerror}); "
            "choose another"
        ) from None
    try:
        yield aside
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        if is_new:
            with contextlib.suppress(OSError):
                directory.rmdir()
        raise


def _describe(
    paths: Sequence[Path], counts: Sequence[int], name: str
) -> tuple[Shard, ...]:
    """Returns what the shards are, with the names that they shall have."""
    digests = [_sha256(path) for path in paths]
    digest = hashlib.sha256("".join(digests).encode()).hexdigest()[:8]
    return tuple(
        Shard(
            f"{name}-{digest}-{i:05}-of-{len(paths):05}.tfrecord",
            counts[i],
            path.stat().st_size,
            digests[i],
        )
        for i, path in enumerate(paths)
    )


def _write_shards(
    examples: Iterable[Example], paths: Sequence[Path]
) -> tuple[list[int], set[str]]:
    """Deals out the examples; returns counts per shard and field names."""
    counts = [0] * len(paths)
    fields: set[str] = set()
    with contextlib.ExitStack() as stack:
        writers = [
            stack.enter_context(tf().io.TFRecordWriter(str(path)))
            for path in paths
        ]
        for i, example in enumerate(examples):
            writers[i % len(paths)].write(example.to_proto())
            counts[i % len(paths)] += 1
            fields.update(example.fields)
    return counts, fields


def _sha256(path: Path) -> str:
    """Returns the digest of a file, which is on disk afterwards."""
    digest = hashlib.sha256()
    with path.open("rb") as f:
        while block := f.read(1 << 20):
            digest.update(block)
        if not is_remote(path):
            os.fsync(f.fileno())
    return digest.hexdigest()


def _remove_leftovers(directory: Path, keep: set[str], rejects: bool) -> None:
    """Removes what earlier sets and killed runs left in the folder."""
    if not rejects:
        (directory / REJECTS_FILE).unlink(missing_ok=True)
    for path in directory.iterdir():
        if path.name.startswith(_TEMPORARY):
            shutil.rmtree(path, ignore_errors=True)
        elif _SHARD_NAME.fullmatch(path.name) and path.name not in keep:
            path.unlink()


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
