"""TensorFlow as a data library: quiet, and away from the accelerators."""

import contextlib
import functools
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

# Files that the rest of a process may have open.
_OTHER_FILES = 512


@functools.cache
def tf() -> Any:
    """Returns the `tensorflow` module; imports it, quietly, at the first call.

    The package uses TensorFlow for records, strings and `tf.data` only. GPUs
    and TPUs are hidden from it, because it would otherwise claim their memory
    before JAX does.

    Example:
        >>> tf().config.get_visible_devices("GPU")
        []
    """
    with _quiet_import():
        import tensorflow

        for kind in ("GPU", "TPU"):
            # RuntimeError: the caller has used TensorFlow's devices already.
            with contextlib.suppress(RuntimeError):
                if tensorflow.config.list_physical_devices(kind):
                    tensorflow.config.set_visible_devices([], kind)
    return tensorflow


def allow_open_files(number: int) -> None:
    """Raises the soft limit of open files for `number` more.

    A mixture of the paper's size keeps nearly 2,000 files open; many systems
    allow a process 1,024 until it asks for more.
    """
    try:
        import resource
    except ImportError:  # Windows has no such limit.
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = number + _OTHER_FILES
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        # Some systems have a lower limit than they say. TensorFlow names the
        # file that is one too many.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


@contextlib.contextmanager
def _quiet_import() -> Iterator[None]:
    """Holds back what TensorFlow's C++ writes to stderr while it starts.

    It reads `TF_CPP_MIN_LOG_LEVEL` then, and keeps to it; its first messages
    ignore it. JAX sets the level to 1 where it isn't set, so only 0 is a wish
    of the user to see all. All is shown, too, if the import fails.
    """
    level = "TF_CPP_MIN_LOG_LEVEL"
    given = os.environ.get(level)
    if given == "0" or sys.stderr is None:
        yield
        return
    sys.stderr.flush()
    stderr = os.dup(2)
    os.environ[level] = "3"
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(stderr, held.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            if given is None:
                os.environ.pop(level, None)
            else:
                os.environ[level] = given
