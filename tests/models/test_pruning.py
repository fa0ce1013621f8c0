"""Pruned models: which weights are 0, and that they stay so."""

import numpy as np
import pytest

from keras_flan.errors import InputError
from keras_flan.models import (
    DecoderOnly,
    add_lora,
    load,
    merge_adapter,
    prune,
    save,
)
from keras_flan.models.adapters.equations import equation_of
from keras_flan.models.adapters.targets import projections
from keras_flan.models.compression.calibration import flat_inputs
from keras_flan.models.compression.pruning import _chooser, is_pruned
from keras_flan.models.compression.sparsegpt import sparsegpt
from tests.conftest import make_t5
from tests.models.decoders import make_hub, numpy
from tests.models.test_adapters import batch, draw, make


def zeros_of(model):
    return {
        name: numpy(layer.kernel) == 0
        for name, layer in projections(model.backbone).items()
    }


def reference(weight, inputs, sparsity):
    """Wanda as its authors' code does it, of a matrix (outputs, inputs)."""
    norms = np.sqrt((inputs.T**2).sum(1))
    metric = np.abs(weight.astype("float64")) * norms[None]
    gone = np.zeros(weight.shape, bool)
    if sparsity == "2:4":
        for start in range(0, weight.shape[1], 4):
            run = metric[:, start : start + 4]
            least = start + np.argsort(run, axis=1, kind="stable")[:, :2]
            np.put_along_axis(gone, least, True, axis=1)
        return gone
    least = np.argsort(metric, axis=1, kind="stable")
    count = int(weight.shape[1] * sparsity)
    np.put_along_axis(gone, least[:, :count], True, axis=1)
    return gone


@pytest.mark.parametrize("sparsity", [0.5, "2:4"])
def test_wanda_masks_are_those_of_a_reference(sparsity):
    """Layer after layer, each on what the pruned ones before it give."""
    model = DecoderOnly(make_hub("llama"))
    x, _, _ = batch("llama")
    whole = {
        name: numpy(layer.kernel)
        for name, layer in projections(model.backbone).items()
    }
    prune(model, "wanda", sparsity, [(x,)])
    zeros = zeros_of(model)
    # The inputs of a layer depend on those before it, which are pruned; its
    # own, before it was pruned, are seen with its old kernels.
    for number in (1, 0):
        names = [n for n in whole if n.startswith(f"decoder.{number}.")]
        layers = {n: projections(model.backbone)[n] for n in names}
        for name, layer in layers.items():
            layer.kernel.assign(whole[name])
        seen = inputs_of(model, layers, x)
        for name, layer in layers.items():
            equation = equation_of(layer).replace("...", "")
            _, axes, _ = equation.replace("->", ",").split(",")
            inputs = [a for a in axes if a not in equation.split("->")[1]]
            outputs = [a for a in axes if a not in inputs]
            order = [axes.index(a) for a in outputs + inputs]
            columns = seen[name].shape[1]
            weight = whole[name].transpose(order).reshape(-1, columns)
            found = zeros[name].transpose(order).reshape(-1, columns)
            expected = reference(weight, seen[name], sparsity)
            np.testing.assert_array_equal(found, expected, err_msg=name)


def inputs_of(model, layers, x):
    seen, calls = {}, {}
    for name, layer in layers.items():
        inner = calls[name] = layer.call

        def call(inputs, *args, name=name, layer=layer, inner=inner, **kwargs):
            seen[name] = flat_inputs(equation_of(layer), inputs)
            return inner(inputs, *args, **kwargs)

        layer.call = call
    model(x)
    for layer in layers.values():
        del layer.call
    return seen


@pytest.mark.parametrize(
    "family",
    [
        "llama",
        *(pytest.param(f, marks=pytest.mark.slow) for f in ("t5", "palm")),
    ],
)
def test_zeros_stay_in_finetuning(family, tmp_path):
    import keras

    from keras_flan.training import TokenCrossentropy

    model = make(family)
    model.vocabulary = None
    x, y, weight = batch(family)
    prune(model, "magnitude", 0.5)
    zeros = zeros_of(model)
    assert all(0.4 < z.mean() <= 0.5 for z in zeros.values())
    save(model, tmp_path / "m")
    again = load(tmp_path / "m")
    if family == "t5":
        again = again.with_settings(dropout=0.0)
    assert is_pruned(again.backbone)
    optimizer = keras.optimizers.AdamW(0.01, weight_decay=0.1)
    again.compile(optimizer, TokenCrossentropy())
    for _ in range(2):
        again.train_on_batch(x, y, sample_weight=weight)
    before = {
        name: numpy(layer.kernel)
        for name, layer in projections(model.backbone).items()
    }
    for name, layer in projections(again.backbone).items():
        kernel = numpy(layer.kernel)
        assert (kernel[zeros[name]] == 0).all()
        assert (kernel[~zeros[name]] != before[name][~zeros[name]]).any()


@pytest.mark.slow
def test_wanda_prunes_stacked_layers():
    model = make("palm")
    x, _, _ = batch("palm")
    prune(model, "wanda", 0.25, [(x,)])
    assert all(0.2 < z.mean() <= 0.25 for z in zeros_of(model).values())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: prune(m, "wand"), "Did you mean 'wanda'"),
        (lambda m: prune(m, "wanda"), "need calibration.* 'wanda' without"),
        (lambda m: prune(m, "magnitude", 1.5), "a share between 0 and 1"),
        (lambda m: prune(m, "magnitude", "4:4"), "such as '2:4'"),
        (lambda m: prune(m, "magnitude", "3:7"), "of 7; give a share"),
        (lambda m: (m.quantize("int8"), prune(m, "magnitude")), "in few bits"),
        (lambda m: (add_lora(m), prune(m, "magnitude")), "has an adapter"),
    ],
)
def test_errors(call, message):
    with pytest.raises(InputError, match=message):
        call(DecoderOnly(make_hub("llama", num_layers=1)))


def test_runs_that_do_not_fit_change_nothing():
    """Those of the last projection, for example, whose inputs are others."""
    model = make_t5(intermediate_dim=50)
    before = [numpy(v) for v in model.variables]
    with pytest.raises(InputError, match=r"50 inputs, which are no runs of 4"):
        prune(model, "magnitude", "2:4")
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(numpy(variable), value)


def test_what_an_adapter_filled_stays_filled():
    from keras_flan.training import AdamW, TokenCrossentropy

    model = DecoderOnly(make_hub("llama", num_layers=1))
    prune(model, "magnitude")
    add_lora(model, 2, targets="all")
    draw(model)
    merge_adapter(model)
    merged = zeros_of(model)
    assert not any(zeros.mean() > 0.01 for zeros in merged.values())
    assert not is_pruned(model.backbone)
    x, y, weight = batch("llama")
    model.compile(AdamW(1e-6), TokenCrossentropy())
    model.train_on_batch(x, y, weight)
    for name, zeros in zeros_of(model).items():
        np.testing.assert_array_equal(zeros, merged[name])


def test_a_keras_file_keeps_zeros(tmp_path):
    """Its weights are read after the model is made."""
    import keras

    from keras_flan.training import TokenCrossentropy

    model = DecoderOnly(make_hub("palm", num_layers=1))
    prune(model, "magnitude", 0.5)
    model.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras")
    assert is_pruned(again.backbone)
    x, y, weight = batch("palm")
    again.compile(keras.optimizers.Adam(0.01), TokenCrossentropy())
    again.train_on_batch(x, y, sample_weight=weight)
    for name, zeros in zeros_of(model).items():
        kernel = numpy(projections(again.backbone)[name].kernel)
        assert (kernel[zeros] == 0).all()
        assert (kernel[~zeros] != 0).all()


def test_wanda_needs_some_batches():
    model = DecoderOnly(make_hub("llama", num_layers=1))
    with pytest.raises(InputError, match="found no batches"):
        prune(model, "wanda", 0.5, [])


@pytest.mark.parametrize("sparsity", [0.5, "2:4"])
def test_sparsegpt_loses_less_than_wanda(sparsity):
    """Where inputs go together; where they don't, nothing is made up for."""
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(256, 16))
    choose, block = _chooser(sparsity)
    x = rng.normal(size=(600, 64)) @ rng.normal(size=(64, 256))
    x += rng.normal(size=x.shape)
    norms = np.sqrt((x**2).sum(0))[:, None]
    wanda = np.where(choose(np.abs(weights) * norms), weights, 0)
    found = sparsegpt(weights, x.T @ x, choose, block)
    assert (found == 0).mean() == 0.5
    if sparsity == "2:4":
        assert ((found.reshape(-1, 4, 16) == 0).sum(1) == 2).all()
    lost = [np.linalg.norm(x @ (w - weights)) for w in (found, wanda)]
    assert lost[0] < 0.8 * lost[1]
    # Nothing to make up with: the smallest go, and the others stay.
    alone = sparsegpt(weights, np.eye(256), choose, block)
    np.testing.assert_allclose(alone[alone != 0], weights[alone != 0])


@pytest.mark.slow
def test_sparsegpt_prunes_a_model():
    model = make("palm")
    x, _, _ = batch("palm")
    prune(model, "sparsegpt", 0.5, [(x,)])
    assert all(0.45 < z.mean() <= 0.5 for z in zeros_of(model).values())
