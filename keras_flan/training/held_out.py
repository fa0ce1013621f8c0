"""The loss on held-out examples, during training and after."""

from collections.abc import Callable, Iterable

import keras
import numpy as np

from keras_flan.distribution.hosts import from_all
from keras_flan.training.callbacks import Logs, StepCallback, check_finite


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
    """Measures the held-out loss in the course of a training.

    Args:
        dataset: See `held_out_loss`.
        every: Steps between two measurements; the last step of the training
            is measured too, unless it was stopped before its end.
        on_best: A function of the step and the loss, called when the loss is
            lower than ever, such as one that saves the model. The paper
            keeps the checkpoint that is best on held-out tasks.
        accumulate: Calls of the training step per step.

    Attributes:
        steps: list of int.
        loss: list of float.

    Example:

    ```python
    held_out = HeldOutLoss(
        validation, every=500,
        on_best=lambda step, loss: save(model, "best"),
    )
    model.fit(dataset, steps_per_epoch=10_000, callbacks=[held_out])
    ```

    Source: arXiv:2210.11416, section 2.2 (one checkpoint per model, by
    periodic evaluation every 2k to 10k steps).
    """

    _kept = ("steps", "loss")

    def __init__(
        self,
        dataset: Iterable[tuple],
        every: int,
        on_best: Callable[[int, float], None] | None = None,
        accumulate: int = 1,
    ):
        super().__init__(every, accumulate)
        self.dataset = dataset
        self.on_best = on_best
        self.steps: list[int] = []
        self.loss: list[float] = []

    @property
    def best(self) -> int:
        """The step of the lowest loss."""
        return self.steps[self.loss.index(min(self.loss))]

    def on_train_end(self, logs: Logs = None) -> None:
        if self.model.stop_training:
            return
        if self.step and self.steps[-1:] != [self.step]:
            self._point(logs)

    def _point(self, logs: Logs) -> None:
        loss = held_out_loss(self.model, self.dataset)
        check_finite(loss, self.step, "held-out loss")
        best = not self.loss or loss < min(self.loss)
        self.steps.append(self.step)
        self.loss.append(loss)
        if best and self.on_best is not None:
            self.on_best(self.step, loss)
