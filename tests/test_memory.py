"""Memory that was freed goes back to the system."""

import ctypes
import platform
import resource
from pathlib import Path

import pytest

from keras_flan.memory import release_memory


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="the others need no asking"
)
def test_freed_memory_goes_back_to_the_system():
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    size, count = 60_000, 2_000
    blocks = [libc.malloc(size) for _ in range(count)]
    for block in blocks:
        ctypes.memset(block, 1, size)
    # The last one stays: what lies below it is kept.
    for block in blocks[:-1]:
        libc.free(ctypes.c_void_p(block))
    before = resident()
    release_memory()
    after = resident()
    libc.free(ctypes.c_void_p(blocks[-1]))
    assert before - after > 0.8 * size * count
