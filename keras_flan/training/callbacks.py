"""Callbacks for `model.fit`."""

import copy
import math
import sys
from collections.abc import Callable
from typing import Any, ClassVar

import keras

from keras_flan.data.pipeline.pipeline import Pipeline
from keras_flan.errors import Diverged, InputError
from keras_flan.progress import Progress
from keras_flan.training.steps import Accumulation

# What Keras gives to a callback.
Logs = dict[str, Any] | None


def check_finite(loss: float, step: int, name: str = "loss") -> None:
    """Checks that a loss is a number.

    Raises:
        Diverged: If it isn't.
    """
    if not math.isfinite(loss):
        raise Diverged(
            f"step {step:,}: the {name} is {loss}, so the training ends here; "
            "what was kept before it stays. Lower optimizer.learning_rate, "
            "warm up, or clip the gradients"
        )


class StepCallback(keras.callbacks.Callback):
    """A callback that does something each time some optimizer steps are done.

    Its `state()` is what a checkpoint keeps, `set_state` goes on from it.
    Steps are those of the optimizer, also of one that was trained before
    (`initial_epoch`, `keras.callbacks.BackupAndRestore`), and with
    `steps_per_execution`, where Keras calls back once for many.

    Args:
        every: Optimizer steps between two times.
        accumulate: Calls of the training step per optimizer step, as in
            `gradient_accumulation_steps` of the optimizer.
    """

    # What is read at such a time waits for the device; `fit` may not run on.
    async_safe = False
    # Attributes that a checkpoint keeps.
    _kept: ClassVar[tuple[str, ...]] = ()

    def __init__(self, every: int, accumulate: int = 1):
        super().__init__()
        self.every = every
        self._accumulation = Accumulation(accumulate)
        self._calls = 0
        # The first batch of what Keras executes at once.
        self._first: int | None = None

    @property
    def step(self) -> int:
        """Optimizer steps trained so far."""
        return self._accumulation.steps(self._calls)

    def state(self) -> dict[str, Any]:
        """Returns what a checkpoint keeps."""
        kept = {name.lstrip("_"): getattr(self, name) for name in self._kept}
        return {"step": self._calls, **kept}

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on from `state()`."""
        self._calls = state["step"]
        for name in self._kept:
            # Earlier versions kept fewer.
            if (key := name.lstrip("_")) in state:
                setattr(self, name, copy.copy(state[key]))

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        optimizer, own = self.model.optimizer, self._accumulation.parts
        parts = getattr(optimizer, "gradient_accumulation_steps", None) or 1
        if parts != own:
            raise InputError(
                f"{type(self).__name__}: accumulate={own}, but the optimizer "
                f"has gradient_accumulation_steps={parts}; give the same to "
                "both"
            )
        done = int(optimizer.iterations)
        if self.step != done:
            self._go_on_from(self._accumulation.calls(done))

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        self._first = batch

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        if self._count(batch):
            self._point(logs)

    def _go_on_from(self, calls: int) -> None:
        """Takes over what others have trained."""
        self._calls = calls

    def _count(self, batch: int) -> bool:
        """Counts the calls up to a batch; says whether it is time."""
        before = self._calls
        self._calls += 1 if self._first is None else batch - self._first + 1
        every = self._accumulation.calls(self.every)
        return self._calls // every > before // every

    def _point(self, logs: Logs) -> None:
        raise NotImplementedError


class StepLog(StepCallback):
    """Records the loss curve by steps, and shows progress.

    Args:
        every: Steps between two points.
        total: Steps in all, for the time left.
        progress: Whether to show progress on stderr.
        reset: Whether to begin the mean loss of `fit` anew at every point, as
            a long run should: a sum of a hundred thousand losses in float32
            is coarse.
        accumulate: Calls of the training step per step.
        also: Returns what is shown behind the loss.

    Raises:
        Diverged: In `fit`, if the loss of a stretch is not finite.

    Attributes:
        steps: list of int, the step at the end of each stretch, from 1.
        loss: list of float, the mean loss over each stretch.
        gradient_norm: list of float, the norm of the gradients at its end,
            or empty if the optimizer measures none (see
            `keras_flan.training.Adafactor`).
        learning_rate: list of float, the rate of the step after it.

    At these steps callbacks that stand behind this one get `gradient_norm`
    and `learning_rate` among their logs.

    Example:

    ```python
    log = StepLog(every=20)
    model.fit(dataset, steps_per_epoch=1000, callbacks=[log], verbose=0)
    plt.plot(log.steps, log.loss)
    ```
    """

    _kept = (
        *("_since", "_reported", "steps", "loss", "gradient_norm"),
        "learning_rate",
    )

    def __init__(
        self,
        every: int = 20,
        total: int | None = None,
        progress: bool = False,
        reset: bool = False,
        accumulate: int = 1,
        also: Callable[[], str] = str,
    ):
        super().__init__(every, accumulate)
        self.reset = reset
        self._also = also
        self.steps: list[int] = []
        self.loss: list[float] = []
        self.gradient_norm: list[float] = []
        self.learning_rate: list[float] = []
        # Calls since Keras's mean began, and what was reported of them.
        self._since, self._reported = 0, (0, 0.0)
        self._restored = False
        self._progress = Progress(
            "training", total=total, unit="steps", enabled=progress
        )

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on from `state()`."""
        super().set_state(state)
        self._restored = True

    def on_train_begin(self, logs: Logs = None) -> None:
        self._progress.__enter__()
        if self.step:
            self._progress.advance(self.step)
        self._progress.wait("compiling the first step")

    def on_train_end(self, logs: Logs = None) -> None:
        self._progress.__exit__()

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        super().on_epoch_begin(epoch, logs)
        if not self._restored:
            self._since, self._reported = 0, (0, 0.0)
        self._restored = False

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        before, calls = self.step, self._calls
        due = self._count(batch)
        self._since += self._calls - calls
        if due:
            self._point(logs)
        note = f"loss {self.loss[-1]:.3f}" if self.loss else ""
        note = f"{note} {self._also()}".strip()
        self._progress.advance(self.step - before, note)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if self._since > self._reported[0]:
            self._point(logs)

    def _point(self, logs: Logs) -> None:
        assert logs is not None  # Keras gives them.
        # Keras reports the mean since it began.
        count, mean = self._since, float(logs["loss"])
        check_finite(mean, self.step)
        before_count, before_mean = self._reported
        total = count * mean - before_count * before_mean
        self.steps.append(self.step)
        self.loss.append(total / (count - before_count))
        self._reported = (count, mean)
        optimizer = self.model.optimizer
        logs["learning_rate"] = float(optimizer.learning_rate)
        self.learning_rate.append(logs["learning_rate"])
        norm = getattr(optimizer, "gradient_norm", None)
        if norm is not None:
            logs["gradient_norm"] = float(norm)
            self.gradient_norm.append(logs["gradient_norm"])
        if self.reset:
            self.model.reset_metrics()
            self._since, self._reported = 0, (0, 0.0)


# In the folder of a run: what became of each task and format.
DRAWS = "draws.csv"


class CutsNote(keras.callbacks.Callback):
    """Says on stderr which examples are left out or cut, and what helps.

    It looks as soon as there are batches: by then the pipeline has made some
    thousand examples, or all that there are. At the end it says how many
    there were.

    Args:
        pipeline: The `keras_flan.data.Pipeline` that is trained on.
    """

    def __init__(self, pipeline: Pipeline):
        super().__init__()
        self.pipeline, self._looked = pipeline, False

    def on_train_begin(self, logs: Logs = None) -> None:
        self._look()

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        self._look()

    def _look(self) -> None:
        if self._looked or not self.pipeline.cuts()["examples"]:
            return
        self._looked = True
        for line in self.pipeline.advice("data."):
            print(f"training: {line}", file=sys.stderr)

    def on_train_end(self, logs: Logs = None) -> None:
        cuts = self.pipeline.cuts()
        if cuts["left_out"] or cuts["inputs"] or cuts["targets"]:
            print(
                f"training: of {cuts['examples']:,} examples "
                f"{cuts['left_out']:,} were left out, {cuts['inputs']:,} "
                f"inputs and {cuts['targets']:,} targets lost a part; "
                f"{DRAWS} has them by task and format",
                file=sys.stderr,
            )
