"""A trace of some steps of a training, and what they were spent on."""

import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import keras

from keras_flan.errors import InputError
from keras_flan.storage import as_path, is_remote, upload_folder
from keras_flan.training.callbacks import Logs, StepCallback

# Operations that wait for other devices. What is named `-start` returns at
# once; its `-done` has the wait.
_COLLECTIVE = re.compile(
    r"%?(all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute"
    r"|collective-broadcast|ragged-all-to-all)(?!-start)[-.\w]*"
)


class Profile(StepCallback):
    """Writes a trace of some steps, for TensorBoard and Perfetto.

    The folder gets what JAX's profiler writes: `plugins/profile/...`, which
    TensorBoard's profile plugin opens, and in it `perfetto_trace.json.gz` for
    https://ui.perfetto.dev. With the JAX backend only. A profiled step waits
    for its end, so that the trace has whole steps.

    Args:
        folder: Where the trace goes.
        steps: The optimizer steps after which it begins and ends; the first
            step of all has compilation in it.
        accumulate: Calls of the training step per optimizer step.

    Attributes:
        summary: `steps`, `seconds` per step and `collective`, the share of
            the devices' time that operations across devices took; empty until
            the trace is written.

    Example:

    ```python
    profile = Profile("run/profile", (100, 110))
    model.fit(dataset, steps_per_epoch=1000, callbacks=[profile])
    ```
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        steps: tuple[int, int],
        accumulate: int = 1,
    ):
        super().__init__(1, accumulate)
        if keras.backend.backend() != "jax":
            raise InputError(
                "profile: only with the JAX backend, found "
                f"{keras.backend.backend()!r}; set KERAS_BACKEND=jax"
            )
        self.folder, self.steps = as_path(folder), steps
        # JAX writes to this machine only.
        self._aside: Path | None = None
        self.summary: dict[str, Any] = {}
        self._begin: float | None = None
        self._from = 0
        self._step: jax.profiler.StepTraceAnnotation | None = None

    def on_train_begin(self, logs: Logs = None) -> None:
        # Also where a run goes on that was begun without a profile.
        done = int(self.model.optimizer.iterations)
        self._calls = self._accumulation.calls(done)
        self._start_if_due()

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        super().on_train_batch_begin(batch, logs)
        if self._begin is not None:
            self._step = jax.profiler.StepTraceAnnotation(
                "train", step_num=self._calls
            )
            self._step.__enter__()

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        self._count(batch)
        if self._step is not None:
            _wait(logs)
            self._step.__exit__(None, None, None)
            self._step = None
        if self._begin is None:
            self._start_if_due(logs)
        elif self.step >= self.steps[1]:
            self._stop()

    def on_train_end(self, logs: Logs = None) -> None:
        if self._begin is not None:
            self._stop()

    def _start_if_due(self, logs: Logs = None) -> None:
        first, last = self.steps
        if self._begin is None and first <= self.step < last:
            _wait(logs)
            self._from = self.step
            if is_remote(self.folder):
                self._aside = Path(tempfile.mkdtemp(prefix="keras_flan-"))
            jax.profiler.start_trace(
                str(self._aside or self.folder), create_perfetto_trace=True
            )
            self._begin = time.monotonic()

    def _stop(self) -> None:
        assert self._begin is not None
        seconds = time.monotonic() - self._begin
        self._begin = None
        jax.profiler.stop_trace()
        written = self._aside or self.folder
        done = self.step - self._from
        self.summary = {
            "steps": [self._from, self.step],
            "seconds": seconds / max(done, 1),
            "collective": _collective_share(written, seconds),
        }
        if self._aside is not None:
            upload_folder(self._aside, self.folder)
            shutil.rmtree(self._aside)
        print(describe_profile(self.summary, self.folder), file=sys.stderr)


def describe_profile(summary: Mapping[str, Any], folder: Path) -> str:
    """Returns in words what a trace shows, and how to open it."""
    first, last = summary["steps"]
    return (
        f"profile: steps {first:,} to {last:,}, {summary['seconds']:.3f} s "
        f"each, {summary['collective']:.1%} of it between devices; open it "
        f"with `tensorboard --logdir {folder}`, or its "
        "perfetto_trace.json.gz in https://ui.perfetto.dev"
    )


def _collective_share(folder: Path, seconds: float) -> float:
    """Returns the share of the devices' seconds in collective operations."""
    traces = sorted(folder.glob("plugins/profile/*/*.xplane.pb"))
    if not traces:
        return 0.0
    data = jax.profiler.ProfileData.from_file(str(traces[-1]))
    spent = sum(
        event.duration_ns
        for plane in data.planes
        for line in plane.lines
        # A TPU's lines repeat operations by their source and by their step.
        if not plane.name.startswith("/device") or line.name == "XLA Ops"
        for event in line.events
        if _COLLECTIVE.match(event.name)
    )
    return min(spent / 1e9 / seconds / jax.local_device_count(), 1.0)


def _wait(logs: Logs) -> None:
    if logs:
        float(logs["loss"])
