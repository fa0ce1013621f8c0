"""Memory that was freed is used again, and goes back when asked."""

import ctypes
import platform
import resource
from pathlib import Path

import pytest

from keras_flan.runtime import memory
from keras_flan.runtime.memory import keep_freed_memory, release_memory


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


glibc = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="a setting of glibc"
)


@glibc
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


@glibc
def test_freed_memory_is_used_again():
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    keep_freed_memory({})
    size, faults = 48 * 2**20, []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        block = libc.malloc(size)
        ctypes.memset(block, 1, size)
        libc.free(ctypes.c_void_p(block))
        after = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        faults.append(after - before)
    # The pages are there from the first time on.
    assert max(faults[1:]) < 0.1 * size / resource.getpagesize()


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, {-1, -3}),
        ({"MALLOC_TRIM_THRESHOLD_": "1000"}, {-3}),
        ({"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=1000"}, {-1}),
    ],
)
def test_what_the_user_has_set_stays(monkeypatch, environment, expected):
    given = {}
    monkeypatch.setattr(memory, "_of_glibc", lambda name: given.__setitem__)
    keep_freed_memory(environment)
    assert set(given) == expected


def test_other_c_libraries_are_left_alone(monkeypatch):
    monkeypatch.setattr(memory, "_of_glibc", lambda name: None)
    keep_freed_memory({})
    release_memory()
