"""Experts: the dense model at first, routing, training, files, refusals."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_flan.errors import InputError
from keras_flan.models import (
    DecoderOnly,
    add_lora,
    load,
    merge_adapter,
    prune,
    save,
    to_huggingface,
    upcycle,
)
from keras_flan.models.experts.routing import (
    Routing,
    choose,
    losses,
    place,
    with_loss,
)
from keras_flan.models.experts.upcycling import record_of
from keras_flan.training import TokenCrossentropy
from tests.conftest import make_t5
from tests.models.decoders import make_hub, numpy
from tests.models.test_adapters import batch, close

HOW = Routing(4, 2, 1.0, 0.01, 0.001)


def logits(seed=0, shape=(2, 12, 4)):
    rng = np.random.default_rng(seed)
    return rng.normal(size=shape).astype("float32")


def make(top_k=2, capacity=1.25, **settings):
    model = make_t5(num_layers=2, **settings)
    model.vocabulary = None
    upcycle(model, 4, top_k, capacity=capacity)
    return model


def draw(model):
    """Gives experts that differ."""
    rng = np.random.default_rng(5)
    for v in model.backbone.trainable_weights:
        if "/experts/" in v.path:
            noise = rng.normal(scale=0.3, size=v.shape).astype("float32")
            v.assign(numpy(v) + noise)
    return model


@pytest.mark.parametrize("top_k", [1, 2])
def test_gates_sum_to_one_and_the_router_learns(top_k):
    import jax

    how = HOW._replace(top_k=top_k)
    chosen, gates = choose(logits(), how)
    assert chosen.shape == (2, 12, top_k, 4)
    close(numpy(gates).sum(-1), np.ones((2, 12)))
    best = np.argsort(-logits(), axis=-1)[..., :top_k]
    np.testing.assert_array_equal(numpy(chosen).argmax(-1), best)

    def of_first(x):
        return choose(x, how)[1][..., 0].sum()

    assert np.abs(jax.grad(of_first)(logits())).max() > 0.01


def test_places_are_given_in_order_and_not_to_padding():
    """By a loop: first choices of a row, then second ones."""
    real = np.ones((2, 12), "float32")
    real[0, 3:6] = real[1, 9:] = 0
    chosen, gates = choose(logits(), HOW)
    chosen = numpy(chosen) * real[..., None, None]
    count = HOW._replace(capacity=0.5).places(12)
    assert count == 3
    here, gated = (numpy(t) for t in place(chosen, gates, count))
    for row in range(2):
        taken = [0] * 4
        for choice in range(2):
            for token in range(12):
                if not real[row, token]:
                    assert not here[row, token].any()
                    continue
                expert = int(chosen[row, token, choice].argmax())
                wanted = np.zeros(count)
                if taken[expert] < count:
                    wanted[taken[expert]] = 1
                taken[expert] += 1
                np.testing.assert_array_equal(here[row, token, expert], wanted)
                gate = float(gates[row, token, choice])
                close(gated[row, token, expert], wanted * gate)
        assert max(taken) > count  # Some were left out.


def test_losses_are_the_papers_and_padding_counts_nothing():
    x, real = logits(), np.ones((2, 12), "float32")
    real[:, 8:] = 0
    chosen, _ = choose(x, HOW)
    found = float(losses(x, chosen, real, HOW))
    some = x[:, :8].reshape(-1, 4).astype("float64")
    likely = np.exp(some) / np.exp(some).sum(-1, keepdims=True)
    picked = np.argsort(-some, axis=-1)[:, :2]
    f = np.bincount(picked.ravel(), minlength=4) / picked.size
    z = np.log(np.exp(some).sum(-1))
    wanted = 0.01 * 4 * (f * likely.mean(0)).sum() + 0.001 * (z**2).mean()
    assert found == pytest.approx(wanted, rel=1e-5)
    # All even: the weight itself.
    even = np.zeros((1, 4, 4), "float32")
    spread = ops.one_hot(np.arange(8).reshape(1, 4, 2) % 4, 4)
    balanced = losses(even, spread, np.ones((1, 4)), HOW._replace(z_loss=0.0))
    assert float(balanced) == pytest.approx(0.01)


def test_a_loss_acts_on_the_gradient_alone():
    import jax

    def of(w):
        return (with_loss(w * 2, (w**2).sum()) * 3).sum()

    w = np.arange(3, dtype="float32")
    assert float(of(w)) == 18.0
    close(jax.grad(of)(w), 6 + 2 * w)


@pytest.mark.parametrize("top_k", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_the_first_step_is_that_of_the_dense_model(top_k):
    """Scoring as it is; training where every token finds a place."""
    dense = make_t5(num_layers=2, dropout=0.0)
    x, _, weight = batch("t5")
    model = dense.with_settings(name="other")
    upcycle(model, 4, top_k, capacity=4.0)
    assert record_of(model.backbone)["encoder"] == [1]
    for training in (False, True):
        mask = weight[..., None]
        close(numpy(model(x, training=training)) * mask, numpy(dense(x)) * mask)
    count = model.backbone.count_params() - dense.backbone.count_params()
    kernel = dense.backbone.hidden_dim * dense.backbone.intermediate_dim
    assert count == 2 * (3 * 3 * kernel + 4 * dense.backbone.hidden_dim)


@pytest.mark.often
def test_experts_differ_are_saved_and_read(tmp_path):
    model = draw(make(dropout=0.0))
    x, _, _ = batch("t5")
    wanted = numpy(model(x))
    assert np.abs(numpy(make(dropout=0.0)(x)) - wanted).max() > 0.01
    # keras-hub's own forward pass has the experts too.
    unpacked = {
        **{k: v for k, v in x.items() if k.endswith("token_ids")},
        **{
            f"{side}_padding_mask": np.ones_like(x[f"{side}_token_ids"])
            for side in ("encoder", "decoder")
        },
    }
    theirs = model.backbone(unpacked)["decoder_sequence_output"]
    close(numpy(theirs), numpy(model.hidden(unpacked)))
    save(model, tmp_path / "m")
    again = load(tmp_path / "m")
    assert record_of(again.backbone) == record_of(model.backbone)
    np.testing.assert_array_equal(numpy(again(x)), wanted)
    copy = again.with_settings(dropout=0.1, remat=True)
    close(numpy(copy(x)), wanted)
    model.save(tmp_path / "m.keras")
    kept = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(numpy(kept(x)), wanted)
    # A dense model over it is dense.
    dense = make_t5()
    dense.vocabulary = None
    dense.save_to_preset(tmp_path / "m")
    assert not record_of(load(tmp_path / "m").backbone)


def train(model, steps=2, **settings):
    x, y, weight = batch("t5")
    model.compile(keras.optimizers.Adam(0.01, **settings), TokenCrossentropy())
    for _ in range(steps):
        model.train_on_batch(x, y, sample_weight=weight)
    return [numpy(v) for v in model.backbone.trainable_weights]


@pytest.mark.slow
def test_remat_and_padding_change_no_step():
    """Rows that end in padding route as those without it."""
    plain = train(make(capacity=1.0, dropout=0.0))
    again = train(make(capacity=1.0, dropout=0.0, remat=True))
    for one, other in zip(plain, again, strict=True):
        close(one, other)
    model = draw(make(capacity=8.0, dropout=0.0))
    x, _, weight = batch("t5")
    wide = {k: np.pad(v, ((0, 0), (0, 5))) for k, v in x.items()}
    one = numpy(model(x, training=True)) * weight[..., None]
    other = numpy(model(wide, training=True))[:, :-5] * weight[..., None]
    close(one, other)


@pytest.mark.slow
def test_the_router_and_every_expert_learn():
    model = make(top_k=1, capacity=4.0, dropout=0.0)
    before = [numpy(v) for v in model.backbone.trainable_weights]
    after = train(model)
    paths = [v.path for v in model.backbone.trainable_weights]
    for path, one, other in zip(paths, before, after, strict=True):
        if "/experts/" in path:
            assert np.abs(one - other).max() > 0, path
        if path.endswith("experts/into"):
            # Experts that were copies are no longer.
            assert np.abs(other[0] - other[1]).max() > 1e-3


@pytest.mark.slow
def test_each_token_is_what_whole_rows_say():
    """Greedy paths, though others are decoded beside them."""
    from keras_flan.generation import generate

    model = make_t5(num_layers=2)
    upcycle(model, 4, 2)
    draw(model)
    prompts = ["abc", "the cat", "z"]
    for prompt, [path] in zip(
        prompts, generate(model, prompts, max_new_tokens=5), strict=True
    ):
        read = np.array([[*model.vocabulary.encode(prompt), 1]])
        written = np.array([[0, *path.token_ids[:-1]]])
        x = {
            "encoder_token_ids": read,
            "encoder_padding_mask": np.ones_like(read),
            "decoder_token_ids": written,
            "decoder_padding_mask": np.ones_like(written),
        }
        best = numpy(model(x)).argmax(-1)[0]
        np.testing.assert_array_equal(best, path.token_ids)


@pytest.mark.slow
def test_adapters_join_the_other_projections():
    model = make(dropout=0.0)
    x, _, _ = batch("t5")
    wanted = numpy(model(x))
    add_lora(model, 2, targets="all")
    close(numpy(model(x)), wanted)
    merge_adapter(model)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: upcycle(m, 1), "at least 2 experts"),
        (lambda m: upcycle(m, 4, 3), "takes 1 or 2"),
        (lambda m: upcycle(m, capacity=0), "expected numbers above 0"),
        (lambda m: upcycle(m, every=3), "of which none is the last of each 3"),
        (lambda m: (upcycle(m, 2), upcycle(m, 2)), "it has experts"),
        (lambda m: (add_lora(m), upcycle(m, 2)), "merge_adapter"),
        (lambda m: (prune(m, "magnitude"), upcycle(m, 2)), "it is pruned"),
        (lambda m: (m.quantize("int8"), upcycle(m, 2)), "in few bits"),
        (lambda m: (upcycle(m, 2), m.quantize("int8")), "quantize: .* experts"),
        (lambda m: (upcycle(m, 2), prune(m, "magnitude")), "prune: .* experts"),
        (
            lambda m: (upcycle(m, 2), m.with_settings(scan=True)),
            "scan: .* experts",
        ),
    ],
)
def test_errors(call, message):
    with pytest.raises(InputError, match=message):
        call(make_t5(num_layers=2))


def test_other_refusals(tmp_path):
    with pytest.raises(InputError, match="the layers of T5 alone"):
        upcycle(DecoderOnly(make_hub("llama", num_layers=1)))
    with pytest.raises(InputError, match="load without scan"):
        upcycle(make_t5(scan=True))
    model = make()
    with pytest.raises(InputError, match=r"to_huggingface: .* experts"):
        to_huggingface(model, tmp_path / "hf")
    save(model, tmp_path / "m")
    (tmp_path / "m" / "experts.json").write_text('{"format": 1, "experts": {}}')
    with pytest.raises(InputError, match=r"experts\.json: not what this"):
        load(tmp_path / "m")
