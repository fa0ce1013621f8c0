"""`keras-flan train` by many processes on loopback, by the command alone."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.conftest import quick
from tests.odd import write_odd

pytestmark = pytest.mark.slow
STEPS, DEVICES = 60, 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_odd(folder, one_row=True)
    config = {
        **{"mixture": "odd.yaml", "vocabulary": "v.model", "log_every": 1},
        **{"output": "run", "steps": STEPS, "checkpoint_every": 10},
        "model": {
            "num_layers": 1,
            "num_heads": 2,
            "hidden_dim": 32,
            "intermediate_dim": 32,
            "dropout": 0.1,
        },
        "data": {"input_length": 48, "target_length": 12, "batch_size": 8},
        "optimizer": {"learning_rate": 0.001},
        "distribution": {
            **{"mesh": "batch=4", "preset": "fsdp"},
            **{"cache": str(folder / "cache"), "patience": 30},
        },
    }
    (folder / "train.yaml").write_text(yaml.safe_dump(config))
    return folder


def start(folder, processes, output, *overrides, command="train"):
    """Starts the command, as a person would in so many terminals."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    devices = f"--xla_force_host_platform_device_count={DEVICES // processes}"
    environment = {
        **os.environ,
        "KERAS_BACKEND": "jax",
        "PYTHONPATH": str(Path(__file__).parents[2]),
        **quick(devices),
    }
    if processes > 1:
        environment |= {
            "KERAS_DISTRIBUTION_JOB_ADDRESSES": f"127.0.0.1:{port}",
            "KERAS_DISTRIBUTION_NUM_PROCESSES": str(processes),
        }
    return [
        subprocess.Popen(
            [
                *(sys.executable, "-c"),
                "from keras_flan.cli import main; main()",
                *(command, str(folder / f"{command}.yaml"), "--quiet"),
                *(f"output={folder / output}", *overrides),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**environment, "KERAS_DISTRIBUTION_PROCESS_ID": str(i)},
        )
        for i in range(processes)
    ]


def ends(started, code=0):
    """Waits for all to end; returns what they said on stderr."""
    try:
        errors = [process.communicate(timeout=300)[1] for process in started]
    finally:
        for process in started:
            process.kill()
    assert [p.returncode for p in started] == [code] * len(started), errors
    return errors


def wait_for_step(started, folder, step):
    """Waits for a checkpoint of a step, or of one after it."""
    end = time.monotonic() + 300
    while not any(
        int(place.name) >= step
        for place in (folder / "checkpoints").glob("*")
        if place.name.isdigit()
    ):
        for process in started:
            assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.02)


def losses(folder):
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["loss_steps"] == list(range(1, STEPS + 1))
    return metrics["loss"]


@pytest.fixture(scope="module")
def two(folder):
    """The losses of two processes that nothing happens to."""
    ends(start(folder, 2, "two"))
    return losses(folder / "two")


@pytest.mark.often
def test_two_processes_have_the_losses_of_one(folder, two):
    ends(start(folder, 1, "one"))
    np.testing.assert_allclose(two, losses(folder / "one"), rtol=1e-5)
    assert two[-1] < two[0]
    # Only the first one writes.
    names = {path.name for path in (folder / "two").iterdir()}
    assert names == {path.name for path in (folder / "one").iterdir()}


def test_killed_stopped_and_on_another_mesh(folder, two):
    output = folder / "many"
    for step, lost in ((10, 1), (20, 0)):
        started = start(folder, 2, "many")
        wait_for_step(started, output, step)
        started[lost].send_signal(signal.SIGKILL)
        assert started[lost].wait() == -signal.SIGKILL
        [error] = ends([started[1 - lost]], 3)
        assert f"process {1 - lost} of 2: another process is gone" in error

    # A signal to one of them stops all after the same step. Then on another
    # mesh, first by more processes and then by fewer.
    other = (
        "distribution.mesh='batch=2,model=2'",
        "distribution.preset=fsdp+model",
    )
    for step, processes, settings in ((30, 2, ()), (40, 4, other)):
        started = start(folder, processes, "many", *settings)
        wait_for_step(started, output, step)
        started[1].send_signal(signal.SIGTERM)
        for error in ends(started, 128 + signal.SIGTERM):
            assert "stopped by SIGTERM with a checkpoint of step" in error
    ends(start(folder, 1, "many", *other))
    found = losses(output)
    assert found[:30] == two[:30]  # To the bit.
    np.testing.assert_allclose(found, two, rtol=1e-5)


@pytest.mark.often
def test_adapters_and_held_out_of_two_processes(folder, two):
    overrides = (
        *(f"model.init={folder / 'two' / 'model'}", "vocabulary=null"),
        *("adapter.kind=lora", "optimizer.name=adam", "steps=3"),
        f"held_out.mixture={folder / 'odd.yaml'}",
        *("held_out.every=2", "held_out.batches=2"),
    )
    curves = []
    for processes in (1, 2):
        output = folder / f"adapter{processes}"
        ends(start(folder, processes, output.name, *overrides))
        assert (output / "adapter.safetensors").is_file()
        assert (output / "best_adapter.safetensors").is_file()
        assert (output / "best" / "config.json").is_file()
        metrics = json.loads((output / "metrics.json").read_text())
        assert metrics["held_out"]["steps"] == [2, 3]
        curves.append(metrics["held_out"]["loss"])
    np.testing.assert_allclose(*curves, rtol=1e-5)


@pytest.mark.parametrize("method", ["advantage", "preference"])
def test_a_model_learns_from_its_answers_on_a_mesh(folder, method):
    config = yaml.safe_load((folder / "train.yaml").read_text())
    del config["steps"], config["log_every"], config["distribution"]
    config["model"]["dropout"] = 0.0
    config |= {
        **{"method": method, "rounds": 3, "prompts": 8},
        # Few paths of a random model end; these are better than the others.
        "judges": [{"name": "length", "least": 1}],
        "sampling": {"paths": 8, "batch_paths": 64, "max_new_tokens": 12},
        "advantage": {"kl": 0.1},
        "data": {"input_length": 96, "target_length": 28, "batch_size": 8},
    }
    (folder / "improve.yaml").write_text(yaml.safe_dump(config))
    mesh = {"mesh": "batch=2,model=2", "preset": "fsdp+model"}
    rounds = []
    for name, settings in (
        ("one", ()),
        ("mesh", (f"distribution={json.dumps(mesh)}",)),
    ):
        output = f"improved-{method}-{name}"
        ends(start(folder, 1, output, *settings, command="improve"))
        metrics = json.loads((folder / output / "metrics.json").read_text())
        rounds.append(metrics["rounds"])
        assert (folder / output / "model" / "config.json").is_file()
    assert len(rounds[0]) == 3 and all("loss" in one for one in rounds[0])
    for one, other in zip(*rounds, strict=True):
        assert one == pytest.approx(other, rel=1e-4, abs=1e-5)
