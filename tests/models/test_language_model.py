"""Losses whose logits are made by chunks, against whole logits."""

import functools
import types

import keras
import numpy as np
import pytest

from keras_flan.errors import InputError
from keras_flan.models import T5, DecoderOnly
from keras_flan.models.language_model import LanguageModel
from keras_flan.training import TokenCrossentropy
from tests.conftest import LetterVocabulary, make_t5
from tests.models.decoders import make_hub

LENGTH = 11


def rows(model):
    """Two packed rows for either kind of model, targets and weights."""
    rng = np.random.default_rng(0)
    tokens = rng.integers(2, 60, (2, LENGTH)).astype("int32")
    segments = np.array([[1] * 5 + [2] * 6, [1] * 7 + [0] * 4], "int32")
    if not isinstance(model, T5):
        x = {"token_ids": tokens, "segment_ids": segments}
    else:
        x = {
            "encoder_token_ids": tokens[:, :6],
            "encoder_segment_ids": segments[:, :6],
            "decoder_token_ids": tokens,
            "decoder_segment_ids": segments,
        }
    y = rng.integers(2, 60, (2, LENGTH))
    return x, y, (segments > 0).astype("float32")


def make(kind):
    if kind == "bigram":
        return Bigram()
    if kind.startswith("t5"):
        return make_t5(tie_embedding_weights=kind == "t5_tied")
    return DecoderOnly(make_hub(kind))


class Bigram(LanguageModel):
    """The smallest model of two halves: an embedding and a projection."""

    def __init__(self):
        super().__init__()
        self.embedding = keras.layers.Embedding(64, 8)
        self.head = keras.layers.Dense(64)

    def hidden(self, inputs, training=False):
        return self.embedding(inputs["token_ids"])

    def logits(self, x):
        return self.head(x)


@functools.cache
def fitted(kind, chunk):
    """Losses of two steps and after them, and the weights."""
    keras.utils.set_random_seed(1)
    model = make(kind)
    x, y, weight = rows(model)
    loss = TokenCrossentropy(z_loss=1e-2, chunk=chunk)
    model.compile(keras.optimizers.SGD(0.1), loss)
    history = model.fit(x, y, sample_weight=weight, epochs=2, verbose=0)
    after = model.evaluate(x, y, sample_weight=weight, verbose=0)
    assert model(x).shape == (2, LENGTH, 64)  # still logits
    return [*history.history["loss"], after], model.get_weights()


@pytest.mark.parametrize(
    ("kind", "chunk"),
    [
        ("bigram", 4),  # two chunks and a rest of three
        ("bigram", 11),
        ("bigram", 16),
        pytest.param("t5", 4, marks=pytest.mark.slow),
        pytest.param("t5_tied", 5, marks=pytest.mark.slow),
        pytest.param("palm", 4, marks=pytest.mark.slow),
        pytest.param("gemma2", 4, marks=pytest.mark.slow),
    ],
)
def test_chunks_change_neither_loss_nor_weights(kind, chunk):
    whole, whole_weights = fitted(kind, None)
    chunked, weights = fitted(kind, chunk)
    np.testing.assert_allclose(chunked, whole, rtol=1e-5)
    assert whole[2] < whole[0]
    for one, other in zip(weights, whole_weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="reads its IR")
def test_no_tensor_is_as_large_as_all_logits():
    import jax

    model = make("bigram")
    x, y, weight = rows(model)
    model(x)

    def program(chunk):
        model.compile("sgd", TokenCrossentropy(z_loss=1e-2, chunk=chunk))
        model.optimizer.build(model.trainable_variables)
        state = tuple(
            [v.value for v in variables]
            for variables in (
                model.trainable_variables,
                model.non_trainable_variables,
                model.optimizer.variables,
                model.metrics_variables,
            )
        )
        step = jax.jit(model.train_step).lower(state, (x, y, weight))
        return step.as_text()

    whole, by_row = f"<2x{LENGTH}x64xf32>", f"<{2 * LENGTH}x64xf32>"
    assert whole in program(None)
    chunked = program(4)
    assert whole not in chunked
    assert by_row not in chunked
    assert "<2x4x64xf32>" in chunked


def test_metrics_that_need_logits_are_refused():
    model = make("bigram")
    with pytest.raises(InputError, match="keeps no logits"):
        model.compile("sgd", TokenCrossentropy(chunk=4), metrics=["accuracy"])


def test_a_vocabulary_has_no_more_tokens_than_the_embedding_has_rows(tiny_t5):
    class Larger(LetterVocabulary):
        size = 1000

    with pytest.raises(InputError, match="1,000 tokens, but the embedding 64"):
        tiny_t5.vocabulary = Larger()
    assert isinstance(tiny_t5.vocabulary, LetterVocabulary)


def test_a_model_made_before_the_distribution_is_refused(monkeypatch):
    model, compiled, unbuilt = make("t5"), make("t5"), make("bigram")
    for one in (compiled, unbuilt):
        one.compile("sgd", TokenCrossentropy())
    many = types.SimpleNamespace(
        device_mesh=types.SimpleNamespace(devices=np.arange(8))
    )
    monkeypatch.setattr(keras.distribution, "distribution", lambda: many)
    uses = ["fit", "evaluate", "predict"]
    uses += ["train_on_batch", "test_on_batch", "predict_on_batch"]
    for use in (
        lambda: model.compile("sgd", TokenCrossentropy()),
        *(functools.partial(getattr(compiled, use), None) for use in uses),
    ):
        with pytest.raises(InputError, match=r"made before `setup\(\.\.\.\)`"):
            use()
    # Of a model that is built by its first batch there is the optimizer.
    for use in uses:
        with pytest.raises(InputError, match=r"iteration: .* was compiled bef"):
            getattr(unbuilt, use)(None)
    unbuilt.compile("sgd", TokenCrossentropy())
