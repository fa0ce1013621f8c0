import keras
import numpy as np

from keras_flan.models.backbones import undrawn

KINDS = (
    keras.initializers.GlorotUniform,
    keras.initializers.RandomNormal,
    keras.initializers.TruncatedNormal,
    keras.initializers.RandomUniform,
)


def test_nothing_is_drawn_inside_and_all_again_afterwards():
    for kind in KINDS:
        with undrawn():
            assert not np.any(np.asarray(kind()((2, 3))))
        with undrawn(when=False):
            assert np.all(np.asarray(kind()((2, 3))))
        assert np.all(np.asarray(kind()((2, 3))))
