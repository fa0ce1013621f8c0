"""A host is lost while the others are in no collective, which would fail."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from keras_flan.distribution.lost import ENDED

pytestmark = pytest.mark.slow
SCRIPT = """
import os, sys, time
from keras_flan.distribution.hosts import join_hosts
join_hosts(sys.argv[1], 2, int(sys.argv[2]), patience=10)
print("joined", flush=True)
sys.stdin.readline()
{then}
"""
# The processes have left one another, as at the end of a run.
APART = "import jax; jax.distributed.shutdown(); "
SLEEP, WORK = "time.sleep(90)", "while True: sum(range(100))"


class Process:
    def __init__(self, address, number, then):
        self.popen = subprocess.Popen(
            [sys.executable, "-c", SCRIPT.format(then=then), address, number],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "KERAS_BACKEND": "jax",
                "PYTHONPATH": str(Path(__file__).parents[2]),
            },
        )

    def go_on(self):
        self.popen.stdin.write("\n")
        self.popen.stdin.flush()

    def end(self):
        error = self.popen.communicate(timeout=60)[1]
        return self.popen.returncode, error


@pytest.fixture
def pair():
    """Returns two processes that have joined, and do what is asked next."""
    started = []

    def start(*then):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{s.getsockname()[1]}"
        started.extend(Process(address, str(i), then[i]) for i in (0, 1))
        for process in started:
            assert process.popen.stdout.readline() == "joined\n"
            process.go_on()
        return started

    yield start
    for process in started:
        process.popen.kill()


@pytest.mark.parametrize("then", [SLEEP, WORK], ids=["sleeps", "works"])
@pytest.mark.parametrize("lost", [0, 1])
def test_the_other_one_says_so_wherever_it_is(pair, lost, then):
    processes = pair(then, then)
    processes[lost].popen.kill()
    code, error = processes[1 - lost].end()
    assert code == ENDED, error
    assert f"process {1 - lost} of 2: another process is gone" in error
    assert "start all of them again with the same command" in error


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("before", ["", APART], ids=["joined", "apart"])
def test_an_abort_for_another_reason_stays_one(pair, before, number):
    then = [before + SLEEP, before + SLEEP]
    then[number] = before + "os.abort()"
    processes = pair(*then)
    code, error = processes[number].end()
    assert code == -signal.SIGABRT, error
    assert "another process is gone" not in error
