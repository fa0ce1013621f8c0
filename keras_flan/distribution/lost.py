"""How this process ends when another one of a run is gone."""

import contextlib
import ctypes
import os
import signal
import sys
import threading
from typing import Any, NoReturn

# The exit code of a process of many that can't go on.
ENDED = 3
# What JAX's messages say when another process has gone: collectives over TCP
# and the service that all processes report to.
_GONE = (
    "Connection closed by peer",
    "Connection reset by peer",
    "Connection refused",
    "Timed out waiting",
    "heartbeat",
    "coordination service",
    "CoordinationService",
    "Barrier failed",
)
# Seconds that the service of a sound run may need for its answer.
_ANSWER = 5
# Who gets here first says why this process ends; JAX's thread and that of
# the training may hear of a lost host at the same moment.
_ending = threading.Lock()
_handler = ctypes.CFUNCTYPE(None, ctypes.c_int)
# The C library keeps a pointer to what is called; this keeps it alive.
_called: list[Any] = []


def says_lost(reason: str) -> bool:
    """Whether an error of JAX says that another process is gone.

    Args:
        reason: Its message, in one line.
    """
    return any(sign in reason for sign in _GONE)


def lost_message(reason: str) -> str:
    """Returns what a user is told of a lost process.

    Args:
        reason: What JAX says, in one line.
    """
    return (
        f"another process is gone ({reason:.200}); see its own output, and "
        "start all of them again with the same command"
    )


def end_process(process: int, processes: int, message: str) -> NoReturn:
    """Says why, and ends this process at once with exit code 3.

    Args:
        process: The number of this process.
        processes: How many there are.
        message: What is said.
    """
    _ending.acquire()
    place = f"process {process} of {processes}"
    print(f"keras-flan: {place}: {message}", file=sys.stderr, flush=True)
    sys.stdout.flush()
    os._exit(ENDED)


def end_when_lost() -> None:
    """Makes a lost host end this process by `end_process`, wherever it is.

    JAX itself aborts the process (SIGABRT) from a thread of its own as soon
    as it hears of a lost host, whatever the training does at that moment: it
    may be reading, saving or compiling, and not be in a collective that would
    raise an error. It can be given a function to call instead, but not one
    of Python, whose call fails on the status that it is given. So the abort
    is caught. One for another reason stays one. Call this when the processes
    have joined.
    """

    @_handler
    def aborted(number: int) -> None:
        # What fails here leaves the abort to go on.
        with contextlib.suppress(Exception):
            if _service_is_lost():
                state = _jax_state()
                message = lost_message("JAX says above how it heard of it")
                end_process(state.process_id, state.num_processes, message)

    _called.append(aborted)
    # Not `signal.signal`, whose functions the main thread would have to call.
    set_handler = ctypes.CDLL(None).signal
    set_handler.argtypes = [ctypes.c_int, _handler]
    set_handler.restype = ctypes.c_void_p
    set_handler(signal.SIGABRT, aborted)


def _jax_state() -> Any:
    from jax._src import distributed

    return distributed.global_state


def _service_is_lost() -> bool:
    """Whether the service of all processes fails, or doesn't answer.

    It doesn't while JAX's client aborts, which then holds its own lock. After
    a shutdown there is no client, and nothing to lose.
    """
    client = _jax_state().client
    if client is None:
        return False
    answers: list[bool] = []

    def ask() -> None:
        try:
            client.key_value_try_get("keras_flan")
        except Exception as error:
            answers.append("NOT_FOUND" in str(error))

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(_ANSWER)
    return True not in answers
