import dataclasses
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_flan.data.records.example import Example
from keras_flan.data.records.info import INFO_FILE, read_info
from keras_flan.data.records.shards import (
    find_records,
    read_records,
    verify_records,
)
from keras_flan.data.records.writing import write_records
from keras_flan.data.templates.task import Task
from keras_flan.errors import InputError
from keras_flan.runtime.tensorflow import tf


def make(n, tag="a"):
    return [
        Example({"question": f"{tag}{i}?", "answer": str(i)}, tag, f"{tag}:{i}")
        for i in range(n)
    ]


def contents(folder):
    """File name to bytes of everything in a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def shard_path(folder, number=0):
    return folder / read_info(folder)["shards"][number]["file"]


def record_of_each_byte(data):
    """Number of the record to which each byte of a TFRecord file belongs."""
    owners = []
    while len(owners) < len(data):
        (length,) = struct.unpack_from("<Q", data, len(owners))
        number = owners[-1] + 1 if owners else 0
        owners += [number] * (8 + 4 + length + 4)
    return owners


# === Example ===


names = st.text(min_size=1, max_size=8).filter(lambda s: s[0] != "_")


@settings(deadline=None)  # The first call imports TensorFlow.
@given(st.dictionaries(names, st.text(max_size=30), max_size=4), st.text())
def test_example_round_trip(fields, text):
    example = Example(fields, text, text)
    assert Example.from_proto(example.to_proto()) == example


def test_proto_is_a_tf_example_whatever_the_order_of_the_fields():
    data = Example({"b": "2", "a": "ü"}, "t", "t:1").to_proto()
    assert data == Example({"a": "ü", "b": "2"}, "t", "t:1").to_proto()
    spec = {
        key: tf().io.FixedLenFeature([], tf().string)
        for key in ("a", "b", "_task", "_source_id")
    }
    parsed = tf().io.parse_single_example(data, spec)
    assert {key: value.numpy().decode() for key, value in parsed.items()} == {
        "a": "ü",
        "b": "2",
        "_task": "t",
        "_source_id": "t:1",
    }


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"_x": "1"}, "t:1: the field name '_x' is reserved"),
        ({"": "1"}, "t:1: the field name '' is reserved"),
        ({"x": 1}, "t:1: field 'x' must be Unicode text, found 1"),
        ({"x": "\ud800"}, r"t:1: field 'x' must be Unicode text.*ud800"),
    ],
)
def test_bad_fields(fields, message):
    with pytest.raises(InputError, match=message):
        Example(fields, "t", "t:1").to_proto()


def test_foreign_proto():
    with pytest.raises(InputError, match=r"not a tf\.train\.Example"):
        Example.from_proto(b"\xff\xff")
    proto = tf().train.Example()
    proto.features.feature["n"].int64_list.value.append(3)
    with pytest.raises(InputError, match="'n' is not a single UTF-8 text"):
        Example.from_proto(proto.SerializeToString())


# === Writing and reading ===


@pytest.mark.parametrize("shards", [1, 3, 5])
def test_original_order_is_restored(tmp_path, shards):
    examples = make(4)
    info = write_records(examples, tmp_path, name="a", shards=shards)
    assert list(read_records(tmp_path, verify=True)) == [
        dataclasses.replace(e, fields=dict(sorted(e.fields.items())))
        for e in examples
    ]
    assert [e.source_id for e in read_records(tmp_path, limit=2)] == [
        "a:0",
        "a:1",
    ]
    assert [s["num_examples"] for s in info["shards"]] == [
        len(range(i, 4, shards)) for i in range(shards)
    ]


def test_info(tmp_path):
    examples = [*make(2), Example({"title": "x"}, "a")]
    info = write_records(
        examples,
        tmp_path / "new" / "folder",
        name="a",
        split="dev",
        source="a.txt",
        license="MIT",
        templates="generic",
        answer_kind="number",
        extra={"seed": 1},
    )
    assert info == read_info(tmp_path / "new" / "folder")
    facts = info.to_dict()
    (shard,) = facts.pop("shards")
    assert facts == {
        "schema_version": 1,
        "name": "a",
        "split": "dev",
        "num_examples": 3,
        "fields": ["answer", "question", "title"],
        "source": "a.txt",
        "license": "MIT",
        "templates": "generic",
        "answer_kind": "number",
        "num_rejected": 0,
        "seed": 1,
    }
    path = tmp_path / "new" / "folder" / shard["file"]
    assert shard["bytes"] == path.stat().st_size
    assert path.name == f"a-dev-{path.name[6:14]}-00000-of-00001.tfrecord"


def test_bytes_are_deterministic(tmp_path):
    for folder in ("x", "y"):
        write_records(iter(make(7)), tmp_path / folder, name="a", shards=2)
    assert contents(tmp_path / "x") == contents(tmp_path / "y")


def test_examples_are_streamed(tmp_path):
    taken = []

    def stream():
        for example in make(50):
            # At most one example is held back.
            assert written.count(b"w") >= len(taken) - 1
            taken.append(example)
            yield example

    written = bytearray()
    to_proto = Example.to_proto
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            Example,
            "to_proto",
            lambda self: (written.extend(b"w"), to_proto(self))[1],
        )
        write_records(stream(), tmp_path, name="a")
    assert len(taken) == 50


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"name": "a b"}, "name 'a b': expected letters"),
        ({"name": "../a"}, r"name '\.\./a': expected letters"),
        ({"split": ""}, "split '': expected letters"),
        ({"shards": 0}, "shards: expected 1 to 99999, found 0"),
    ],
)
def test_bad_arguments(tmp_path, kwargs, message):
    with pytest.raises(InputError, match=message):
        write_records(make(1), tmp_path, **{"name": "a", **kwargs})
    assert contents(tmp_path) == {}


def test_empty_set_and_bad_folder(tmp_path):
    with pytest.raises(InputError, match="a: no examples to write to"):
        write_records([], tmp_path / "x", name="a")
    assert not (tmp_path / "x").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file: expected a folder to write"):
        write_records(make(1), tmp_path / "file", name="a")


# === Kill safety ===


def test_failure_while_reading_examples_leaves_the_old_set(tmp_path):
    def failing():
        yield from make(5, "b")
        raise KeyboardInterrupt

    write_records(make(3), tmp_path, name="a", shards=2)
    before = contents(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        write_records(failing(), tmp_path, name="b", replace=True)
    assert contents(tmp_path) == before
    with pytest.raises(KeyboardInterrupt):
        write_records(failing(), tmp_path / "new", name="b")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("step", range(9))
def test_death_at_every_rename(tmp_path, monkeypatch, step):
    """Renames: within the folder aside, of it, and from it into place."""
    write_records(make(3), tmp_path, name="a", shards=2)
    (tmp_path / "notes.tfrecord").write_text("not ours")
    calls = 0

    def dying(rename):
        def renamed(*args):
            nonlocal calls
            calls += 1
            if calls > step:
                raise SystemExit
            return rename(*args)

        return renamed

    with monkeypatch.context() as patch:
        for place, name in ((os, "replace"), (Path, "rename")):
            patch.setattr(place, name, dying(getattr(place, name)))
        # A killed process does not tidy up.
        patch.setattr(shutil, "rmtree", lambda *args, **kwargs: None)
        with pytest.raises(SystemExit):
            write_records(
                make(9, "b"), tmp_path, name="a", shards=2, rejects=[{"row": 1}]
            )
    # Renames of two shards, the rejects and the info come before that of
    # their folder, which decides.
    new = step >= 5
    info = read_info(tmp_path)
    assert len(list(read_records(tmp_path, verify=True))) == (9 if new else 3)
    assert info.num_rejected == new
    assert (tmp_path / "rejects.jsonl").exists() == new

    info = write_records(make(4, "c"), tmp_path, name="a")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [info["shards"][0]["file"], INFO_FILE, "notes.tfrecord"]
    )


@pytest.mark.parametrize("told", [True, False])
def test_a_full_disk_leaves_the_old_set(tmp_path, monkeypatch, told):
    """TensorFlow says so, or notices nothing."""
    write_records(make(3), tmp_path, name="a")
    before = contents(tmp_path)

    class Full(tf().io.TFRecordWriter):
        def write(self, data):
            if told:
                raise tf().errors.UnknownError(None, None, "errno = 28")

    with monkeypatch.context() as patch:
        patch.setattr(tf().io, "TFRecordWriter", Full)
        with pytest.raises(OSError, match=r"no space left on the disk.*'") as e:
            write_records(make(9, "b"), tmp_path, name="a")
    assert e.value.filename == str(tmp_path)
    assert contents(tmp_path) == before


def test_rejects_follow_the_set(tmp_path):
    rejects = []

    def stream():
        yield from make(2)
        rejects.append({"row": 3, "reason": "ü"})

    info = write_records(stream(), tmp_path, name="a", rejects=rejects)
    assert info["num_rejected"] == 1
    line = (tmp_path / "rejects.jsonl").read_text("utf-8")
    assert json.loads(line) == rejects[0]
    write_records(make(2), tmp_path, name="a")
    assert not (tmp_path / "rejects.jsonl").exists()


@pytest.mark.slow  # test_death_at_every_rename tells nearly as much.
def test_sigkill(tmp_path):
    """A writer killed at any time leaves one of the two sets, whole."""
    script = """
        import os, sys
        from keras_flan.data import Example, write_records
        from keras_flan.runtime.tensorflow import tf
        tf()
        folder = sys.argv[1]
        for line in sys.stdin:  # One child a line; its process id goes back.
            child = os.fork()
            if child == 0:
                while True:
                    for n in (40, 60):
                        examples = (
                            Example({"x": str(i) * 50}, "a") for i in range(n)
                        )
                        write_records(examples, folder, name="a", shards=2)
            print(child, flush=True)
            os.waitpid(child, 0)
            print("dead", flush=True)
    """
    server = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    write_records(make(40), tmp_path, name="a", shards=2)
    seen = set()
    with server:
        for i in range(20):
            server.stdin.write("\n")
            server.stdin.flush()
            child = int(server.stdout.readline())
            time.sleep(0.01 + 0.0037 * i)
            os.kill(child, signal.SIGKILL)
            assert server.stdout.readline() == "dead\n"
            number = len(list(read_records(tmp_path, verify=True)))
            assert number in (40, 60)
            seen.add(read_info(tmp_path)["shards"][0]["file"])
        server.stdin.close()
        assert server.stderr.read() == ""  # TensorFlow was silent, too.
    assert len(seen) >= 2
    write_records(make(1), tmp_path, name="a")
    assert len(list(tmp_path.iterdir())) == 2


# === Damage ===


def test_flipped_bits_are_found(tmp_path):
    write_records(make(4), tmp_path, name="a", shards=2)
    path = shard_path(tmp_path, 1)
    good = path.read_bytes()
    owners = record_of_each_byte(good)
    for place in range(0, len(good), 7):
        bad = bytearray(good)
        bad[place] ^= 1 << place % 8
        path.write_bytes(bad)
        message = f"{path.name}: record {owners[place]}: truncated or corrupt"
        with pytest.raises(InputError, match=message):
            list(read_records(tmp_path))
    with pytest.raises(InputError, match=message):
        verify_records(tmp_path)


def test_damage_in_a_long_shard_is_found(tmp_path):
    """Long shards are read in batches; the record is named all the same."""
    write_records(make(1200), tmp_path, name="a")
    path = shard_path(tmp_path)
    data = bytearray(path.read_bytes())
    place = record_of_each_byte(bytes(data)).index(700)
    data[place + 20] ^= 1
    path.write_bytes(data)
    read = []
    with pytest.raises(InputError, match="record 700: truncated or corrupt"):
        for example in read_records(tmp_path):
            read.append(example)
    assert read == make(700)


def test_truncation_is_found(tmp_path):
    write_records(make(3), tmp_path, name="a")
    path = shard_path(tmp_path)
    good = path.read_bytes()
    owners = record_of_each_byte(good)
    starts = [i for i in range(len(good)) if owners[i] != owners[i - 1]]
    for length in {*starts, *range(0, len(good), 7), len(good) - 1}:
        path.write_bytes(good[:length])
        message = f"{path.name}: record {owners[length]}: .*keras-flan import"
        with pytest.raises(InputError, match=message):
            list(read_records(tmp_path))


def test_examples_before_the_damage_are_read(tmp_path):
    write_records(make(3), tmp_path, name="a")
    path = shard_path(tmp_path)
    path.write_bytes(path.read_bytes()[:-1])
    assert len(list(read_records(tmp_path, limit=2))) == 2
    with pytest.raises(InputError, match="record 2"):
        read_records(tmp_path, limit=2, verify=True)


def test_added_and_exchanged_records_are_found(tmp_path):
    write_records(make(3), tmp_path / "a", name="a")
    write_records(make(3, "b"), tmp_path / "b", name="b")
    path, other = shard_path(tmp_path / "a"), shard_path(tmp_path / "b")
    good = path.read_bytes()
    path.write_bytes(good + good)
    with pytest.raises(InputError, match="record 3: expected the end after 3"):
        list(read_records(tmp_path / "a"))
    shutil.copy(other, path)
    with pytest.raises(InputError, match="expected SHA-256"):
        verify_records(tmp_path / "a")
    path.unlink()
    with pytest.raises(InputError, match=f"{path.name}: no such shard"):
        list(read_records(tmp_path / "a"))


def test_record_that_is_no_example(tmp_path):
    write_records(make(1), tmp_path, name="a")
    with tf().io.TFRecordWriter(str(shard_path(tmp_path))) as writer:
        writer.write(b"\xff")
    with pytest.raises(InputError, match=r"record 0: not a tf\.train\.Example"):
        list(read_records(tmp_path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 2}, "schema_version 1, found 2; update keras_flan"),
        ({"schema_version": None}, "expected schema_version 1, found None"),
        ({"num_examples": 4}, r"makes \[2, 2\] examples per shard, found"),
        ({"num_examples": "3"}, "expected int under 'num_examples', found '3'"),
        ({"num_rejected": True}, "int under 'num_rejected', found True"),
        ({"fields": ["a", {}]}, r"names under 'fields', found \('a', {}\)"),
        ({"shards": []}, "dealt out to 0 shards"),
        ({"shards": [1]}, "expected str under 'file'"),
        ({"name": None}, "expected str under 'name'"),
        ({"templates": 5}, r"expected str \| None under 'templates', found 5"),
    ],
)
def test_broken_info(tmp_path, change, message):
    write_records(make(3), tmp_path, name="a", shards=2)
    path = tmp_path / INFO_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=message):
        read_info(tmp_path)


def test_facts_are_attributes_and_keys(tmp_path):
    info = write_records(make(3), tmp_path, name="a", extra={"canary": "x"})
    assert (info.name, info.split, info.num_examples) == ("a", "train", 3)
    assert (info.templates, info.extra) == (None, {"canary": "x"})
    assert info["shards"][0]["file"] == info.shards[0].file
    assert info["canary"] == "x"
    assert info.get("license") == info.license == ""
    assert "other" not in info
    # Sets of long ago say less.
    path = tmp_path / INFO_FILE
    facts = json.loads(path.read_text())
    assert facts == dict(info) == info.to_dict()
    del facts["source"], facts["num_rejected"], facts["canary"]
    path.write_text(json.dumps(facts))
    assert (read_info(tmp_path).source, read_info(tmp_path).extra) == ("", {})


def test_missing_and_unreadable_info(tmp_path):
    with pytest.raises(InputError, match=r"no such file; .*keras-flan import"):
        read_info(tmp_path)
    with pytest.raises(InputError, match="nor such a folder"):
        read_records(tmp_path / "x")
    (tmp_path / INFO_FILE).write_text('{"name": ')
    with pytest.raises(InputError, match=r"dataset_info.json:1: not JSON"):
        read_info(tmp_path)
    (tmp_path / INFO_FILE).write_text("[]")
    with pytest.raises(InputError, match="expected a JSON object"):
        read_info(tmp_path)


def test_shard_names_can_not_leave_the_folder(tmp_path):
    facts = write_records(make(1), tmp_path, name="a").to_dict()
    facts["shards"][0]["file"] = "../secret"
    (tmp_path / INFO_FILE).write_text(json.dumps(facts))
    with pytest.raises(InputError, match="is not a plain file name"):
        read_info(tmp_path)


def test_accelerators_are_hidden_from_tensorflow():
    assert tf().config.get_visible_devices("GPU") == []


def test_another_split_or_task_is_not_replaced(tmp_path):
    folder = tmp_path / "a"
    write_records(make(3), folder, name="a")
    before = contents(folder)
    place = re.escape(str(folder / "test"))
    with pytest.raises(InputError, match=f"'train' of .* --output {place} to"):
        write_records(make(2), folder, name="a", split="test")
    with pytest.raises(InputError, match="holds the split 'train' of the task"):
        write_records(make(2), folder, name="b")
    assert contents(folder) == before
    write_records(make(2), folder / "test", name="a", split="test")
    assert find_records(tmp_path, "train") == {"a": folder}
    assert find_records(tmp_path, "test") == {"a": folder / "test"}
    write_records(make(4), folder, name="b", replace=True)
    assert read_info(folder).name == "b"
    # Whichever comes first.
    other = tmp_path / "c"
    write_records(make(2), other / "test", name="c", split="test")
    write_records(make(3), other, name="c")
    assert find_records(tmp_path, "test")["c"] == other / "test"


def test_files_of_others_are_not_mixed_with_records(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"\(notes.txt\).*--overwrite"):
        write_records(make(3), tmp_path, name="a")
    # TensorFlow Datasets has a file of the same name.
    (tmp_path / "notes.txt").unlink()
    (tmp_path / INFO_FILE).write_text('{"name": "glue", "splits": []}')
    with pytest.raises(InputError, match="files of another kind"):
        write_records(make(3), tmp_path, name="a")
    write_records(make(3), tmp_path, name="a", overwrite=True)
    assert read_info(tmp_path).num_examples == 3


def test_templates_travel_with_the_records(tmp_path):
    family = tmp_path / "mine.yaml"
    family.write_text(
        "{family: mine, fields: [question, answer], zero_shot_direct: "
        "[{input: '{question}?', target: '{answer}'}]}"
    )
    here = tmp_path / "here"
    write_records(make(3), here, name="a", templates=str(family))
    family.unlink()
    moved = here.rename(tmp_path / "there")
    assert Task.from_directory(moved).family.name == "mine"
    copy = moved / read_info(moved).templates
    copy.write_text(copy.read_text().replace("?", "!"))
    with pytest.raises(InputError, match="expected SHA-256"):
        Task.from_directory(moved)
