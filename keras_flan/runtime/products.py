"""Matrix products of bfloat16 numbers, by the units that CPUs have for them.

XLA's CPU compiler leaves a product of bfloat16 matrices to YNNPACK, which uses
a CPU's units for it (AMX), only if the product is wanted in float32 and the
inner dimensions lie as they do in a product of plain matrices; all others it
does in float32. Here all are asked for so. What is computed is what TPUs
compute: products of bfloat16 numbers, summed in float32.
"""

import contextlib
import functools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import ml_dtypes
import numpy as np

from keras_flan.errors import InputError
from keras_flan.runtime.xla import Products, has_bfloat16_units

# By JAX's name: what is multiplied is rounded to bfloat16, sums are float32.
_ROUNDED = "BF16_BF16_F32"
# Products with shorter sums are few, and some are of positions: these need
# all their digits.
_SHORTEST_SUM = 16
# States are few where they have this many times as many numbers each: what is
# made of them is then less work to transpose than the table.
_FEW = 4


@contextlib.contextmanager
def bfloat16_products() -> Iterator[None]:
    """Rounds what is multiplied to bfloat16; all else stays float32.

    For the whole process, while it is open: what is compiled meanwhile
    multiplies so, forward and backward. TPUs do that by default. On a CPU
    with AMX a product takes a third of the time.

    Raises:
        InputError: If Keras's backend is not JAX.

    Example:
        >>> with bfloat16_products():
        ...     model.fit(dataset, steps_per_epoch=1000)
    """
    if keras.backend.backend() != "jax":
        raise InputError(
            "products in bfloat16: expected Keras's backend jax, found "
            f"{keras.backend.backend()}; set KERAS_BACKEND=jax, or take "
            "precision mixed_bfloat16"
        )
    import jax

    use_bfloat16_units()
    # Not JAX's own context, which is that of one thread.
    before = jax.config.jax_default_matmul_precision
    jax.config.update("jax_default_matmul_precision", _ROUNDED)
    try:
        yield
    finally:
        jax.config.update("jax_default_matmul_precision", before)


@contextlib.contextmanager
def bfloat16_operands() -> Iterator[None]:
    """Multiplies as bfloat16 what is so already, though it is cast.

    Nothing is rounded that was not before. For what this thread traces while
    it is open; without effect on other backends than JAX.
    """
    if keras.backend.backend() != "jax":
        yield
        return
    import jax

    use_bfloat16_units()
    with jax.default_matmul_precision(_ROUNDED):
        yield


def products_in(dtype: Products) -> contextlib.AbstractContextManager[None]:
    """Returns `bfloat16_products()`, or a context that changes nothing.

    Args:
        dtype: With `auto`, bfloat16 where this CPU has units for it. Without
            them rounding is work, and saves none.
    """
    if dtype == "auto":
        dtype = "bfloat16" if has_bfloat16_units() else "float32"
    return (
        bfloat16_products() if dtype == "bfloat16" else contextlib.nullcontext()
    )


@functools.cache
def use_bfloat16_units() -> None:
    """Has JAX ask XLA's CPU compiler for bfloat16 products as it knows them.

    They are the same but for the order of their sums. Without effect on other
    devices, and where this version of JAX has no place to say so. A CPU that
    has no such units, or a compiler that is not known to use them, multiplies
    the rounded numbers in float32.
    """
    from jax import lax
    from jax.interpreters import mlir

    try:
        known = mlir._platform_specific_lowerings["cpu"][lax.dot_general_p]
    except (AttributeError, KeyError):
        return
    former = getattr(known, "rule", known)
    rounded = lax.DotAlgorithmPreset[_ROUNDED]
    units = has_bfloat16_units()

    def lowered(context: Any, lhs: Any, rhs: Any, **settings: Any) -> Any:
        left, right = context.avals_in
        [out] = context.avals_out
        (inner, _), _ = settings["dimension_numbers"]
        types = {str(left.dtype), str(right.dtype)}
        asked = settings["precision"] == rounded
        if asked and types <= {"bfloat16", "float32"}:
            settings["precision"] = None
        else:
            asked = units and types == {str(out.dtype)} == {"bfloat16"}
        short = math.prod(left.shape[d] for d in inner) < _SHORTEST_SUM
        if not asked or short or settings.get("out_sharding") is not None:
            return former(context, lhs, rhs, **settings)
        rhs, right, dimensions = _untransposed(
            rhs, right, settings["dimension_numbers"]
        )
        product = functools.partial(
            _product, dimensions=dimensions, dtype=out.dtype, units=units
        )
        lower = mlir.lower_fun(product, multiple_results=False)
        return lower(context.replace(avals_in=[left, right]), lhs, rhs)

    # Not cacheable: it looks at what the operands are made by.
    mlir.register_lowering(
        lax.dot_general_p, lowered, platform="cpu", cacheable=False
    )


def _untransposed(value: Any, aval: Any, dimensions: Any) -> Any:
    """Takes what a matrix is the transposition of, if it is one.

    An embedding that projects is transposed. Rounded, it would be copied.
    """
    (left, right), batches = dimensions
    if len(aval.shape) != 2 or len(right) != 1 or any(batches):
        return value, aval, dimensions
    made, dtype = _maker(value), aval.dtype
    if made is not None and made.name == "stablehlo.convert":
        # What was bfloat16 will be so again.
        [narrow] = made.operands
        if str(narrow.type.element_type) == "bf16":
            made, dtype = _maker(narrow), ml_dtypes.bfloat16
    if made is None or made.name != "stablehlo.transpose":
        return value, aval, dimensions
    aval = aval.update(shape=aval.shape[::-1], dtype=np.dtype(dtype))
    return made.operands[0], aval, ((left, (1 - right[0],)), batches)


def _maker(value: Any) -> Any:
    """Returns the operation that makes a value; None if it is given."""
    made = getattr(value.owner, "operation", value.owner)
    return made if hasattr(made, "operands") else None


def _product(
    lhs: Any, rhs: Any, *, dimensions: Any, dtype: Any, units: bool
) -> Any:
    """`lax.dot_general` of bfloat16 numbers, summed in float32."""
    from jax import lax

    (left, right), (batch, _) = dimensions
    # One that is rounded is written anew, in whatever order is wanted.
    as_it_lies = rhs.dtype == ml_dtypes.bfloat16
    lhs, rhs = lhs.astype("bfloat16"), rhs.astype("bfloat16")
    multiply = functools.partial(
        lax.dot_general,
        precision=lax.Precision.DEFAULT,
        preferred_element_type="float32",
    )
    outer = [d for d in range(lhs.ndim) if d not in (*left, *batch)]
    if batch and outer and max(outer) > min(left):
        # XLA believes that YNNPACK takes it, and fails when it does not.
        units = False
    if not units:
        lhs, rhs = lhs.astype("float32"), rhs.astype("float32")
        return multiply(lhs, rhs, dimensions).astype(dtype)
    if batch or lhs.ndim - 1 in left:
        if as_it_lies and _is_projection(lhs, rhs, dimensions):
            # The table first: else it would be transposed, and copied.
            rows = lhs.reshape(-1, lhs.shape[-1])
            found = multiply(rhs, rows, (((1,), (1,)), ((), ())))
            found = found.T.reshape(*lhs.shape[:-1], -1)
            return found.astype(dtype)
        return multiply(lhs, rhs, dimensions).astype(dtype)
    # A gradient of weights: the sum goes over the first dimensions of both.
    # XLA would fold a transposition into the product, which YNNPACK does not
    # take then; with a row more it can't.
    lhs, kept = _flat(lhs, left, last=True)
    rhs, others = _flat(rhs, right, last=False)
    lhs = lax.pad(lhs, lhs.dtype.type(0), ((0, 1, 0), (0, 0, 0)))
    found = multiply(lhs, rhs, (((1,), (0,)), ((), ())))[:-1]
    return found.reshape(*kept, *others).astype(dtype)


def _is_projection(lhs: Any, rhs: Any, dimensions: Any) -> bool:
    """Whether few states are multiplied with all rows of a long table."""
    inner, batches = dimensions
    if any(batches) or rhs.ndim != 2 or inner != ((lhs.ndim - 1,), (1,)):
        return False
    rows = math.prod(lhs.shape[:-1])
    return rows * _FEW <= lhs.shape[-1] and rows <= rhs.shape[0]


def _flat(x: Any, inner: Sequence[int], last: bool) -> tuple[Any, list[int]]:
    """Makes a matrix of `x`, its inner dimensions last or first.

    Returns:
        The matrix, and the sizes of the other dimensions.
    """
    outer = [d for d in range(x.ndim) if d not in inner]
    sizes = [x.shape[d] for d in outer]
    shape = math.prod(sizes), math.prod(x.shape[d] for d in inner)
    order = (*outer, *inner) if last else (*inner, *outer)
    return x.transpose(order).reshape(shape if last else shape[::-1]), sizes
