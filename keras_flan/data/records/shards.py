"""Records: TFRecord shards of examples and their `dataset_info.json`.

A record set is one folder: shards whose names hold a digest of the content,
and `dataset_info.json`, which lists them. The latter is renamed into place
last, so a killed run leaves the old set or the new one, never a half.
"""

import contextlib
import hashlib
import itertools
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_flan.data.records.example import Example
from keras_flan.errors import InputError
from keras_flan.files import read_json_object, write_json, write_jsonl
from keras_flan.runtime.tensorflow import tf

SCHEMA_VERSION = 1
INFO_FILE = "dataset_info.json"
REJECTS_FILE = "rejects.jsonl"

_TEMPORARY = ".writing-"
# Only files of this shape are ever removed: a folder may hold others.
_SHARD_NAME = re.compile(r".+-[0-9a-f]{8}-\d{5}-of-\d{5}\.tfrecord")
_SHARD_KEYS = {"file": str, "num_examples": int, "bytes": int, "sha256": str}
_INFO_KEYS = {
    "name": str,
    "split": str,
    "num_examples": int,
    "fields": list,
    "shards": list,
}
# Records that are read at once.
_BATCH = 512
# Bytes that TensorFlow reads at a time.
_BUFFER = 256 * 1024
_AGAIN = "write it again with `keras-flan import`"


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
) -> dict[str, Any]:
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

    Returns:
        The content of `dataset_info.json`.

    Raises:
        InputError: If there is no example, or a name or an example is bad.

    Example:
        >>> info = write_records(
        ...     [Example({"question": "1 + 1?", "answer": "2"}, "sums")],
        ...     "records/sums",
        ...     name="sums",
        ... )
        >>> info["shards"][0]["file"]
        'sums-train-5c22e25c-00000-of-00001.tfrecord'
    """
    for what, value in (("name", name), ("split", split)):
        if not re.fullmatch(r"\w[\w.+-]*", value):
            raise InputError(
                f"{what} {value!r}: expected letters, digits, '_', '-', '.' "
                "and '+', of which the last three not in front"
            )
    if not 1 <= shards <= 99_999:
        raise InputError(f"shards: expected 1 to 99999, found {shards}")
    examples = iter(examples)
    # The usual errors come at the first example: before any file is touched
    # and before the seconds that TensorFlow's import takes.
    first = next(examples, None)
    if first is None:
        raise InputError(f"{name}: no examples to write to {directory}")
    examples = itertools.chain([first], examples)
    directory = Path(directory)
    is_new = not directory.exists()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=directory))
    except OSError as error:
        raise InputError(
            f"{directory}: cannot be used as a folder ({error.strerror}); "
            "choose another"
        ) from None
    try:
        paths = [temporary / str(i) for i in range(shards)]
        counts, fields = _write_shards(examples, paths)
        digests = [_sha256(path) for path in paths]
        digest = hashlib.sha256("".join(digests).encode()).hexdigest()[:8]
        files = [
            f"{name}-{split}-{digest}-{i:05}-of-{shards:05}.tfrecord"
            for i in range(shards)
        ]
        info = {
            "schema_version": SCHEMA_VERSION,
            "name": name,
            "split": split,
            "num_examples": sum(counts),
            "fields": sorted(fields),
            "shards": [
                {
                    "file": file,
                    "num_examples": count,
                    "bytes": path.stat().st_size,
                    "sha256": sha256,
                }
                for file, count, path, sha256 in zip(
                    files, counts, paths, digests, strict=True
                )
            ],
            "source": source,
            "license": license,
            "templates": templates,
            "answer_kind": answer_kind,
            "num_rejected": len(rejects),
            **(extra or {}),
        }
        write_json(temporary / INFO_FILE, info)
        if rejects:
            write_jsonl(temporary / REJECTS_FILE, rejects)
            os.replace(temporary / REJECTS_FILE, directory / REJECTS_FILE)
        for path, file in zip(paths, files, strict=True):
            os.replace(path, directory / file)
        os.replace(temporary / INFO_FILE, directory / INFO_FILE)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        if is_new:
            with contextlib.suppress(OSError):
                directory.rmdir()
        raise
    _remove_leftovers(directory, keep=set(files), rejects=bool(rejects))
    return info


def read_info(directory: str | os.PathLike) -> dict[str, Any]:
    """Returns the checked content of a set's `dataset_info.json`.

    Raises:
        InputError: If it is missing, broken or of a newer schema.
    """
    path = Path(directory) / INFO_FILE
    if not path.is_file():
        found = "" if path.parent.is_dir() else ", nor such a folder"
        raise InputError(
            f"{path}: no such file{found}; write records there with "
            "`keras-flan import`"
        )
    info = read_json_object(path, remedy=_AGAIN)
    version = info.get("schema_version")
    if version != SCHEMA_VERSION:
        raise InputError(
            f"{path}: expected schema_version {SCHEMA_VERSION}, found "
            f"{version!r}; update keras_flan, or {_AGAIN}"
        )
    _check_keys(info, _INFO_KEYS, path)
    for shard in info["shards"]:
        _check_keys(shard, _SHARD_KEYS, path)
        if Path(shard["file"]).name != shard["file"]:
            raise InputError(
                f"{path}: shard {shard['file']!r} is not a plain file name; "
                f"{_AGAIN}"
            )
    number = info["num_examples"]
    counts = [shard["num_examples"] for shard in info["shards"]]
    dealt = [len(range(i, number, len(counts))) for i in range(len(counts))]
    if not sum(counts) or counts != dealt:
        raise InputError(
            f"{path}: num_examples {number} dealt out to {len(counts)} shards "
            f"makes {dealt} examples a shard, found {counts}; {_AGAIN}"
        )
    return info


def find_records(root: str | os.PathLike, split: str) -> dict[str, Path]:
    """Returns the record sets of a split in a folder of tasks, by task.

    They are in `root/<task>` or `root/<task>/<split>`.
    """
    root = Path(root)
    if not root.is_dir():
        return {}
    folders = {
        path.name: records_folder(path, split)
        for path in sorted(root.iterdir())
        if path.is_dir()
    }
    return {name: folder for name, folder in folders.items() if folder}


def records_folder(path: Path, split: str) -> Path | None:
    """Returns where under a task's folder the records of a split are."""
    for folder in (path / split, path):
        if (folder / INFO_FILE).is_file() and (
            read_info(folder)["split"] == split
        ):
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
        limit: Stop after so many examples.

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
    number = info["num_examples"]
    number = number if limit is None else min(limit, number)
    return _read(Path(directory), info["shards"], number)


def verify_records(directory: str | os.PathLike) -> None:
    """Checks every record's checksum, and each shard's count, size, SHA-256.

    Raises:
        InputError: At the first shard that is not as it was written.
    """
    for shard in read_info(directory)["shards"]:
        path = Path(directory) / shard["file"]
        for _ in _read_shard(path, shard["num_examples"]):
            pass
        size = path.stat().st_size
        if size != shard["bytes"]:
            raise InputError(
                f"{path}: expected {shard['bytes']} bytes, found {size}; "
                f"{_AGAIN}"
            )
        sha256 = _sha256(path)
        if sha256 != shard["sha256"]:
            raise InputError(
                f"{path}: expected SHA-256 {shard['sha256'][:12]}..., found "
                f"{sha256[:12]}...; {_AGAIN}"
            )


def check_sizes(directory: str | os.PathLike, info: Mapping) -> None:
    """Checks that the shards are there and have their size, which is cheap.

    Args:
        directory: The folder of the set.
        info: What `read_info` returned.

    Raises:
        InputError: If not; names the shard and, if it is truncated, the
            record.
    """
    for shard in info["shards"]:
        path = Path(directory) / shard["file"]
        if not path.is_file() or path.stat().st_size != shard["bytes"]:
            verify_records(directory)


def _write_shards(examples, paths) -> tuple[list[int], set[str]]:
    """Deals out the examples; returns counts per shard and field names."""
    counts, fields = [0] * len(paths), set()
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
    with open(path, "rb") as f:
        while block := f.read(1 << 20):
            digest.update(block)
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


def _check_keys(value: Any, types: Mapping[str, type], path: Path) -> None:
    for key, kind in types.items():
        found = value.get(key) if isinstance(value, dict) else None
        if not isinstance(found, kind):
            raise InputError(
                f"{path}: expected {kind.__name__} under {key!r}, found "
                f"{found!r:.40}; {_AGAIN}"
            )


def _read(directory: Path, shards: list[dict], number: int):
    """Yields the first `number` examples, from the shards in turn."""
    paths = [directory / shard["file"] for shard in shards]
    readers = [
        _read_shard(path, shard["num_examples"])
        for path, shard in zip(paths, shards, strict=True)
    ]
    for i in range(number):
        record, shard = divmod(i, len(shards))
        data = next(readers[shard])
        try:
            yield Example.from_proto(data)
        except InputError as error:
            raise InputError(
                f"{paths[shard]}: record {record}: {error}; {_AGAIN}"
            ) from None
    if number == sum(shard["num_examples"] for shard in shards):
        for reader in readers:  # Each checks that nothing follows.
            next(reader, None)


def _read_shard(path: Path, count: int) -> Iterator[bytes]:
    """Yields the records of one shard; TensorFlow checks each one's CRC."""
    if not path.is_file():
        raise InputError(f"{path}: no such shard; {_AGAIN}")
    found = 0
    try:
        for record in _stream(path, count):
            if found == count:
                raise InputError(
                    f"{path}: record {found}: expected the end after {count} "
                    f"records; {_AGAIN}"
                )
            yield record
            found += 1
    except tf().errors.DataLossError:
        raise InputError(
            f"{path}: record {found}: truncated or corrupt; {_AGAIN}"
        ) from None
    if found != count:
        raise InputError(
            f"{path}: record {found}: expected {count} records, found the end "
            f"of the file; {_AGAIN}"
        )


def _stream(path: Path, count: int) -> Iterator[bytes]:
    """Yields all records of a file; in batches, which is 10 times as fast."""
    # As `tf.data.TFRecordDataset`, without the map over files that it traces:
    # to open one takes a fifth of the time.
    dataset = tf().data.experimental.from_variant(
        tf().raw_ops.TFRecordDataset(
            filenames=[str(path)], compression_type="", buffer_size=_BUFFER
        ),
        tf().TensorSpec([], tf().string),
    )
    done = 0
    if count > _BATCH:
        try:
            for batch in dataset.batch(_BATCH).as_numpy_iterator():
                yield from batch
                done += len(batch)
        except tf().errors.DataLossError:
            pass  # One by one, it shows which record it is.
        else:
            return
    yield from dataset.skip(done).as_numpy_iterator()
