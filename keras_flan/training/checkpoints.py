"""Checkpoints that a training goes on from as if it had never stopped."""

import importlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import keras
import numpy as np

from keras_flan.data.pipeline.pipeline import Pipeline
from keras_flan.data.pipeline.position import Position
from keras_flan.disk import bytes_of, naming_full_disk
from keras_flan.errors import InputError
from keras_flan.storage import as_path, is_remote
from keras_flan.tensors import Tensor
from keras_flan.training.callbacks import Logs, StepCallback, check_finite

# What is kept besides the variables, as JSON. It was `run` once: a tree, of
# which Orbax wrote every number into an array of its own.
_PROGRESS, _FORMER = "progress", "run"
# The variables of the model, its optimizer and its metrics.
Groups = dict[str, list[keras.Variable]]


class TrainingCheckpoint(StepCallback):
    """Saves all that a training needs to go on, at some of its steps.

    A checkpoint holds the weights, the states of optimizer, dropout and
    metrics, where the data stand, and what other callbacks ask to keep. It
    is an Orbax checkpoint, as that of `keras.callbacks.OrbaxCheckpoint`: it
    is there whole or not at all, each host writes its own shards, and it is
    restored onto the devices that the model now has. (Keras's own names
    variables by their paths, of which a T5 has some twice; here they are
    numbered.) A training that was killed at any step and restored has the
    same losses, bit for bit, on the same kind of device. The mesh and the
    number of processes may be others then; a batch is the same for any
    number of hosts.

    Args:
        directory: The folder of the checkpoints; may be `gs://...`. With
            several hosts all of them need to see the same.
        pipeline: The `keras_flan.data.Pipeline` whose `dataset(...)` is
            trained on, or `None` for other data.
        every: Steps between two.
        keep: How many of the latest stay.
        states: Dictionary of other objects with `state()`, which returns
            something JSON-able, and `set_state(value)`.
        accumulate: Calls of the training step per step.

    Attributes:
        step: Steps trained so far.
        position: Where the data stood at the restored checkpoint, or the
            beginning.

    Example:

    ```python
    pipeline = Pipeline(mixture, vocabulary, ...)
    model.compile(optimizer=Adafactor(1e-3), loss=TokenCrossentropy())
    checkpoint = TrainingCheckpoint("run/checkpoints", pipeline, every=500)
    done = checkpoint.restore(model)  # 0 in a new folder
    model.fit(
        pipeline.dataset(checkpoint.position),
        steps_per_epoch=10_000 - done,
        shuffle=False,
        callbacks=[checkpoint],
    )
    ```
    """

    def __init__(
        self,
        directory: str | os.PathLike,
        pipeline: Pipeline | None = None,
        every: int = 1000,
        keep: int = 2,
        states: Mapping[str, Any] | None = None,
        accumulate: int = 1,
    ):
        super().__init__(every, accumulate)
        self.directory = _absolute(directory)
        self.position = Position()
        # Calls before this `fit`, and at the latest checkpoint.
        self._begun = 0
        self._saved: int | None = None
        self._pipeline = pipeline
        self._states = dict(states or {})
        self._metrics: list[np.ndarray] | None = None
        from orbax.checkpoint import v1

        kept = v1.training.preservation_policies.LatestN(keep)
        always = v1.training.save_decision_policies.FixedIntervalPolicy(1)
        handlers = v1.handlers.local_registry()
        handlers.add(v1.handlers.JsonHandler, checkpointable_name=_PROGRESS)
        context = v1.Context()
        context.checkpointables.registry = handlers
        self._checkpointer = v1.training.Checkpointer(
            self.directory,
            context=context,
            preservation_policy=kept,
            save_decision_policy=always,
        )

    def restore(self, model: keras.Model) -> int:
        """Gives a compiled model the latest state, if there is one.

        Args:
            model: The model, built and compiled as it was.

        Returns:
            How many steps it was trained.

        Raises:
            InputError: If the checkpoint is of another model or is damaged,
                or the model is not compiled.
        """
        latest = self._checkpointer.latest
        if latest is None:
            return 0
        if getattr(model, "optimizer", None) is None:
            raise InputError(
                f"{self.directory}: the model is not compiled, and the "
                "checkpoint has an optimizer's state; call model.compile(...) "
                "with the optimizer that it was trained with, then restore"
            )
        place = self.directory / str(latest.step)
        model.optimizer.build(model.trainable_variables)
        try:
            name = _FORMER if (place / _FORMER).exists() else _PROGRESS
            progress = self._checkpointer.load_checkpointables(
                latest.step, {name: None}
            )[name]
            groups = _variables(model)
            _check(place, progress["shapes"], groups)
            state = self._checkpointer.load_checkpointables(
                latest.step, {"pytree": _numbered(groups, _abstract)}
            )["pytree"]
        except InputError:
            raise
        except Exception as error:  # Orbax's depend on what is broken.
            reason = str(error).strip().split("\n")[0]
            raise InputError(
                f"{place}: cannot be restored ({reason}); remove this folder "
                "to go on from the checkpoint before it"
            ) from error
        on_jax = keras.backend.backend() == "jax"
        for group, variables in groups.items():
            numbered = sorted(state[group].items())
            for variable, (_, v) in zip(variables, numbered, strict=True):
                variable.assign(v if on_jax else np.asarray(v))
        # `fit` sets the metrics to zero at its begin.
        self._metrics = [np.asarray(v) for v in groups["metrics"]]
        self._calls = self._begun = self._saved = progress["step"]
        self.position = _position(place, progress["positions"])
        for name, value in progress["states"].items():
            if name in self._states:
                self._states[name].set_state(value)
        return self.step

    def _go_on_from(self, calls: int) -> None:
        self._begun += calls - self._calls
        super()._go_on_from(calls)

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        super().on_epoch_begin(epoch, logs)
        if self._metrics is None:
            return
        variables = self.model.metrics_variables
        for variable, value in zip(variables, self._metrics, strict=True):
            variable.assign(value)
        self._metrics = None

    def on_train_end(self, logs: Logs = None) -> None:
        self._checkpointer.close()

    def _point(self, logs: Logs) -> None:
        self.save(logs)

    @property
    def calls(self) -> int:
        """Calls of the training step so far."""
        return self._calls

    @property
    def between_steps(self) -> bool:
        """Whether no step is under way, of which some parts are done."""
        return self._calls % self._accumulation.parts == 0

    def save(self, logs: Logs = None) -> None:
        """Writes a checkpoint of the current step, if there is none.

        Args:
            logs: What Keras gives to callbacks: its loss must be finite.

        Raises:
            Diverged: If it isn't; the checkpoints before it stay.
        """
        if self._calls == self._saved:
            return
        if logs and "loss" in logs:
            check_finite(float(logs["loss"]), self.step)
        self._saved = self._calls
        position = Position(batch=self._calls)
        if self._pipeline is not None:
            position = self._pipeline.position(self._calls - self._begun)
        groups = _variables(self.model)
        progress = {
            "step": self._calls,
            "positions": [position.to_dict()],
            "states": {k: v.state() for k, v in self._states.items()},
            "shapes": _shapes(groups),
        }
        # Not in the background: the next step takes over the buffers that
        # would still be written.
        needed = sum(map(bytes_of, groups.values()))
        with naming_full_disk(self.directory / str(self._calls), needed):
            self._checkpointer.save_checkpointables(
                self._calls,
                {"pytree": _numbered(groups, _value), _PROGRESS: progress},
                overwrite=True,
            )


def _variables(model: keras.Model) -> Groups:
    return {
        "model": model.variables,
        "optimizer": model.optimizer.variables,
        "metrics": model.metrics_variables,
    }


def _absolute(directory: str | os.PathLike) -> Any:
    """A path as Orbax wants it: absolute, or a bucket's."""
    if not is_remote(as_path(directory)):
        return Path(os.path.abspath(directory))
    try:
        importlib.import_module("google.cloud.storage")
    except ImportError:
        raise InputError(
            f"{os.fspath(directory)}: checkpoints in a bucket need the package "
            "google-cloud-storage; pip install 'keras_flan[gcs]'"
        ) from None
    from etils import epath  # comes with Orbax

    return epath.Path(os.fspath(directory))


def _position(place: Path, positions: list) -> Position:
    # It was one for each process once, each with batches of its own.
    if len(positions) != 1:
        raise InputError(
            f"{place}: was written by {len(positions)} processes of a version "
            "whose batches depended on their number; remove this folder to "
            "begin anew"
        )
    return Position.from_dict(positions[0])


def _numbered(
    groups: Groups, describe: Callable[[keras.Variable], Any]
) -> dict[str, dict[str, Any]]:
    return {
        name: {f"{i:05}": describe(v) for i, v in enumerate(variables)}
        for name, variables in groups.items()
    }


def _value(variable: keras.Variable) -> Tensor:
    # On JAX as it is, sharded or not; Orbax knows no other tensors.
    if keras.backend.backend() == "jax" and variable.ndim > 0:
        return variable.value
    # What was assigned to a metric, on one device per process, is an array
    # within an array, of which Orbax can't see the shards.
    return keras.ops.convert_to_numpy(variable)


def _abstract(variable: keras.Variable) -> Any:
    """What to restore: shape, dtype, and the devices of a variable."""
    place = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    if keras.backend.backend() == "jax":
        place = variable.value.sharding
    dtype = keras.backend.standardize_dtype(variable.dtype)
    return jax.ShapeDtypeStruct(tuple(variable.shape), dtype, sharding=place)


def _shapes(groups: Groups) -> dict[str, list[list[int]]]:
    return {
        name: [list(v.shape) for v in variables]
        for name, variables in groups.items()
    }


def _check(place: Path, found: dict[str, list], groups: Groups) -> None:
    for name, expected in _shapes(groups).items():
        if found.get(name) != expected:
            raise InputError(
                f"{place}: the {name} has {len(found.get(name, ()))} "
                f"variables of other shapes than this {name}'s "
                f"{len(expected)}; restore with the settings that it was "
                "saved with, or give another folder"
            )
