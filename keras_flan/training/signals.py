"""Ctrl-C and SIGTERM during a training: end the step, keep a checkpoint."""

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import keras

from keras_flan.distribution.hosts import from_all
from keras_flan.errors import InputError, Interrupted
from keras_flan.training.callbacks import Logs
from keras_flan.training.checkpoints import TrainingCheckpoint

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# Seconds between two times that many processes ask each other for signals.
_BETWEEN = 0.5


class StopOnSignal(keras.callbacks.Callback):
    """Stops `fit` after the step at hand when the process shall end.

    Ctrl-C (SIGINT) and SIGTERM, which a machine gets before it is taken away,
    end the training after a whole optimizer step, with a checkpoint. A second
    signal does at once what it would do without this callback; so does the
    first one until the first step has ended, as there is nothing to keep.
    A signal to one of many processes stops all of them after the same step:
    they ask each other about twice per second.

    Use it as a context manager around `fit`, in the main thread: handlers of
    signals are there within, and the former ones afterwards. (In another
    thread signals are left alone.) At the end of a training that was stopped
    it raises `keras_flan.errors.Interrupted`, a `KeyboardInterrupt`.

    Args:
        checkpoint: The `TrainingCheckpoint` of the training, which has to
            stand before this callback in the list; `None` keeps nothing.

    Attributes:
        signal: The number of the signal that stopped the training, or `None`.

    Example:

    ```python
    checkpoint = TrainingCheckpoint("run/checkpoints", pipeline, every=500)
    done = checkpoint.restore(model)
    with StopOnSignal(checkpoint) as stop:
        model.fit(
            pipeline.dataset(checkpoint.position),
            steps_per_epoch=10_000 - done,
            shuffle=False,
            callbacks=[checkpoint, stop],
        )
    ```
    """

    # In the thread that trains, or the others stop after another step.
    async_safe = False

    def __init__(self, checkpoint: TrainingCheckpoint | None = None):
        super().__init__()
        self.signal: int | None = None
        self._checkpoint = checkpoint
        self._watch = _Watch()
        # Calls of this `fit`, and when the processes asked each other last.
        self._calls = self._asked = self._next = 0
        self._time = time.monotonic()

    def __enter__(self) -> "StopOnSignal":
        self._watch.begin()
        return self

    def __exit__(self, kind: type[BaseException] | None, *other: Any) -> None:
        self._watch.end()
        if kind is not None:
            return
        if self.signal is not None:
            raise Interrupted(self._message(), self.signal)
        if self._watch.received:  # After the last step.
            signal.raise_signal(self._watch.received)

    def on_train_begin(self, logs: Logs = None) -> None:
        self._calls = self._asked = self._next = 0
        if self._checkpoint is not None:
            self._seen = self._checkpoint.calls

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        self._calls += 1
        self._watch.waits = True
        checkpoint = self._checkpoint
        if checkpoint is not None:
            seen, self._seen = self._seen, checkpoint.calls
            if seen == self._seen:
                raise InputError(
                    "StopOnSignal: the checkpoint has not seen this step yet; "
                    "give callbacks=[checkpoint, stop], in this order"
                )
            if not checkpoint.between_steps:
                return
        if self._calls >= self._next:
            self._stop_if_asked(logs)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if self.signal is None:
            self._stop_if_asked(logs)

    def _stop_if_asked(self, logs: Logs) -> None:
        if self._ask():
            if self._checkpoint is not None:
                self._checkpoint.save(logs)
            self.model.stop_training = True

    def _ask(self) -> bool:
        """Whether any process got a signal; all ask after the same call."""
        now, calls = time.monotonic(), self._calls - self._asked
        wait = max(1, int(_BETWEEN * calls / max(now - self._time, 1e-9)))
        numbers = from_all(self._watch.received or 0, wait)
        alone = len(numbers) == 1
        self._next = self._calls + (1 if alone else int(numbers[0, 1]))
        self._time, self._asked = now, self._calls
        self.signal = int(numbers[:, 0].max()) or None
        return self.signal is not None

    def _message(self) -> str:
        assert self.signal is not None
        name = signal.Signals(self.signal).name
        if self._checkpoint is None:
            return f"stopped by {name}, and nothing is kept of the training"
        return (
            f"stopped by {name} with a checkpoint of step "
            f"{self._checkpoint.step}; the same command goes on from there"
        )


class _Watch:
    """Notes signals as they come, also while the main thread waits.

    Python runs a handler when the main thread gets to its next instruction,
    which is after a compilation, or never if another process has gone. So a
    thread is told by the system itself; only what Python's own handlers have
    to do is left to them.

    Attributes:
        waits: Whether the first signal is noted only.
        received: The first signal.
    """

    def __init__(self) -> None:
        self.waits = False
        self.received: int | None = None
        # Whether the thread, and Python's handler, had a signal already.
        self._told = self._seen = False
        self._former: dict[int, Any] = {}

    def begin(self) -> None:
        """Takes over the signals that aren't ignored."""
        if threading.current_thread() is not threading.main_thread():
            return
        former = {number: signal.getsignal(number) for number in _SIGNALS}
        kept = (None, signal.SIG_IGN)
        self._former = {n: f for n, f in former.items() if f not in kept}
        if not self._former:
            return
        reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        threading.Thread(target=self._read, args=[reader], daemon=True).start()
        fd = self._writer.fileno()
        self._fd = signal.set_wakeup_fd(fd, warn_on_full_buffer=False)
        for number in self._former:
            signal.signal(number, self._handle)

    def end(self) -> None:
        """Gives the signals back."""
        if not self._former:
            return
        for number, former in self._former.items():
            signal.signal(number, former)
        signal.set_wakeup_fd(self._fd)
        self._former = {}
        self._writer.close()  # Ends the thread.

    def _read(self, reader: socket.socket) -> None:
        with reader:
            while numbers := reader.recv(64):
                for number in numbers:
                    if number in self._former:
                        self._note(number)

    def _note(self, number: int) -> None:
        if self.waits and not self._told:
            self._told, self.received = True, number
            _say(signal.Signals(number).name)
        elif self._former.get(number) is signal.SIG_DFL:
            os._exit(128 + number)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.waits and not self._seen:
            self._seen, self.received = True, number
            return
        former: Callable | Any = self._former.get(number)
        if callable(former):
            # Should Keras swallow the exception, the training stops soon.
            self.received = number
            former(number, frame)


def _say(name: str) -> None:
    line = "\n" if sys.stderr.isatty() else ""  # Behind the progress bar.
    text = "the training ends after this step; once more ends it at once"
    # Not through `sys.stderr`, which the main thread may be writing to.
    os.write(2, f"{line}keras-flan: {name}: {text}\n".encode())
