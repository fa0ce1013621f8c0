"""Rows of bfloat16 tables: the same bits, and no copy of the table."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from keras_flan.runtime.lookups import look_up_as_integers

ROWS, WIDTH = 512, 8
PLACES = [[1, 3], [ROWS - 1, 0], [ROWS + 20, -1]]


def table():
    random = np.random.default_rng(0)
    return jnp.asarray(random.normal(size=(ROWS, WIDTH)), "bfloat16")


def compiled(function, *arguments):
    look_up_as_integers()
    return jax.jit(function).lower(*arguments).compile()


@pytest.mark.parametrize(
    ("mode", "outside"), [("clip", ROWS - 1), ("wrap", 20), ("fill", None)]
)
def test_what_is_found_is_the_same_to_the_bit(mode, outside):
    values, places = table(), jnp.asarray(PLACES)

    def rows(values, places):
        return jnp.take(values, places, axis=0, mode=mode)

    found = compiled(rows, values, places)(values, places)
    bits = np.asarray(values).view("uint16")
    expected = bits[np.asarray(PLACES) % ROWS]
    filling = np.array(np.nan, found.dtype).view("uint16")
    expected[2, 0] = filling if outside is None else bits[outside]
    if mode == "clip":
        expected[2, 1] = bits[0]
    np.testing.assert_array_equal(np.asarray(found).view("uint16"), expected)


def test_a_loop_that_looks_up_copies_no_table():
    values = table()

    def path(values, place):
        def step(_, carried):
            place, total = carried
            row = jnp.take(values, place, axis=0, mode="clip")
            return (place * 5 + 1) % ROWS, total + row.astype("float32")

        return jax.lax.fori_loop(0, 9, step, (place, jnp.zeros(WIDTH)))[1]

    program = compiled(path, values, jnp.asarray(3))
    # What is inside a fusion is never written.
    parts = re.split(r"\n(?=%|ENTRY)", program.as_text())
    written = [p for p in parts if not re.match(r"%(fused|wrapped)_", p)]
    whole = rf"= \w+\[{ROWS},{WIDTH}\]\S* (\S+)\("
    made = {made for part in written for made in re.findall(whole, part)}
    assert made <= {"parameter", "get-tuple-element"}, made
    place, total = 3, np.zeros(WIDTH)
    for _ in range(9):
        total = total + np.asarray(values[place], "float64")
        place = (place * 5 + 1) % ROWS
    np.testing.assert_allclose(program(values, 3), total, rtol=1e-5)


def test_a_gradient_goes_to_the_rows_that_were_found():
    def loss(values):
        rows = jnp.take(values, jnp.asarray([1, 3, 1]), axis=0, mode="clip")
        return jnp.sum(rows.astype("float32"))

    values = table()
    found = compiled(jax.grad(loss), values)(values)
    expected = np.zeros((ROWS, WIDTH))
    expected[1], expected[3] = 2, 1
    np.testing.assert_array_equal(np.asarray(found, "float64"), expected)
