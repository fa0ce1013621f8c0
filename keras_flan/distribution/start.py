"""One call that readies a process, or one of many, for distributed runs."""

import dataclasses
import os
from typing import Any

import jax
import keras

from keras_flan.distribution.hosts import data_part, is_many, join_hosts
from keras_flan.distribution.layouts import Layouts
from keras_flan.distribution.mesh import (
    MODEL,
    Axes,
    Mesh,
    default_preset,
    device_mesh,
)
from keras_flan.distribution.parallel import ModelParallel
from keras_flan.errors import InputError
from keras_flan.runtime.start import prepare_process
from keras_flan.runtime.tensorflow import tf
from keras_flan.storage import as_path


@dataclasses.dataclass(frozen=True)
class Setup:
    """How this process takes part in a run; by default, alone.

    Attributes:
        distribution: The `keras.distribution.Distribution` in use, or `None`.
        layouts: Its layouts; `None` if all weights are on every device.
        process: The number of this process, from 0.
        processes: How many processes there are.
        host: Which part of each batch this process makes, from 0.
        hosts: How many parts there are. Processes that hold parts of one
            copy of the model make the same part.

    Example:

    ```python
    run = keras_flan.distribution.setup("batch=4,model=2", "fsdp+model")
    model = keras_flan.models.load("flan_t5_small")
    dataset = build_dataset(
        mixture, model.vocabulary, input_length=512, target_length=256,
        **run.pipeline_settings(batch_size=64),
    )
    model.fit(dataset, steps_per_epoch=1000)
    ```
    """

    distribution: Any = None
    layouts: Layouts | None = None
    process: int = 0
    processes: int = 1
    host: int = 0
    hosts: int = 1

    @property
    def writes(self) -> bool:
        """Whether this process is the one that writes files and messages."""
        return self.process == 0

    def batch_size(self, whole: int) -> int:
        """Returns the rows of a batch that this process makes.

        Args:
            whole: Rows of a batch over all devices.

        Raises:
            InputError: If the mesh can't divide them.
        """
        parts = 1
        if self.distribution is not None:
            parts = self.distribution.num_model_replicas
        if whole % parts:
            raise InputError(
                f"batch_size {whole} can't be divided by the {parts} parts "
                "of the mesh's batch axis; use a multiple"
            )
        return whole // self.hosts

    def pipeline_settings(self, batch_size: int) -> dict[str, Any]:
        """Returns `batch_size`, `host` and `hosts` for `build_dataset`.

        Args:
            batch_size: Rows of a batch over all devices.
        """
        return {
            "batch_size": self.batch_size(batch_size),
            "host": self.host,
            "hosts": self.hosts,
        }


def setup(
    mesh: Axes = "batch=-1",
    preset: str | None = None,
    *,
    sequence: bool = False,
    multi_host: bool | None = None,
    addresses: str | None = None,
    processes: int | None = None,
    process: int | None = None,
    patience: int = 100,
    cache: str | os.PathLike | None = None,
    seed: int = 0,
) -> Setup:
    """Readies this process; call it once, before anything is built.

    The same script runs on every host, see `Setup`. The model is built as
    usual afterwards, its weights straight onto their devices. TensorFlow is
    kept off the accelerators.

    Args:
        mesh: Over the devices of all hosts, as in `"batch=64,model=8"`; see
            `Mesh`. The default splits the batch over all of them.
        preset: Where weights lie: `"data"`, `"fsdp"`, `"model"`,
            `"fsdp+model"` or `"experts"`; see `layout_map`. Default:
            `"fsdp+model"` if the mesh has an axis `model`, else `"data"`.
        sequence: See `layout_map`.
        multi_host: Whether this is one of many processes. Default: if
            `addresses` or the environment say so. On a TPU slice with
            several hosts say `True`, and nothing else is needed.
        addresses: See `join_hosts`.
        processes: See `join_hosts`.
        process: See `join_hosts`.
        patience: See `join_hosts`.
        cache: A folder for compiled programs, so that a restart need not
            compile again. May be `gs://`.
        seed: Seeds Keras, the same on every host.

    Raises:
        InputError: If the mesh doesn't fit the devices, or the backend is
            not JAX.

    Example:

    ```python
    run = keras_flan.distribution.setup("batch=4,model=2", "fsdp+model")
    model = keras_flan.models.load("flan_t5_small")
    ```
    """
    prepare_process()
    _start_jax(cache)
    if is_many(addresses) if multi_host is None else multi_host:
        join_hosts(addresses, processes, process, patience)
    keras.utils.set_random_seed(seed)
    devices = device_mesh(mesh)
    preset = preset or default_preset(Mesh(devices))
    if preset == "data" and MODEL not in Mesh(devices):
        layouts = None
        distribution = keras.distribution.DataParallel(
            device_mesh=devices, auto_shard_dataset=False
        )
    else:
        # Weights of any family are looked up as they are made.
        layouts = Layouts(devices, preset, sequence=sequence)
        distribution = ModelParallel(layouts)
    keras.distribution.set_distribution(distribution)
    own = jax.process_index(), jax.process_count()
    return Setup(distribution, layouts, *own, *data_part(devices))


def _start_jax(cache: str | os.PathLike | None) -> None:
    """Starts TensorFlow and JAX, which keeps what it compiles in `cache`."""
    if keras.backend.backend() != "jax":
        raise InputError(
            f"distribution needs JAX, found KERAS_BACKEND="
            f"{keras.backend.backend()}; set KERAS_BACKEND=jax"
        )
    tf()  # Before JAX claims the devices, and without claiming them itself.
    if cache is not None:
        folder = as_path(cache)
        folder.mkdir(parents=True, exist_ok=True)
        jax.config.update("jax_compilation_cache_dir", str(folder))
