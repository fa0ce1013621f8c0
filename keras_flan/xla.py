"""Settings of XLA's CPU compiler, made before JAX starts."""

import os
from importlib import metadata

_FLAG = "--xla_cpu_experimental_ynn_fusion_type"
_VALUE = "individual_dot"
# An unknown flag ends the process, so only for what it was seen to work with.
_VERSIONS = ("0.10.",)


def prefer_single_products(environment=os.environ) -> None:
    """Has XLA leave matrix products to YNNPACK, but nothing around them.

    jaxlib 0.10 also gives it sums and what it can fuse with products, and the
    backward pass of small models is slower for it; without it at all, large
    products are two to ten times slower (`benchmarks/cpu_flags.py`). A flag
    that the user has set stays.

    Args:
        environment: Where `XLA_FLAGS` is.

    Example:
        >>> prefer_single_products(settings := {})
        >>> settings
        {'XLA_FLAGS': '--xla_cpu_experimental_ynn_fusion_type=individual_dot'}
    """
    flags = environment.get("XLA_FLAGS", "")
    if _FLAG in flags:
        return
    try:
        version = metadata.version("jaxlib")
    except metadata.PackageNotFoundError:
        return
    if version.startswith(_VERSIONS):
        environment["XLA_FLAGS"] = f"{flags} {_FLAG}={_VALUE}".strip()
