"""Conversion of T5 against files and numbers made by transformers."""

import json
import math
import shutil
import subprocess
import sys

import keras
import keras_hub
import numpy as np
import pytest

from keras_flan.errors import InputError
from keras_flan.generation import generate
from keras_flan.models import T5, from_huggingface, load, save, to_huggingface
from keras_flan.models.huggingface.checkpoint import Checkpoint
from keras_flan.models.t5.huggingface import tokenizer_json
from tests.conftest import make_t5
from tests.golden.make_t5 import (
    FOLDER,
    NAMES,
    NEW_TOKENS,
    SHARDED,
    SPIECE,
    TEXTS,
    TOKENIZER_JSON,
)

pytest.importorskip("safetensors")


class Numbers:
    """A stand-in vocabulary: texts are the ids themselves."""

    pad_id, eos_id, unk_id = 0, 1, 2

    def encode_batch(self, texts):
        return [[int(i) for i in text.split()] for text in texts]

    def decode(self, ids):
        return " ".join(map(str, ids))


def golden(name):
    with np.load(FOLDER / name / "expected.npz") as values:
        return dict(values)


def four_inputs(values):
    encoder = values["encoder_token_ids"]
    decoder = values["decoder_token_ids"]
    return {
        "encoder_token_ids": encoder,
        "encoder_padding_mask": (encoder > 0).astype("int32"),
        "decoder_token_ids": decoder,
        "decoder_padding_mask": np.ones_like(decoder),
    }


def logits(model, values):
    return keras.ops.convert_to_numpy(model(four_inputs(values)))


def tensors(folder):
    with Checkpoint(folder) as checkpoint:
        return {
            name: (array.dtype, array.shape, array.tobytes())
            for name in checkpoint.names
            for array in [checkpoint.read(name)]
        }


class Models(dict):
    """The models by name, each read when it is first asked for."""

    def __missing__(self, name):
        self[name] = from_huggingface(FOLDER / name)
        return self[name]


@pytest.fixture(scope="module")
def models():
    return Models()


# One kind by default, that which others below use too.
EACH = [
    pytest.param(name, marks=[] if i == 1 else pytest.mark.slow)
    for i, name in enumerate(NAMES)
]


@pytest.mark.parametrize("name", EACH)
def test_logits_equal_those_of_transformers(models, name):
    values = golden(name)
    assert np.ptp(values["logits"]) > 5
    np.testing.assert_allclose(
        logits(models[name], values), values["logits"], rtol=0, atol=2e-4
    )


@pytest.mark.parametrize(
    "name",
    [
        NAMES[1],
        *(
            pytest.param(n, marks=pytest.mark.slow)
            for n in NAMES
            if n != NAMES[1]
        ),
    ],
)
def test_greedy_tokens_equal_those_of_transformers(models, name):
    values = golden(name)
    prompts = [
        " ".join(str(i) for i in row if i > 1)
        for row in values["encoder_token_ids"]
    ]
    model = T5(models[name].backbone, vocabulary=Numbers())
    paths = generate(model, prompts, max_new_tokens=NEW_TOKENS)
    assert [path.token_ids for [path] in paths] == values["greedy"].tolist()


@pytest.mark.parametrize("name", EACH)
def test_round_trip_keeps_every_byte(models, name, tmp_path):
    to_huggingface(models[name], tmp_path / "out")
    before = tensors(FOLDER / name)
    assert len(before) == len(models[name].backbone.weights)
    assert tensors(tmp_path / "out") == before


def test_config_round_trip(models, tmp_path):
    for name in NAMES[1::2]:
        model = models[name]
        to_huggingface(model, tmp_path / name)
        old = json.loads((FOLDER / name / "config.json").read_text())
        new = json.loads((tmp_path / name / "config.json").read_text())
        # transformers 5 writes these two in its own way, see t5_config.
        assert new["tie_word_embeddings"] == old["scale_decoder_outputs"]
        assert new["torch_dtype"] == old["dtype"]
        for key in set(old) & set(new) - {"tie_word_embeddings"}:
            assert new[key] == old[key], key


def test_bfloat16_comes_and_goes_with_the_same_bytes(models, tmp_path):
    model = models[NAMES[0]]
    to_huggingface(model, tmp_path / "a", dtype="bfloat16")
    again = from_huggingface(tmp_path / "a")
    assert again.backbone.token_embedding.embeddings.dtype == "float32"
    to_huggingface(again, tmp_path / "b", dtype="bfloat16")
    assert tensors(tmp_path / "a") == tensors(tmp_path / "b")
    narrow = from_huggingface(tmp_path / "a", dtype="bfloat16")
    to_huggingface(narrow, tmp_path / "c")
    assert tensors(tmp_path / "a") == tensors(tmp_path / "c")


def test_sharded_files(models, tmp_path):
    assert (FOLDER / SHARDED / "model.safetensors.index.json").is_file()
    to_huggingface(models[NAMES[3]], tmp_path / "m", shard_bytes=5000)
    files = sorted((tmp_path / "m").glob("*.safetensors"))
    assert len(files) > 2
    assert files[0].name == f"model-00001-of-{len(files):05}.safetensors"
    assert tensors(tmp_path / "m") == tensors(FOLDER / NAMES[3])


@pytest.mark.parametrize("name", [NAMES[1], SPIECE])
def test_plain_keras_hub_loads_the_converted_folder(models, name, tmp_path):
    save(models[name], tmp_path / "model")
    task = keras_hub.models.T5Seq2SeqLM.from_preset(
        str(tmp_path / "model"),
        **({} if models[name].vocabulary else {"preprocessor": None}),
    )
    values = golden(name)
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(task(four_inputs(values))),
        values["logits"],
        rtol=0,
        atol=2e-4,
    )
    if models[name].vocabulary:
        ids = np.asarray(task.preprocessor.tokenizer(TEXTS[0]))
        assert ids.tolist() == models[name].vocabulary.encode(TEXTS[0])


@pytest.mark.parametrize("name", [SPIECE, TOKENIZER_JSON])
def test_tokenizer_gives_the_ids_of_transformers(models, name):
    assert (FOLDER / name / "spiece.model").exists() == (name == SPIECE)
    vocabulary = models[name].vocabulary
    ids = [i for text in TEXTS for i in [*vocabulary.encode(text), 1]]
    assert ids == golden(name)["text_ids"].tolist()
    # The same pieces as the spiece.model, and T5's sentinels.
    assert vocabulary.size == 250
    assert vocabulary.encode("<extra_id_0>") == [249]


def test_tokenizer_json_of_our_own_vocabulary(tmp_path):
    from keras_flan.data.vocabularies.sentencepiece import Vocabulary
    from keras_flan.data.vocabularies.training import train_vocabulary

    texts = (FOLDER.parent / "make_t5.py").read_text().split("\n\n")
    vocabulary = train_vocabulary(texts, 400, tmp_path / "v.model")
    tokenizer, _ = tokenizer_json.from_sentencepiece(vocabulary.proto, 410)
    added = [token["content"] for token in tokenizer["added_tokens"]]
    assert added[:3] == ["<pad>", "</s>", "<unk>"]
    assert added[3] == "<extra_id_9>" and added[-1] == "<extra_id_0>"
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(tokenizer))
    again = Vocabulary(tokenizer_json.to_sentencepiece(path))
    for text in [*texts, "", "  \n ", "caf\u00e9  \u2260 x"]:
        assert again.encode(text) == vocabulary.encode(text)
        assert again.decode(again.encode(text)) == text


@pytest.mark.parametrize(
    ("alias", "old"), [("encoder.embed_tokens.weight", "shared.weight")]
)
def test_embedding_under_its_other_name(tmp_path, alias, old):
    from safetensors.numpy import load_file, save_file

    folder = shutil.copytree(FOLDER / NAMES[0], tmp_path / "m")
    weights = load_file(folder / "model.safetensors")
    weights[alias] = weights.pop(old)
    weights["lm_head.weight"] = weights[alias]
    save_file(weights, folder / "model.safetensors")
    values = golden(NAMES[0])
    np.testing.assert_allclose(
        logits(from_huggingface(folder), values), values["logits"], atol=2e-4
    )
    weights["lm_head.weight"] = weights[alias] + 1
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(InputError, match="ties the output projection"):
        from_huggingface(folder)


def edit_config(folder, **values):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model_type": "bert"}, "model type 'bert', expected one of"),
        # As transformers writes it.
        (
            {"model_type": "mamba2", "time_step_limit": [0.0, math.inf]},
            "mamba2",
        ),
        ({"num_decoder_layers": 9}, "stacks of equal depth"),
        ({"relative_attention_num_buckets": 64}, "'relative_attention_num"),
        ({"feed_forward_proj": "gated-gel"}, "Did you mean 'gated-gelu'"),
        ({"d_model": "20"}, "whole number above 0 under 'd_model'"),
        ({"d_ff": 34}, r"has the shape \(33, 20\), expected \(34, 20\)"),
        ({"num_layers": 2, "num_decoder_layers": 2}, "no tensor 'encoder.bl"),
        ({"feed_forward_proj": "gated-silu"}, "no tensor .*wi_0.weight"),
    ],
)
def test_config_errors(tmp_path, values, message):
    folder = shutil.copytree(FOLDER / NAMES[0], tmp_path / "m")
    edit_config(folder, **values)
    with pytest.raises(InputError, match=message) as error:
        from_huggingface(folder)
    assert str(folder) in str(error.value)
    assert "\n" not in str(error.value)


def test_file_errors(tmp_path):
    def broken(change):
        folder = tmp_path / "m"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(FOLDER / SHARDED, folder)
        change(folder)
        with pytest.raises(InputError) as error:
            from_huggingface(folder)
        return str(error.value)

    shard = "model-00002-of-00003.safetensors"
    index = "model.safetensors.index.json"
    assert "missing shard" in broken(lambda f: (f / shard).unlink())
    assert "not a safetensors file" in broken(
        lambda f: (f / shard).write_bytes(b"\x08" + bytes(20))
    )
    assert "'weight_map'" in broken(lambda f: (f / index).write_text("[]"))
    assert "in the same folder" in broken(
        lambda f: (f / index).write_text('{"weight_map": {"a": "../b"}}')
    )
    assert "neither model.safetensors" in broken(lambda f: (f / index).unlink())

    def pickled(folder):
        (folder / index).unlink()
        (folder / "pytorch_model.bin").write_bytes(b"x")

    assert "found pickled weights" in broken(pickled)
    assert "not JSON" in broken(lambda f: (f / "config.json").write_text("{"))
    assert "not a SentencePiece model" in broken(
        lambda f: (f / "spiece.model").write_bytes(b"junk")
    )
    assert "expected a tokenizer with a unigram model" in broken(
        lambda f: (f / "tokenizer.json").write_text('{"model": {}}')
    )


def test_unknown_tensors_are_not_dropped(tmp_path):
    from safetensors.numpy import load_file, save_file

    folder = shutil.copytree(FOLDER / NAMES[0], tmp_path / "m")
    weights = load_file(folder / "model.safetensors")
    weights["encoder.block.0.lora_A.weight"] = np.ones(3, "float32")
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(InputError, match="merge adapters"):
        from_huggingface(folder)


def test_output_folder_of_something_else_is_kept(models, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    for write in (to_huggingface, save):
        with pytest.raises(InputError, match="give a new folder"):
            write(models[NAMES[0]], tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
    assert not list(tmp_path.parent.glob(f".{tmp_path.name}*"))


def test_a_failed_export_leaves_the_old_folder(models, tmp_path):
    to_huggingface(models[NAMES[0]], tmp_path / "m")
    before = tensors(tmp_path / "m")
    with pytest.raises(InputError, match="Did you mean 'bfloat16'"):
        to_huggingface(models[NAMES[1]], tmp_path / "m", dtype="bfloat")
    odd = make_t5()
    odd.backbone.activation = keras.activations.elu
    with pytest.raises(InputError, match=r"'elu' .* has no name"):
        to_huggingface(odd, tmp_path / "m")
    assert tensors(tmp_path / "m") == before
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_the_command_line_converts_both_ways(tmp_path):
    from typer.testing import CliRunner

    from keras_flan.cli import app

    def run(*arguments):
        return CliRunner().invoke(app, ["convert", *map(str, arguments)])

    source, keras_, back = FOLDER / SPIECE, tmp_path / "k", tmp_path / "hf"
    assert run(source, keras_, "--from", "huggingface").exit_code == 0
    assert run(keras_, back, "--to", "huggingface").exit_code == 0
    assert tensors(back) == tensors(source)
    name = "spiece.model"
    assert (back / name).read_bytes() == (source / name).read_bytes()
    assert "give one of --from" in str(run(source, back).exception)


# === Names ===


def test_load_takes_either_format(models, tmp_path):
    save(models[SPIECE], tmp_path / "keras")
    for folder in (tmp_path / "keras", FOLDER / SPIECE):
        model = load(folder)
        assert model.vocabulary.encode("a 1") == models[
            SPIECE
        ].vocabulary.encode("a 1")


def test_hub_names_are_downloaded_without_other_formats(monkeypatch):
    import fnmatch

    import huggingface_hub

    def download(name, allow_patterns):
        assert name == "google/flan-t5-small"
        for file, wanted in {
            "config.json": True,
            "model-00001-of-00002.safetensors": True,
            "spiece.model": True,
            "model.weights.h5": True,
            "assets/tokenizer/vocabulary.spm": True,
            "pytorch_model.bin": False,
            "tf_model.h5": False,
            "flax_model.msgpack": False,
        }.items():
            kept = any(fnmatch.fnmatch(file, p) for p in allow_patterns)
            assert kept == wanted, file
        return str(FOLDER / SPIECE)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert load("hf://google/flan-t5-small").vocabulary.size == 250
    assert from_huggingface("hf://google/flan-t5-small").vocabulary.size == 250


def test_hub_errors_are_one_line(monkeypatch):
    import huggingface_hub

    def download(name, allow_patterns):
        raise OSError("We couldn't connect.\nCheck this and that.")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with pytest.raises(InputError, match="or give a folder") as error:
        load("hf://google/flan-t5-small")
    assert "\n" not in str(error.value)


def test_mistyped_preset_names():
    with pytest.raises(InputError, match="Did you mean 't5_small_multi'"):
        load("t5_smal_multi")
    with pytest.raises(InputError, match="no such folder"):
        load("runs/no-such-model")


@pytest.mark.slow
def test_without_kagglehub(tmp_path):
    """Folders load; names at Kaggle say which package is missing."""
    script = """
import sys
sys.modules["kagglehub"] = None
from keras_flan.models import load, save
save(load(sys.argv[1]), sys.argv[2])
load(sys.argv[2])
for name in ("kaggle://keras/t5/keras/t5_small_multi", "t5_small_multi"):
    try:
        load(name)
    except ValueError as error:
        print(error)
"""
    result = subprocess.run(
        [sys.executable, "-c", script, FOLDER / NAMES[0], tmp_path / "model"],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = result.stdout.strip().split("\n")
    assert len(lines) == 2
    assert all("requires the `kagglehub` package" in line for line in lines)


def test_added_tokens_come_and_go(tmp_path):
    """A finetuning added `<sep>`, and left out an id."""
    folder = shutil.copytree(FOLDER / SPIECE, tmp_path / "added")
    (folder / "added_tokens.json").write_text('{"<sep>": 252}')
    model = from_huggingface(folder)
    vocabulary = model.vocabulary
    assert vocabulary.encode("<sep>") == [252]
    assert vocabulary.decode([252, 249, 1]) == "<sep><extra_id_0>"
    to_huggingface(model, tmp_path / "out")
    spiece = (folder / "spiece.model").read_bytes()
    assert (tmp_path / "out" / "spiece.model").read_bytes() == spiece
    again = from_huggingface(tmp_path / "out").vocabulary
    assert again.encode("a <sep> b") == vocabulary.encode("a <sep> b")
    theirs = pytest.importorskip("tokenizers").Tokenizer.from_file(
        str(tmp_path / "out" / "tokenizer.json")
    )
    texts = ["", "<sep>", "x<sep>y <extra_id_3><sep>", "no <token>", *TEXTS]
    in_graph = vocabulary.encode_tf(texts).to_list()
    for text, ids in zip(texts, in_graph, strict=True):
        assert vocabulary.encode(text) == ids
        assert theirs.encode(text).ids == [*ids, 1]
    for broken, message in (
        ({"<sep>": 10**6}, "the embedding has 259 rows"),
        ({"<sep>": 5}, "it is that of"),
        ({"<sep>": None}, "cannot be read"),
    ):
        (folder / "added_tokens.json").write_text(json.dumps(broken))
        with pytest.raises(InputError, match=message):
            from_huggingface(folder)


def test_an_untied_checkpoint_without_a_head_is_refused(tmp_path):
    from safetensors.numpy import load_file, save_file

    folder = shutil.copytree(FOLDER / "v1_1_one_layer", tmp_path / "t5")
    config = json.loads((folder / "config.json").read_text())
    config["tie_word_embeddings"] = False
    (folder / "config.json").write_text(json.dumps(config))
    from_huggingface(folder)
    tensors = load_file(folder / "model.safetensors")
    del tensors["lm_head.weight"]
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(InputError, match=r"no 'lm_head\.weight'"):
        from_huggingface(folder)
