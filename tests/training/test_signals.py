"""Ctrl-C and SIGTERM end a training with a checkpoint, and it goes on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_flan.errors import InputError, Interrupted
from keras_flan.training import StopOnSignal, TrainingCheckpoint
from tests.conftest import quick
from tests.training.test_checkpoints import Data, Losses, make
from tests.training.test_train import files, write  # noqa: F401

BOTH = pytest.mark.slow, pytest.mark.often
# How often the command is stopped by each signal.
TIMES = int(os.environ.get("KERAS_FLAN_STOPS", "2"))


class Ask(keras.callbacks.Callback):
    """Sends this process a signal after some step."""

    def __init__(self, number, step):
        super().__init__()
        self.number, self.step = number, step

    def on_train_batch_end(self, batch, logs=None):
        if batch + 1 == self.step:
            os.kill(os.getpid(), self.number)


def fit(folder, *others, steps=8, first=False):
    model, data, losses = make(), Data(), Losses()
    checkpoint = TrainingCheckpoint(
        folder, data, every=100, states={"losses": losses}
    )
    done = checkpoint.restore(model)
    with StopOnSignal(checkpoint) as stop:
        own = [stop, checkpoint] if first else [checkpoint, stop]
        model.fit(
            data.dataset(checkpoint.position),
            steps_per_epoch=steps - done,
            callbacks=[losses, *others, *own],
            verbose=0,
        )
    return done, losses.seen


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=BOTH)]
)
def test_a_signal_ends_the_step_and_keeps_it(tmp_path, capfd, number, request):
    # What runs in the background ignores Ctrl-C, and so would this test.
    its = signal.signal(number, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(number, its))
    former = signal.getsignal(number)
    _, straight = fit(tmp_path / "a")
    with pytest.raises(Interrupted, match="step 3; the same command") as found:
        fit(tmp_path / "b", Ask(number, 3))
    assert isinstance(found.value, KeyboardInterrupt)
    assert found.value.signal == number
    assert signal.getsignal(number) is former
    assert "the training ends after this step" in capfd.readouterr().err
    assert fit(tmp_path / "b") == (3, straight)


def test_the_order_of_the_callbacks_is_checked(tmp_path):
    with pytest.raises(InputError, match=r"callbacks=\[checkpoint, stop\]"):
        fit(tmp_path, first=True)


@pytest.fixture
def start():
    """Starts the command; what still runs at the end is killed."""
    started = []

    def begin(config, *overrides):
        started.append(_command(config, *overrides))
        return started[-1]

    yield begin
    for process in started:
        process.kill()


def _command(config, *overrides):
    return subprocess.Popen(
        [
            *(sys.executable, "-c"),
            "from keras_flan.cli import main; main()",
            *("train", str(config), *overrides),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            **quick(),
            "PYTHONPATH": str(Path(__file__).parents[2]),
        },
        # A shell has what runs in the background ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def wait_until(condition, process, seconds=200):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.02)


def kept(folder):
    """The steps of which there are checkpoints."""
    places = (folder / "checkpoints").glob("*")
    return {int(p.name) for p in places if p.name.isdigit()}


@pytest.mark.slow
@pytest.mark.often
@pytest.mark.clock
def test_the_command_ends_within_two_seconds_and_goes_on(
    files,  # noqa: F811
    start,
    tmp_path,
):
    """One run, stopped by each signal in turn."""
    config = write(
        files,
        tmp_path / "run",
        steps=100_000,
        checkpoint_every=50,
        distribution={"cache": str(tmp_path / "cache")},
    )
    folder = tmp_path / "run"
    took, steps = [], [0]
    for number in [signal.SIGINT, signal.SIGTERM] * TIMES:
        process, before = start(config), max(kept(folder), default=0)
        wait_until(lambda b=before: max(kept(folder), default=0) > b, process)
        time.sleep(0.3)  # Somewhere in a step.
        begin = time.monotonic()
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
        took.append(time.monotonic() - begin)
        assert process.returncode == 128 + number, err
        name = signal.Signals(number).name
        steps.append(max(kept(folder)))
        assert f"{name}: the training ends after this step" in err
        assert (
            f"stopped by {name} with a checkpoint of step {steps[-1]}; the "
            "same command goes on from there" in err
        )
    print("seconds:", np.round(took, 2), "steps:", steps)
    assert steps == sorted(set(steps))
    assert np.median(took) < 2
    assert max(took) < 4  # Others may use this machine.


@pytest.mark.slow
@pytest.mark.often
def test_before_the_first_step_and_the_second_time_it_ends_at_once(
    files,  # noqa: F811
    start,
    tmp_path,
):
    config = write(files, tmp_path / "run", steps=100_000)
    folder = tmp_path / "run"
    process = start(config)
    wait_until((folder / "run.json").is_file, process)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=5)
    assert process.returncode in (-signal.SIGINT, 130)
    assert not kept(folder)
    # Another setting is none of a stopped run, as nothing was kept.
    process = start(config, "seed=1")
    wait_until(lambda: kept(folder), process)
    for _ in range(2):
        process.send_signal(signal.SIGTERM)
        time.sleep(0.005)
    process.communicate(timeout=5)
    assert process.returncode == 143
