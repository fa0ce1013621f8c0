"""TensorFlow as a data library, kept away from the accelerators."""

import contextlib
import functools


@functools.cache
def tf():
    """Returns the `tensorflow` module; imports it at the first call.

    The package uses TensorFlow for records, strings and `tf.data` only. GPUs
    and TPUs are hidden from it, because it would otherwise claim their memory
    before JAX does.

    Example:
        >>> tf().constant("text").device
        '/job:localhost/replica:0/task:0/device:CPU:0'
    """
    import tensorflow

    for kind in ("GPU", "TPU"):
        # RuntimeError: the caller has used TensorFlow's devices already.
        with contextlib.suppress(RuntimeError):
            if tensorflow.config.list_physical_devices(kind):
                tensorflow.config.set_visible_devices([], kind)
    return tensorflow
