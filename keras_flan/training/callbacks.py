"""Callbacks for `model.fit`."""

import sys

import keras

from keras_flan.progress import Progress


class StepLog(keras.callbacks.Callback):
    """Records the loss curve by steps, and shows progress.

    Args:
        every: int. Steps between two points.
        total: int or `None`. Steps in all, for the time left.
        progress: bool. Whether to show progress on stderr.
        reset: bool. Whether to begin the mean loss of `fit` anew at every
            point, as a long run should: a sum of a hundred thousand losses
            in float32 is coarse.

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

    # The loss is only read (which waits for the device) at a point's end.
    async_safe = False

    def __init__(self, every=20, total=None, progress=False, reset=False):
        super().__init__()
        self.every = every
        self.reset = reset
        self.steps = []
        self.loss = []
        self.gradient_norm = []
        self._step = 0
        # Steps since Keras's mean began, and what was reported of them.
        self._since, self._reported = 0, (0, 0.0)
        self._restored = False
        self._progress = Progress(
            "training", total=total, unit="steps", enabled=progress
        )

    def state(self) -> dict:
        """Returns what a checkpoint keeps."""
        return {
            "step": self._step,
            "since": self._since,
            "reported": list(self._reported),
            "steps": self.steps,
            "loss": self.loss,
            "gradient_norm": self.gradient_norm,
        }

    def set_state(self, state: dict) -> None:
        """Goes on from `state()`."""
        self._step, self._since = state["step"], state["since"]
        self._reported = tuple(state["reported"])
        self.steps = list(state["steps"])
        self.loss = list(state["loss"])
        self.gradient_norm = list(state["gradient_norm"])
        self._restored = True

    def on_train_begin(self, logs=None):
        self._progress.__enter__()
        if self._step:
            self._progress.advance(self._step)

    def on_train_end(self, logs=None):
        self._progress.__exit__()

    def on_epoch_begin(self, epoch, logs=None):
        if not self._restored:
            self._since, self._reported = 0, (0, 0.0)
        self._restored = False

    def on_train_batch_end(self, batch, logs=None):
        self._step += 1
        self._since += 1
        if self._step % self.every == 0:
            self._point(logs)
        note = f"loss {self.loss[-1]:.3f}" if self.loss else ""
        self._progress.advance(note=note)

    def on_epoch_end(self, epoch, logs=None):
        if self._since > self._reported[0]:
            self._point(logs)

    def _point(self, logs):
        # Keras reports the mean since it began.
        count, mean = self._since, float(logs["loss"])
        before_count, before_mean = self._reported
        total = count * mean - before_count * before_mean
        self.steps.append(self._step)
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
        input_length: int. Tokens of a row for the inputs.
        target_length: int. Tokens of a row for the targets.
        share: float. How large a share of the examples is many.

    Example:

    ```python
    note = CutsNote(pipeline, input_length=512, target_length=256)
    model.fit(pipeline.dataset(), callbacks=[note], steps_per_epoch=1000)
    ```
    """

    def __init__(self, pipeline, input_length, target_length, share=0.05):
        super().__init__()
        self.pipeline = pipeline
        self.input_length = input_length
        self.target_length = target_length
        self.share = share
        self._looked = False

    def on_train_batch_end(self, batch, logs=None):
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
