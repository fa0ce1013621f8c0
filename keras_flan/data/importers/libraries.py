"""Rows of two libraries: Hugging Face `datasets` and TensorFlow Datasets.

Both are read from a local folder; nothing is downloaded. A class label
becomes its name. Columns are chosen as in JSON, nested ones too.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from keras_flan.data.importers import base
from keras_flan.data.importers.packages import require
from keras_flan.data.importers.tables import Columns, pick_fields
from keras_flan.data.records.frames import is_whole, mapped
from keras_flan.errors import InputError, did_you_mean
from keras_flan.files import read_json
from keras_flan.runtime.tensorflow import tf
from keras_flan.storage import local_path

# Where a `features.json` names classes: now, and in earlier versions.
_CLASS_KEYS = ("pythonClassName", "python_class_name", "type")
_OWN_FEATURE = re.compile(
    r"tensorflow_datasets\.core\.features(\.[a-z_]+)*\.[A-Z]\w*"
)


def _rows(
    path: Path, records: Iterable[dict[str, Any] | str], columns: Columns
) -> Iterator[base.Row | base.Reject]:
    """Turns records, or reasons why there are none, into rows."""
    for number, record in enumerate(records, 1):
        found = record
        if isinstance(record, dict):
            found = pick_fields(record, columns)
        yield base.row_or_reject(path, number, found, repr(record))


def _read_hf(path: Path, options: base.Options) -> base.Source:
    datasets, path = require("datasets", "hf"), local_path(path)
    try:
        dataset = _open_hf(datasets, path, options.split)
    except (OSError, ValueError, KeyError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{path}: not a Hugging Face data set ({_first_line(error)}); give "
            "a folder of `save_to_disk`, a .parquet or an .arrow file, or a "
            "folder of .parquet files"
        ) from None
    labels = _labels(dataset.features, datasets.ClassLabel)
    records = (_name_labels(record, labels) for record in dataset)
    return base.Source(_rows(path, records, options.columns), _name(path))


def _open_hf(datasets: ModuleType, path: Path, split: str) -> Any:
    """Returns the `datasets.Dataset` of a split."""
    if path.suffix == ".arrow":
        return datasets.Dataset.from_file(str(path))
    if path.suffix == ".parquet":
        return _from_parquet(datasets, [path])
    saved = ("state.json", "dataset_dict.json")
    if not any((path / name).is_file() for name in saved):
        files = sorted(path.rglob("*.parquet"))
        chosen = [file for file in files if file.name.startswith(split)]
        if not chosen:
            raise InputError(
                f"{path}: expected a folder of `save_to_disk`, or "
                f"{split}*.parquet files, found {len(files)} other .parquet "
                "file(s); choose a split with --split"
            )
        return _from_parquet(datasets, chosen)
    dataset = datasets.load_from_disk(str(path))
    if not isinstance(dataset, datasets.DatasetDict):
        return dataset
    if split not in dataset:
        raise InputError(
            f"{path}: no split {split!r}." + did_you_mean(split, dataset)
        )
    return dataset[split]


def _from_parquet(datasets: ModuleType, files: list[Path]) -> Any:
    # Not Dataset.from_parquet, which copies the rows to a cache folder.
    parquet = require("pyarrow.parquet", "hf")
    tables = [datasets.Dataset(parquet.read_table(file)) for file in files]
    return datasets.concatenate_datasets(tables)


def _labels(features: Mapping[str, Any], kind: type) -> dict[str, Any]:
    return {k: f for k, f in features.items() if isinstance(f, kind)}


def _name_labels(
    record: dict[str, Any], labels: dict[str, Any]
) -> dict[str, Any] | str:
    """Puts names for the numbers of class labels."""
    names = {}
    for key, feature in labels.items():
        number = record[key]
        if type(number) is not int or not 0 <= number < feature.num_classes:
            return f"no label under {key!r} ({number!r})"
        names[key] = feature.int2str(number)
    return {**record, **names}


def _read_tfds(path: Path, options: base.Options) -> base.Source:
    tfds = require("tensorflow_datasets", "tfds")
    tf()  # Hides the accelerators from TensorFlow before its first use.
    folder = _tfds_folder(path)
    check_tfds_folder(folder)
    try:
        builder = tfds.builder_from_directory(str(folder))
        splits = builder.info.splits
    except Exception as error:  # Of protocol buffers and its own.
        raise InputError(
            f"{folder}: not a prepared TFDS folder ({_first_line(error)}); "
            "prepare it again"
        ) from None
    if options.split not in splits:
        raise InputError(
            f"{path}: no split {options.split!r}."
            + did_you_mean(options.split, splits)
        )
    labels = _labels(builder.info.features, tfds.features.ClassLabel)
    dataset = builder.as_dataset(split=options.split, shuffle_files=False)
    records = (_tfds_record(record, labels) for record in dataset)
    license = builder.info.redistribution_info.license or ""
    return base.Source(
        _rows(path, records, options.columns),
        base.clean_name(builder.name),
        license=license,
    )


def _tfds_folder(path: Path) -> Path:
    """Returns the one folder at or under `path` that holds a data set."""
    folders = sorted(file.parent for file in path.rglob("features.json"))
    if len(folders) != 1:
        found = ", ".join(str(f.relative_to(path)) for f in folders) or "none"
        raise InputError(
            f"{path}: expected the folder of one prepared data set, such as "
            f"DATA_DIR/name/1.0.0, found {found}"
        )
    return folders[0]


def check_tfds_folder(folder: Path) -> None:
    """Refuses a folder that would run its own code or is not whole.

    TFDS imports the classes that `features.json` names, whatever they are,
    and TensorFlow allocates what the frames of a file claim.

    Raises:
        InputError: If a class is not one of TFDS's own features, or a file of
            records is broken.
    """
    file = folder / "features.json"
    for name in _class_names(read_json(file)):
        if not _OWN_FEATURE.fullmatch(name):
            raise InputError(
                f"{file}: names the class {name!r:.100}, which would be "
                "imported; only TFDS's own features are read: convert the "
                "data to JSON Lines where you trust that class"
            )
    for file in folder.glob("*.tfrecord*"):
        if not is_whole(mapped(file)):
            raise InputError(
                f"{file}: truncated or corrupt; prepare the data set again"
            )


def _class_names(part: Any) -> Iterator[str]:
    """Yields the classes that a `features.json` names, old form and new."""
    if isinstance(part, list):
        for item in part:
            yield from _class_names(item)
    elif isinstance(part, dict):
        for key, value in part.items():
            if key in _CLASS_KEYS and isinstance(value, str):
                yield value
            else:
                yield from _class_names(value)


def _tfds_record(record: dict, labels: dict) -> dict[str, Any] | str:
    try:
        return _name_labels(
            {key: _plain(value) for key, value in record.items()}, labels
        )
    except UnicodeDecodeError as error:
        return f"not UTF-8 ({error})"


def _plain(value: Any) -> Any:
    """Turns tensors into texts, numbers, lists and dicts."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if hasattr(value, "to_list"):
        return _plain(value.to_list())
    if hasattr(value, "numpy"):
        value = value.numpy()
        value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.decode("utf-8") if isinstance(value, bytes) else value


def _name(path: Path) -> str:
    path = path.resolve()
    if path.suffix in (".parquet", ".arrow"):
        return base.folder_name(path, "hf")
    return base.clean_name(path.name) or "hf"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


HF = base.Importer(
    format="hf",
    summary="Hugging Face `datasets` on disk, or parquet; --map FIELD=KEY",
    read=_read_hf,
    has_columns=True,
)
TFDS = base.Importer(
    format="tfds",
    summary="A prepared TensorFlow Datasets folder; --map FIELD=KEY",
    read=_read_tfds,
    has_columns=True,
)
