"""What a process is given before JAX starts, so that it is fast and quiet."""

import functools
import os
import sys

from keras_flan.runtime.memory import keep_freed_memory
from keras_flan.runtime.xla import choose_products


def prepare_process() -> None:
    """Sets what speed needs in this process, unless JAX has started.

    The `keras-flan` command calls it when it starts, and so do what makes or
    loads a model (`keras_flan.models.load`, `T5.from_config_values`, ...) and
    `keras_flan.distribution.setup`. Importing keras_flan sets nothing. What
    the user has set stays. Further calls do nothing.

    Example:
        A script that makes a model in plain keras-hub calls it first:

        ```python
        from keras_flan.runtime import prepare_process

        prepare_process()
        backbone = keras_hub.models.Qwen3Backbone(...)
        ```

    See `choose_products` and `keep_freed_memory` for what is set, and
    `use_bfloat16_units` and `look_up_as_integers` for what JAX is told once
    Keras has it.
    """
    _set_environment()
    keras = sys.modules.get("keras")
    if keras is not None and keras.backend.backend() == "jax":
        from keras_flan.runtime.lookups import look_up_as_integers
        from keras_flan.runtime.products import use_bfloat16_units

        use_bfloat16_units()
        look_up_as_integers()


@functools.cache
def _set_environment() -> None:
    if not _jax_has_started():
        choose_products(os.environ)
        keep_freed_memory(os.environ)


def _jax_has_started() -> bool:
    """Whether JAX has read its settings; it does so at its first computation.

    JAX has no public name for this, and asking for devices would start it.
    """
    bridge = sys.modules.get("jax._src.xla_bridge")
    return bridge is not None and bridge.backends_are_initialized()
