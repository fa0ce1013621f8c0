"""A `.keras` file gives back a model that trains on, asks and answers."""

import keras
import numpy as np
import pytest

from keras_flan.data import Vocabulary
from keras_flan.errors import InputError
from keras_flan.models import add_lora, remove_adapter
from keras_flan.models.presets import shipped_folder
from keras_flan.training import Adafactor, TokenCrossentropy
from tests.conftest import make_t5


def made(lora):
    model = make_t5(num_layers=1, vocabulary_size=1536)
    model.vocabulary = Vocabulary(
        shipped_folder("flan_nano") / "vocabulary.model"
    )
    if lora:
        add_lora(model, rank=2)
    model.compile(Adafactor(0.01), TokenCrossentropy())
    return model


def step(model, *callbacks):
    tokens = np.random.default_rng(0).integers(3, 64, (4, 8))
    x = {
        f"{side}_{kind}_ids": value
        for side in ("encoder", "decoder")
        for kind, value in (("token", tokens), ("segment", np.ones((4, 8))))
    }
    model.fit(x, tokens, verbose=0, callbacks=callbacks)
    return [np.asarray(v) for v in model.variables]


@pytest.mark.parametrize(
    "lora", [True, pytest.param(False, marks=pytest.mark.slow)]
)
def test_it_trains_on(lora, tmp_path):
    model = made(lora)
    # It saves the model as `model.save` does.
    step(model, keras.callbacks.ModelCheckpoint(tmp_path / "m.keras"))
    again = keras.models.load_model(tmp_path / "m.keras")
    assert isinstance(again.optimizer, Adafactor)
    assert again.vocabulary.encode("a b") == model.vocabulary.encode("a b")
    asked = {"max_new_tokens": 4, "seed": 0}
    assert again.generate("a b", **asked) == model.generate("a b", **asked)
    for one, other in zip(step(model), step(again), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-8)


def test_an_adapter_is_not_left_out(tmp_path):
    model = made(lora=True)
    copy = keras.models.clone_model(model)
    assert len(copy.trainable_variables) == len(model.trainable_variables)
    with pytest.raises(InputError, match="has an adapter, which it would"):
        model.backbone.save_to_preset(str(tmp_path / "m"))
    remove_adapter(model)
    model.backbone.save_to_preset(str(tmp_path / "m"))
