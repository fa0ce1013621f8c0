"""Checkpoints that a training goes on from as if it had never stopped."""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from keras_flan.data.pipeline.position import Position
from keras_flan.errors import InputError
from keras_flan.tensors import Tensor
from keras_flan.training.callbacks import Logs, StepCallback

if TYPE_CHECKING:
    from keras_flan.data.pipeline.pipeline import Pipeline

_GROUPS = ("model", "optimizer", "metrics")
# Variables by the names of `_GROUPS`.
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
    same losses, bit for bit, on the same kind of device.

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
        pipeline: "Pipeline | None" = None,
        every: int = 1000,
        keep: int = 2,
        states: Mapping[str, Any] | None = None,
        accumulate: int = 1,
    ):
        super().__init__(every, accumulate)
        self.directory = _absolute(directory)
        self.position = Position()
        self._begun = 0
        self._pipeline = pipeline
        self._states = dict(states or {})
        self._metrics: list[np.ndarray] | None = None
        ocp = _orbax()
        self._checkpointer = ocp.training.Checkpointer(
            self.directory,
            preservation_policy=ocp.training.preservation_policies.LatestN(
                keep
            ),
            save_decision_policy=(
                ocp.training.save_decision_policies.FixedIntervalPolicy(1)
            ),
        )

    def restore(self, model: keras.Model) -> int:
        """Gives a compiled model the latest state, if there is one.

        Args:
            model: The model, built and compiled as it was.

        Returns:
            How many steps it was trained.

        Raises:
            InputError: If the checkpoint is of another model or is damaged.
        """
        latest = self._checkpointer.latest
        if latest is None:
            return 0
        place = self.directory / str(latest.step)
        model.optimizer.build(model.trainable_variables)
        try:
            run = self._checkpointer.load_checkpointables(
                latest.step, {"run": None}
            )["run"]
            groups = _variables(model)
            _check(place, run["shapes"], groups)
            state = self._checkpointer.load_checkpointables(
                latest.step, {"pytree": _abstract(groups)}
            )["pytree"]
        except InputError:
            raise
        except Exception as error:  # Orbax's depend on what is broken.
            reason = str(error).strip().split("\n")[0]
            raise InputError(
                f"{place}: cannot be restored ({reason}); remove this folder "
                "to go on from the checkpoint before it"
            ) from error
        for group, variables in groups.items():
            for i, variable in enumerate(variables):
                variable.assign(_native(state[group][_key(i)]))
        # `fit` sets the metrics to zero at its begin.
        self._metrics = [np.asarray(v) for v in groups["metrics"]]
        self._calls = self._begun = run["step"]
        self.position = _own_position(place, run["positions"])
        for name, value in run["states"].items():
            if name in self._states:
                self._states[name].set_state(value)
        return self.step

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        if self._metrics is None:
            return
        variables = self.model.metrics_variables
        for variable, value in zip(variables, self._metrics, strict=True):
            variable.assign(value)
        self._metrics = None

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        if self._count():
            self.save()

    def on_train_end(self, logs: Logs = None) -> None:
        self._checkpointer.close()

    def save(self) -> None:
        """Writes a checkpoint of the current step."""
        position = Position(batch=self._calls)
        if self._pipeline is not None:
            position = self._pipeline.position(self._calls - self._begun)
        groups = _variables(self.model)
        run = {
            "step": self._calls,
            "positions": _all_positions(position),
            "states": {k: v.state() for k, v in self._states.items()},
            "shapes": _shapes(groups),
        }
        # Not in the background: the next step takes over the buffers that
        # would still be written.
        self._checkpointer.save_checkpointables(
            self._calls, {"pytree": _values(groups), "run": run}, overwrite=True
        )


def _orbax() -> ModuleType:
    try:
        from orbax.checkpoint import v1
    except ImportError as error:
        raise InputError(
            "checkpoints need the package orbax-checkpoint; "
            "pip install 'orbax-checkpoint>=0.12'"
        ) from error
    return v1


def _variables(model: keras.Model) -> Groups:
    return {
        "model": model.variables,
        "optimizer": model.optimizer.variables,
        "metrics": model.metrics_variables,
    }


def _absolute(directory: str | os.PathLike) -> Any:
    """A path as Orbax wants it: absolute, or a bucket's."""
    if "://" not in os.fspath(directory):
        return Path(os.path.abspath(directory))
    from etils import epath  # comes with Orbax

    return epath.Path(directory)


def _all_positions(position: Position) -> list[dict[str, int]]:
    """Where the data of each process stand, as each reads its own."""
    own = list(dataclasses.astuple(position))
    found = [own]
    if keras.backend.backend() == "jax":
        from jax.experimental import multihost_utils

        found = multihost_utils.process_allgather(np.asarray(own))
        found = np.reshape(found, (-1, len(own))).tolist()
    return [Position(*numbers).to_dict() for numbers in found]


def _own_position(place: Path, positions: list) -> Position:
    number, count = 0, 1
    if keras.backend.backend() == "jax":
        import jax

        number, count = jax.process_index(), jax.process_count()
    if len(positions) != count:
        raise InputError(
            f"{place}: was written by {len(positions)} processes, each at its "
            f"own place in the data, and now there are {count}; start as many "
            "as before"
        )
    return Position.from_dict(positions[number])


def _key(number: int) -> str:
    return f"{number:05}"


def _shapes(groups: Groups) -> dict[str, list[list[int]]]:
    return {
        name: [list(v.shape) for v in variables]
        for name, variables in groups.items()
    }


def _values(groups: Groups) -> dict[str, dict[str, Tensor]]:
    # On JAX as they are, sharded or not; Orbax knows no other tensors.
    as_is = keras.backend.backend() == "jax"
    return {
        name: {
            _key(i): v.value if as_is else keras.ops.convert_to_numpy(v)
            for i, v in enumerate(variables)
        }
        for name, variables in groups.items()
    }


def _abstract(groups: Groups) -> dict[str, dict[str, Any]]:
    """What to restore: shapes, dtypes, and the devices of the variables."""
    import jax

    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])

    def describe(variable: keras.Variable) -> Any:
        if keras.backend.backend() == "jax":
            here_ = variable.value.sharding
        else:
            here_ = here
        dtype = keras.backend.standardize_dtype(variable.dtype)
        return jax.ShapeDtypeStruct(
            tuple(variable.shape), dtype, sharding=here_
        )

    return {
        name: {_key(i): describe(v) for i, v in enumerate(variables)}
        for name, variables in groups.items()
    }


def _native(value: Tensor) -> Tensor:
    return value if keras.backend.backend() == "jax" else np.asarray(value)


def _check(place: Path, found: dict[str, list], groups: Groups) -> None:
    expected = _shapes(groups)
    for name in _GROUPS:
        if found.get(name) != expected[name]:
            raise InputError(
                f"{place}: the {name} has {len(found.get(name, ()))} "
                f"variables of other shapes than this {name}'s "
                f"{len(expected[name])}; restore with the settings that it "
                "was saved with, or give another folder"
            )
