"""Layouts of activations, asked for by name."""

import keras
import pytest
from keras import ops

from keras_flan.models.activation_layouts import constrain, dividing_axes


def test_axes_that_do_not_divide_are_left_out():
    sizes = {"batch": 4, "model": 3}
    assert dividing_axes(("batch", "model", None), (8, 9, 5), sizes) == (
        "batch",
        "model",
        None,
    )
    # A decoding step has one token; an unknown size is left alone.
    assert dividing_axes(("batch", "model"), (8, 1), sizes) == ("batch", None)
    assert dividing_axes(("batch", "model"), (None, 9), sizes) == (
        None,
        "model",
    )


def test_nothing_happens_without_a_distribution():
    x = ops.ones((2, 3))
    assert constrain(x, "residual") is x


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="JAX's layouts")
def test_the_layout_of_the_name_is_asked_for():
    import jax

    mesh = keras.distribution.DeviceMesh(
        (1, 1), ("batch", "model"), jax.devices()[:1]
    )
    layouts = keras.distribution.LayoutMap(mesh)
    layouts["activations/residual"] = ("batch", "model", None)
    distribution = keras.distribution.ModelParallel(
        layout_map=layouts, auto_shard_dataset=False
    )
    previous = keras.distribution.distribution()
    keras.distribution.set_distribution(distribution)
    try:

        def program(name, *stack):
            function = lambda x: constrain(x, name)  # noqa: E731
            return str(jax.make_jaxpr(function)(ops.ones((*stack, 2, 4, 6))))

        assert "sharding_constraint" in program("residual")
        assert "'batch', 'model'" in program("residual")
        assert "None, 'batch', 'model'" in program("residual", 3)
        assert "sharding_constraint" not in program("logits")
    finally:
        keras.distribution.set_distribution(previous)
