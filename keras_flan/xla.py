"""Settings of XLA's CPU compiler, made before JAX starts."""

import os
from importlib import metadata

_FLAG = "--xla_cpu_experimental_ynn_fusion_type"
# An unknown flag ends the process, so only for what it was seen to work with.
_VERSIONS = ("0.10.",)


def prefer_plain_products(environment=os.environ) -> None:
    """Keeps XLA from fusing small matrix products into YNNPACK's.

    jaxlib 0.10 does so on CPUs, and the backward pass of small models is
    slower for it: a step of a T5 of a million parameters takes 1.7 times as
    long on two cores (`benchmarks/cpu_flags.py`). A flag that the user has set
    stays.

    Args:
        environment: Where `XLA_FLAGS` is.

    Example:
        >>> prefer_plain_products(settings := {})
        >>> settings
        {'XLA_FLAGS': '--xla_cpu_experimental_ynn_fusion_type='}
    """
    flags = environment.get("XLA_FLAGS", "")
    if _FLAG in flags:
        return
    try:
        version = metadata.version("jaxlib")
    except metadata.PackageNotFoundError:
        return
    if version.startswith(_VERSIONS):
        environment["XLA_FLAGS"] = f"{flags} {_FLAG}=".strip()
