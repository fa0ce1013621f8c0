"""The loss on held-out examples, during training and after."""

import keras
import numpy as np


def held_out_loss(model, dataset) -> float:
    """Returns the mean loss over all target tokens of a dataset.

    Unlike `model.evaluate`, every token counts the same, however the batches
    are filled, and the metrics of a training in progress stay as they are.

    Args:
        model: A compiled model.
        dataset: Batches `(x, y, sample_weight)`, finitely many, such as
            those of `build_dataset(..., repeat=False)`.

    Example:
        >>> held_out_loss(model, build_dataset(..., repeat=False))
        1.31
    """
    kept = [(v, np.asarray(v)) for v in model.metrics_variables]
    total = tokens = 0.0
    for batch in dataset:
        x, y, weight = keras.tree.map_structure(np.asarray, batch)
        model.reset_metrics()
        logs = model.test_on_batch(x, y, weight, return_dict=True)
        count = float(np.sum(weight))
        total += float(logs["loss"]) * count
        tokens += count
    for variable, value in kept:
        variable.assign(value)
    return total / max(tokens, 1.0)


class HeldOutLoss(keras.callbacks.Callback):
    """Measures the held-out loss every so many steps.

    Args:
        dataset: See `held_out_loss`.
        every: int. Steps between two measurements; the last step of the
            training is measured too.
        on_best: A function of the step and the loss, called when the loss is
            lower than ever, such as one that saves the model. The paper
            keeps the checkpoint that is best on held-out tasks.
        start: int. Steps that were trained before.

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

    Source: arXiv:2210.11416, section 2.2 (one checkpoint a model, by
    periodic evaluation every 2k to 10k steps).
    """

    # Reading the weights at every step would wait for the device.
    async_safe = False

    def __init__(self, dataset, every, on_best=None, start=0):
        super().__init__()
        self.dataset = dataset
        self.every = every
        self.on_best = on_best
        self.steps = []
        self.loss = []
        self._step = start

    def state(self) -> dict:
        """Returns what a checkpoint keeps."""
        return {"step": self._step, "steps": self.steps, "loss": self.loss}

    def set_state(self, state: dict) -> None:
        """Goes on from `state()`."""
        self._step = state["step"]
        self.steps, self.loss = list(state["steps"]), list(state["loss"])

    def on_train_batch_end(self, batch, logs=None):
        self._step += 1
        if self._step % self.every == 0:
            self._measure()

    def on_train_end(self, logs=None):
        if self._step and self.steps[-1:] != [self._step]:
            self._measure()

    def _measure(self):
        loss = held_out_loss(self.model, self.dataset)
        best = not self.loss or loss < min(self.loss)
        self.steps.append(self._step)
        self.loss.append(loss)
        if best and self.on_best is not None:
            self.on_best(self._step, loss)
