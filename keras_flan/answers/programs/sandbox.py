"""Running programs of a model outside this process."""

import atexit
import contextlib
import dataclasses
import json
import os
import queue
import select
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

from keras_flan.errors import InputError

MAX_CODE = 65_536  # characters
_LEAST_MEMORY = 64 * 2**20
# How long a program may take by the clock, beside its processor time: on a
# busy machine it waits for others.
_CROWD = 20
_GRACE = 60.0  # seconds


@dataclasses.dataclass(frozen=True)
class ProgramResult:
    """What became of a program.

    Attributes:
        answer: The answer as text; None if the program abstains.
        reason: Where the answer is from (`solution`, `printed`, `variable`
            or `expression`), or why there is none.

    Example:
        >>> run_program("print(6 * 7)").answer
        '42'
    """

    answer: str | None
    reason: str


class Sandbox:
    r"""A warm process that runs programs one by one, each in its own child.

    A program is interpreted by an interpreter of this package (a subset of
    Python, no `exec`) in a child process that has no right to open a file
    or a socket, to start a process or thread, or to use more than its time
    and memory. Where permitted it also has no network, and is nobody.

    Args:
        timeout: Seconds of processor time per program, so that it has the
            same answer on a busy machine.
        memory: Bytes of address space per program, 64 MiB or more.

    Raises:
        InputError: If a limit is out of range, or this is not Linux.

    Example:
        >>> with Sandbox() as sandbox:
        ...     sandbox.run("def solution():\n    return 23 - 20 + 6")
        ProgramResult(answer='9', reason='solution')

    Source: program-aided language models, arXiv:2211.10435.
    """

    def __init__(self, timeout: float = 3.0, memory: int = 256 * 2**20):
        if sys.platform != "linux":
            raise InputError(
                "programs can only be run on Linux, whose limits the sandbox "
                f"needs; found {sys.platform}"
            )
        if not 0 < timeout <= 60 or memory < _LEAST_MEMORY:
            raise InputError(
                "expected a timeout of up to 60 seconds and at least "
                f"{_LEAST_MEMORY} bytes of memory, found {timeout} and "
                f"{memory}"
            )
        self._limits = {
            "timeout": timeout,
            "memory": memory,
            # By the clock, for a program that neither runs nor ends.
            "patience": _CROWD * timeout + _GRACE / 2,
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._owner = 0
        self._lock = threading.Lock()

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def run(self, code: str) -> ProgramResult:
        """Runs a program; whatever it does, the result is a result."""
        if len(code) > MAX_CODE:
            return ProgramResult(None, f"longer than {MAX_CODE:,} characters")
        request = json.dumps({"code": code, **self._limits}) + "\n"
        with self._lock:
            # The sandbox of a process is not that of its forks.
            if self._process is None or self._owner != os.getpid():
                self._start()
            try:
                stdin, _ = self._pipes()
                stdin.write(request.encode())
                stdin.flush()
                reply = json.loads(self._reply())
                answer, reason = reply["answer"], reply["reason"]
            except (OSError, ValueError, KeyError, TypeError):
                self._stop()
                return ProgramResult(None, "the sandbox had to be stopped")
        return ProgramResult(answer, reason)

    def close(self) -> None:
        """Ends the process; the next program starts a new one."""
        with self._lock:
            self._stop()

    def _start(self) -> None:
        self._owner = os.getpid()
        self._folder = tempfile.TemporaryDirectory(prefix="keras_flan_")
        self._process = subprocess.Popen(
            [
                sys.executable,
                *("-s", "-S", "-B"),  # no site packages, no .pyc files
                str(Path(__file__).with_name("worker.py")),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=self._folder.name,
            # Sets are in the same order in every run.
            env={"PYTHONHASHSEED": "0"},
            start_new_session=True,
        )

    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        assert self._process and self._process.stdin and self._process.stdout
        return self._process.stdin, self._process.stdout

    def _reply(self) -> bytes:
        _, stdout = self._pipes()
        wait = _CROWD * self._limits["timeout"] + _GRACE
        if not select.select([stdout], [], [], wait)[0]:
            raise TimeoutError
        return stdout.readline()

    def _stop(self) -> None:
        if self._process is None or self._owner != os.getpid():
            return
        stdin, stdout = self._pipes()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        with contextlib.suppress(OSError):
            stdin.close()  # writes what it still holds
        stdout.close()
        self._process.wait()
        if self._folder:
            self._folder.cleanup()
        self._process = self._folder = None


def run_program(
    code: str, *, timeout: float = 3.0, memory: int = 256 * 2**20
) -> ProgramResult:
    """Runs one program in a sandbox; see `Sandbox`, which stays warm.

    Args:
        code: The program's text.
        timeout: Seconds of processor time.
        memory: Bytes of address space.

    Example:
        >>> run_program("import os")
        ProgramResult(answer=None, reason='not allowed: import of os (line 1)')
    """
    with _warm_lock:
        limits = (timeout, memory)
        if limits not in _warm:
            _warm[limits] = Sandbox(timeout, memory)
            atexit.register(_warm[limits].close)
    return _warm[limits].run(code)


def run_programs(
    codes: Sequence[str],
    *,
    timeout: float = 3.0,
    memory: int = 256 * 2**20,
    workers: int | None = None,
) -> list[ProgramResult]:
    """Runs many programs side by side.

    Args:
        codes: The programs' texts.
        timeout: Seconds of processor time per program.
        memory: Bytes of address space per program.
        workers: Sandboxes; default: one per processor.

    Returns:
        One result per program, in order.
    """
    workers = min(workers or os.cpu_count() or 1, max(len(codes), 1))
    free: queue.SimpleQueue[Sandbox] = queue.SimpleQueue()
    with contextlib.ExitStack() as stack:
        for _ in range(workers):
            free.put(stack.enter_context(Sandbox(timeout, memory)))

        def run(code: str) -> ProgramResult:
            sandbox = free.get()
            try:
                return sandbox.run(code)
            finally:
                free.put(sandbox)

        with ThreadPoolExecutor(workers) as executor:
            return list(executor.map(run, codes))


_warm: dict[tuple[float, int], Sandbox] = {}
_warm_lock = threading.Lock()
