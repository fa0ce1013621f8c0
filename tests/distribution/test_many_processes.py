"""Real processes on loopback: as one, and what happens when one is gone."""

import json
import os
import socket
import subprocess
import sys

import pytest

from keras_flan.data.records.example import Example
from keras_flan.data.records.writing import write_records
from keras_flan.data.templates.library import LIBRARY
from keras_flan.data.vocabularies.training import train_vocabulary

pytestmark = pytest.mark.slow
STEPS, DEVICES = 6, 4
_FLAG = "--xla_force_host_platform_device_count"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("many")
    examples = [
        Example(
            {"question": f"what is {i}", "answer": f"q{i}x", "rationale": "."},
            "sums",
            f"sums:{i}",
        )
        for i in range(120)
    ]
    write_records(
        examples, folder / "sums", name="sums", shards=4, templates="generic"
    )
    texts = [text for e in examples for text in e.fields.values()]
    words = (LIBRARY / "generic.yaml").read_text(encoding="utf-8")
    train_vocabulary([words, *texts], 400, folder / "v.model")
    return folder


def launch(folder, processes, **options):
    """Runs the script on so many processes; returns each one's output."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    command = [sys.executable, "-m", "tests.distribution.one_of_many"]
    settings = {"folder": folder, "processes": processes, **options}
    if processes > 1:
        settings["port"] = port
    for name, value in settings.items():
        command += [f"--{name}", str(value)]
    environment = {
        **os.environ,
        "KERAS_BACKEND": "jax",
        "PYTHONPATH": os.getcwd(),
        "XLA_FLAGS": f"{_FLAG}={DEVICES // processes}",
    }
    started = [
        subprocess.Popen(
            [*command, "--process", str(i)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for i in range(processes)
    ]
    try:
        outputs = [p.communicate(timeout=500) for p in started]
    finally:
        for p in started:
            p.kill()
    return [
        (
            p.returncode,
            [json.loads(x) for x in out.splitlines() if x[0] == "{"],
            err,
        )
        for p, (out, err) in zip(started, outputs, strict=True)
    ]


def _objects(text):
    return [json.loads(x) for x in text.splitlines() if x.startswith("{")]


def means(lines):
    """The mean loss at each step since the training began."""
    return {x["step"]: x["mean"] for x in lines if "step" in x}


def near(found, reference):
    return all(abs(found[step] - reference[step]) < 1e-5 for step in found)


@pytest.fixture(scope="module")
def one(folder):
    [(code, lines, err)] = launch(folder, 1)
    assert code == 0, err
    found = means(lines)
    assert set(found) == set(range(1, STEPS + 1))
    assert found[STEPS] < found[1]
    return found, lines


def test_four_processes_train_as_one(folder, one):
    reference, whole = one
    runs = launch(folder, 4)
    for code, lines, err in runs:
        assert code == 0, err
        assert set(means(lines)) == set(reference)
        assert near(means(lines), reference)
    # Two processes hold one copy of the model, and make one part of a batch.
    assert [lines[-1]["host"] for _, lines, _ in runs] == [0, 0, 1, 1]
    for step in range(STEPS):
        parts = [lines[step]["questions"] for _, lines, _ in runs]
        assert parts[0] == parts[1]
        assert parts[2] == parts[3]
        assert parts[0] + parts[2] == whole[step]["questions"]
        assert parts[0] and parts[2]
    assert (folder / "model-4" / "config.json").is_file()


def test_a_killed_process_ends_all_and_a_restart_goes_on(folder, one):
    reference, _ = one
    (code, before, err), (killed, _, _) = launch(folder, 2, die=5)
    assert killed == -9
    assert code == 3
    last = [x for x in err.splitlines() if x.startswith("keras-flan:")]
    assert len(last) == 1
    assert "process 0 of 2: another process is gone" in last[0]
    assert "start all of them again with the same command" in last[0]
    assert near(means(before), reference)

    for code, after, err in launch(folder, 2):
        assert code == 0, err
        # From the checkpoint of step 3 on, to the bit.
        found = means(after)
        assert set(found) == {4, 5, 6}
        assert near(found, reference)
        for step in set(found) & set(means(before)):
            assert found[step] == means(before)[step]
