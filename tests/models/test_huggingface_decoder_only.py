"""Decoder-only models and adapters in the files of Hugging Face.

That transformers and peft compute the same with them, and that transformers'
own folders are read, is in `test_decoder_only_parity.py`.
"""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from keras_flan.errors import InputError
from keras_flan.models import (
    DecoderOnly,
    add_houlsby,
    add_lora,
    from_peft,
    load,
    remove_adapter,
    save,
    save_adapter,
    to_huggingface,
    to_peft,
)
from keras_flan.models.adapters.base import adapter_of
from keras_flan.models.huggingface.families import config_of
from keras_flan.models.huggingface.reading_configs import backbone_arguments
from tests.conftest import make_t5
from tests.models.decoders import FAMILIES, make_hub, numpy, sizes_of


def draw(model):
    rng = np.random.default_rng(0)
    for variable in adapter_of(model).state().values():
        variable.assign(rng.normal(size=variable.shape))


def test_what_is_written_is_read_to_the_bit(tmp_path):
    """keras-hub would read a Mistral in half precision."""
    model = DecoderOnly(make_hub("mistral"))
    to_huggingface(model, tmp_path / "out", shard_bytes=20_000)
    assert len(list(tmp_path.glob("out/model-*.safetensors"))) > 2
    again = load(tmp_path / "out")
    assert again.backbone.layer_norm_epsilon == 1e-6
    assert again.backbone.sliding_window == 5
    for one, other in zip(again.weights, model.weights, strict=True):
        np.testing.assert_array_equal(numpy(one), numpy(other))
    # The folder is one of ours, which is replaced.
    to_huggingface(model, tmp_path / "out", dtype="bfloat16")
    assert not list(tmp_path.glob("out/model-*.safetensors"))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="overwrite"):
        to_huggingface(model, tmp_path / "other")


def test_tensors_of_something_else_are_not_dropped(tmp_path):
    to_huggingface(DecoderOnly(make_hub("mistral")), tmp_path / "out")
    path = tmp_path / "out" / "model.safetensors"
    odd = {"model.layers.0.lora_A.weight": np.ones(3, "float32")}
    save_file({**load_file(path), **odd}, path)
    with pytest.raises(InputError, match=r"'model\.layers\.0\.lora_A"):
        load(tmp_path / "out")


def test_a_tied_projection_may_be_there_twice_but_not_differ(tmp_path):
    to_huggingface(DecoderOnly(make_hub("gemma3")), tmp_path / "out")
    path = tmp_path / "out" / "model.safetensors"
    weights = load_file(path)
    embedding = weights["model.embed_tokens.weight"]
    save_file({**weights, "lm_head.weight": embedding}, path)
    load(tmp_path / "out")
    save_file({**weights, "lm_head.weight": embedding + 1}, path)
    with pytest.raises(InputError, match=r"differs from 'model\.embed_tokens"):
        load(tmp_path / "out")


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        ("llama", {"hidden_act": "relu"}, "expected 'silu'"),
        ("llama", {"attention_bias": True}, "'attention_bias' True"),
        ("llama", {"head_dim": 12}, "'head_dim' 12, expected 8"),
        ("llama", {"hidden_size": "wide"}, "not the config of a llama"),
        ("llama", {"quantization_config": {}}, "quantization_config"),
        (
            "llama3",
            {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}},
            "positions scaled by 'yarn'",
        ),
        ("mistral", {"tie_word_embeddings": True}, "tie_word_embeddings"),
        (
            "qwen",
            {"layer_types": ["full_attention", "sliding_attention"]},
            "some of its layers",
        ),
        ("gemma", {"rope_theta": 5e5, "rope_parameters": None}, "rope_theta"),
        ("gemma2", {"query_pre_attn_scalar": 7}, "query_pre_attn_scalar"),
        ("gemma3", {"layer_types": ["sliding_attention"] * 6}, "after each 5"),
        ("gemma3", {"use_bidirectional_attention": True}, "bidirectional"),
        ("gemma3", {"rope_local_base_freq": 1, "rope_parameters": None}, "1.0"),
    ],
)
def test_what_keras_hub_can_not_express_is_refused(family, changes, message):
    config = config_of(backbone(family), "float32")
    backbone_arguments(config, "config.json")
    with pytest.raises(InputError, match=message):
        backbone_arguments({**config, **changes}, "config.json")


@pytest.mark.parametrize("number", [2**40, 0, -1, 2.0, "2", None])
@pytest.mark.parametrize("kind", ["qwen3", "smollm3", "gemma3_text", "t5gemma"])
def test_layers_without_number_are_refused_at_once(kind, number):
    config = {"num_hidden_layers": number}
    if kind == "t5gemma":
        config = {"encoder": {"num_hidden_layers": 2}, "decoder": config}
    with pytest.raises(InputError, match=r"c\.json: found .* up to 10,000"):
        backbone_arguments({"model_type": kind, **config}, "c.json")


def backbone(family):
    from keras_flan.distribution import build_abstract

    return build_abstract(lambda: make_backbone(family))


def make_backbone(family):
    import keras_hub

    name, _ = FAMILIES[family]
    return getattr(keras_hub.models, f"{name}Backbone")(**sizes_of(family))


def test_what_transformers_has_not_is_refused(tmp_path):
    palm = DecoderOnly(make_hub("palm"))
    with pytest.raises(InputError, match="transformers has no such model"):
        to_huggingface(palm, tmp_path / "out")
    model = make_t5()
    with pytest.raises(InputError, match="it has no adapter"):
        to_peft(model, tmp_path / "out")
    add_houlsby(model)
    with pytest.raises(InputError, match="found a houlsby adapter"):
        to_peft(model, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_adapters_of_a_t5_are_written_for_peft(tmp_path):
    """Stacked layers or not."""
    plain, scanned = make_t5(), make_t5(scan=True)
    plain.vocabulary = None
    save(plain, tmp_path / "base")
    for model in (plain, scanned):
        add_lora(model, rank=2, alpha=3)
        draw(model)
    to_peft(scanned, tmp_path / "scanned", base="google/flan-t5-small")
    config = json.loads((tmp_path / "scanned/adapter_config.json").read_text())
    assert config["task_type"] == "SEQ_2_SEQ_LM"
    assert config["target_modules"] == ["q", "v"]
    assert (config["r"], config["lora_alpha"]) == (2, 3)
    assert config["base_model_name_or_path"] == "google/flan-t5-small"
    tensors = load_file(tmp_path / "scanned/adapter_model.safetensors")
    # By the command line too, from the file of an adapter.
    from typer.testing import CliRunner

    from keras_flan.cli import app

    save_adapter(plain, tmp_path / "a.safetensors", base="base")
    arguments = ["a.safetensors", "plain", "--to", "peft"]
    arguments[:2] = (str(tmp_path / name) for name in arguments[:2])
    result = CliRunner().invoke(app, ["convert", *arguments])
    assert result.exit_code == 0, result.exception
    others = load_file(tmp_path / "plain/adapter_model.safetensors")
    shapes = {name: array.shape for name, array in others.items()}
    assert {name: a.shape for name, a in tensors.items()} == shapes
    name = "decoder.block.1.layer.1.EncDecAttention.q.lora_B.weight"
    part = adapter_of(scanned).parts["decoder.cross_attention.query"]
    np.testing.assert_array_equal(
        tensors[f"base_model.model.{name}"], numpy(part.b)[1].T
    )
    # And back, into stacked layers.
    values = [numpy(v) for v in scanned.trainable_variables]
    remove_adapter(scanned)
    from_peft(scanned, tmp_path / "scanned")
    for variable, value in zip(
        scanned.trainable_variables, values, strict=True
    ):
        np.testing.assert_array_equal(numpy(variable), value)
    remove_adapter(scanned)
    del tensors[f"base_model.model.{name}"]
    folder = tmp_path / "scanned/adapter_model.safetensors"
    save_file(tensors, folder)
    with pytest.raises(InputError, match="do not fit this model"):
        from_peft(scanned, tmp_path / "scanned")
    save_file({**tensors, "lm_head.lora_A.weight": np.ones((2, 2))}, folder)
    with pytest.raises(InputError, match="which is of no projection"):
        from_peft(scanned, tmp_path / "scanned")
    assert adapter_of(scanned) is None
