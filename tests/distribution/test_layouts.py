"""Layouts: every weight once, divisible, and said."""

import functools
import io
import itertools

import keras
import keras_hub
import pytest

from keras_flan.distribution import (
    Layouts,
    Mesh,
    ModelParallel,
    build_abstract,
    device_mesh,
    layout_map,
    print_layouts,
)
from keras_flan.distribution.layouts import PRESETS
from keras_flan.errors import InputError
from keras_flan.models import T5, DecoderOnly, PaLMBackbone
from keras_flan.models.gguf.smollm2 import SmolLM2Backbone
from keras_flan.models.roles import Roles, roles
from tests.models.decoders import sizes_of

hub = keras_hub.models
T5_SIZES = {
    "vocabulary_size": 128,
    "num_layers": 2,
    "num_heads": 4,
    "hidden_dim": 32,
    "intermediate_dim": 64,
}
SIZES = {
    "vocabulary_size": 128,
    "num_layers": 2,
    "num_query_heads": 4,
    "num_key_value_heads": 2,
    "hidden_dim": 32,
    "intermediate_dim": 64,
}
NORMS = {"use_post_ffw_norm": True, "use_post_attention_norm": True}
GEMMA2 = {
    **NORMS,
    "head_dim": 8,
    "attention_logit_soft_cap": 50,
    "final_logit_soft_cap": 30,
    "use_sliding_window_attention": True,
    "sliding_window_size": 16,
}


def palm(**kwargs):
    return PaLMBackbone(128, 3, 4, 32, 64, head_dim=8, dropout=0.1, **kwargs)


BUILDERS = {
    "t5": lambda: T5.from_config_values(**T5_SIZES),
    "t5 tied": lambda: T5.from_config_values(
        **T5_SIZES, tie_embedding_weights=True
    ),
    "t5 stacked": lambda: T5.from_config_values(**T5_SIZES, scan=True),
    "palm": lambda: DecoderOnly(palm()),
    "llama": lambda: DecoderOnly(hub.LlamaBackbone(**SIZES)),
    "llama tied": lambda: hub.LlamaBackbone(**SIZES, tie_word_embeddings=True),
    "llama smollm2": lambda: SmolLM2Backbone(**SIZES),
    "mistral": lambda: hub.MistralBackbone(**SIZES),
    "qwen": lambda: hub.QwenBackbone(**SIZES),
    "qwen 3": lambda: hub.Qwen3Backbone(**SIZES, head_dim=8),
    "qwen 3 moe": lambda: hub.Qwen3MoeBackbone(
        **SIZES,
        head_dim=8,
        num_experts=4,
        top_k=2,
        moe_intermediate_dim=16,
        mlp_only_layers=[1],
    ),
    "smollm3": lambda: hub.SmolLM3Backbone(**sizes_of("smollm3")),
    "gemma": lambda: hub.GemmaBackbone(**SIZES, head_dim=8),
    "gemma 2": lambda: hub.GemmaBackbone(**SIZES, **GEMMA2),
    "gemma 3": lambda: hub.Gemma3Backbone(
        **SIZES, head_dim=8, image_size=None, **NORMS
    ),
}


@functools.cache
def abstract(name):
    """A model without weights; T5 alone takes a second to build."""
    if name == "smollm3":  # It computes numbers when it is made.
        return BUILDERS[name]()
    return build_abstract(BUILDERS[name])


def test_abstract_models_are_never_given_weights():
    """Keras would draw 540 billion numbers at its next chance."""
    backbone = build_abstract(
        lambda: PaLMBackbone.from_preset(
            "palm_540b", load_weights=False, dtype="bfloat16"
        )
    )
    assert backbone.count_params() == 540_356_474_880
    with keras.StatelessScope():
        pass
    layouts = layout_map(backbone, "batch=32,model=32", "fsdp+model")
    held = [v.bytes_per_device(layouts.mesh) for v in layouts.found.values()]
    assert 2.0 * 2**30 > sum(held) > 540e9 * 2 / 1024
    # 48 heads over 32 devices can't be, which has to be said.
    query = layouts.found["decoder/query/kernel"]
    assert query.axes == (None, "batch", None, "model")
    assert query.note == (
        "heads 48 not divisible by model=32, head split instead"
    )


@pytest.mark.parametrize("name", BUILDERS)
def test_every_weight_of_every_family_has_a_layout(name):
    for preset in PRESETS:
        layouts = layout_map(abstract(name), "batch=4,model=2", preset)
        assert not layouts.unknown
        for layout in layouts.found.values():
            used = [axis for axis in layout.axes if axis]
            assert len(set(used)) == len(used)
            assert len(layout.axes) == len(layout.shape)
            small = ("scale", "weight", "gamma", "inv_freq")
            norm = layout.path.split("/")[-1] in small
            relative = layout.path.endswith("self_attention/embeddings")
            bias = layout.path.endswith("/bias")
            small_key = name == "palm" and "/key/" in layout.path
            small_key |= name == "palm" and "/value/" in layout.path
            if preset == "data" or norm:
                assert not used
            elif preset == "fsdp" and not (relative or bias):
                assert used == ["batch"]
            elif preset == "model" and not small_key:
                assert used == ["model"]
            elif preset == "fsdp+model" and not (small_key or relative or bias):
                assert sorted(used) == ["batch", "model"]


def test_the_families_own_names_find_the_same():
    for name in BUILDERS:
        whole = layout_map(abstract(name), "batch=2,model=2", "fsdp+model")
        family = layout_map(name.split()[0], "batch=2,model=2", "fsdp+model")
        for layout in whole.found.values():
            assert family.layout_of(
                layout.path, layout.shape, layout.dtype
            ) == (layout)


def test_a_model_that_computes_when_it_is_made_is_refused():
    with pytest.raises(InputError, match="computes numbers when it is made"):
        build_abstract(BUILDERS["smollm3"])


def test_roles_mean_one_thing():
    for (_, one), (_, other) in itertools.combinations(roles().items(), 2):
        for role in one.keys() & other.keys():
            assert one[role] == other[role]
        # No path matches a short role of one and a long one of another.
        for long, short in itertools.product(one, other):
            if long.endswith(f"/{short}"):
                assert one[long] == other[short]


def test_paths_of_t5_agree_with_the_objects():
    """The names in a path say where the weight is used."""
    backbone = abstract("t5").backbone
    find = Roles("t5").axes
    for layer in (
        *backbone.encoder_transformer_layers,
        *backbone.decoder_transformer_layers,
    ):
        blocks = [layer.self_attention]
        if layer.is_decoder:
            blocks.append(layer.cross_attention)
        expected = {
            layer.input_projector: ("embed", "mlp"),
            layer.gate_projector: ("embed", "mlp"),
            layer.output_projector: ("mlp", "embed"),
        }
        for block in blocks:
            expected[block.query_projector] = ("embed", "heads")
            expected[block.key_projector] = ("embed", "heads")
            expected[block.value_projector] = ("embed", "heads")
            expected[block.output_projector] = ("heads", "embed")
        for dense, axes in expected.items():
            kernel = dense.kernel
            assert find(kernel.path, kernel.shape) == axes


def test_stacked_weights_keep_their_layers_together():
    axes = Roles("t5").axes
    path = "decoder/cross_attention/query_projector/kernel"
    assert axes(path, (24, 32, 64)) == ("layers", "embed", "heads")
    layouts = Layouts("batch=4,model=2", "fsdp+model")
    layout = layouts.layout_of(path, (24, 32, 64))
    assert layout.axes == (None, "batch", "model")
    assert layout.bytes_per_device(layouts.mesh) == 24 * 32 * 64 * 4 // 8


@pytest.mark.parametrize("preset", PRESETS)
def test_stacked_t5_lies_as_keras_hubs_does(preset):
    """Each weight of a real one, and layer by layer the same bytes."""
    mesh = Mesh("batch=4,model=2")
    held = {}
    for name in ("t5", "t5 stacked"):
        layouts = layout_map(abstract(name), mesh, preset)
        # Norms of a layer share a path.
        weights = abstract(name).trainable_variables
        found = [layouts.layout_of(v.path, v.shape) for v in weights]
        assert all(found)
        held[name] = sum(layout.bytes_per_device(mesh) for layout in found)
    assert held["t5"] == held["t5 stacked"]
    # All layers of a weight in one, never split between layers.
    stacks = [layout for layout in found if len(layout.shape) == 3]
    assert len(stacks) == 4 + 3 + 4 + 4 + 3
    assert all(layout.axes[0] is None for layout in stacks)


def test_few_bits_lie_as_the_kernel_that_they_are():
    """Two to a byte and with groups; an adapter finds them as well."""
    from keras_flan.models.roles import Roles

    find = Roles("t5").axes
    path = "transformer_encoder_layer_0/input_projector/kernel"
    assert find(f"{path}/codes", (16, 64)) == find(path, (32, 64))
    assert find(f"{path}/scales", (4, 64)) == ("embed", "mlp")
    find = Roles("t5").axes
    find(f"{path}/codes", (16, 64))
    found = find("encoder_0_feedforward_intermediate/lora_a", (32, 2))
    assert found == ("embed", "rank")
    found = find("encoder_0_feedforward_intermediate/magnitude", (64,))
    assert found == ("mlp",)


def test_lora_follows_the_weight_that_it_is_for():
    layouts = Layouts("batch=4,model=2", "fsdp+model")
    find = layouts.layout_of
    find("decoder_block_0/attention/query/kernel", (4, 32, 8))
    assert find("query/lora_kernel_a", (4, 32, 2)).axes == (
        "model",
        "batch",
        None,
    )
    assert find("query/lora_kernel_b", (2, 8)).axes == (None, None)
    find("transformer_encoder_layer_0/gate_projector/kernel", (32, 64))
    assert find("gate_projector/lora_kernel_a", (32, 2)).axes == ("batch", None)
    assert find("gate_projector/lora_kernel_b", (2, 64)).axes == (None, "model")
    assert find("token_embedding/lora_embeddings_a", (9, 2)) is None


def test_adapters_follow_the_weight_that_they_are_for():
    """The names and shapes of `keras_flan.models.add_lora`."""
    layouts = Layouts("batch=4,model=2", "fsdp+model")
    find = layouts.layout_of
    find("decoder_block_0/attention/query/kernel", (4, 32, 8))
    name = "decoder_7_self_attention_query"
    assert find(f"{name}/lora_a", (32, 2)).axes == ("batch", None)
    assert find(f"{name}/lora_b", (2, 4, 8)).axes == (None, "model", None)
    find("decoder/attention_output/kernel", (3, 4, 8, 32))
    name = "decoder_self_attention_output"
    assert find(f"{name}/lora_a", (3, 4, 8, 2)).axes == (
        None,
        "model",
        None,
        None,
    )
    assert find(f"{name}/lora_b", (3, 2, 32)).axes == (None, None, "batch")
    find("transformer_encoder_layer_0/input_projector/kernel", (32, 64))
    name = "encoder_0_feedforward_intermediate"
    assert find(f"{name}/lora_a", (32, 2)).axes == ("batch", None)
    assert find(f"{name}/lora_b", (2, 64)).axes == (None, "model")
    assert find("encoder_0_feedforward_gate/lora_b", (2, 64)) is None
    name = "decoder_0_feedforward_output"
    assert find(f"{name}/down", (32, 4)).axes == ("batch", None)
    assert find(f"{name}/up", (3, 4, 32)).axes == (None, None, "batch")
    assert find(f"{name}/up_bias", (32,)).axes == (None,)


def test_what_cannot_be_divided_is_said():
    layouts = layout_map(abstract("gemma"), "batch=2,model=4", "model")
    key = layouts.found["decoder_block_0/attention/key/kernel"]
    assert key.axes == (None, None, None)
    assert key.note == "kv_heads 2 not divisible by model=4"
    query = layouts.found["decoder_block_0/attention/query/kernel"]
    assert query.axes == ("model", None, None)
    out = io.StringIO()
    print_layouts(layouts, file=out)
    text = " ".join(out.getvalue().split())
    assert "preset model on mesh batch=2,model=4" in text
    assert "on every device" in text
    assert "kv_heads 2" in text


def test_activations():
    layouts = Layouts("batch=4,model=2", "fsdp+model")
    assert layouts["activations/residual"].axes == ("batch", None, None)
    assert layouts["activations/logits"].axes == ("batch", None, "model")
    layouts = Layouts("batch=4,model=2", "model", sequence=True)
    assert layouts["activations/residual"].axes == ("batch", "model", None)
    assert layouts["activations/block_input"].axes == ("batch", None, None)
    layouts = Layouts("batch=4,model=2", "fsdp", sequence=True)
    assert layouts["activations/residual"].axes == ("batch", None, None)
    assert layouts["activations/logits"].axes == ("batch", None, None)


def test_the_table_counts_bytes():
    layouts = layout_map(abstract("palm"), "batch=4,model=2", "fsdp+model")
    assert len(layouts.found) == 10
    assert layouts.found["token_embedding/embeddings"].bytes() == 128 * 32 * 4
    total = sum(
        v.bytes_per_device(layouts.mesh) for v in layouts.found.values()
    )
    out = io.StringIO()
    print_layouts(layouts, file=out)
    assert f"{total:,} on each of 8" in " ".join(out.getvalue().split())


def test_a_weight_without_a_role_is_refused_and_can_be_given_one():
    class Extra(keras.Model):
        def __init__(self):
            super().__init__()
            self.backbone = palm()
            self.head = keras.layers.Dense(4, name="head")
            self.head.build((None, 32))

    with pytest.raises(InputError, match="head/kernel: no layout is known"):
        layout_map(Extra, "batch=2", "fsdp")
    layouts = Layouts("batch=2", "fsdp")
    layouts["head/.*"] = (None,)
    layouts["head/kernel"] = (None, "batch")
    layouts.check(build_abstract(Extra))
    assert layouts.found["head/kernel"].axes == (None, "batch")
    assert not layouts.unknown


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (("t5", "batch=2", "fdsp"), "Did you mean 'fsdp'"),
        (("bert", "batch=2", "fsdp"), "family 'bert' has no layouts"),
        (("t5", "rows=2", "fsdp"), "mesh 'rows=2': the axes are called"),
    ],
)
def test_wrong_arguments(wrong, message):
    with pytest.raises(InputError, match=message):
        layout_map(*wrong)


def test_a_mesh_without_devices_cannot_be_used():
    with pytest.raises(InputError, match="have no devices"):
        ModelParallel(layout_map("t5", "batch=2", "fsdp"))


@pytest.mark.parametrize(
    ("text", "devices", "expected"),
    [
        ("batch=64,model=8", None, {"batch": 64, "model": 8}),
        (" model = 2 , batch=-1", 8, {"batch": 4, "model": 2}),
        ("batch=-1", 3, {"batch": 3}),
    ],
)
def test_meshes(text, devices, expected):
    mesh = Mesh(text, devices)
    assert mesh == expected
    assert list(mesh) == list(expected)
    assert mesh.devices == (devices or 512)
    assert Mesh(mesh) == mesh
    assert Mesh(str(mesh)) == mesh


@pytest.mark.parametrize(
    ("text", "devices", "message"),
    [
        ("", None, "expected axes such as"),
        ("batch", None, "expected axes such as 'batch=64,model=8', found"),
        ("batch=2,batch=3", None, "found 'batch=3'"),
        ("data=2", None, "the axes are called"),
        ("batch=0", None, "expected sizes from 1"),
        ("batch=-1,model=-1", 8, "at most one size can be -1"),
        ("batch=-1,model=3", 8, "8 devices can't be divided by 3"),
        ("batch=-1", None, "unknown devices"),
        ("batch=4", 8, "4 devices are asked for and 8 found"),
    ],
)
def test_wrong_meshes(text, devices, message):
    with pytest.raises(InputError, match=message):
        Mesh(text, devices)


def test_keras_own_distribution_takes_the_map():
    """One device is enough to see what Keras looks up (see `test_fit`)."""
    mesh = device_mesh("batch=1,model=1")
    for distribution in (
        ModelParallel(layout_map("palm", mesh, "fsdp+model")),
        keras.distribution.ModelParallel(
            layout_map=layout_map(abstract("palm"), mesh, "fsdp+model")
        ),
    ):
        kernel = abstract("palm").backbone.decoder.kernels["query"].kernel
        layout = distribution.get_variable_layout(kernel)
        assert layout.axes == (None, "batch", "model", None)
        assert layout.device_mesh is mesh
        seed = keras.random.SeedGenerator(0).state
        assert distribution.get_variable_layout(seed).axes == (None,)
        assert distribution.get_tensor_layout("query/output") is None
        residual = distribution.get_tensor_layout("activations/residual")
        assert residual.axes == ("batch", None, None)
