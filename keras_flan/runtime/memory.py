"""Memory of the process."""

import ctypes
import sys
from collections.abc import Callable, Mapping

# What an arena of glibc that isn't the main one can hold.
_LARGEST = 64 * 2**20
# Parameters of `mallopt`, as in malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
# With the names of their settings.
_PARAMETERS = {
    _M_TRIM_THRESHOLD: ("trim_threshold", 2 * _LARGEST),
    _M_MMAP_THRESHOLD: ("mmap_threshold", _LARGEST),
}


def keep_freed_memory(environment: Mapping[str, str]) -> None:
    """Has glibc keep what is freed, up to 64 MiB a piece, for what comes next.

    XLA takes the memory of a step anew each time, and glibc gives it back in
    between, so the system clears the same pages step after step: a sixth of
    the time of one of `flan_nano`. Larger pieces are taken from the system as
    before. What the user has set stays.

    Args:
        environment: Where the settings of glibc's malloc are.

    Example:
        To have it otherwise, set what glibc knows before Python starts:

        $ MALLOC_TRIM_THRESHOLD_=131072 python train.py
    """
    mallopt = _of_glibc("mallopt")
    if mallopt is None:
        return
    for parameter, (name, value) in _PARAMETERS.items():
        tuned = name in environment.get("GLIBC_TUNABLES", "")
        if not tuned and f"MALLOC_{name.upper()}_" not in environment:
            mallopt(parameter, value)


def release_memory() -> None:
    """Gives memory that was freed back to the system, where that is known.

    glibc keeps what the threads of XLA's compiler have freed, and caches of
    decoding that are gone: some hundred MiB for a T5 of the small size.
    """
    trim = _of_glibc("malloc_trim")
    if trim is not None:
        trim(0)


def _of_glibc(name: str) -> Callable | None:
    """Returns a function of glibc; `None` where the C library has none."""
    if sys.platform != "linux":
        return None
    return getattr(ctypes.CDLL(None), name, None)
