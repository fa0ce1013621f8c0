"""How fast a training is, and what it spends its time on."""

import contextlib
import math
import os
import resource
import sys
import time
from collections.abc import Generator, Iterable, Iterator, Mapping
from typing import Any

import jax
import keras
import numpy as np

from keras_flan.distribution.hosts import from_all
from keras_flan.files import atomic_write
from keras_flan.runtime.tensorflow import tf
from keras_flan.runtime.xla import compile_seconds
from keras_flan.storage import as_path
from keras_flan.training.callbacks import Logs, StepCallback
from keras_flan.training.peak import model_flops, peak_flops

COLUMNS = (
    "step",
    "seconds",
    "tokens_per_second",
    "fill",
    "input_wait",
    "compile",
    "flops_per_second",
    "utilisation",
    "peak_memory_gib",
)
# What of Keras's logs is written for TensorBoard.
_CURVES = ("loss", "learning_rate", "gradient_norm")


class Telemetry(StepCallback):
    """Measures real tokens per second, and why there are not more.

    Each row of `rows` and of the CSV file is a stretch of steps:

    | column | meaning |
    |---|---|
    | `step` | its last step |
    | `seconds` | how long it took |
    | `tokens_per_second` | inputs and targets, without padding |
    | `fill` | share of the rows' places that hold tokens |
    | `input_wait` | share of the time spent waiting for a batch |
    | `compile` | share of the time in which JAX traced and compiled |
    | `flops_per_second` | of the model: what its matrix products need for
      the real tokens, forward and backward, attention's products left out |
    | `utilisation` | that over the peak of the devices |
    | `peak_memory_gib` | the most so far, of a device or else of the process |

    The first stretch has the first step, whose time (mostly compilation) is
    `first_step`, apart from the rest. What goes on between devices is in a
    trace, see `keras_flan.training.Profile`. Of many processes every one has
    to have this callback; the tokens are those of all, and the wait is that
    of the slowest.

    Args:
        every: Steps of a stretch.
        csv: A file, or `None`.
        tensorboard: A folder for TensorBoard's event files, or `None`.
        peak: FLOP/s of all devices at best; default: known for a TPU, else
            measured by a large matrix product.
        quiet: Whether to print nothing.
        accumulate: Calls of the training step per step.
        copies: How many processes make the same part of a batch.

    Attributes:
        rows: list of dict.
        first_step: Seconds to the end of the first call.

    Example:

    ```python
    telemetry = Telemetry(every=50, csv="run/telemetry.csv")
    model.fit(telemetry.watch(dataset), steps_per_epoch=1000,
              callbacks=[telemetry])
    ```

    Source: the utilisation is that of arXiv:2204.02311, appendix B.
    """

    _kept = ("rows",)

    def __init__(
        self,
        every: int = 50,
        csv: str | os.PathLike | None = None,
        tensorboard: str | os.PathLike | None = None,
        peak: float | None = None,
        quiet: bool = False,
        accumulate: int = 1,
        copies: int = 1,
    ):
        super().__init__(every, accumulate)
        self._copies = copies
        self.rows: list[dict[str, float]] = []
        self.first_step: float | None = None
        self._csv = csv
        self._events = Events(tensorboard) if tensorboard else None
        self._peak = peak
        self._quiet = quiet
        # Inputs, targets and places of the batches that were made.
        self._batches: list[tuple[int, int, int]] = []
        self._wait = 0.0
        self._compiling = compile_seconds()

    def watch(self, dataset: Iterable[tuple]) -> Generator[tuple, None, None]:
        """Yields the batches of a dataset, and notes what is in them."""
        source = iter(dataset)
        while True:
            begin = time.monotonic()
            try:
                batch = keras.tree.map_structure(np.asarray, next(source))
            except StopIteration:
                return
            self._wait += time.monotonic() - begin
            self._batches.append(count_tokens(batch))
            yield batch

    def on_train_begin(self, logs: Logs = None) -> None:
        if self._peak is None:
            self._peak = peak_flops(self.model.compute_dtype)
        self._restart()

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        due = self._count(batch)
        if self.first_step is None:
            _loss(logs)  # Waits for the device.
            self.first_step = time.monotonic() - self._begin
            self._take(self._calls - self._last)
            if not self._quiet:
                _print(f"first step after {self.first_step:.1f} s")
            self._restart()
        elif due:
            values = {k: float(v) for k, v in (logs or {}).items()}
            self._stretch()
            values = {k: values[k] for k in _CURVES if k in values}
            self.log(self.step, values)

    def _go_on_from(self, calls: int) -> None:
        super()._go_on_from(calls)
        self._last = calls

    def on_train_end(self, logs: Logs = None) -> None:
        if self._calls > self._last:
            self._stretch()
        if self._csv is not None:
            with atomic_write(self._csv) as f:
                f.write(",".join(COLUMNS) + "\n")
                for row in self.rows:
                    f.write(",".join(f"{row[c]:.6g}" for c in COLUMNS) + "\n")
        if self._events is not None:
            self._events.close()

    def summary(self) -> dict[str, float | None]:
        """Returns the whole training in one row, without the first step."""
        seconds = sum(row["seconds"] for row in self.rows)
        summary: dict[str, float | None] = {"first_step": self.first_step}
        for name in COLUMNS[2:-1] if self.rows else ():
            total = sum(row[name] * row["seconds"] for row in self.rows)
            summary[name] = total / seconds
        summary["peak_memory_gib"] = peak_memory() / 2**30
        return summary

    @contextlib.contextmanager
    def left_out(self) -> Iterator[None]:
        """Leaves what happens within out of the times of the training."""
        begin, compiled = time.monotonic(), self._compiling.total
        yield
        self._begin += time.monotonic() - begin
        self._compiled += self._compiling.total - compiled

    def _restart(self) -> None:
        self._begin = time.monotonic()
        self._wait, self._compiled = 0.0, self._compiling.total
        self._last = self._calls

    def _take(self, count: int) -> tuple[int, int, int]:
        """Returns inputs, targets and places of the next batches."""
        # Batches are made ahead; those in use are the oldest.
        taken = self._batches[:count]
        del self._batches[:count]
        return tuple(np.sum(taken, axis=0)) if taken else (0, 0, 0)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Writes values of a step for TensorBoard."""
        if self._events is not None:
            self._events.add(step, values)

    def _stretch(self) -> None:
        seconds = time.monotonic() - self._begin
        own = self._take(self._calls - self._last)
        numbers = from_all(*own, self._wait)
        inputs, targets, places = numbers[:, :3].sum(axis=0) / self._copies
        wait = numbers[:, 3].max()
        flops = model_flops(self.model, inputs, targets) / seconds
        row = {
            "step": self.step,
            "seconds": seconds,
            "tokens_per_second": (inputs + targets) / seconds,
            "fill": (inputs + targets) / max(places, 1),
            "input_wait": min(wait / seconds, 1.0),
            "compile": min(
                (self._compiling.total - self._compiled) / seconds, 1.0
            ),
            "flops_per_second": flops,
            "utilisation": flops / (self._peak or math.nan),
            "peak_memory_gib": peak_memory() / 2**30,
        }
        self.rows.append(row)
        if not self._quiet:
            _print(describe(row))
        speed = {f"speed/{k}": v for k, v in row.items() if k != "step"}
        self.log(self.step, speed)
        self._restart()


def describe(row: Mapping[str, float]) -> str:
    """Returns a row of telemetry in words."""
    return (
        f"step {row['step']:,}: {row['tokens_per_second']:,.0f} tokens/s, "
        f"fill {row['fill']:.0%}, input wait {row['input_wait']:.0%}, "
        f"compile {row['compile']:.0%}, "
        f"{row['flops_per_second'] / 1e9:,.1f} GFLOP/s "
        f"({row['utilisation']:.0%} of peak), "
        f"{row['peak_memory_gib']:.1f} GiB"
    )


def _loss(logs: Logs) -> float:
    return float(logs["loss"]) if logs else math.nan


def count_tokens(batch: tuple) -> tuple[int, int, int]:
    """Returns input tokens, target tokens and places of a batch."""
    x, _, weight = batch
    targets = int((np.asarray(weight) > 0).sum())
    # One row holds inputs and targets, or two do.
    whole, encoder, decoder = (
        _segments(x, side) for side in ("", "encoder_", "decoder_")
    )
    if whole.size:
        return int((whole > 0).sum()) - targets, targets, whole.size
    return int((encoder > 0).sum()), targets, encoder.size + decoder.size


def _segments(x: Mapping[str, Any], side: str) -> np.ndarray:
    either = x.get(f"{side}segment_ids"), x.get(f"{side}padding_mask")
    return np.asarray(next((mask for mask in either if mask is not None), ()))


def peak_memory() -> float:
    """Returns the most bytes ever in use, of a device or else of the host."""
    if keras.backend.backend() == "jax":
        stats = [d.memory_stats() or {} for d in jax.local_devices()]
        peaks = [s.get("peak_bytes_in_use", 0) for s in stats]
        if max(peaks):
            return max(peaks)
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024


class Events:
    """A log that TensorBoard reads; it need not be installed.

    Args:
        folder: Where the event file goes.
    """

    def __init__(self, folder: str | os.PathLike):
        folder = as_path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self._v1 = tf().compat.v1
        name = f"events.out.tfevents.{time.time_ns()}.keras_flan"
        self._writer = tf().io.TFRecordWriter(str(folder / name))
        self._write(self._v1.Event(file_version="brain.Event:2"))

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Adds scalars of a step."""
        summary = self._v1.Summary()
        for tag, value in values.items():
            summary.value.add(tag=tag, simple_value=float(value))
        self._write(self._v1.Event(step=step, summary=summary))
        self._writer.flush()

    def close(self) -> None:
        """Ends the file."""
        self._writer.close()

    def _write(self, event: Any) -> None:
        event.wall_time = time.time()
        self._writer.write(event.SerializeToString())


def _print(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
