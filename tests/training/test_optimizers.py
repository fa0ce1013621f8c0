"""Rates that rise and fall, and weights that decay."""

import keras
import numpy as np
import pytest

from keras_flan.errors import InputError
from keras_flan.models.roles import roles
from keras_flan.training import Adafactor, Schedule, TrainConfig
from keras_flan.training.start import make_optimizer


def test_the_rate_falls_to_a_tenth_at_the_end():
    rate = Schedule(0.01, steps=100, warmdown=0.2)
    found = [float(rate(step)) for step in (0, 80, 90, 100, 120)]
    assert found == pytest.approx([0.01, 0.01, 0.0055, 0.001, 0.001])


def test_a_rate_comes_back_from_its_config():
    optimizer = Adafactor(Schedule(0.01, steps=10, warmdown=0.25))
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    variable = keras.Variable([1.0, 2.0])
    again.build([variable])
    again.iterations.assign(10)
    assert float(again.learning_rate) == pytest.approx(0.001)


def test_a_rate_of_an_earlier_version_is_read():
    """As a `.keras` file has it that was written then."""
    rate = {
        "module": "keras_flan.training.optimizers",
        "class_name": "Warmdown",
        "config": {"learning_rate": 0.01, "steps": 100, "share": 0.2},
        "registered_name": "keras_flan>Warmdown",
    }
    saved = keras.optimizers.serialize(Adafactor(0.1))
    saved["config"]["learning_rate"] = rate
    for _ in range(2):
        optimizer = keras.optimizers.deserialize(saved)
        optimizer.build([keras.Variable([1.0, 2.0])])
        optimizer.iterations.assign(90)
        assert float(optimizer.learning_rate) == pytest.approx(0.0055)
        saved = keras.optimizers.serialize(optimizer)

    from keras_flan.training.optimizers import Warmdown

    assert float(Warmdown(0.01, 100, 0.2)(90)) == pytest.approx(0.0055)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("constant", [0.1, 1, 1, 1, 1]),
        ("linear", [0.1, 1, 1, 0.5, 1 / 90]),
        ("cosine", [0.1, 1, 1, 0.5, 0.5 - 0.5 * np.cos(np.pi / 90)]),
        ("rsqrt", [0.1, 1, (10 / 11) ** 0.5, (10 / 56) ** 0.5, 0.1**0.5]),
    ],
)
def test_a_rate_rises_and_goes_by_its_shape(shape, expected):
    at = (0, 9, 10, 55, 99)
    for warmup in (10, 0.1):
        rate = Schedule(0.2, steps=100, shape=shape, warmup=warmup)
        found = [float(rate(step)) / 0.2 for step in at]
        assert found == pytest.approx(expected, abs=1e-6)
    # Every part of a batch has the rate of its step.
    rate = Schedule(0.2, 100, shape, warmup=10, accumulate=4)
    for part in (0, 3):
        found = [float(rate(4 * step + part)) / 0.2 for step in at]
        assert found == pytest.approx(expected, abs=1e-6)


def settings(**optimizer):
    return TrainConfig.model_validate(
        {"output": "r", "mixture": "m.yaml", "steps": 4, "optimizer": optimizer}
    ).optimizer


@pytest.mark.parametrize("name", ["adamw", "adafactor"])
def test_decay_and_schedule_are_of_steps_not_of_parts(name):
    """Parts of a batch give the weights of the whole; norms don't decay."""
    gradients = (
        np.random.default_rng(0).normal(size=(4, 2, 3)).astype("float32")
    )
    ends = {}
    for parts in (1, 2):
        its = settings(
            name=name,
            schedule="cosine",
            warmup=1,
            weight_decay=0.5,
            accumulate=parts,
        )
        optimizer = make_optimizer(its, steps=4)
        kernel, scale, still = (
            keras.Variable([1.0, 2.0, 3.0], name=n)
            for n in ("kernel", "scale", "embeddings")
        )
        optimizer.build([kernel, scale, still])
        zero = np.zeros(3, "float32")
        for whole in gradients:
            for part in whole if parts == 2 else [whole.mean(axis=0)]:
                optimizer.apply([part, zero, zero])
        ends[parts] = np.asarray(kernel)
        # Without gradients decay is all there is: by the rate and its share.
        rate = Schedule(its.learning_rate, 4, "cosine", warmup=1)
        left = np.prod([1 - 0.5 * float(rate(step)) for step in range(4)])
        np.testing.assert_allclose(still, left * np.array([1, 2, 3]), rtol=1e-5)
        np.testing.assert_array_equal(scale, [1, 2, 3])
    np.testing.assert_allclose(ends[1], ends[2], rtol=1e-5)


def test_every_norm_and_bias_is_spared_and_nothing_else():
    optimizer = make_optimizer(settings(name="adamw"), steps=1)
    spared = {}
    for table in roles().values():
        for role, axes in table.items():
            name = role.split("/")[-1]
            small = list(axes) == ["norm"] or "bias" in name
            assert spared.setdefault(name, small) == small, role
    variables = [keras.Variable([1.0], name=name) for name in spared]
    for variable in variables:
        small = spared[variable.name]
        assert optimizer._use_weight_decay(variable) != small, variable.name


def test_settings_that_contradict_each_other_are_refused():
    with pytest.raises(ValueError, match=r"0\.1 with adam, which has none"):
        settings(name="adam", weight_decay=0.1)
    with pytest.raises(ValueError, match=r"warmdown: found 0\.2 with"):
        settings(schedule="cosine", warmdown=0.2)
    with pytest.raises(InputError, match=r"there is no 'cosin'.*'cosine'"):
        Schedule(0.1, 10, "cosin")
