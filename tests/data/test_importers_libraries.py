import json
import struct
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from keras_flan.data.importers import import_source
from keras_flan.data.importers.libraries import check_tfds_folder
from keras_flan.data.records.shards import read_records
from keras_flan.errors import InputError


def _fields(format, source, output, **options):
    [info] = import_source(format, source, output, **options).tasks
    return info, [example.fields for example in read_records(output)]


@pytest.mark.parametrize(
    ("format", "package", "extra"),
    [("hf", "datasets", "hf"), ("tfds", "tensorflow_datasets", "tfds")],
)
def test_absent_package(monkeypatch, tmp_path, format, package, extra):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=r"pip install 'keras_flan\[") as error:
        import_source(format, tmp_path, tmp_path / "out")
    assert f"keras_flan[{extra}]" in str(error.value)
    assert package in str(error.value)


@pytest.fixture
def dataset():
    """A small `datasets.Dataset` with labels and nested values."""
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {
            "text": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["bad", "good"]),
            "answers": {"text": [datasets.Value("string")]},
        }
    )
    rows = {
        "text": ["x", "y", "z"],
        "label": [1, 0, -1],
        "answers": [{"text": ["a", "b"]}, {"text": ["c"]}, {"text": ["d"]}],
    }
    return datasets.Dataset.from_dict(rows, features=features)


COLUMNS = {"question": "text", "answer": "label", "context": "answers.text.0"}
ROWS = [
    {"question": "x", "answer": "good", "context": "a"},
    {"question": "y", "answer": "bad", "context": "c"},
]


def test_saved_dataset(dataset, tmp_path):
    dataset.save_to_disk(str(tmp_path / "my set"))
    info, rows = _fields(
        "hf", tmp_path / "my set", tmp_path / "out", columns=COLUMNS
    )
    assert info["name"] == "my_set"
    assert (rows, info["num_rejected"]) == (ROWS, 1)
    rejects = (tmp_path / "out" / "rejects.jsonl").read_text("utf-8")
    assert "no label under 'label' (-1)" in rejects


def test_saved_splits(dataset, tmp_path):
    datasets = pytest.importorskip("datasets")
    splits = datasets.DatasetDict(train=dataset, validation=dataset)
    splits.save_to_disk(str(tmp_path / "set"))
    info, rows = _fields(
        "hf",
        tmp_path / "set",
        tmp_path / "out",
        columns=COLUMNS,
        split="validation",
    )
    assert (rows, info["split"]) == (ROWS, "validation")
    with pytest.raises(InputError, match=r"no split 'trian'.*mean 'train'\?"):
        import_source("hf", tmp_path / "set", tmp_path / "new", split="trian")


def test_parquet(dataset, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    folder = tmp_path / "set" / "data"
    folder.mkdir(parents=True)
    for i in range(2):
        path = folder / f"train-0000{i}-of-00002.parquet"
        parquet.write_table(dataset.data.table, path)
    _, rows = _fields("hf", path, tmp_path / "one", columns=COLUMNS)
    assert rows == ROWS
    _, rows = _fields("hf", tmp_path / "set", tmp_path / "all", columns=COLUMNS)
    assert rows == ROWS * 2
    with pytest.raises(InputError, match=r"found 2 other \.parquet"):
        import_source("hf", tmp_path / "set", tmp_path / "new", split="test")
    path.write_bytes(b"broken")
    with pytest.raises(InputError, match=r"not a Hugging Face data set"):
        import_source("hf", path, tmp_path / "new")
    with pytest.raises(InputError, match=r"expected a text .* under 'answers'"):
        import_source("hf", folder / "train-00000-of-00002.parquet", tmp_path)


def test_tfds(tmp_path):
    tfds = pytest.importorskip("tensorflow_datasets")
    features = tfds.features.FeaturesDict(
        {
            "text": tfds.features.Text(),
            "label": tfds.features.ClassLabel(names=["bad", "good"]),
            "answers": tfds.features.Sequence({"text": tfds.features.Text()}),
            "n": np.int64,
        }
    )
    examples = [
        {"text": "x", "label": 1, "answers": [{"text": "a"}], "n": 1},
        {"text": "y", "label": 0, "answers": [{"text": "c"}], "n": 2},
        {"text": b"\xff", "label": 0, "answers": [], "n": 3},
        {"text": "z", "label": 0, "answers": [], "n": 4},
    ]
    tfds.dataset_builders.store_as_tfds_dataset(
        name="my_set",
        version="1.0.0",
        features=features,
        split_datasets={"train": list(enumerate(examples))},
        data_dir=tmp_path / "tfds",
        disable_shuffling=True,
    )
    columns = {**COLUMNS, "number": "n"}
    info, rows = _fields(
        "tfds", tmp_path / "tfds", tmp_path / "out", columns=columns
    )
    assert (info["name"], info["num_rejected"]) == ("my_set", 2)
    assert [row.pop("number") for row in rows] == ["1", "2"]
    assert rows == ROWS
    rejects = (tmp_path / "out" / "rejects.jsonl").read_text("utf-8")
    assert "not UTF-8" in rejects and "no 'answers.text.0'" in rejects
    with pytest.raises(InputError, match=r"no split 'test'.*Choose.*train"):
        import_source("tfds", tmp_path / "tfds", tmp_path / "n", split="test")
    with pytest.raises(InputError, match="one prepared data set"):
        import_source("tfds", tmp_path / "out", tmp_path / "new")


@pytest.mark.parametrize(
    "key", ["pythonClassName", "python_class_name", "type"]
)
def test_tfds_runs_only_its_own_features(tmp_path, key):
    features = {"pythonClassName": "tensorflow_datasets.core.features.Text"}
    file = tmp_path / "features.json"
    # A feature may be called like the key of a class.
    file.write_text(json.dumps({"features": {"type": features}}))
    check_tfds_folder(tmp_path)
    for name in (
        "os.system",
        "my_code.Text",
        "tensorflow_datasets.core.features.feature.os.system",
        "tensorflow_datasets.core.features",
        "x.tensorflow_datasets.core.features.Text",
        "tensorflow_datasets.core.features.Text.os.system",
    ):
        file.write_text(json.dumps({"features": [{"a": {key: name}}]}))
        with pytest.raises(InputError, match="would be imported"):
            check_tfds_folder(tmp_path)


def test_tfds_is_given_nothing_that_was_not_checked(monkeypatch, tmp_path):
    given = []
    library = SimpleNamespace(builder_from_directory=given.append)
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", library)
    file = tmp_path / "features.json"
    for name in ("os.system", "tensorflow_datasets.core.features.Text"):
        file.write_text(json.dumps({"type": name}))
        with pytest.raises(InputError, match=r"would be imported|not a prep"):
            import_source("tfds", tmp_path, tmp_path / "out")
        assert given == [str(tmp_path)] * (name != "os.system")


def test_tfds_files_of_records_are_walked_first(tmp_path):
    (tmp_path / "features.json").write_text("{}")
    file = tmp_path / "a-train.tfrecord-00000-of-00001"
    file.write_bytes(struct.pack("<Q", 2**40) + bytes(100))
    with pytest.raises(InputError, match="truncated or corrupt"):
        check_tfds_folder(tmp_path)
    file.write_bytes(struct.pack("<Q", 84) + bytes(92))
    check_tfds_folder(tmp_path)
