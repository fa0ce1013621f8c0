"""Outputs: ours, empty or refused; by one process; whole or not at all."""

import contextlib
import errno
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from keras_flan.disk import naming_full_disk
from keras_flan.errors import InputError
from keras_flan.evaluation.reports.page import report_runs
from keras_flan.evaluation.runs.evaluate import evaluate
from keras_flan.evaluation.runs.run import EVALUATION
from keras_flan.files import atomic_write
from keras_flan.generation.trace import ANSWERS, write_trace
from keras_flan.improvement import ImproveConfig, improve
from keras_flan.miniature.quickstart import quickstart
from keras_flan.models import save
from keras_flan.models.loading import MODEL
from keras_flan.outputs import (
    Kind,
    check_output,
    output_folder,
    removed,
    replace_files,
    replace_folder,
    settle,
)
from keras_flan.pages.report import REPORT
from keras_flan.training import TrainConfig, report_training, train
from keras_flan.training.run_folder import RUN

THINGS = Kind("things")
# What earlier versions left, which made no marks.
FORMER = {
    RUN: {"run.json": '{"finished": true, "data": {}, "vocabulary": ""}'},
    MODEL: {
        "config.json": '{"class_name": "T5Backbone"}',
        "metadata.json": "{}",
    },
    EVALUATION: {"metrics.json": '{"run": {"extractor_version": 1}}'},
    ANSWERS: {
        "answers.jsonl": '{"prompt": "", "confidence": 1, "paths": []}\n{}\n'
    },
    REPORT: {"report.html": "", "tables.md": "", "tables.tex": ""},
}
THEIRS = {
    RUN: {"run.json": "{}", "config.yaml": "mine"},
    MODEL: {"config.json": '{"model_type": "t5"}', "weights": ""},
    EVALUATION: {"metrics.json": '{"loss": 1}'},
    ANSWERS: {"answers.jsonl": '{"answer": 1}'},
    REPORT: {"report.html": "mine"},
}


def fill(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def texts(folder):
    return {p.name: p.read_text() for p in folder.glob("[!.]*")}


@pytest.mark.parametrize("kind", FORMER, ids=lambda kind: kind.name)
def test_ours_or_refused(tmp_path, kind):
    check_output(fill(tmp_path / "a", FORMER[kind]), kind)
    theirs = fill(tmp_path / "b", THEIRS[kind])
    with pytest.raises(InputError, match=r"another kind .*--overwrite"):
        check_output(theirs, kind)
    assert texts(theirs) == THEIRS[kind]
    check_output(theirs, kind, overwrite=True)


def write_model(folder):
    backbone = SimpleNamespace(variables=[])
    save(SimpleNamespace(backbone=backbone, vocabulary=None), folder)


def write_evaluation(folder):
    row = {"question": "1 + 1?", "answer": "So.\n#### 2"}
    data = folder.parent / "test.jsonl"
    data.write_text(json.dumps(row))
    evaluate(lambda prompts, **_: [["2"]], "gsm8k", data, output=folder)


def write_run(folder):
    values = {"output": folder, "mixture": "m.yaml"}
    train(TrainConfig.model_validate(values), quiet=True)


def write_improvement(folder):
    values = {"output": folder, "mixture": "m.yaml", "method": "right"}
    improve(ImproveConfig.model_validate(values), quiet=True)


@pytest.mark.parametrize(
    "write",
    [
        *(write_model, write_evaluation, write_run, write_improvement),
        lambda folder: write_trace(folder, [], {}),
        lambda folder: report_runs([], folder),
        lambda folder: report_training([], folder),
        lambda folder: quickstart(folder, steps=1, quiet=True),
    ],
)
def test_writers_leave_what_is_not_theirs(tmp_path, write):
    files = {"config.json": "{}", "config.yaml": "mine", "metrics.json": "[]"}
    theirs = fill(tmp_path / "a", files)
    kept = fill(theirs / "checkpoints", {"x": "1"})
    with pytest.raises(InputError, match=r"another kind .*--overwrite"):
        write(theirs)
    assert texts(kept) == {"x": "1"}
    shutil.rmtree(kept)
    assert texts(theirs) == files


def test_marks_say_what_a_folder_is(tmp_path):
    with output_folder(tmp_path / "a", THINGS) as folder:
        fill(folder, {"x": "1"})
    with output_folder(folder, THINGS):
        fill(folder, {"x": "2"})
    with pytest.raises(InputError, match="of kind things, not of kind run"):
        check_output(folder, RUN)
    (folder / ".keras_flan.json").write_text('{"version": 9}')
    with pytest.raises(InputError, match="version 1, found 9; update"):
        check_output(folder, THINGS)
    with output_folder(tmp_path / "nothing", THINGS):
        pass
    assert not (tmp_path / "nothing").exists()
    with pytest.raises(InputError, match="expected a folder to write, found"):
        check_output(folder / "x", THINGS)


@pytest.mark.parametrize("kind", [RUN, EVALUATION], ids=lambda k: k.name)
def test_a_report_may_lie_with_what_it_is_about(tmp_path, kind):
    with output_folder(tmp_path / "a", kind) as folder:
        fill(folder, FORMER[kind])
    with output_folder(folder, REPORT):
        fill(folder, FORMER[REPORT])
    for ours in (kind, REPORT):
        check_output(folder, ours)
    assert texts(folder) == FORMER[kind] | FORMER[REPORT]
    with pytest.raises(InputError, match="not of kind model"):
        check_output(folder, MODEL)


HOLDER = """
import sys
from keras_flan.outputs import Kind, output_folder
with output_folder(sys.argv[1], Kind("things")) as folder:
    (folder / "x").write_text("1")
    print(flush=True)
    sys.stdin.read()
"""


def test_one_process_at_a_time(tmp_path):
    path = tmp_path / "a"
    command = [sys.executable, "-c", HOLDER, path]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, **pipes) as holder:
        holder.stdout.readline()
        who = f"process {holder.pid} on {socket.gethostname()} is writing"
        for opened in (
            output_folder(path, THINGS),
            replace_folder(path, THINGS, "x"),
        ):
            with pytest.raises(InputError, match=who), opened:
                pass
        holder.kill()
    # Its lock has gone with it.
    with replace_folder(path, THINGS, "x") as made:
        fill(made, {"x": "2"})
    assert texts(path) == {"x": "2"}
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("at_once", [True, False])
def test_a_folder_is_replaced_whole(tmp_path, monkeypatch, at_once):
    path = tmp_path / "a"
    with replace_folder(path, THINGS, "x") as made:
        fill(made, {"x": "1", "y": "1"})
    if not at_once:  # A file system that can't exchange folders.
        monkeypatch.setattr(
            "keras_flan.outputs._renamed_at_once", lambda *paths: False
        )
    with (
        pytest.raises(ZeroDivisionError),
        replace_folder(path, THINGS, "x") as made,
    ):
        fill(made, {"x": "2"})
        1 / 0  # noqa: B018
    assert texts(path) == {"x": "1", "y": "1"}
    with replace_folder(path, THINGS, "x") as made:
        fill(made, {"x": "2"})
    assert texts(path) == {"x": "2"}
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("step", range(3))
def test_a_kill_leaves_a_whole_folder(tmp_path, monkeypatch, at_once, step):
    """Killed before any of what is renamed and removed."""
    path, calls = tmp_path / "a", 0
    with replace_folder(path, THINGS, "x") as made:
        fill(made, {"x": "1", "y": "1"})

    def dying(change):
        def changed(*args, **kwargs):
            nonlocal calls
            calls += 1
            if calls > step:
                raise SystemExit
            return change(*args, **kwargs)

        return changed

    with monkeypatch.context() as patch, contextlib.suppress(SystemExit):
        if not at_once:
            patch.setattr(
                "keras_flan.outputs._renamed_at_once", lambda *paths: False
            )
        with replace_folder(path, THINGS, "x") as made:
            fill(made, {"x": "2"})
            for place, name in ((Path, "rename"), (shutil, "rmtree")):
                patch.setattr(place, name, dying(getattr(place, name)))
    # Only between the two renames there is nothing.
    assert path.exists() == (at_once or step != 1)
    settle(path)
    new = at_once or step == 2
    assert texts(path) == ({"x": "2"} if new else {"x": "1", "y": "1"})


def test_what_a_kill_left_is_settled(tmp_path):
    # Between two renames: nothing is at the path.
    fill(tmp_path / ".a.keras_flan-making" / "old", {"x": "1"})
    fill(tmp_path / ".a.keras_flan-making" / "new", {"x": "2"})
    settle(tmp_path / "a")
    assert texts(tmp_path / "a") == {"x": "1"}
    # Files that were whole, but not all of them in their places.
    folder = fill(tmp_path / "b", {"x": "2", "y": "1", "z": "1"})
    fill(folder / ".keras_flan-made", {"y": "2", "z.removed": ""})
    settle(folder)
    assert texts(folder) == {"x": "2", "y": "2"}
    # Files that were not.
    fill(folder / ".keras_flan-making", {"y": "3"})
    with (
        output_folder(folder, THINGS, overwrite=True),
        replace_files(folder, "y") as made,
    ):
        fill(made, {"y": "4"})
        removed(made, "x")
    assert texts(folder) == {"y": "4"}
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


def test_a_full_disk_is_named(tmp_path, monkeypatch):
    path = fill(tmp_path, {"x": "old"}) / "x"
    write = os.pwrite

    def full(handle, data, place):
        if place + len(data) > 4000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(handle, data, place)

    monkeypatch.setattr(os, "pwrite", full)
    needs = r"needs 9.0 KB, of which .* are missing"
    with pytest.raises(OSError, match=needs), atomic_write(path) as f:
        f.writelines(["a" * 999 + "\n"] * 9)
    monkeypatch.undo()
    assert texts(tmp_path) == {"x": "old"}
    assert os.listdir(tmp_path) == ["x"]


def test_a_disk_that_is_full_in_the_end_leaves_the_old(tmp_path, monkeypatch):
    path = tmp_path / "a"
    with replace_folder(path, THINGS, "x") as made:
        fill(made, {"x": "1"})

    def full(handle):  # For what libraries wrote.
        if os.fstat(handle).st_size == len("2"):
            raise OSError(errno.EDQUOT, "Disk quota exceeded")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with (
            # Of a quota: what is missing nobody knows.
            pytest.raises(OSError, match=r"no space left on the disk: '.*w/x'"),
            replace_folder(path, THINGS, "x") as made,
        ):
            fill(made, {"x": "2"})
        with (
            pytest.raises(OSError, match=r"no space left .*making/x'"),
            output_folder(path, THINGS),
            replace_files(path, "x") as made,
        ):
            fill(made, {"x": "2"})
    assert texts(path) == {"x": "1"}
    with (
        pytest.raises(OSError, match=r"it needs .* are missing"),
        replace_folder(path, THINGS, "x", needed=10**18),
    ):
        raise AssertionError("it is known before")
    assert os.listdir(tmp_path) == ["a"]


def test_what_libraries_say_of_a_full_disk_is_named():
    for said in (
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("UNKNOWN: b.ckpt; No space left on device"),
        OSError("Can't write (errno = 28, error message = 'No space')"),
    ):
        with (
            pytest.raises(OSError, match="no space left on the disk") as error,
            naming_full_disk("b/c"),
        ):
            raise said
        assert (error.value.errno, error.value.filename) == (28, "b/c")
    with pytest.raises(RuntimeError, match="other"), naming_full_disk("b/c"):
        raise RuntimeError("other")
