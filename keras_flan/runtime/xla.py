"""XLA: settings of its CPU compiler, and how long it compiles."""

import functools
import os
from collections.abc import MutableMapping
from importlib import metadata
from pathlib import Path
from typing import Literal, TypeAlias

# What matrix products are made of, see `runtime.products.products_in`.
Products: TypeAlias = Literal["float32", "bfloat16", "auto"]
_FLAG = "--xla_cpu_experimental_ynn_fusion_type"
_VALUE = "individual_dot"
# An unknown flag ends the process, so only for what it was seen to work with.
_VERSIONS = ("0.10.",)
# Linux's names of what multiplies bfloat16 numbers. Not `avx512_bf16`: there
# XLA's products take longer than those in float32 (94 and 159 GFLOP/s).
_UNITS = frozenset({"amx_bf16"})


def choose_products(environment: MutableMapping[str, str]) -> None:
    """Has XLA leave matrix products to YNNPACK on CPUs, but no other sums.

    jaxlib 0.10 leaves it both, and a step of a T5 of a million parameters
    takes 1.3 times as long for it; without YNNPACK, one of T5-Small takes 1.2
    times as long (`benchmarks/cpu_flags.py`). A flag that the user has set
    stays.

    Args:
        environment: Where `XLA_FLAGS` is.

    Example:
        >>> choose_products(settings := {})
        >>> settings
        {'XLA_FLAGS': '--xla_cpu_experimental_ynn_fusion_type=individual_dot'}
    """
    flags = environment.get("XLA_FLAGS", "")
    if _FLAG in flags:
        return
    if _known():
        environment["XLA_FLAGS"] = f"{flags} {_FLAG}={_VALUE}".strip()


def has_bfloat16_units(cpu: str | os.PathLike = "/proc/cpuinfo") -> bool:
    """Whether XLA multiplies bfloat16 matrices by units of this CPU.

    Args:
        cpu: A file in which Linux says what the CPU has.
    """
    try:
        words = Path(cpu).read_text(encoding="utf-8", errors="replace").split()
    except OSError:
        return False
    return _known() and not _UNITS.isdisjoint(words)


def plain_sums() -> dict[str, str] | None:
    """Returns options of a compilation that leave sums whole.

    XLA's CPU compiler cuts sums, and maxima, into windows and adds what those
    make. A step of decoding is thousands of small sums: whole, each is one
    with what it sums, and SmolLM2 in bfloat16 samples 1.3 times the tokens
    per second.

    Returns:
        What `jax.jit` takes as `compiler_options`; `None` where the devices
        are no CPUs, or the compiler is not known.
    """
    import jax

    if jax.default_backend() != "cpu" or not _known():
        return None
    return {"xla_disable_hlo_passes": "tree_reduction_rewriter"}


def _known() -> bool:
    """Whether this compiler is one that all this was seen to work with."""
    try:
        return metadata.version("jaxlib").startswith(_VERSIONS)
    except metadata.PackageNotFoundError:
        return False


class CompileSeconds:
    """Adds up the seconds that JAX traces and compiles, in this process.

    Attributes:
        total: Seconds since it was made.
    """

    # Tracing, lowering, and XLA itself.
    _PREFIX = "/jax/core/compile/"

    def __init__(self) -> None:
        import jax

        self.total = 0.0
        jax.monitoring.register_event_duration_secs_listener(self._add)

    def _add(self, event: str, seconds: float, **_: object) -> None:
        if event.startswith(self._PREFIX):
            self.total += seconds


@functools.cache
def compile_seconds() -> CompileSeconds:
    """Returns the process's one `CompileSeconds`; JAX forgets no listener."""
    return CompileSeconds()
