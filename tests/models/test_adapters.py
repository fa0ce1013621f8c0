"""Adapters of all kinds: they start as nothing, train, save and merge."""

import keras
import numpy as np
import pytest
import safetensors.numpy

from keras_flan.errors import InputError
from keras_flan.models import (
    DecoderOnly,
    add_dora,
    add_houlsby,
    add_ia3,
    add_lora,
    load,
    load_adapter,
    merge_adapter,
    remove_adapter,
    save,
    save_adapter,
    to_huggingface,
)
from keras_flan.models.adapters.base import adapter_of, merged
from keras_flan.models.adapters.saving import read_adapter, write_adapter
from keras_flan.models.adapters.targets import norms, projections
from keras_flan.models.programs import programs_of
from keras_flan.training import TokenCrossentropy
from tests.conftest import make_t5
from tests.models.decoders import FAMILIES, make_hub, numpy, packed, unpacked

# Stacked kernels, dense layers, einsum layers; the default tests do without
# the rest.
MANY = [
    "palm",
    *(
        pytest.param(name, marks=pytest.mark.slow)
        for name in ("t5", *FAMILIES)
        if name != "palm"
    ),
]
# What is neither a projection nor a norm: of experts, their router too.
NO_PROJECTIONS = ("embedding", "bias", "expert", "sparse_feedforward", "rotary")


def make(family):
    if family == "t5":
        return make_t5()
    return DecoderOnly(make_hub(family))


def batch(family):
    """A packed batch `(x, y, sample_weight)`."""
    row = packed(unpacked(np.random.default_rng(0)))
    tokens, segments = row["token_ids"], row["segment_ids"]
    weight = (segments > 0).astype("float32")
    if family != "t5":
        return row, np.roll(tokens, -1, axis=1), weight
    x = {"encoder_token_ids": tokens, "encoder_segment_ids": segments}
    x |= {"decoder_token_ids": tokens, "decoder_segment_ids": segments}
    return x, tokens, weight


def draw(model, seed=1):
    """Gives an adapter that changes something; returns its values."""
    rng = np.random.default_rng(seed)
    for variable in adapter_of(model).state().values():
        noise = rng.normal(scale=0.2, size=variable.shape).astype("float32")
        variable.assign(numpy(variable) + noise)
    return {k: numpy(v) for k, v in adapter_of(model).state().items()}


def base_of(model):
    return [numpy(w) for w in model.backbone.weights]


def close(one, other):
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def same(one, other):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("family", MANY)
def test_every_projection_is_known(family):
    """All weights are projections, norms, or embeddings."""
    model = make(family)
    found = [id(layer.kernel) for layer in projections(model.backbone).values()]
    for norm in norms(model.backbone).values():
        found += [id(w) for w in getattr(norm, "weights", [norm])]
    rest = [
        w
        for w in model.backbone.weights
        if id(w) not in found
        and not any(part in w.path for part in NO_PROJECTIONS)
    ]
    assert len(found) == len(set(found))
    assert not [w.path for w in rest if w.trainable]


@pytest.mark.parametrize(
    ("family", "add"),
    [
        ("palm", add_houlsby),
        *(
            pytest.param(family, add, marks=pytest.mark.slow)
            for family, add in (
                ("palm", add_dora),
                ("t5", add_lora),
                ("t5", add_dora),
                ("t5", add_ia3),
                ("t5", add_houlsby),
                ("palm", add_lora),
                ("palm", add_ia3),
                ("qwen", add_dora),
                ("qwen", add_ia3),
                ("llama", add_lora),
                ("llama", add_houlsby),
            )
        ),
    ],
)
def test_trains_alone_is_saved_and_reproduces(family, add, tmp_path):
    model = make(family)
    x, y, weight = batch(family)
    base, start = base_of(model), model.predict_on_batch(x)
    add(model, *(() if add is add_ia3 else (4,)))
    close(model.predict_on_batch(x), start)
    model.compile(keras.optimizers.Adam(0.02), TokenCrossentropy())
    state = adapter_of(model).state()
    assert {id(v) for v in model.trainable_variables} == {
        id(v) for v in state.values()
    }
    history = model.fit(x, y, sample_weight=weight, epochs=8, verbose=0)
    losses = history.history["loss"]
    assert losses[-1] < losses[0] - 0.05
    tuned = model.predict_on_batch(x)
    save_adapter(model, tmp_path / "a.safetensors")
    size = sum(numpy(v).nbytes for v in state.values())
    assert (tmp_path / "a.safetensors").stat().st_size < size + 20_000
    # The file alone, on a fresh base.
    again = make(family)
    load_adapter(again, tmp_path / "a.safetensors")
    np.testing.assert_array_equal(again.predict_on_batch(x), tuned)
    assert len(again.trainable_variables) == len(state)
    # And without it the base is as it was.
    remove_adapter(model)
    same(base_of(model), base)
    assert all(v.trainable for v in model.backbone.weights)
    close(model.predict_on_batch(x), start)


@pytest.mark.parametrize("family", MANY)
def test_lora_merges_into_every_kernel(family):
    model = make(family)
    x, _, _ = batch(family)
    add_lora(model, rank=3, alpha=6, targets="all")
    assert len(adapter_of(model).parts) == len(projections(model.backbone))
    draw(model)
    tuned, base = model.predict_on_batch(x), base_of(model)
    trainable = len(model.backbone.variables)
    merge_adapter(model)
    assert adapter_of(model) is None
    assert len(model.variables) == trainable
    difference = np.abs(model.predict_on_batch(x) - tuned).max()
    assert difference < 1e-4 * np.abs(tuned).max()
    kernels = [numpy(p.kernel) for p in projections(model.backbone).values()]
    assert not any(np.array_equal(k, b) for k in kernels for b in base)


@pytest.mark.parametrize(
    "add", [pytest.param(add_dora, marks=pytest.mark.slow), add_ia3]
)
@pytest.mark.parametrize(
    "family",
    [
        "qwen",
        *(pytest.param(f, marks=pytest.mark.slow) for f in ("t5", "palm")),
    ],
)
def test_others_merge_too(family, add):
    """Biases as well; and each merge can be lent."""
    model = make(family)
    for layer in projections(model.backbone).values():
        if getattr(layer, "bias", None) is not None:
            layer.bias.assign(layer.bias + 0.3)
    x, _, _ = batch(family)
    add(model, targets="all")
    draw(model)
    tuned, base = numpy(model(x)), base_of(model)
    with merged(model):
        close(numpy(model(x)), tuned)
    same(base_of(model), base)
    close(numpy(model(x)), tuned)
    merge_adapter(model)
    close(numpy(model(x)), tuned)


def test_dora_takes_columns_of_zeros():
    """They have no direction."""
    model = DecoderOnly(make_hub("palm", num_layers=1))
    for layer in projections(model.backbone).values():
        kernel = np.array(numpy(layer.kernel))
        kernel[..., 0] = 0
        layer.kernel.assign(kernel)
    x, _, _ = batch("palm")
    before = numpy(model(x))
    add_dora(model, 2, targets="all")
    close(numpy(model(x)), before)
    merge_adapter(model)
    close(numpy(model(x)), before)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["t5", "palm"])
def test_saving_merges_and_leaves_the_base(family, tmp_path):
    model = make(family)
    model.vocabulary = None
    x, _, _ = batch(family)
    add_lora(model, 2, targets=["query", "feedforward.*"])
    draw(model)
    tuned, base = model.predict_on_batch(x), base_of(model)
    save(model, tmp_path / "m")
    same(base_of(model), base)
    np.testing.assert_array_equal(model.predict_on_batch(x), tuned)
    np.testing.assert_allclose(
        load(tmp_path / "m").predict_on_batch(x), tuned, rtol=1e-3, atol=1e-3
    )
    if family == "t5":
        to_huggingface(model, tmp_path / "hf")
        np.testing.assert_allclose(
            load(tmp_path / "hf").predict_on_batch(x),
            tuned,
            rtol=1e-3,
            atol=1e-3,
        )


def test_likelihoods_follow_the_adapter():
    from keras_flan.generation.likelihood import log_likelihoods, score_tokens

    model = make_t5()

    def score():
        [[found]] = log_likelihoods(model, ["abc"], [["def"]])
        [tokens] = score_tokens(model, [[5, 6, 1]], [[7, 8]])
        return found.log_probability, sum(tokens.log_probabilities)

    before = score()
    add_lora(model, 4, targets="all")
    draw(model)
    assert all(now != b for now, b in zip(score(), before, strict=True))
    remove_adapter(model)
    assert score() == before


@pytest.mark.slow
def test_generation_follows_the_adapter():
    from keras_flan.generation import generate

    model = make_t5()

    def ask():
        return generate(model, ["abc def"], max_new_tokens=8)[0][0].token_ids

    before = ask()
    add_lora(model, 4, targets="all")
    assert ask() == before
    draw(model)
    after = ask()
    assert after != before
    merge_adapter(model)
    assert ask() == after


def test_an_adapter_knows_how_prompts_were_framed(tmp_path):
    hub = make_hub("llama")
    model = DecoderOnly(hub, separate=True, chat="chatml")
    add_lora(model, 2)
    save_adapter(model, tmp_path / "a.safetensors")
    fresh = DecoderOnly(make_hub("llama"), separate=False)
    load_adapter(fresh, tmp_path / "a.safetensors")
    assert (fresh.separate, fresh.chat) == (True, "chatml")


def test_load_finds_the_base(tmp_path):
    model = make_t5(num_layers=1)
    model.vocabulary = None
    x, _, _ = batch("t5")
    save(model, tmp_path / "base")
    programs_of(model, "attribution")["stale"] = True
    add_lora(model, 2)
    # Whatever was compiled before computes something else.
    assert programs_of(model, "attribution") == {}
    draw(model)
    save_adapter(model, tmp_path / "a.safetensors", base="base")
    again = load(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(
        again.predict_on_batch(x), model.predict_on_batch(x)
    )
    save_adapter(model, tmp_path / "b.safetensors")
    with pytest.raises(InputError, match="does not say what its base is"):
        load(tmp_path / "b.safetensors")


@pytest.mark.slow
def test_half_precision_keeps_the_adapter_in_float32():
    model = make_t5(dtype="bfloat16")
    x, y, weight = batch("t5")
    add_lora(model, 2)
    model.compile(keras.optimizers.Adam(0.01), TokenCrossentropy())
    loss = model.train_on_batch(x, y, sample_weight=weight)
    assert np.isfinite(loss)
    assert {str(v.dtype) for v in model.trainable_variables} == {"float32"}


@pytest.fixture(scope="module")
def shallow():
    model = make_t5(num_layers=1)
    model.vocabulary = None
    return model


@pytest.fixture
def small(shallow):
    """A model of one layer; a test may leave an adapter behind."""
    yield shallow
    if adapter_of(shallow) is not None:
        remove_adapter(shallow)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: add_lora(m, targets="qerry"), "matches no layer of a T5"),
        (lambda m: add_lora(m, targets=["all", "x"]), "'x' matches no layer"),
        (lambda m: add_lora(m, targets=[]), "at least one"),
        (lambda m: add_lora(m, rank=0), "rank: expected at least 1"),
        (lambda m: add_houlsby(m, width=0), "width: expected at least 1"),
        (lambda m: add_houlsby(m, activation="x"), "keras has no 'x'"),
        (lambda m: (add_lora(m), add_lora(m)), "it has a lora adapter"),
        (merge_adapter, "it has no adapter"),
        (lambda m: (add_houlsby(m), merge_adapter(m)), "can't be merged"),
        (lambda m: (add_houlsby(m), save(m, "never")), "can't be merged"),
    ],
)
def test_errors(call, message, small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message) as error:
        call(small)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_houlsby_refuses_heads():
    with pytest.raises(InputError, match="splits its output into heads"):
        add_houlsby(make("llama"), targets="query")


def test_file_errors(small, tmp_path):
    path = tmp_path / "a.safetensors"
    add_lora(small, 2)
    save_adapter(small, path)
    remove_adapter(small)
    settings, state = read_adapter(path)

    def broken(settings, state):
        write_adapter(path, settings, state)
        with pytest.raises(InputError) as error:
            load_adapter(small, path)
        assert adapter_of(small) is None
        assert all(v.trainable for v in small.backbone.weights)
        return str(error.value)

    assert "with the layer 'encoder.7.query'" in broken(
        {**settings, "targets": ["encoder.7.query"]}, state
    )
    assert "settings" in broken({**settings, "extra": 1}, state)
    assert "in only one of file and model" in broken(
        settings, dict(list(state.items())[1:])
    )
    name = "encoder.0.self_attention.query.lora_a"
    assert "has the shape (40, 2), the model expects (32, 2)" in broken(
        settings, {**state, name: np.ones((40, 2), "float32")}
    )
    assert "is not finite" in broken(
        settings, {**state, name: state[name] * np.nan}
    )
    for key, value in (
        ("kind", "x"),
        *(("kind", []), ("targets", 3), ("targets", [1]), ("base", {})),
    ):
        assert "not of an adapter" in broken({**settings, key: value}, state)
    for metadata in (None, {}, {"settings": "{"}, {"settings": "[]"}):
        safetensors.numpy.save_file(state, path, metadata)
        with pytest.raises(InputError, match="not of an adapter"):
            load_adapter(small, path)
    with pytest.raises(InputError, match="no such file"):
        load_adapter(small, tmp_path / "none.safetensors")
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(InputError, match="not a safetensors file"):
        load_adapter(small, path)
