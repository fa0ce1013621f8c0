"""The loss on held-out examples, during training and after."""

import contextlib
from collections.abc import Callable, Iterable

import keras
import numpy as np

from keras_flan.distribution.hosts import from_all
from keras_flan.progress import left_out
from keras_flan.training.callbacks import Logs, StepCallback, check_finite
from keras_flan.training.telemetry import Telemetry


def held_out_loss(model: keras.Model, dataset: Iterable[tuple]) -> float:
    """Returns the mean loss over all target tokens of a dataset.

    Unlike `model.evaluate`, every token counts the same, however the batches
    are filled, and the metrics of a training in progress stay as they are.
    With many processes every one has to call it, and they get the same loss.

    Args:
        model: A compiled model.
        dataset: Batches `(x, y, sample_weight)` with an end, such as those
            of `build_dataset(..., repeat=False)`; with many processes the
            part of each batch that this one makes.

    Example:
        >>> held_out_loss(model, build_dataset(..., repeat=False))
        1.31
    """
    kept = [(v, np.asarray(v)) for v in model.metrics_variables]
    losses: list[float] = []
    counts: list[float] = []
    for batch in dataset:
        x, y, weight = keras.tree.map_structure(np.asarray, batch)
        model.reset_metrics()
        logs = model.test_on_batch(x, y, weight, return_dict=True)
        losses.append(float(logs["loss"]))
        counts.append(float(np.sum(weight)))
    for variable, value in kept:
        variable.assign(value)
    tokens = from_all(*counts).sum(axis=0)
    return float(np.dot(losses, tokens) / max(tokens.sum(), 1.0))


class HeldOutLoss(StepCallback):
    """Measures the held-out loss, or a score, in the course of a training.

    Callbacks that stand behind this one get them among their logs, as
    `val_loss` and `val_score`.

    Args:
        dataset: See `held_out_loss`; `None` measures no loss.
        every: Steps between two measurements; the last step of the training
            is measured too, unless it was stopped before its end.
        on_best: A function of the step and of the loss (or the score, if
            there is one), called when it is better than ever, such as one
            that saves the model. The paper keeps the checkpoint that is best
            on held-out tasks.
        accumulate: Calls of the training step per step.
        score: A function of the model and the step that returns a score,
            the higher the better. It says what is best then.
        patience: After how many measurements in a row that were no better
            than the best the training ends; `None`: it never does.
        telemetry: Leaves the time out, and writes the values for TensorBoard.

    Attributes:
        steps: list of int.
        loss: list of float.
        score: list of float.

    Example:

    ```python
    held_out = HeldOutLoss(
        validation, every=500, patience=3,
        on_best=lambda step, loss: save(model, "best"),
    )
    model.fit(dataset, steps_per_epoch=10_000, callbacks=[held_out])
    ```

    Source: arXiv:2210.11416, section 2.2 (one checkpoint per model, by
    periodic evaluation every 2k to 10k steps).
    """

    _kept = ("steps", "loss", "score")

    def __init__(
        self,
        dataset: Iterable[tuple] | None,
        every: int,
        on_best: Callable[[int, float], None] | None = None,
        accumulate: int = 1,
        *,
        score: Callable[[keras.Model, int], float] | None = None,
        patience: int | None = None,
        telemetry: Telemetry | None = None,
    ):
        super().__init__(every, accumulate)
        self.dataset = dataset
        self.on_best = on_best
        self.patience = patience
        self.steps: list[int] = []
        self.loss: list[float] = []
        self.score: list[float] = []
        self._measure_score = score
        self._telemetry = telemetry

    @property
    def _best(self) -> int:
        """The place of the best measurement, the first of several."""
        if self._measure_score is not None:
            return self.score.index(max(self.score))
        return self.loss.index(min(self.loss))

    @property
    def best(self) -> int:
        """The step of the best score, or else of the lowest loss."""
        return self.steps[self._best]

    @property
    def is_over(self) -> bool:
        """Whether the patience is at its end."""
        if self.patience is None or not self.steps:
            return False
        return len(self.steps) - 1 - self._best >= self.patience

    @property
    def note(self) -> str:
        """The latest values, in words."""
        values = [("held-out", self.loss), ("score", self.score)]
        return " ".join(f"{n} {curve[-1]:.3f}" for n, curve in values if curve)

    def on_train_end(self, logs: Logs = None) -> None:
        if self.model.stop_training:
            return
        if self.step and self.steps[-1:] != [self.step]:
            self._point(logs)

    def _point(self, logs: Logs) -> None:
        told = self._telemetry
        apart = contextlib.nullcontext() if told is None else told.left_out()
        with apart, left_out("held-out evaluation"):
            values = self._measured()
        if told is not None:
            told.log(
                self.step, {f"held_out/{name}": v for name, v in values.items()}
            )
        if logs is not None:
            logs.update({f"val_{name}": v for name, v in values.items()})
        if self._best == len(self.steps) - 1 and self.on_best is not None:
            self.on_best(self.step, [*values.values()][-1])
        if self.is_over:
            self.model.stop_training = True

    def _measured(self) -> dict[str, float]:
        """Measures all there is at this step; the last decides."""
        values: dict[str, float] = {}
        if self.dataset is not None:
            values["loss"] = held_out_loss(self.model, self.dataset)
            check_finite(values["loss"], self.step, "held-out loss")
            self.loss.append(values["loss"])
        if self._measure_score is not None:
            values["score"] = self._measure_score(self.model, self.step)
            self.score.append(values["score"])
        self.steps.append(self.step)
        return values
