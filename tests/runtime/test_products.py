"""Products in bfloat16: what is rounded, and what stays as it is."""

import re

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

from keras_flan.errors import InputError
from keras_flan.runtime import bfloat16_products
from keras_flan.runtime.products import (
    _product,
    products_in,
    use_bfloat16_units,
)
from keras_flan.runtime.xla import has_bfloat16_units

# As T5, Gemma and their gradients multiply.
EQUATIONS = {
    "bti,io->bto": ((2, 24, 32), (32, 48)),
    "bto,io->bti": ((2, 24, 48), (32, 48)),
    "bti,bto->io": ((2, 24, 32), (2, 24, 48)),
    "bti,btno->ino": ((2, 24, 32), (2, 24, 4, 8)),
    "btnh,nhd->btd": ((2, 24, 4, 8), (4, 8, 32)),
    "bnth,bnsh->bnts": ((2, 4, 24, 16), (2, 4, 20, 16)),
    "bnts,bsnh->btnh": ((2, 4, 24, 20), (2, 20, 4, 16)),
    "bnts,btnh->bsnh": ((4, 2, 48, 48), (4, 48, 2, 8)),
    "bnts,bnth->bnsh": ((2, 4, 24, 20), (2, 4, 24, 16)),
}


def arrays(shapes, dtype="float32"):
    random = np.random.default_rng(0)
    return [jnp.asarray(random.normal(size=s), dtype) for s in shapes]


@pytest.mark.parametrize(
    ("dtype", "rounds"),
    [("float32", False), ("bfloat16", True), ("auto", has_bfloat16_units())],
)
def test_products_are_rounded_as_asked(dtype, rounds):
    a, b = arrays([(8, 32), (32, 8)])
    whole = jax.jit(jnp.matmul)(a, b)
    with products_in(dtype):
        found = jax.jit(lambda a, b: jnp.matmul(a, b))(a, b)
    assert (np.asarray(found) != np.asarray(whole)).any() == rounds


@pytest.mark.parametrize("equation", EQUATIONS)
def test_inputs_are_rounded_and_sums_are_float32(equation):
    inputs = arrays(EQUATIONS[equation])
    narrow = [np.asarray(x.astype("bfloat16"), "float64") for x in inputs]
    with bfloat16_products():
        found = jax.jit(lambda *x: jnp.einsum(equation, *x))(*inputs)
    assert found.dtype == "float32"
    expected = np.einsum(equation, *narrow)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    whole = np.einsum(equation, *inputs)
    assert np.abs(found - whole).max() > 1e-3
    # Nothing is left of it.
    after = jax.jit(lambda *x: jnp.einsum(equation, *x))(*inputs)
    np.testing.assert_allclose(after, whole, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("equation", EQUATIONS)
def test_bfloat16_numbers_are_summed_in_float32(equation):
    use_bfloat16_units()
    inputs = arrays(EQUATIONS[equation], "bfloat16")
    found = jax.jit(lambda *x: jnp.einsum(equation, *x))(*inputs)
    assert found.dtype == "bfloat16"
    expected = np.einsum(equation, *(np.asarray(x, "float64") for x in inputs))
    np.testing.assert_allclose(
        np.asarray(found, "float64"), expected, rtol=2**-7, atol=1e-3
    )


def test_positions_keep_their_digits():
    """Angles of rotary embeddings are products without a sum."""
    places, frequencies = jnp.arange(257.0), jnp.asarray([1.0, 0.1])
    with bfloat16_products():
        found = jax.jit(lambda x, y: jnp.einsum("i,j->ij", x, y))(
            places, frequencies
        )
    assert found[257 - 1, 0] == 256 and found[255, 0] == 255


def test_an_embedding_projects_without_a_copy():
    x, table = arrays([(24, 32), (4096, 32)])

    def project(x, table):
        return jnp.sum(jnp.sin(jnp.matmul(x, jnp.transpose(table))))

    with bfloat16_products():
        step = jax.jit(jax.grad(project)).lower(x, table).compile()
    assert not re.search(r" (transpose|copy)\(", step.as_text())
    found = step(x, table)
    whole = jax.grad(project)(x, table)
    assert np.abs(found - whole).max() < 0.05 * np.abs(whole).max()


def test_few_states_are_projected_without_a_copy_of_the_table():
    x, table = arrays([(2, 3, 32), (4096, 32)], "bfloat16")
    inner = ((2,), (1,)), ((), ())
    run = jax.jit(
        lambda x, table: _product(
            x, table, dimensions=inner, dtype="float32", units=True
        )
    )
    program = run.lower(x, table).compile()
    assert not re.search(r"\[(4096,32|32,4096)\]\S* copy\(", program.as_text())
    expected = np.einsum(
        "abi,oi->abo", *(np.asarray(v, "float64") for v in (x, table))
    )
    found = program(x, table)
    assert found.dtype == "float32"
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_gradients_are_rounded_too():
    x, w = arrays([(2, 24, 32), (32, 48)])

    def loss(w):
        return jnp.sum(jnp.sin(x @ w))

    whole = jax.jit(jax.grad(loss))(w)
    with bfloat16_products():
        found = jax.jit(jax.grad(loss))(w)
    error = np.abs(found - whole).max() / np.abs(whole).max()
    assert 1e-5 < error < 0.05


def test_without_units_the_rounded_numbers_are_multiplied_in_float32():
    x, w = arrays([(24, 32), (32, 48)])
    matrix = ((1,), (0,)), ((), ())
    found = [
        _product(x, w, dimensions=matrix, dtype="float32", units=units)
        for units in (False, True)
    ]
    np.testing.assert_allclose(*found, rtol=1e-5, atol=1e-5)


def test_units_are_those_that_linux_names(tmp_path):
    (tmp_path / "cpu").write_text("flags : sse amx_bf16 vme\n")
    assert has_bfloat16_units(tmp_path / "cpu")
    # XLA leaves these unused; it takes longer than in float32.
    (tmp_path / "cpu").write_text("flags : sse avx512_bf16 vme\n")
    assert not has_bfloat16_units(tmp_path / "cpu")
    assert not has_bfloat16_units(tmp_path / "other")


def test_other_backends_are_refused(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    expected = pytest.raises(InputError, match="found torch; set KERAS_B")
    with expected, bfloat16_products():
        pass
