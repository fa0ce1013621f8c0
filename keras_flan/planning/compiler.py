"""Asking the TPU's own compiler, which runs without a TPU."""

import importlib.util
import json
import os
import subprocess
import sys
import threading
import time
from typing import Any

from keras_flan.errors import InputError
from keras_flan.planning.jobs import PlannedJob
from keras_flan.planning.programs import SETTINGS

# Compiling took at most 4 GiB for the jobs of the paper.
SECONDS, HOST_BYTES = 1800, 12 * 2**30
_POLL_SECONDS = 0.5


def have_compiler() -> bool:
    """Whether the TPU's compiler (`libtpu`) is installed."""
    return importlib.util.find_spec("libtpu") is not None


def compile_job(
    job: PlannedJob,
    *,
    seconds: float = SECONDS,
    host_bytes: int = HOST_BYTES,
    count: bool = True,
) -> dict[str, Any]:
    """Compiles a job's real program for its slice, in a process of its own.

    The program is the training step that `fit` runs, of the package's own
    model, optimizer and loss, on weights that don't exist; or the reading of
    prompts and the generation of one token.

    Args:
        job: The job.
        seconds: The process is stopped after so long.
        host_bytes: Or when it takes so much memory.
        count: Whether to count a training step's seconds too, by two more
            programs.

    Returns:
        A dictionary: `cost` of a call, which an accumulated step has many
        of: `flops`, `bytes` and `seconds` on a device by the compiler's
        `cost_analysis`, which leaves out what kernels do; only of training,
        and if it fits; `fits`; `bytes_per_device` of the largest program
        (`arguments`, `outputs`, `temporaries`, `program`, and `total`, its
        peak; only that of one that doesn't fit); `seconds`, `cpu_seconds` and
        `host_bytes` of compiling; `message`, what the compiler said against
        it; `programs`, the same of each.

    Raises:
        InputError: If the compiler isn't installed or didn't end in time.
    """
    if job.slice.chip.gpu:
        raise InputError(
            f"--compile: {job.topology} is a GPU, whose compiler needs one; "
            "plan it without --compile"
        )
    if not have_compiler():
        raise InputError(
            "--compile: the TPU's compiler is not installed; "
            "pip install 'keras_flan[tpu]'"
        )
    begin = time.monotonic()
    programs, taken = _ask(job, seconds, host_bytes, count)
    largest = max(
        programs,
        key=lambda p: (not p["fits"], p["bytes_per_device"]["total"] or 0),
    )
    return {
        "fits": all(p["fits"] for p in programs),
        "bytes_per_device": largest["bytes_per_device"],
        "seconds": round(time.monotonic() - begin, 1),
        "cpu_seconds": round(sum(p["cpu_seconds"] for p in programs), 1),
        "host_bytes": taken,
        "message": largest["message"],
        **({"cost": largest["cost"]} if "cost" in largest else {}),
        "programs": programs,
    }


def _ask(
    job: PlannedJob, seconds: float, host_bytes: int, count: bool
) -> tuple[list[dict[str, Any]], int]:
    """Returns what the compiling process says, and the memory it took."""
    with subprocess.Popen(
        [
            sys.executable,
            "-m",
            "keras_flan.planning.worker",
            *(["--count"] if count else []),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **SETTINGS},
    ) as process:
        watch = _Watch(process, seconds, host_bytes)
        watch.start()
        out, errors = process.communicate(job.model_dump_json())
    if watch.problem:
        raise InputError(f"--compile: {watch.problem}")
    if process.returncode:
        lines = [line for line in errors.splitlines() if line.strip()]
        raise RuntimeError(
            "the compiling process failed: " + "\n".join(lines[-30:])
        )
    return json.loads(out.splitlines()[-1]), watch.largest


class _Watch(threading.Thread):
    """Ends a process that takes too long or too much memory."""

    def __init__(
        self, process: subprocess.Popen, seconds: float, host_bytes: int
    ):
        super().__init__(daemon=True)
        self.process, self.largest, self.problem = process, 0, ""
        self._seconds, self._host_bytes = seconds, host_bytes

    def run(self) -> None:
        begin = time.monotonic()
        while self.process.poll() is None:
            self.largest = max(self.largest, _memory(self.process.pid))
            if time.monotonic() - begin > self._seconds:
                self.problem = (
                    f"stopped after {self._seconds:.0f} seconds; raise the "
                    "limit or plan a smaller job"
                )
            if self.largest > self._host_bytes:
                self.problem = (
                    f"stopped at {self.largest / 2**30:.1f} GiB of this "
                    "machine's memory; raise the limit or plan a smaller job"
                )
            if self.problem:
                self.process.kill()
                return
            time.sleep(_POLL_SECONDS)


def _memory(pid: int) -> int:
    """Returns the bytes that a process has had at most; 0 if unknown."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii") as file:
            for line in file:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    except OSError:  # No such system, or the process has ended.
        pass
    return 0
