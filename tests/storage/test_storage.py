"""Paths of this machine and in a bucket, and what is whole there, and when."""

import contextlib
import pickle
import sys
import typing
from pathlib import Path

import numpy as np
import pytest

from keras_flan import cli, files, outputs, storage
from keras_flan.data import Example, read_records, write_records
from keras_flan.data.records.info import INFO_FILE
from keras_flan.errors import InputError
from keras_flan.evaluation.runs.journal import Journal
from keras_flan.evaluation.scores.predictions import Prediction
from keras_flan.models import add_lora, load, save, save_adapter
from keras_flan.remote import RemotePath
from keras_flan.storage import as_path, is_remote, local_copy, local_path
from tests.conftest import make_t5


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (("a/b",), "a/b"),
        (("a", "b/c", "../d"), "a/b/c/../d"),
        (("a", "/b"), "/b"),
        (("gs://b/x",), "gs://b/x"),
        (("gs://b", "x", "y.yaml"), "gs://b/x/y.yaml"),
        (("gs://b/x", "gs://c"), "gs://c"),
        (("a", "gs://b/x", "y"), "gs://b/x/y"),
        (("gs://b/x", "/local"), "/local"),
        (("/gs/b",), "/gs/b"),  # etils's own spelling of gs://b
    ],
)
def test_as_path(parts, expected):
    path = as_path(*parts)
    assert str(path) == expected
    assert isinstance(path, Path) == (not is_remote(path))
    assert as_path(path) == pickle.loads(pickle.dumps(path)) == path
    if is_remote(path):
        assert str(path / "z") == f"{expected}/z"
        assert str(path.with_name("z").parent) == str(path.parent)
        assert path.resolve() == path.absolute() == path


@pytest.mark.parametrize(
    "path",
    ["s3://b/x", "hf://a/b", "file:///a", "gs://", Path("gs://b/x"), "gs:/b"],
)
def test_other_stores_are_refused(path):
    for parts in ([path], ["a", path]):
        with pytest.raises(InputError, match=r"gs://BUCKET/\.\.\."):
            as_path(*parts)


def test_paths_in_a_bucket(bucket):
    root = as_path(bucket.url, "a")
    assert not (root.exists() or root.is_dir() or root.is_file())
    assert list(root.glob("*")) == list(root.rglob("*")) == []
    for name in ("x.txt", "b/y.txt", "b/c/z.txt", "d.txt/x.txt"):
        files.write_json(root / name, "ä\n")
    assert root.is_dir() and (root / "b").is_dir()
    assert not (root / "x.tx").exists()
    file = root / "x.txt"
    assert file.is_file() and not file.is_dir()
    assert file.stat().st_size == len(file.read_bytes()) == 7
    assert file.open().read() == file.read_text("utf-8") == '"ä\\n"\n'
    with file.open("rb") as f:
        assert f.read(3) == '"ä'.encode()

    def names(paths):
        return [str(path.relative_to(root)) for path in paths]

    assert names(root.iterdir()) == ["b", "d.txt", "x.txt"]
    assert names(root.glob("*.txt")) == ["d.txt", "x.txt"]
    assert names(root.glob("*/")) == ["b", "d.txt"]
    assert names(root.glob("*/*.txt")) == ["b/y.txt", "d.txt/x.txt"]
    assert names(root.rglob("[xz].txt")) == [
        *("b/c/z.txt", "d.txt/x.txt", "x.txt")
    ]
    storage.append(file, b"more")
    assert files.read_text(file) == '"ä\\n"\nmore'
    for missing in (root / "none", root / "none" / "none"):
        for call in (missing.read_bytes, missing.stat, missing.unlink):
            with pytest.raises(FileNotFoundError):
                call()
        with pytest.raises(FileNotFoundError):
            list(missing.iterdir())
        with pytest.raises(InputError, match=f"^{missing}: no such file$"):
            files.read_text(missing)
    with pytest.raises(InputError, match="expected a file, found a folder"):
        files.read_text(root / "b")
    for call in (RemotePath.exists, files.read_text):
        with pytest.raises(
            InputError, match=r"^gs://forbidden/x: .*Forbidden.*; log in"
        ):
            call(as_path("gs://forbidden/x"))
    for name in ("rename", "replace"):
        with pytest.raises(OSError, match="no rename"):
            getattr(file, name)(root / "y")
    storage.remove_folder(root)
    storage.remove_folder(root)
    assert list(root.rglob("*")) == []


def test_a_file_is_whole_or_as_it_was(bucket):
    path = as_path(bucket.url, "metrics.json")
    files.write_json(path, [1])
    with pytest.raises(ZeroDivisionError), files.atomic_write(path) as f:
        f.write("half" * 100_000)
        1 / 0  # noqa: B018
    assert files.read_json(path) == [1]


@pytest.fixture
def interrupted(monkeypatch):
    """Ends the process, so to say, where an object of a name is written."""

    @contextlib.contextmanager
    def interrupted(name):
        def upload(self, file):
            if self.name == name:
                raise KeyboardInterrupt
            whole(self, file)

        whole = RemotePath.upload
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(RemotePath, "upload", upload)
            yield

    return interrupted


def test_records_are_replaced_when_their_info_is(bucket, interrupted):
    folder = f"{bucket.url}/odd"

    def write(number):
        texts = [f"is {i} odd?" for i in range(number)]
        examples = (Example({"question": text}, "odd") for text in texts)
        write_records(examples, folder, name="odd", shards=2)
        return texts

    def read():
        examples = read_records(folder, verify=True)
        return [example.fields["question"] for example in examples]

    with interrupted(INFO_FILE):
        write(5)
    with pytest.raises(InputError, match="the set beside it is incomplete"):
        read()
    old = write(5)
    assert read() == old
    with interrupted(INFO_FILE):
        write(7)
    assert read() == old
    assert write(7) == read() != old
    assert sum(name.startswith("odd/") for name in bucket.objects()) == 3


def test_a_model_is_whole_when_its_config_is_there(
    bucket, interrupted, tmp_path
):
    import keras

    def make(seed):
        model = make_t5(seed, num_layers=1, hidden_dim=8, num_heads=1)
        model.vocabulary = None
        return model

    def weights(model):
        return [keras.ops.convert_to_numpy(v) for v in model.weights]

    path, one, two = f"{bucket.url}/run/model", make(1), make(2)
    save(one, path)
    np.testing.assert_equal(weights(load(path)), weights(one))
    with interrupted("config.json"):
        save(two, path)
    with pytest.raises(
        InputError, match=rf"^{path}: not a model .*not written to the end"
    ):
        load(path)
    bucket.write("run/model/of_the_old.txt", "")
    save(two, path)
    np.testing.assert_equal(weights(load(path)), weights(two))
    assert "run/model/of_the_old.txt" not in bucket.objects()
    assert f"run/model/{outputs.UNFINISHED}" not in bucket.objects()

    two.save_to_preset(f"{bucket.url}/preset")
    np.testing.assert_equal(weights(load(f"{bucket.url}/preset")), weights(two))
    add_lora(two, rank=1)
    save_adapter(two, f"{bucket.url}/run/a.safetensors", base="model")
    other = load(f"{bucket.url}/run/a.safetensors")
    np.testing.assert_equal(weights(other), weights(two))

    bucket.write("notes/a.txt", "mine")
    with pytest.raises(InputError, match="holds files of another kind"):
        save(one, f"{bucket.url}/notes")
    for name in ("notes", "none"):
        with pytest.raises(InputError, match=f"^{bucket.url}/{name}: not a mo"):
            load(f"{bucket.url}/{name}")
    assert not any("rewriteTo" in line for line in bucket.log())


def test_a_local_copy_is_named_as_what_it_is_of(bucket):
    bucket.write("v/x.json", "{")
    with (
        pytest.raises(InputError, match=r"^gs://bucket/v/x\.json:1: not JSON"),
        local_copy(f"{bucket.url}/v") as folder,
    ):
        assert isinstance(folder, Path)
        files.read_json(folder / "x.json")
    assert not folder.exists()


def test_a_journal_goes_on(bucket):
    path, row = (
        as_path(bucket.url, "j.jsonl"),
        Prediction(target="4", outputs=["4"]),
    )
    Journal(path, {"seed": 0}, True).add({0: row})
    Journal(path, {"seed": 0}, True).add({1: row})
    bucket.write("j.jsonl", bucket.read("j.jsonl") + '{"torn')
    journal = Journal(path, {"seed": 0}, True)
    journal.add({2: row})
    assert sorted(Journal(path, {"seed": 0}, True).rows) == [0, 1, 2]


# === The command line ===


def path_parameters(command):
    hints = typing.get_type_hints(command.callback, include_extras=True)
    for name, hint in hints.items():
        kind, *about = typing.get_args(hint) or [hint]
        if "Path" in str(kind):
            yield name, about[0].parser


COMMANDS = [c for part in cli.app.registered_groups
            for c in part.typer_instance.registered_commands]  # fmt: skip


def test_every_path_of_the_command_line_is_parsed():
    found = {
        (command.callback.__name__, name): parser
        for command in COMMANDS
        for name, parser in path_parameters(command)
    }
    assert set(found.values()) == {as_path, local_path}
    local = {key for key, parser in found.items() if parser is local_path}
    experiments = ("quickstart", "miniature", "flan")
    assert local == {(name, "output") for name in experiments}


@pytest.mark.parametrize(
    "arguments",
    [
        "import csv NONE --output NONE/o",
        "import hf NONE --output NONE/o",
        "import mine.py=NONE x --output NONE/o",
        "inspect NONE",
        "mixture NONE",
        "mixture cot_only --records NONE",
        "contamination NONE.yaml --against NONE",
        "vocabulary NONE --size 300 --output NONE/v",
        "evaluate --benchmark gsm8k --model flan_nano --data NONE --output o",
        "evaluate --benchmark winogender --model NONE --output o",
        "score --predictions NONE",
        "compare NONE NONE",
        "report NONE --output NONE/o",
        "toxicity --model flan_nano --prompts NONE",
        "civil-comments --model flan_nano --data NONE",
        "generate --model flan_nano --input NONE",
        "generate --model flan_nano --prompt a --exemplars NONE",
        "generate --model NONE --prompt a",
        "serve --model NONE",
        "train NONE.yaml",
        "plan NONE.yaml",
        "convert NONE o --to huggingface",
        "convert NONE o --from huggingface",
        "quickstart --output NONE",
        "miniature --output NONE",
        "miniature --plan NONE",
    ],
)
def test_a_bucket_is_never_taken_for_a_folder(
    bucket, tmp_path, monkeypatch, capsys, arguments
):
    monkeypatch.chdir(tmp_path)
    line = arguments.replace("NONE", f"{bucket.url}/none")
    monkeypatch.setattr(sys, "argv", ["keras-flan", *line.split()])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    error = capsys.readouterr().err
    assert stop.value.code == 2
    assert "gs://bucket/none" in error.splitlines()[-1], error
    assert list(tmp_path.iterdir()) == []
