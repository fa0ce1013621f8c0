"""Rows of bfloat16 tables, looked up on a CPU without a copy of the table.

XLA's CPU compiler knows no bfloat16 but in products: what looks up some rows
first makes a float32 table of all. As whole numbers they are looked up as
they are.
"""

import functools
from typing import Any

import ml_dtypes
import numpy as np


@functools.cache
def look_up_as_integers() -> None:
    """Has JAX look up bfloat16 numbers as integers of 16 bits on CPUs.

    What is found is the same to the bit. Without effect on other devices,
    and where this version of JAX has no place to say so.
    """
    from jax import lax
    from jax.interpreters import mlir

    try:
        known = mlir._lowerings[lax.gather_p]
    except (AttributeError, KeyError):
        return
    former = getattr(known, "rule", known)

    def lowered(context: Any, table: Any, places: Any, **settings: Any) -> Any:
        if context.avals_in[0].dtype != ml_dtypes.bfloat16:
            return former(context, table, places, **settings)
        # What stands for places outside the table: of floats, NaN.
        fill = settings.pop("fill_value")
        fill = np.array(np.nan if fill is None else fill, ml_dtypes.bfloat16)

        def found(table: Any, places: Any) -> Any:
            # Together, or a loop that looks up would first copy the table.
            table, places = lax.optimization_barrier((table, places))
            whole = lax.bitcast_convert_type(table, "uint16")
            bits = int(fill.view("uint16"))
            rows = lax.gather_p.bind(whole, places, fill_value=bits, **settings)
            return lax.bitcast_convert_type(rows, "bfloat16")

        lower = mlir.lower_fun(found, multiple_results=False)
        return lower(context, table, places)

    mlir.register_lowering(lax.gather_p, lowered, platform="cpu")
