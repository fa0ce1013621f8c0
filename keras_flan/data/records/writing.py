"""Writing records: shards and their facts, whole or not at all."""

import contextlib
import dataclasses
import hashlib
import itertools
import os
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_flan.data.records.example import Example
from keras_flan.data.records.info import (
    INFO_FILE,
    TEMPLATES_DIGEST,
    RecordInfo,
    Shard,
    read_info,
)
from keras_flan.data.records.shards import sha256_of
from keras_flan.disk import free_bytes, is_full, no_room
from keras_flan.errors import InputError
from keras_flan.files import atomic_write, write_json, write_jsonl
from keras_flan.outputs import (
    Kind,
    head_of,
    output_folder,
    removed,
    replace_files,
)
from keras_flan.runtime.tensorflow import tf
from keras_flan.storage import as_path

REJECTS_FILE = "rejects.jsonl"

# Of earlier versions.
_TEMPORARY = ".writing-"
# Only files of these shapes are ever removed: a folder may hold others.
_NAMED = re.compile(
    r".+-[0-9a-f]{8}-\d{5}-of-\d{5}\.tfrecord|templates-[0-9a-f]{8}\.yaml"
)
_OURS = re.compile(rf"{_NAMED.pattern}|{re.escape(REJECTS_FILE)}")
# Bytes of a TFRecord beside its data: its length, and two checksums.
_FRAME = 16
_YAML = (".yaml", ".yml")


@dataclasses.dataclass(frozen=True)
class _Writing:
    """How a set is written; see `write_records`."""

    shards: int
    rejects: Sequence[Mapping[str, Any]]
    templates_file: Path | None
    replace: bool
    overwrite: bool


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
    replace: bool = False,
    overwrite: bool = False,
) -> RecordInfo:
    """Writes examples as sharded TFRecords; replaces the set in `directory`.

    Examples are streamed, dealt out to the shards in turn (example `i` goes
    to shard `i % shards`). The same examples give the same bytes. If the run
    fails or is killed, an earlier set in the folder stays as it was. A second
    process that writes to the folder is refused.

    Args:
        examples: The examples, in the order in which they shall be read.
        directory: The folder of the set; made if missing.
        name: Task name: letters, digits, `_`, `-`, `.` and `+`.
        split: Name of the split, of the same letters.
        shards: Number of files.
        source: Where the data came from.
        license: License of the data.
        templates: Template family that fits the fields, or None. Of a YAML
            file the records get a copy.
        answer_kind: `number`, `option`, `yes_no`, `text` or None.
        rejects: Descriptions of source rows left out, for `rejects.jsonl`.
            May be filled while `examples` is consumed.
        extra: Further keys for `dataset_info.json`.
        replace: Whether to replace another task or split in the folder.
        overwrite: Whether to write among files that are none of records.

    Raises:
        InputError: If there is no example, a name or an example is bad, or
            the folder holds something else.
        OSError: If the disk is full; says how much is missing.

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
    file = None
    if templates is not None and as_path(templates).suffix in _YAML:
        file = as_path(templates)
    writing = _Writing(shards, rejects, file, replace, overwrite)
    return _write(examples, as_path(directory), facts, writing)


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
    writing: _Writing,
) -> RecordInfo:
    """Writes a set; returns `facts`, completed."""
    examples = iter(examples)
    # The usual errors come at the first example: before any file is touched
    # and before the seconds that TensorFlow's import takes.
    first = next(examples, None)
    if first is None:
        raise InputError(f"{facts.name}: no examples to write to {directory}")
    examples = itertools.chain([first], examples)
    with output_folder(directory, RECORDS, writing.overwrite):
        if not writing.replace:
            _check_same(directory, facts)
        info = _replace(examples, directory, facts, writing)
        _remove_leftovers(directory, info)
    return info


def _replace(
    examples: Iterable[Example],
    directory: Path,
    facts: RecordInfo,
    writing: _Writing,
) -> RecordInfo:
    """Puts a new set in the place of the one in a folder."""
    with replace_files(directory, INFO_FILE) as aside:
        paths = [aside / str(i) for i in range(writing.shards)]
        counts, fields = _write_shards(examples, paths, directory)
        rejects, extra = writing.rejects, dict(facts.extra)
        templates = facts.templates
        if writing.templates_file is not None:
            data = writing.templates_file.read_bytes()
            digest = hashlib.sha256(data).hexdigest()
            templates = f"templates-{digest[:8]}.yaml"
            extra[TEMPLATES_DIGEST] = digest
            with atomic_write(aside / templates, "wb") as f:
                f.write(data)
        info = dataclasses.replace(
            facts,
            num_examples=sum(counts),
            fields=tuple(sorted(fields)),
            shards=_describe(paths, counts, f"{facts.name}-{facts.split}"),
            templates=templates,
            num_rejected=len(rejects),
            extra=extra,
        )
        for path, shard in zip(paths, info.shards, strict=True):
            path.rename(aside / shard.file)
        if rejects:
            write_jsonl(aside / REJECTS_FILE, rejects)
        else:
            removed(aside, REJECTS_FILE)
        write_json(aside / INFO_FILE, info.to_dict())
    return info


def _check_same(directory: Path, facts: RecordInfo) -> None:
    """Checks that a set that is there is of the same task and split."""
    if not (directory / INFO_FILE).is_file():
        return
    try:
        found = read_info(directory)
    except InputError:
        return  # It is broken.
    if (found.name, found.split) != (facts.name, facts.split):
        beside = directory.parent / facts.name
        if found.name == facts.name:
            beside = directory / facts.split
        raise InputError(
            f"{directory}: holds the split {found.split!r} of the task "
            f"{found.name!r}, and {facts.name!r}, split {facts.split!r}, "
            f"would replace it; give --output {beside} to have both, or "
            "--replace (in Python: replace=True)"
        )


def _is_records(directory: Path) -> bool:
    """Whether a folder is one of records, also one that was cut short."""
    if (directory / INFO_FILE).is_file():
        # A folder of TFDS has such a file too.
        return "schema_version" in head_of(directory / INFO_FILE)
    return all(
        _OURS.fullmatch(child.name) or _is_split(child)
        for child in directory.iterdir()
        if not child.name.startswith(".")
    )


def _is_split(directory: Path) -> bool:
    info = head_of(directory / INFO_FILE)
    return "schema_version" in info and info.get("split") == directory.name


# What takes up a folder of records.
RECORDS = Kind("records", _is_records, marked=False)


def _describe(
    paths: Sequence[Path], counts: Sequence[int], name: str
) -> tuple[Shard, ...]:
    """Returns what the shards are, with the names that they shall have."""
    digests = [sha256_of(path) for path in paths]
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
    examples: Iterable[Example], paths: Sequence[Path], directory: Path
) -> tuple[list[int], set[str]]:
    """Deals out the examples; returns counts per shard and field names."""
    counts, sizes = [0] * len(paths), [0] * len(paths)
    fields: set[str] = set()
    room = free_bytes(paths[0])
    full = False
    with contextlib.ExitStack() as stack:
        writers = [
            stack.enter_context(tf().io.TFRecordWriter(str(path)))
            for path in paths
        ]
        for i, example in enumerate(examples):
            data, shard = example.to_proto(), i % len(paths)
            if not full:
                full = _is_full_for(writers[shard], data)
            counts[shard] += 1
            sizes[shard] += len(data) + _FRAME
            fields.update(example.fields)
    # Not every file system has TensorFlow notice.
    if full or [path.stat().st_size for path in paths] != sizes:
        raise no_room(directory, sum(sizes), room or 0)
    return counts, fields


def _is_full_for(writer: Any, data: bytes) -> bool:
    """Writes a record, unless the disk is full, which it returns."""
    try:
        writer.write(data)
    except tf().errors.OpError as error:
        if is_full(error):
            return True
        raise
    return False


def _remove_leftovers(directory: Path, info: RecordInfo) -> None:
    """Removes what earlier sets and killed runs left in the folder."""
    keep = {info.templates, *(shard.file for shard in info.shards)}
    for path in directory.iterdir():
        if path.name.startswith(_TEMPORARY):
            shutil.rmtree(path, ignore_errors=True)
        elif _NAMED.fullmatch(path.name) and path.name not in keep:
            path.unlink()
