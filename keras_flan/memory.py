"""Memory of the process."""

import ctypes
import sys


def release_memory() -> None:
    """Gives memory that was freed back to the system, where that is known.

    glibc keeps what the threads of XLA's compiler have freed, and caches of
    decoding that are gone: some hundred MiB for a T5 of the small size.
    """
    if sys.platform == "linux":
        # Other C libraries have no such function.
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
