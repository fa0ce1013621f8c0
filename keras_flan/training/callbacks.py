"""Callbacks for `model.fit`."""

import keras

from keras_flan.progress import Progress


class StepLog(keras.callbacks.Callback):
    """Records the loss curve by steps, and shows progress.

    Args:
        every: int. Steps between two points.
        total: int or `None`. Steps in all, for the time left.
        progress: bool. Whether to show progress on stderr.

    Attributes:
        steps: list of int, the step at the end of each stretch, from 1.
        loss: list of float, the mean loss over each stretch.

    Example:

    ```python
    log = StepLog(every=20)
    model.fit(dataset, callbacks=[log], verbose=0)
    plt.plot(log.steps, log.loss)
    ```
    """

    # The loss is only read (which waits for the device) at a point's end.
    async_safe = False

    def __init__(self, every=20, total=None, progress=False):
        super().__init__()
        self.every = every
        self.steps = []
        self.loss = []
        self._step = 0
        self._progress = Progress(
            "training", total=total, unit="steps", enabled=progress
        )

    def on_train_begin(self, logs=None):
        self._progress.__enter__()

    def on_train_end(self, logs=None):
        self._progress.__exit__()

    def on_epoch_begin(self, epoch, logs=None):
        # Keras reports the mean since the epoch's begin; keep what was
        # reported to take the mean of a stretch.
        self._since_epoch = 0
        self._reported = (0, 0.0)

    def on_train_batch_end(self, batch, logs=None):
        self._step += 1
        self._since_epoch += 1
        if self._since_epoch % self.every == 0:
            self._point(logs)
        note = f"loss {self.loss[-1]:.3f}" if self.loss else ""
        self._progress.advance(note=note)

    def on_epoch_end(self, epoch, logs=None):
        if self._since_epoch % self.every:
            self._point(logs)

    def _point(self, logs):
        count, mean = self._since_epoch, float(logs["loss"])
        before_count, before_mean = self._reported
        total = count * mean - before_count * before_mean
        self.steps.append(self._step)
        self.loss.append(total / (count - before_count))
        self._reported = (count, mean)
