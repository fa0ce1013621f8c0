"""The facts of a record set, which `dataset_info.json` holds."""

import dataclasses
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from keras_flan.errors import InputError
from keras_flan.files import read_json_object
from keras_flan.outputs import settle
from keras_flan.storage import as_path

INFO_FILE = "dataset_info.json"
# The key of the digest of the templates that came with the records.
TEMPLATES_DIGEST = "templates_sha256"
AGAIN = "write it again with `keras-flan import`"

_VERSION = 1
_SHARD_KEYS = {"file": str, "num_examples": int, "bytes": int, "sha256": str}
_REQUIRED = ("name", "split", "num_examples", "fields", "shards")
_KEYS = {
    "name": str,
    "split": str,
    "num_examples": int,
    "fields": list,
    "shards": list,
    "source": str,
    "license": str,
    "templates": str | None,
    "answer_kind": str | None,
    "num_rejected": int,
}


@dataclass(frozen=True)
class Shard:
    """A file of a record set, of which the name holds a digest of the set."""

    file: str
    num_examples: int
    bytes: int
    sha256: str


@dataclass(frozen=True, eq=False)
class RecordInfo(Mapping[str, Any]):
    """The facts of a record set.

    It is also a mapping of what the file holds: `info["name"]` is
    `info.name`, and `info["canary"]` is `info.extra["canary"]`.

    Args:
        name: Name of the task.
        split: Name of the split.
        num_examples: How many examples the shards have together.
        fields: Names of the fields that occur.
        shards: The files; example `i` is in shard `i % len(shards)`.
        source: Where the data came from.
        license: License of the data.
        templates: Template family that fits the fields, or None.
        answer_kind: `number`, `option`, `yes_no`, `text` or None.
        num_rejected: How many source rows were left out.
        extra: Further keys and values of JSON.

    Example:

    ```python
    info = keras_flan.data.read_info("records/gsm8k")
    print(info.name, info.num_examples, info["license"])
    ```
    """

    name: str
    split: str
    num_examples: int
    fields: tuple[str, ...]
    shards: tuple[Shard, ...]
    source: str = ""
    license: str = ""
    templates: str | None = None
    answer_kind: str | None = None
    num_rejected: int = 0
    extra: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Returns the content of the file."""
        facts = {key: getattr(self, key) for key in _KEYS}
        facts["fields"] = list(self.fields)
        facts["shards"] = [dataclasses.asdict(shard) for shard in self.shards]
        return {"schema_version": _VERSION, **facts, **self.extra}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], place: str) -> "RecordInfo":
        """Returns the facts that `to_dict` returned; `place` is their file.

        Raises:
            InputError: If they are not facts, or of a newer schema.
        """
        extra = dict(values)
        version = extra.pop("schema_version", None)
        if version != _VERSION:
            raise InputError(
                f"{place}: expected schema_version {_VERSION}, found "
                f"{version!r}; update keras_flan, or {AGAIN}"
            )
        kinds = {k: _KEYS[k] for k in _KEYS if k in extra or k in _REQUIRED}
        _check_keys(extra, kinds, place)
        facts = {key: extra.pop(key) for key in kinds}
        facts["fields"] = tuple(facts["fields"])
        if not all(isinstance(name, str) for name in facts["fields"]):
            raise InputError(
                f"{place}: expected names under 'fields', found "
                f"{facts['fields']!r:.60}; {AGAIN}"
            )
        facts["shards"] = tuple(_shard(s, place) for s in facts["shards"])
        info = cls(**facts, extra=extra)
        info._check_counts(place)
        return info

    def _check_counts(self, place: str) -> None:
        number, parts = self.num_examples, len(self.shards)
        counts = [shard.num_examples for shard in self.shards]
        dealt = [max(0, (number - i - 1) // parts + 1) for i in range(parts)]
        if number < 1 or not sum(counts) or counts != dealt:
            raise InputError(
                f"{place}: num_examples {number} dealt out to {parts} shards "
                f"makes {dealt} examples per shard, found {counts}; {AGAIN}"
            )

    def __getitem__(self, key: str) -> Any:
        return self.to_dict()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.to_dict())

    def __len__(self) -> int:
        return len(self.to_dict())


def read_info(directory: str | os.PathLike) -> RecordInfo:
    """Returns the checked content of a set's `dataset_info.json`.

    Raises:
        InputError: If it is missing, broken or of a newer schema.

    Example:
        >>> info = read_info("records/sums")
        >>> info.name, info.num_examples
        ('sums', 1)
    """
    path = as_path(directory, INFO_FILE)
    settle(path.parent)
    if not path.is_file():
        found = "" if path.parent.is_dir() else ", nor such a folder"
        if any(path.parent.glob("*.tfrecord")):
            found = ", so that the set beside it is incomplete"
        raise InputError(
            f"{path}: no such file{found}; write records there with "
            "`keras-flan import`"
        )
    values = read_json_object(path, remedy=AGAIN)
    return RecordInfo.from_dict(values, str(path))


def _shard(value: Any, place: str) -> Shard:
    _check_keys(value, _SHARD_KEYS, place)
    shard = Shard(**{key: value[key] for key in _SHARD_KEYS})
    if PurePath(shard.file).name != shard.file:
        raise InputError(
            f"{place}: shard {shard.file!r} is not a plain file name; {AGAIN}"
        )
    return shard


def _check_keys(value: Any, kinds: Mapping[str, Any], place: str) -> None:
    for key, kind in kinds.items():
        found = value.get(key) if isinstance(value, dict) else None
        if not isinstance(found, kind) or isinstance(found, bool):
            raise InputError(
                f"{place}: expected {getattr(kind, '__name__', kind)} under "
                f"{key!r}, found {found!r:.40}; {AGAIN}"
            )
