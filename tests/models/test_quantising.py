"""Models in few bits: what they compute, write, read and train."""

import numpy as np
import pytest

from keras_flan.errors import InputError
from keras_flan.models import (
    DecoderOnly,
    add_dora,
    add_ia3,
    add_lora,
    load,
    merge_adapter,
    prune,
    remove_adapter,
    save,
)
from keras_flan.models.adapters.base import adapter_of, merged
from keras_flan.models.adapters.targets import projections
from keras_flan.models.backbones import copy_backbone
from keras_flan.models.compression.codes import Form, decode, encode, form_of
from keras_flan.models.compression.gptq import solve
from keras_flan.models.compression.places import FILE, record_of
from tests.conftest import make_t5
from tests.models.decoders import make_hub, numpy
from tests.models.test_adapters import batch, close, draw, make

MODES = ("int8", "int4", "gptq")
# Stacked kernels; the rest are slow.
FAMILIES = [
    "palm",
    *(
        pytest.param(name, marks=pytest.mark.slow)
        for name in ("llama", "qwen", "smollm3", "gemma3", "t5")
    ),
]


def copy(model):
    if isinstance(model, DecoderOnly):
        return DecoderOnly(copy_backbone(model.backbone))
    return model.with_settings(dropout=0.01)


def out(model, x):
    """Operation by operation, which compiles nothing large."""
    return numpy(model(x))


def bytes_of(model):
    return sum(numpy(w).nbytes for w in model.backbone.weights)


def quantised(model, mode, x, group=8):
    small = copy(model)
    own = {"calibration": [(x,)]} if mode == "gptq" else {}
    small.quantize(mode, group=group, **own)
    return small


def error(model, small, x):
    whole = out(model, x)
    return np.linalg.norm(out(small, x) - whole) / np.linalg.norm(whole)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("axis", [-1, -2, -3])
def test_codes_are_the_nearest(bits, axis):
    """As far off as half a step, of what is not cut off."""
    kernel = np.random.default_rng(0).normal(size=(4, 8, 6)).astype("float32")
    form = form_of(bits, kernel.shape[axis], 4, axis)
    codes, scales = encode(kernel, form)
    assert (codes.shape, scales.shape) == form.shapes(kernel.shape)
    assert codes.dtype == np.int8
    values = numpy(decode(codes, scales, form))
    steps = np.repeat(scales.astype("float32"), form.group, axis)
    limit = steps * form.largest
    inside = np.abs(kernel) <= limit
    assert inside.mean() > 0.7
    assert (np.abs(values - kernel)[inside] <= 0.5001 * steps[inside]).all()
    np.testing.assert_allclose(
        values[~inside], (np.sign(kernel) * limit)[~inside], rtol=1e-3
    )


def test_groups_fit_an_axis():
    assert form_of(4, 96, 64, -2) == Form(4, 48, -2)
    assert form_of(4, 33, 64, -2) == Form(8, 33, -2)
    assert form_of(8, 96, 64, -2) == Form(8, 96, -2)


def test_gptq_loses_less_of_what_is_computed():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 32)) @ rng.normal(size=(32, 32))
    weights = rng.normal(size=(32, 16))
    form = Form(4, 8, -2)
    codes, scales = solve(weights, x.T @ x, form)
    found = codes * np.repeat(scales.astype("float64"), 8, 0)
    plain = numpy(decode(*encode(weights.astype("float32"), form), form))
    lost = [np.linalg.norm(x @ (w - weights)) for w in (found, plain)]
    assert lost[0] < 0.8 * lost[1]


@pytest.mark.parametrize(
    "family", [pytest.param("palm", marks=pytest.mark.often), *FAMILIES[1:]]
)
def test_few_bits_are_saved_and_read(family, tmp_path):
    model = make(family)
    model.vocabulary = None
    x, _, _ = batch(family)
    errors = {}
    for mode in MODES:
        small = quantised(model, mode, x)
        errors[mode] = error(model, small, x)
        assert bytes_of(small) < 0.31 * bytes_of(model)
        save(small, tmp_path / mode)
        again = load(tmp_path / mode)
        assert record_of(again.backbone) == record_of(small.backbone)
        np.testing.assert_array_equal(out(again, x), out(small, x))
    assert errors["int8"] < 0.03
    assert errors["int8"] < errors["gptq"] < errors["int4"] < 0.4
    # The base is as it was, and goes over a folder in few bits.
    save(model, tmp_path / "int8")
    assert not record_of(load(tmp_path / "int8").backbone)


@pytest.mark.slow
def test_layers_are_stacked_and_unstacked(tmp_path):
    model = make_t5()
    model.vocabulary = None
    x, _, _ = batch("t5")
    small = quantised(model, "int4", x)
    save(small, tmp_path / "m")
    stacked = load(tmp_path / "m", scan=True)
    close(out(stacked, x), out(small, x))
    save(stacked, tmp_path / "n")
    np.testing.assert_array_equal(out(load(tmp_path / "n"), x), out(small, x))


@pytest.mark.slow
@pytest.mark.parametrize("family", ["palm", "qwen", "t5"])
@pytest.mark.parametrize("add", [add_lora, add_dora, add_ia3])
def test_adapters_train_on_few_bits(family, add):
    """QLoRA: they alone have gradients, and are merged on demand."""
    import keras

    from keras_flan.training import TokenCrossentropy

    model = make(family)
    x, y, weight = batch(family)
    small = quantised(model, "int4", x)
    start, held = out(small, x), record_of(small.backbone)
    add(small, targets="all")
    close(out(small, x), start)
    small.compile(keras.optimizers.Adam(0.02), TokenCrossentropy())
    losses = small.fit(x, y, sample_weight=weight, epochs=6, verbose=0).history[
        "loss"
    ]
    assert losses[-1] < losses[0] - 0.02
    own = {id(v) for v in adapter_of(small).state().values()}
    assert {id(v) for v in small.trainable_variables} == own
    moments = 2 * len(own) + 2  # And a rate and a number of steps.
    assert len(small.optimizer.variables) == moments
    tuned = out(small, x)
    with merged(small):
        close(out(small, x), tuned)
    close(out(small, x), tuned)
    assert record_of(small.backbone) == held
    remove_adapter(small)
    np.testing.assert_array_equal(out(small, x), start)
    add(small, targets="*attention.*")
    draw(small)
    tuned = out(small, x)
    merge_adapter(small)
    close(out(small, x), tuned)
    # What was adapted is whole now, the rest is not.
    assert 0 < len(record_of(small.backbone)) < len(held)


def test_gradients_go_through_few_bits():
    """As through the numbers that they are."""
    import jax

    from keras_flan.models.compression.quantised import Quantised, product

    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(8, 4, 6)).astype("float32")
    held = Quantised(Form(4, 4, -3), kernel.shape)
    held.give(kernel)
    x = rng.normal(size=(2, 3, 8)).astype("float32")

    def loss(x, kernel):
        return (product("btd,dhw->bthw", x, kernel) ** 2).sum()

    np.testing.assert_allclose(
        jax.grad(loss)(x, held), jax.grad(loss)(x, np.asarray(held)), rtol=1e-4
    )


@pytest.mark.slow
def test_a_keras_file_keeps_the_bits(tmp_path):
    import keras

    model = make_t5()
    x, _, _ = batch("t5")
    model.quantize("int4", group=8)
    add_lora(model, 2)
    draw(model)
    model.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(out(again, x), out(model, x))


@pytest.mark.slow
def test_texts_are_the_same_in_a_new_process(tmp_path):
    import os
    import subprocess
    import sys

    from typer.testing import CliRunner

    from keras_flan.cli import app

    for mode in ("int8", "int4"):
        folder = str(tmp_path / mode)
        arguments = ["convert", "flan_nano", folder, "--quantize", mode]
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.exception
        asked = "The opposite of hot is"
        here = load(folder).generate(asked, max_new_tokens=8)
        code = (
            "import sys, keras_flan; print(repr(keras_flan.models.load("
            "sys.argv[1]).generate(sys.argv[2], max_new_tokens=8)))"
        )
        there = subprocess.run(
            [sys.executable, "-c", code, folder, asked],
            capture_output=True,
            text=True,
            check=True,
            env=dict(os.environ),
        )
        assert there.stdout.strip().splitlines()[-1] == repr(here)


@pytest.fixture(scope="module")
def tiny():
    model = make_t5(num_layers=1)
    model.vocabulary = None
    return model


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.quantize("int3"), "found 'int3'"),
        (lambda m: m.quantize("int4", group=1), "group: expected at least 2"),
        (lambda m: m.quantize("gptq"), "'gptq' needs calibration"),
        (lambda m: m.quantize("int8", calibration=[1]), "the others take none"),
        (lambda m: m.quantize("gptq", calibration=[]), "found no batches"),
        (lambda m: (add_lora(m), m.quantize("int8")), "it has an adapter"),
    ],
)
def test_errors(call, message, tiny):
    with pytest.raises(InputError, match=message) as caught:
        call(tiny)
    assert "\n" not in str(caught.value)
    if adapter_of(tiny) is not None:
        remove_adapter(tiny)


def test_few_bits_alone_are_not_trained(tmp_path):
    model = DecoderOnly(make_hub("llama", num_layers=1))
    model.quantize("int4")
    with pytest.raises(InputError, match="in few bits already"):
        model.quantize("int4")
    model.compile("sgd", "mse")
    with pytest.raises(InputError, match="can't be trained; add an adapter"):
        model.fit(*batch("llama")[:2])
    save(model, tmp_path / "m")
    (tmp_path / "m" / FILE).write_text(
        '{"format": 1, "weights": {"x": [4, 8]}}'
    )
    with pytest.raises(InputError, match="names 'x' in 4 bits"):
        load(tmp_path / "m")
    (tmp_path / "m" / FILE).write_text('{"format": 2, "weights": {}}')
    with pytest.raises(InputError, match="not what this version writes"):
        load(tmp_path / "m")


def test_a_small_group_takes_eight_bits():
    """Scales of runs of two would take more bytes than the codes."""
    assert form_of(4, 2 * 509, 64, -2) == Form(8, 2 * 509, -2)
    assert form_of(4, 96, 4, -2) == Form(4, 4, -2)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, 1e6])
def test_weights_beyond_few_bits_are_refused(wrong):
    model = DecoderOnly(make_hub("llama", num_layers=1))
    layer = model.backbone.transformer_layers[0]._feedforward_gate_dense
    kernel = np.array(numpy(layer.kernel))
    kernel[0, 0] = wrong
    layer.kernel.assign(kernel)
    with pytest.raises(InputError, match=r"decoder\.0\.feedforward\.gate: has"):
        model.quantize("int4", group=8)
    assert not record_of(model.backbone)  # Nothing is changed.


def test_a_calibration_has_an_end():
    import tensorflow as tf

    model = DecoderOnly(make_hub("llama", num_layers=1))
    dataset = tf.data.Dataset.from_tensors(batch("llama")[0]).repeat()
    with pytest.raises(InputError, match=r"dataset\.take"):
        model.quantize("gptq", calibration=dataset)


def test_gptq_keeps_zeros():
    model = DecoderOnly(make_hub("llama", num_layers=1))
    prune(model, "magnitude", 0.5)
    before = {
        n: numpy(p.kernel) for n, p in projections(model.backbone).items()
    }
    model.quantize("gptq", group=8, calibration=[(batch("llama")[0],)])
    for name, layer in projections(model.backbone).items():
        assert (np.asarray(layer.kernel)[before[name] == 0] == 0).all()


def test_a_folder_forgets_an_earlier_models_bits(tmp_path):
    """`save_to_preset` writes into a folder as it is."""
    model = DecoderOnly(make_hub("palm", num_layers=1))
    small = copy(model)
    prune(small, "magnitude", 0.5)
    small.save_to_preset(tmp_path)
    small.quantize("int8")
    small.save_to_preset(tmp_path)
    model.save_to_preset(tmp_path)
    assert not record_of(load(tmp_path).backbone)
    assert not {"quantised.json", "pruned.json"} & {
        path.name for path in tmp_path.iterdir()
    }


@pytest.mark.parametrize("what", ["quantize", "prune"])
def test_experts_are_not_left_whole(what):
    model = DecoderOnly(make_hub("qwen3_moe"))
    with pytest.raises(InputError, match=f"{what}: .* have experts"):
        if what == "prune":
            prune(model, "magnitude")
        else:
            model.quantize("int8")
