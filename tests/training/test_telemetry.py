"""Telemetry counts what is real; the held-out loss is by token."""

import types

import keras
import numpy as np
import pytest

from keras_flan.distribution.chips import chips
from keras_flan.models import T5
from keras_flan.training.held_out import held_out_loss
from keras_flan.training.peak import model_flops, peak_flops
from keras_flan.training.profiling import _COLLECTIVE
from keras_flan.training.telemetry import count_tokens, describe


def test_counts_tokens_without_padding():
    encoder = np.array([[1, 1, 2, 0], [1, 0, 0, 0]])
    decoder = np.array([[1, 2, 0], [1, 1, 0]])
    x = {"encoder_segment_ids": encoder, "decoder_segment_ids": decoder}
    weight = (decoder > 0).astype("float32")
    assert count_tokens((x, decoder, weight)) == (4, 4, 14)
    # One row for both: targets have a weight.
    segments = np.array([[1, 1, 1, 2, 2, 0]])
    weight = np.array([[0, 1, 1, 0, 1, 0]], "float32")
    assert count_tokens(({"segment_ids": segments}, segments, weight)) == (
        2,
        3,
        6,
    )


def test_a_row_in_words():
    row = {
        "step": 1200,
        "tokens_per_second": 3456.7,
        "fill": 0.91,
        "input_wait": 0.02,
        "compile": 0.25,
        "flops_per_second": 81e9,
        "utilisation": 0.54,
        "peak_memory_gib": 3.21,
    }
    assert describe(row) == (
        "step 1,200: 3,457 tokens/s, fill 91%, input wait 2%, "
        "compile 25%, "
        "81.0 GFLOP/s (54% of peak), 3.2 GiB"
    )


def test_the_peak_of_a_tpu_is_that_of_its_plan(monkeypatch):
    devices = [types.SimpleNamespace(device_kind="TPU v5 lite")] * 8
    monkeypatch.setattr("jax.devices", lambda: devices)
    assert peak_flops.__wrapped__() == 8 * chips()["v5e"].flops == 8 * 197e12


@pytest.mark.parametrize(
    "tied", [pytest.param(False, marks=pytest.mark.slow), True]
)
def test_operations_are_the_same_however_layers_are_stored(tied):
    sizes = {
        "vocabulary_size": 300,
        "num_layers": 3,
        "num_heads": 2,
        "hidden_dim": 16,
        "intermediate_dim": 24,
        "tie_embedding_weights": tied,
    }
    one, all_at_once = (
        model_flops(T5.from_config_values(**sizes, scan=scan), 10, 7)
        for scan in (False, True)
    )
    # Six per token and weight: four of attention, three of feed-forward.
    attention, feedforward = 4 * 16 * 16, 3 * 16 * 24
    encoder = 3 * (attention + feedforward)
    decoder = 3 * (2 * attention + feedforward) + 300 * 16
    assert one == all_at_once == 6 * (10 * encoder + 7 * decoder)


class Fake:
    """A model whose loss is the mean of y by weight."""

    def __init__(self):
        self.metrics_variables = [keras.Variable(7.0)]

    def reset_metrics(self):
        self.metrics_variables[0].assign(0.0)

    def test_on_batch(self, x, y, weight, return_dict):
        return {"loss": (y * weight).sum() / weight.sum()}


def test_held_out_loss_counts_tokens_and_keeps_the_metrics():
    batches = [
        (np.zeros(2), np.array([1.0, 3.0]), np.array([1.0, 1.0])),
        (np.zeros(2), np.array([9.0, 5.0]), np.array([1.0, 0.0])),
    ]
    model = Fake()
    assert held_out_loss(model, batches) == (1 + 3 + 9) / 3
    assert float(model.metrics_variables[0]) == 7.0


@pytest.mark.parametrize(
    ("operation", "counts"),
    [
        ("all-reduce.12", True),
        ("%all-gather.3 = f32[8]{0} all-gather(%p), dimensions={0}", True),
        ("all-gather-done.3", True),
        ("all-gather-start.3", False),
        ("reduce-scatter", True),
        ("reduce.4", False),
        ("fusion.all-reduce", False),
    ],
)
def test_what_waits_for_other_devices(operation, counts):
    assert bool(_COLLECTIVE.match(operation)) == counts


def test_operations_in_few_bits_and_of_experts():
    """Codes count as their kernel; of experts those that a token passes."""
    from keras_flan.models import add_lora, upcycle
    from tests.conftest import make_t5

    model = make_t5()
    dense = model_flops(model, 10, 7)
    upcycle(model, 4, 2, every=1)
    backbone = model.backbone
    width, inner = backbone.hidden_dim, backbone.intermediate_dim
    # One expert more than the block; the router.
    more = 6 * 2 * (3 * width * inner + 4 * width) * (10 + 7)
    assert model_flops(model, 10, 7) == dense + more
    model = make_t5()
    add_lora(model, 2)
    frozen = model_flops(model, 10, 7)
    model = make_t5()
    model.quantize("int4", group=8)
    add_lora(model, 2)
    assert model_flops(model, 10, 7) == frozen
