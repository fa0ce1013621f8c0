"""The rate that falls in the last steps."""

import keras
import pytest

from keras_flan.training import Adafactor
from keras_flan.training.optimizers import Warmdown


def test_the_rate_falls_to_a_tenth_at_the_end():
    rate = Warmdown(0.01, steps=100, share=0.2)
    found = [float(rate(step)) for step in (0, 80, 90, 100, 120)]
    assert found == pytest.approx([0.01, 0.01, 0.0055, 0.001, 0.001])


def test_a_rate_comes_back_from_its_config():
    optimizer = Adafactor(Warmdown(0.01, steps=10))
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    variable = keras.Variable([1.0, 2.0])
    again.build([variable])
    again.iterations.assign(10)
    assert float(again.learning_rate) == pytest.approx(0.001)


@pytest.mark.parametrize(("steps", "share"), [(0, 0.5), (10, 0.0)])
def test_a_fall_takes_steps(steps, share):
    with pytest.raises(ValueError, match="above 0, found"):
        Warmdown(0.01, steps, share)
