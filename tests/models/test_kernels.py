"""Kernels of attention, interpreted, against the form that writes scores."""

import functools

import keras
import numpy as np
import pytest

from keras_flan.errors import InputError
from keras_flan.models import T5, DecoderOnly
from keras_flan.models.attention import (
    attend,
    block_causal,
    same_segment,
    spread_distances,
    within_window,
)
from keras_flan.models.dropout import Dropout
from keras_flan.models.kernels.choice import interpreted
from keras_flan.models.kernels.cost import attention_cost, flash_blocks
from keras_flan.training import TokenCrossentropy
from tests.conftest import make_t5
from tests.models.decoders import make_hub, numpy
from tests.models.test_language_model import rows

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="kernels are JAX's"
)


def segments(length, *ends):
    """Examples that end there, and padding behind the last."""
    place = np.arange(length)
    return np.where(
        place < ends[-1], 1 + np.searchsorted(ends, place, "right"), 0
    )


def drawn(*shapes):
    rng = np.random.default_rng(0)
    return [rng.normal(size=shape).astype("float32") for shape in shapes]


def assert_same(kernel, reference, tensors, real):
    """Compares values and gradients, where a query is no padding."""
    import jax
    import jax.numpy as jnp

    real = np.asarray(real)[:, :, None, None]
    slope = drawn(tensors[0].shape)[0] * real

    def both(attention):
        def loss(*tensors):
            out = attention(*tensors) * real
            return jnp.sum(out * slope), out

        places = tuple(range(len(tensors)))
        gradient = jax.value_and_grad(loss, places, has_aux=True)
        (_, out), slopes = jax.jit(gradient)(*tensors)
        return out, slopes

    with interpreted():
        out, slopes = both(kernel)
    expected, expected_slopes = both(reference)
    np.testing.assert_allclose(out, expected, atol=2e-5)
    for one, other in zip(slopes, expected_slopes, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


@pytest.mark.parametrize(
    "causal", [pytest.param(False, marks=pytest.mark.slow), True]
)
def test_flash_attends_with_bias_and_dropout(causal):
    from keras_flan.models.kernels.flash import flash_attention

    length = 150  # Two blocks, of which the second is padded.
    seen = np.stack([segments(length, 60, 140), segments(length, 128, 150)])
    drop = Dropout(0.2 if causal else 0.0, np.array([7, -9], "int32"))
    shape = (2, length, 2, 8)

    def kernel(query, key, value, bias):
        return flash_attention(
            query, key, value, seen, seen, causal=causal, bias=bias,
            drop=drop.at(3),
        )  # fmt: skip

    def reference(query, key, value, bias):
        mask = (block_causal if causal else lambda s: same_segment(s, s))(seen)
        bias = spread_distances(bias, length, length)
        return attend(
            query, key, value, mask, bias=bias, dropout=lambda w: drop(w, 3)
        )

    bias = (2, 2 * length - 1)
    tensors = drawn(shape, shape, shape, bias)
    assert_same(kernel, reference, tensors, seen > 0)


def test_flash_attends_to_another_side():
    from keras_flan.models.kernels.flash import flash_attention

    seen = segments(30, 10, 11, 25)[None], segments(140, 40, 129, 137)[None]
    drop = Dropout(0.3, np.array([5, 6], "int32"))
    tensors = drawn((1, 30, 2, 8), (1, 140, 2, 8), (1, 140, 2, 8))
    assert_same(
        lambda *qkv: flash_attention(*qkv, *seen, drop=drop.at(1)),
        lambda *qkv: attend(
            *qkv, same_segment(*seen), dropout=lambda w: drop(w, 1)
        ),
        tensors,
        seen[0] > 0,
    )


@pytest.mark.parametrize("heads, window, cap", [(1, None, None), (2, 50, 3.0)])
def test_splash_attends(heads, window, cap):
    from keras_flan.models.kernels.splash import splash_attention

    seen = segments(150, 60, 61, 140)[None]
    tensors = drawn((1, 150, 4, 8), (1, 150, heads, 8), (1, 150, heads, 8))
    settings = {"scale": 0.3, "soft_cap": cap}
    place = np.arange(150)
    mask = within_window(block_causal(seen), place, place, window)
    assert_same(
        lambda *qkv: splash_attention(*qkv, seen, window=window, **settings),
        lambda *qkv: attend(*qkv, mask, **settings),
        tensors,
        seen > 0,
    )


def test_the_gpu_kernel_is_asked_for_the_same():
    from keras_flan.models.kernels.cudnn import cudnn_attention

    seen = segments(40, 11, 30)[None]
    tensors = drawn((1, 40, 4, 8), (1, 40, 2, 8), (1, 40, 2, 8))
    place = np.arange(40)
    mask = within_window(block_causal(seen), place, place, 7)
    assert_same(
        lambda *qkv: cudnn_attention(
            *qkv, seen, scale=0.3, window=7, implementation="xla"
        ),
        lambda *qkv: attend(*qkv, mask, scale=0.3),
        tensors,
        seen > 0,
    )


def make(kind, attention):
    """A T5 with dropout, whose masks the kernel makes itself, or another."""
    if kind != "t5":
        hub = make_hub(kind, num_layers=1)
        form = "splash" if attention == "kernel" else attention
        return DecoderOnly(hub, attention=form)
    form = "pallas" if attention == "kernel" else attention
    model = make_t5(num_layers=1, dropout=0.3, attention=form)
    model.seed_generator.state.assign([5, 0])
    return model


@pytest.mark.parametrize(
    "kind", ["t5", pytest.param("palm", marks=pytest.mark.slow)]
)
def test_models_say_the_same_in_training(kind):
    import jax

    def said(attention):
        model = make(kind, attention)
        x, _, real = rows(model)
        variables = model.trainable_variables, model.non_trainable_variables
        state = [[v.value for v in part] for part in variables]
        call = functools.partial(model.stateless_call, *state, training=True)
        return jax.jit(call)(x)[0] * real[..., None]

    with interpreted():
        by_kernel = said("kernel")
    np.testing.assert_allclose(by_kernel, said("einsum"), atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["t5", "palm", "llama", "gemma2"])
def test_models_learn_the_same(kind):
    def learned(attention):
        model = make(kind, attention)
        model.compile(keras.optimizers.SGD(0.1), TokenCrossentropy())
        x, y, weight = rows(model)
        losses = [model.train_on_batch(x, y, weight) for _ in range(2)]
        return losses, [numpy(w) for w in model.trainable_weights]

    losses, weights = learned("einsum")
    with interpreted():
        others, changed = learned("kernel")
    np.testing.assert_allclose(others, losses, rtol=1e-5)
    assert abs(losses[0] - losses[1]) > 1e-3
    for one, other in zip(changed, weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_what_cannot_be_honoured_is_refused(tiny_t5):
    def t5(attention):
        return T5(tiny_t5.backbone, attention=attention)

    with pytest.raises(InputError, match=r"a T5 has no kernel .* pallas"):
        t5("splash")
    with pytest.raises(InputError, match=r"Did you mean 'splash'"):
        t5("slash")
    with pytest.raises(InputError, match=r"no TPU; set model\.attention"):
        model = t5("pallas")
        model(rows(model)[0])
    with interpreted():
        assert str(t5("auto").chosen_attention()) == "pallas (on a TPU)"
        long = t5("auto").chosen_attention(100_000)
    assert str(long) == "einsum (rows of 100000 are too long for it)"


def test_dropout_of_weights_and_prefixes_have_no_kernel():
    hub = make_hub("palm", num_layers=1)
    prefix = DecoderOnly(hub, bidirectional_prefix=True)
    drops = DecoderOnly(hub, attention="splash")
    drops.family.drops_weights, hub.backbone.dropout = True, 0.1  # A Gemma.
    with interpreted():
        assert str(prefix.chosen_attention()).startswith("einsum (the inputs")
        assert drops.chosen_attention(training=False).form == "splash"
        with pytest.raises(InputError, match="dropout takes attention weights"):
            drops.chosen_attention()


def test_costs_are_those_of_the_products():
    sizes = {
        "rows": 2, "heads": 4, "kv_heads": 4, "queries": 512, "keys": 512,
        "width": 64,
    }  # fmt: skip
    product = 2 * 2 * 4 * 512 * 512 * 64
    for kind, products in (("pallas", (2, 7)), ("splash", (2, 9))):
        for training in (False, True):
            flops, moved = attention_cost(
                kind, causal=False, training=training, **sizes
            )
            assert flops == products[training] * product
            assert moved >= 4 * 2 * 4 * 512 * 64 * 2
    assert flash_blocks(2048, 2048, 64) == (512, 512)
    assert flash_blocks(4096, 4096, 64) == (128, 128)
