"""Many processes as one: starting, sharing the data, and losing a host."""

import contextlib
import itertools
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from typing import NoReturn

import jax
import keras
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding, PartitionSpec

from keras_flan.distribution.lost import (
    end_process,
    end_when_lost,
    lost_message,
    says_lost,
)
from keras_flan.errors import InputError, Interrupted
from keras_flan.models.backbones import undrawn
from keras_flan.models.language_model import LanguageModel
from keras_flan.models.loading import undistributed

# What users of `keras.distribution.initialize` set.
_ADDRESSES = "KERAS_DISTRIBUTION_JOB_ADDRESSES"
_PROCESSES = "KERAS_DISTRIBUTION_NUM_PROCESSES"
_PROCESS = "KERAS_DISTRIBUTION_PROCESS_ID"
# Seconds that one process may need longer than another, to write a model.
_WRITING = 6 * 3600
# Bytes of weights that are gathered by one program.
_TOGETHER = 1 << 28
_BARRIERS = itertools.count()


def is_many(addresses: str | None = None) -> bool:
    """Whether the arguments or the environment speak of several processes."""
    return bool(addresses or os.environ.get(_ADDRESSES))


def join_hosts(
    addresses: str | None = None,
    processes: int | None = None,
    process: int | None = None,
    patience: int = 100,
) -> None:
    """Joins the other processes of a run; before JAX is used.

    Does what `keras.distribution.initialize` does, and reads the same
    environment, but lets you say when a host counts as gone.

    Args:
        addresses: `"10.0.0.1:1234"`, of process 0; also read from
            `KERAS_DISTRIBUTION_JOB_ADDRESSES`. Not needed on a TPU slice, nor
            are the next two.
        processes: How many there are; also read from
            `KERAS_DISTRIBUTION_NUM_PROCESSES`.
        process: The number of this one; also read from
            `KERAS_DISTRIBUTION_PROCESS_ID`.
        patience: Seconds after which a silent host counts as gone.

    Raises:
        InputError: If the processes can't find each other.
    """
    addresses = addresses or os.environ.get(_ADDRESSES)
    processes = _number(_PROCESSES, processes)
    process = _number(_PROCESS, process)
    # JAX would take SIGTERM for itself, and do nothing but note it.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(
            addresses.split(",")[0] if addresses else None,
            processes,
            process,
            heartbeat_timeout_seconds=patience,
            initialization_timeout=max(patience, 60),
        )
    except (RuntimeError, TypeError, ValueError) as error:
        raise InputError(
            f"process {process} of {processes} at {addresses}: can't join the "
            f"others ({' '.join(str(error).split())}); start every process, "
            f"with the same {_ADDRESSES} and {_PROCESSES} and each its own "
            f"{_PROCESS}"
        ) from None
    end_when_lost()


def _number(name: str, value: int | None) -> int | None:
    if value is None and name in os.environ:
        try:
            value = int(os.environ[name])
        except ValueError:
            raise InputError(
                f"{name}: expected a number, found {os.environ[name]!r}"
            ) from None
    return value


def data_part(mesh: keras.distribution.DeviceMesh) -> tuple[int, int]:
    """Returns which part of a batch this process makes, and how many.

    Args:
        mesh: A `keras.distribution.DeviceMesh` with the batch axis first.

    Raises:
        InputError: If processes would hold overlapping parts of a batch.
    """
    devices = mesh.backend_mesh.devices
    devices = devices.reshape(len(devices), -1)
    rows: dict[int, set[int]] = {}
    for row, row_devices in enumerate(devices):
        for device in row_devices:
            rows.setdefault(device.process_index, set()).add(row)
    parts = sorted({tuple(sorted(part)) for part in rows.values()})
    if sum(map(len, parts)) != len(devices) or len(set(map(len, parts))) != 1:
        raise InputError(
            f"mesh batch={len(devices)}: the rows of the mesh don't fall "
            f"evenly on the {len(rows)} processes; choose a batch axis that "
            "their number divides, or that divides it"
        )
    own = tuple(sorted(rows[jax.process_index()]))
    return parts.index(own), len(parts)


@contextlib.contextmanager
def ending_together(process: int, processes: int) -> Iterator[None]:
    """Ends this process at once when it fails, or another one has.

    A process that ends with an exception would wait for the others, which
    wait for it. When all goes well each waits at the end for the others, such
    as for the one that writes the model. Without others this does nothing.

    Args:
        process: The number of this process.
        processes: How many there are.

    Example:
        >>> with ending_together(run.process, run.processes):
        ...     model.fit(dataset, steps_per_epoch=1000)
    """
    try:
        yield
        wait_for_all()
    except (Exception, KeyboardInterrupt) as error:
        if processes == 1:
            raise
        if isinstance(error, Interrupted):  # All of them were.
            wait_for_all()
            raise
        if isinstance(error, KeyboardInterrupt):
            os._exit(128 + signal.SIGINT)
        reason = " ".join(str(error).split())
        if says_lost(reason):
            reason = lost_message(reason)
        elif not isinstance(error, InputError):
            reason = traceback.format_exc()
        end_process(process, processes, reason)


def wait_for_all() -> None:
    """Waits, for hours if need be, until every process has called this."""
    if keras.backend.backend() != "jax" or jax.process_count() == 1:
        return
    from orbax.checkpoint import multihost

    # Not by the devices, which give up sooner.
    wait = multihost.get_barrier_sync_fn()
    key = f"keras_flan_{next(_BARRIERS)}"
    wait(key=key, timeout_ms=_WRITING * 1000)


def leave(code: int) -> NoReturn:
    """Ends this process without what Python tidies up, which takes seconds.

    Args:
        code: The exit code.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    if jax.process_count() > 1:
        jax.distributed.shutdown()
    os._exit(code)


def from_all(*numbers: float) -> np.ndarray:
    """Returns the numbers of every process; every process has to call it.

    Args:
        *numbers: Those of this process, as many as the others give.

    Returns:
        A float64 array `[processes, n]`; if there are several, with the
        precision of float32.

    Example:
        >>> from_all(3, 0.5)  # on process 0 of 2
        array([[3.   , 0.5  ],
               [4.   , 0.125]])
    """
    own = np.array([numbers], np.float64)
    if keras.backend.backend() != "jax" or jax.process_count() == 1:
        return own
    own = own.astype(np.float32)
    found = multihost_utils.process_allgather(own, tiled=True)
    return np.asarray(found, np.float64)


def agreed(value: bool) -> bool:
    """Returns what process 0 says; every process has to call it.

    Args:
        value: What this process would say.
    """
    return bool(from_all(value)[0, 0])


def _groups(arrays: Iterator[jax.Array]) -> Iterator[list[jax.Array]]:
    """Yields arrays in groups of about `_TOGETHER` bytes, in their order."""
    group: list[jax.Array] = []
    for array in arrays:
        if group and sum(a.nbytes for a in group) + array.nbytes > _TOGETHER:
            yield group
            group = []
        group.append(array)
    yield group


def gathered(model: LanguageModel) -> LanguageModel | None:
    """Returns a copy of a model in the memory of process 0, to be saved.

    Every process has to call it, as each has a part of the weights; process 0
    returns a model whose weights are all there, without a distribution, with
    a copy of its adapter if there is one, the others `None`. With one process
    it is the model itself.

    Args:
        model: A `keras_flan.models.T5` or `DecoderOnly`.

    Example:

    ```python
    whole = gathered(model)
    if run.writes:
        keras_flan.models.save(whole, "tuned")
    ```
    """
    if keras.backend.backend() != "jax":
        return model
    if jax.process_count() == 1:
        return model
    values = []
    for group in _groups(variable.value for variable in model.variables):
        # Not through JAX's own `process_allgather`: it starts a program for
        # every array, and all processes wait for one another each time.
        whole = [NamedSharding(v.sharding.mesh, PartitionSpec()) for v in group]
        found = jax.jit(lambda group: group, out_shardings=whole)(group)
        if jax.process_index() == 0:
            values += [np.asarray(v.addressable_data(0)) for v in found]
    # Who ends sooner takes its connections with it.
    wait_for_all()
    if jax.process_index() != 0:
        return None
    # The weights may be more than an accelerator of this host can hold.
    host = jax.local_devices(backend="cpu")[0]
    with undistributed(), undrawn(), jax.default_device(host):
        # The config has the adapter too.
        copy = type(model).from_config(model.get_config())
        copy.vocabulary = model.vocabulary
        for variable, value in zip(copy.variables, values, strict=True):
            variable.assign(value)
    return copy
