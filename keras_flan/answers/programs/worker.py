"""The sandbox's own process: forks a confined child for each program.

Started by `sandbox.py` as a script in a session of its own, with an empty
environment and an empty folder. Requests and replies are JSON lines.

This module runs in the sandbox: it imports the standard library alone.
"""

# Imported for a child, which can't open their files any more.
import _strptime  # type: ignore[import-not-found] # noqa: F401
import ctypes
import gc
import heapq  # noqa: F401
import json
import math
import os
import resource
import select
import signal
import sys
import time
import unicodedata  # noqa: F401
import warnings
from contextlib import suppress
from typing import Any

from interpreter import Interpreter  # type: ignore[import-not-found]
from language import Refused  # type: ignore[import-not-found]

with suppress(ImportError):  # for long numbers, from Python 3.12 on
    import _pylong  # type: ignore[import-not-found] # noqa: F401

_NOBODY = 65_534
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
# A printed answer of 65,536 characters, escaped as JSON.
_MAX_REPLY = 1_000_000
_STACK = 64 * 2**20
_OVER = (signal.SIGPROF, signal.SIGXCPU)


def leave_network() -> None:
    """Moves to a network namespace without devices, where permitted."""
    if not hasattr(libc := ctypes.CDLL(None), "unshare"):
        return
    alone = _CLONE_NEWNET if os.geteuid() == 0 else _CLONE_NEWUSER
    libc.unshare(alone | _CLONE_NEWNET)


def confine(timeout: float, memory: int) -> None:
    """Gives up what a program must not have, for good.

    Args:
        timeout: Seconds of processor time, rounded up.
        memory: Bytes of address space.
    """
    if os.geteuid() == 0:
        # The limit on processes does not bind root.
        os.setgroups([])
        os.setgid(_NOBODY)
        os.setuid(_NOBODY)
    seconds = math.ceil(timeout) + 1
    for limit, value in (
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_NPROC, 0),  # no process, no thread
        (resource.RLIMIT_NOFILE, 0),  # no file, no socket
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (value, value))


def interpret(code: str) -> dict[str, str | None]:
    """Returns the reply for a program; every failure is an abstention."""
    line = None
    try:
        program = Interpreter(code)
        try:
            answer, rule = program.run()
            return {"answer": answer, "reason": rule}
        finally:
            line = program.line
    except Refused as refused:
        reason, line = str(refused), refused.line or line
    except SyntaxError as error:
        reason, line = f"not Python: {error.msg}", error.lineno
    except MemoryError:
        reason = "out of memory"
    except RecursionError:
        reason = "nested too deeply"
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
    # On one line, and without halves of characters.
    reason = " ".join(reason.encode("utf-8", "replace").decode().split())[:300]
    if line:
        reason += f" (line {line})"
    return {"answer": None, "reason": reason}


def serve(request: dict[str, Any]) -> dict[str, Any]:
    """Runs a program in a child, which ends when its time is over."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        _child(request, writer)
    os.close(writer)
    data, late = _read(reader, time.monotonic() + request["patience"])
    os.close(reader)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    if late or number in _OVER:
        return {"answer": None, "reason": f"over {request['timeout']:g} s"}
    try:
        return json.loads(data)
    except ValueError:
        return {"answer": None, "reason": f"it crashed (signal {number})"}


def _child(request: dict[str, Any], writer: int) -> None:
    """Runs a program and writes the reply; never returns."""
    try:
        # Nothing of the parent's is left open.
        os.closerange(0, writer)
        confine(request["timeout"], request["memory"])
        # Of the processor, not of the clock: a program has the same time on
        # a machine that is busy. The signal's default is to end the process.
        signal.setitimer(signal.ITIMER_PROF, request["timeout"])
        reply = json.dumps(interpret(request["code"])).encode()
        while reply:
            reply = reply[os.write(writer, reply) :]
    finally:
        os._exit(0)


def _read(reader: int, deadline: float) -> tuple[bytes, bool]:
    """Returns what a child wrote, and whether it ran out of time."""
    data = b""
    while len(data) <= _MAX_REPLY:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([reader], [], [], left)[0]:
            return data, True
        chunk = os.read(reader, 65_536)
        if not chunk:
            break
        data += chunk
    return data, False


def main() -> None:
    """Answers requests until the input ends."""
    sys.path.clear()
    warnings.simplefilter("ignore")
    sys.setrecursionlimit(40_000)
    _, most = resource.getrlimit(resource.RLIMIT_STACK)
    if most == resource.RLIM_INFINITY or most >= _STACK:
        resource.setrlimit(resource.RLIMIT_STACK, (_STACK, most))
    leave_network()
    gc.freeze()  # children share these pages
    for line in sys.stdin.buffer:
        reply = serve(json.loads(line))
        sys.stdout.write(json.dumps(reply) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
