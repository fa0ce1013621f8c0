"""Adafactor against the published update rule, written out in numpy."""

import keras
import numpy as np
import pytest

from keras_flan.training import Adafactor


def reference(weight, gradients, rate, momentum=None, factor=True):
    """Shazeer and Stern, algorithms 4 and 5, with a relative step."""
    weight = weight.astype("float64")
    row, column, full = 0.0, 0.0, 0.0
    first = np.zeros_like(weight)
    for t, gradient in enumerate(gradients, 1):
        beta2 = 1 - t**-0.8
        squared = gradient.astype("float64") ** 2 + 1e-30
        if factor:
            row = beta2 * row + (1 - beta2) * squared.mean(1)
            column = beta2 * column + (1 - beta2) * squared.mean(0)
            second = np.outer(row, column) / row.mean()
        else:
            second = full = beta2 * full + (1 - beta2) * squared
        update = gradient / np.sqrt(second)
        update /= max(1.0, np.sqrt((update**2).mean()))
        update *= rate * max(np.sqrt((weight**2).mean()), 1e-3)
        if momentum is not None:
            update = first = momentum * first + (1 - momentum) * update
        weight = weight - update
    return weight


@pytest.mark.parametrize("momentum", [None, 0.9])
@pytest.mark.parametrize("shape", [(24, 40), (40, 24), (6,), (3, 40)])
def test_matches_the_update_rule(shape, momentum):
    rng = np.random.default_rng(0)
    start = rng.normal(size=shape).astype("float32")
    gradients = rng.normal(size=(5, *shape)).astype("float32")
    variable = keras.Variable(start, name="w")
    optimizer = Adafactor(0.01, min_dim_to_factor=8, momentum=momentum)
    for gradient in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(gradient)], [variable])
    expected = reference(
        start, gradients, 0.01, momentum, factor=min(shape) >= 8
    )
    np.testing.assert_allclose(
        np.asarray(variable), expected, rtol=1e-5, atol=1e-6
    )


def test_rate_is_not_capped():
    """Keras's own Adafactor caps the rate at 1 / sqrt(step)."""
    variable = keras.Variable(np.ones(4, "float32"))
    optimizer = Adafactor(0.5)
    for _ in range(16):
        before = np.asarray(variable)
        optimizer.apply([keras.ops.ones(4)], [variable])
    step = np.abs(before - np.asarray(variable))
    scale = np.maximum(np.abs(before), 1e-3)
    np.testing.assert_allclose(step, 0.5 * scale, rtol=1e-5)


def test_stores_rows_and_columns_only():
    variable = keras.Variable(np.ones((256, 512), "float32"))
    optimizer = Adafactor(0.01)
    optimizer.build([variable])
    assert sorted(slots(optimizer)) == [(256,), (512,)]


def slots(optimizer):
    return [tuple(v.shape) for v in optimizer.variables if len(v.shape)]


@pytest.mark.parametrize(
    ("name", "axes"),
    [
        ("query", (16, 4, 6)),
        pytest.param("attention_output", (4, 6, 16), marks=pytest.mark.slow),
    ],
)
def test_factors_by_the_meaning_of_the_axes(name, axes):
    """A matrix, one with heads, and all layers at once: the same update."""
    rng = np.random.default_rng(1)
    start, gradient = rng.normal(size=(2, 3, *axes)).astype("float32")
    gradient *= np.array([0.1, 1, 5], "float32").reshape(3, 1, 1, 1)
    matrix = (16, 24) if axes[0] == 16 else (24, 16)
    made = []
    for shape in (None, axes, matrix):
        parts = [(start, gradient)]
        if shape is not None:
            parts = [
                (w.reshape(shape), g.reshape(shape))
                for w, g in zip(start, gradient, strict=True)
            ]
        with keras.name_scope("decoder"), keras.name_scope(name):
            variables = [keras.Variable(w, name="kernel") for w, _ in parts]
        optimizer = Adafactor(0.1, min_dim_to_factor=8)
        gradients = [keras.ops.convert_to_tensor(g) for _, g in parts]
        for _ in range(2):
            optimizer.apply(gradients, variables)
        made.append(np.stack([np.asarray(v) for v in variables]).ravel())
        if shape is None:
            assert sorted(slots(optimizer)) == [(3, 4, 6), (3, 16)]
    np.testing.assert_allclose(made[0], made[1], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(made[0], made[2], rtol=1e-5, atol=1e-6)


def test_statistics_are_float32_for_narrow_weights():
    variable = keras.Variable(np.ones((16, 24)), dtype="bfloat16")
    optimizer = Adafactor(0.01, min_dim_to_factor=8, momentum=0.9)
    optimizer.apply([keras.ops.ones((16, 24), "bfloat16")], [variable])
    kinds = {str(v.dtype) for v in optimizer.variables if len(v.shape)}
    assert kinds == {"float32"}
    assert variable.dtype == "bfloat16"


def test_gradient_norm():
    one, other = keras.Variable(np.ones(4)), keras.Variable(np.ones((2, 2)))
    optimizer = Adafactor(0.01)
    optimizer.apply(
        [keras.ops.ones(4), 2 * keras.ops.ones((2, 2))], [one, other]
    )
    assert abs(float(optimizer.gradient_norm) - 20**0.5) < 1e-5


def test_accumulation_takes_the_mean_of_the_parts():
    rng = np.random.default_rng(3)
    start = rng.normal(size=(16, 24)).astype("float32")
    parts = rng.normal(size=(3, 16, 24)).astype("float32")

    def trained(gradients, **settings):
        variable = keras.Variable(start)
        optimizer = Adafactor(0.1, min_dim_to_factor=8, **settings)
        for _ in range(2):
            for gradient in gradients:
                gradient = keras.ops.convert_to_tensor(gradient)
                optimizer.apply([gradient], [variable])
        return np.asarray(variable)

    np.testing.assert_allclose(
        trained(parts, gradient_accumulation_steps=3),
        trained([parts.mean(0)]),
        rtol=1e-5,
        atol=1e-6,
    )


def test_state_survives_save_and_load(tmp_path):
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(32, 16)), rng.normal(size=(32, 24))

    def model():
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((16,)), keras.layers.Dense(24)])
        model.compile(Adafactor(0.01, min_dim_to_factor=8, momentum=0.5), "mse")
        return model

    straight = model()
    straight.fit(x, y, epochs=4, shuffle=False, verbose=0)
    first = model()
    first.fit(x, y, epochs=2, shuffle=False, verbose=0)
    first.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras")
    assert isinstance(again.optimizer, Adafactor)
    again.fit(x, y, epochs=2, shuffle=False, verbose=0)
    for a, b in zip(straight.weights, again.weights, strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-5)
