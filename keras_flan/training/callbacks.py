"""Callbacks for `model.fit`."""

import sys
from typing import TYPE_CHECKING, Any

import keras

from keras_flan.progress import Progress
from keras_flan.training.steps import Accumulation

if TYPE_CHECKING:
    from keras_flan.data.pipeline.pipeline import Pipeline

# What Keras gives to a callback.
Logs = dict[str, Any] | None


class StepCallback(keras.callbacks.Callback):
    """A callback that does something each time some optimizer steps are done.

    Args:
        every: Optimizer steps between two times.
        accumulate: Calls of the training step per optimizer step, as in
            `gradient_accumulation_steps` of the optimizer.
    """

    # What is read at such a time waits for the device; `fit` may not run on.
    async_safe = False

    def __init__(self, every: int, accumulate: int = 1):
        super().__init__()
        self.every = every
        self._accumulation = Accumulation(accumulate)
        self._calls = 0

    @property
    def step(self) -> int:
        """Optimizer steps trained so far."""
        return self._accumulation.steps(self._calls)

    def _count(self) -> bool:
        """Counts a call of the training step; says whether it is time."""
        self._calls += 1
        return self._calls % self._accumulation.calls(self.every) == 0


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

    Attributes:
        steps: list of int, the step at the end of each stretch, from 1.
        loss: list of float, the mean loss over each stretch.
        gradient_norm: list of float, the norm of the gradients at its end,
            or empty if the optimizer measures none (see
            `keras_flan.training.Adafactor`).

    Example:

    ```python
    log = StepLog(every=20)
    model.fit(dataset, callbacks=[log], verbose=0)
    plt.plot(log.steps, log.loss)
    ```
    """

    def __init__(
        self,
        every: int = 20,
        total: int | None = None,
        progress: bool = False,
        reset: bool = False,
        accumulate: int = 1,
    ):
        super().__init__(every, accumulate)
        self.reset = reset
        self.steps: list[int] = []
        self.loss: list[float] = []
        self.gradient_norm: list[float] = []
        # Calls since Keras's mean began, and what was reported of them.
        self._since, self._reported = 0, (0, 0.0)
        self._restored = False
        self._progress = Progress(
            "training", total=total, unit="steps", enabled=progress
        )

    def state(self) -> dict[str, Any]:
        """Returns what a checkpoint keeps."""
        return {
            "step": self._calls,
            "since": self._since,
            "reported": list(self._reported),
            "steps": self.steps,
            "loss": self.loss,
            "gradient_norm": self.gradient_norm,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on from `state()`."""
        self._calls, self._since = state["step"], state["since"]
        self._reported = tuple(state["reported"])
        self.steps = list(state["steps"])
        self.loss = list(state["loss"])
        self.gradient_norm = list(state["gradient_norm"])
        self._restored = True

    def on_train_begin(self, logs: Logs = None) -> None:
        self._progress.__enter__()
        if self.step:
            self._progress.advance(self.step)

    def on_train_end(self, logs: Logs = None) -> None:
        self._progress.__exit__()

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        if not self._restored:
            self._since, self._reported = 0, (0, 0.0)
        self._restored = False

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        before = self.step
        self._since += 1
        if self._count():
            self._point(logs)
        note = f"loss {self.loss[-1]:.3f}" if self.loss else ""
        self._progress.advance(self.step - before, note)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if self._since > self._reported[0]:
            self._point(logs)

    def _point(self, logs: Logs) -> None:
        assert logs is not None  # Keras gives them.
        # Keras reports the mean since it began.
        count, mean = self._since, float(logs["loss"])
        before_count, before_mean = self._reported
        total = count * mean - before_count * before_mean
        self.steps.append(self.step)
        self.loss.append(total / (count - before_count))
        self._reported = (count, mean)
        model = self.model
        norm = getattr(model.optimizer, "gradient_norm", None)
        if norm is not None:
            self.gradient_norm.append(float(norm))
        if self.reset:
            model.reset_metrics()
            self._since, self._reported = 0, (0, 0.0)


class CutsNote(keras.callbacks.Callback):
    """Says on stderr, once, when many examples don't fit their rows.

    It looks after the first step: by then the pipeline has made some
    thousand examples, or all that there are.

    Args:
        pipeline: The `keras_flan.data.Pipeline` that is trained on.
        input_length: Tokens per row for the inputs.
        target_length: Tokens per row for the targets.
        share: How large a share of the examples is many.

    Example:

    ```python
    note = CutsNote(pipeline, input_length=512, target_length=256)
    model.fit(pipeline.dataset(), callbacks=[note], steps_per_epoch=1000)
    ```
    """

    def __init__(
        self,
        pipeline: "Pipeline",
        input_length: int,
        target_length: int,
        share: float = 0.05,
    ):
        super().__init__()
        self.pipeline = pipeline
        self.input_length = input_length
        self.target_length = target_length
        self.share = share
        self._looked = False

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        if self._looked:
            return
        self._looked = True
        cuts = self.pipeline.cuts()
        inputs = f"data.input_length {self.input_length}"
        targets = f"data.target_length {self.target_length}"
        for key, what in (
            ("inputs", f"have inputs longer than {inputs}, and are trimmed"),
            ("targets", f"have targets longer than {targets}, and are trimmed"),
            (
                "left_out",
                f"leave no place for an exemplar within {inputs}, and are "
                "left out",
            ),
        ):
            if cuts[key] > self.share * cuts["examples"]:
                print(
                    f"training: {cuts[key]:,} of the first "
                    f"{cuts['examples']:,} examples "
                    f"({cuts[key] / cuts['examples']:.1%}) {what}; raise it",
                    file=sys.stderr,
                )
