"""Loading by any path: every setting arrives, unknown ones are refused."""

import json
import shutil

import h5py
import keras
import numpy as np
import pytest

from keras_flan.errors import InputError
from keras_flan.models import (
    T5,
    DecoderOnly,
    add_lora,
    load,
    save,
    save_adapter,
    to_huggingface,
)
from keras_flan.models.presets import read_preset, shipped_folder
from tests.conftest import LetterVocabulary, make_t5, slow
from tests.models.decoders import make_hub, numpy


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A model of each kind of source, by the name of that kind."""
    folder = tmp_path_factory.mktemp("models")
    model = make_t5(num_layers=1)
    model.vocabulary = None
    save(model, folder / "t5")
    to_huggingface(model, folder / "transformers")
    add_lora(model, 2)
    save_adapter(model, folder / "adapter.safetensors", base="t5")
    save(DecoderOnly(make_hub("palm")), folder / "palm")
    files = {path.stem: path for path in folder.iterdir()}
    return {"shipped": "flan_nano", **files}


KINDS = ["shipped", "t5", "transformers", "adapter", "palm"]


@pytest.mark.parametrize("kind", [*KINDS[1:-1], *slow("shipped", "palm")])
def test_settings_arrive_whatever_is_loaded(kind, sources):
    model = load(sources[kind], remat=True, dropout=0.25, dtype="bfloat16")
    assert model.remat is True
    assert model.backbone.dropout == 0.25
    own = {str(w.dtype) for w in model.backbone.weights}
    assert own == {model.compute_dtype} == {"bfloat16"}
    if kind != "palm":
        assert load(sources[kind], query_chunk=8).query_chunk == 8


@pytest.mark.parametrize("kind", KINDS)
def test_unknown_settings_are_refused_by_name(kind, sources):
    with pytest.raises(InputError, match=r"setting 'nonsense'.*: .*remat"):
        load(sources[kind], nonsense=1)
    with pytest.raises(InputError, match=r"'rmat'\. Did you mean 'remat'"):
        load(sources[kind], rmat=True)


def test_mixed_precision_keeps_the_weights_in_float32(sources):
    model = load(sources["t5"], dtype="mixed_bfloat16")
    assert {str(w.dtype) for w in model.backbone.weights} == {"float32"}
    assert model.compute_dtype == "bfloat16"
    assert model.backbone.token_embedding.compute_dtype == "bfloat16"
    with pytest.raises(InputError, match="remat to be one of"):
        load(sources["t5"], remat="some")


def test_a_folder_that_claims_more_than_it_holds_is_refused(sources, tmp_path):
    folder = shutil.copytree(sources["t5"], tmp_path / "a")
    with h5py.File(folder / "model.weights.h5", "r+") as file:
        names = []
        file.visit(names.append)
        name = next(n for n in names if isinstance(file[n], h5py.Dataset))
        shape = file[name].shape
        del file[name]
        file.create_dataset(name, shape, chunks=shape)  # Nothing is stored.
    with pytest.raises(InputError, match=f"'{name}' claims"):
        load(folder)


def test_sizes_that_no_file_of_weights_holds_are_refused(sources, tmp_path):
    llama = tmp_path / "llama"
    to_huggingface(DecoderOnly(make_hub("llama")), llama)
    for path, key, read in (
        (sources["t5"], "vocabulary_size", load),
        (sources["transformers"], "vocab_size", load),
        (llama, "vocab_size", load),
        (shipped_folder("flan_nano"), "vocabulary_size", read_preset),
    ):
        folder = tmp_path / "a"
        shutil.copytree(path, folder)
        config = folder / "config.json"
        values = json.loads(config.read_text())
        values.get("config", values)[key] = 10**6
        config.write_text(json.dumps(values))
        with pytest.raises(InputError, match=r"a/config\.json: asks for at"):
            read(folder)
        shutil.rmtree(folder)


def test_from_preset_is_load_for_one_class(sources):
    assert T5.from_preset(sources["t5"], scan=True).scan
    palm = DecoderOnly.from_preset(sources["palm"], separate=False)
    assert not palm.separate
    with pytest.raises(InputError, match=r"found a T5.*call T5.from_preset"):
        DecoderOnly.from_preset(sources["adapter"])


def test_a_copy_with_other_settings_keeps_the_rest():
    model = make_t5(num_layers=1, remat=True, query_chunk=4)
    copy = model.with_settings(dropout=0.5)
    assert (copy.remat, copy.query_chunk, copy.scan) == (True, 4, False)
    assert copy.vocabulary is model.vocabulary
    assert copy.backbone.dropout == 0.5
    for one, other in zip(copy.weights, model.weights, strict=False):
        assert one is not other
        np.testing.assert_array_equal(numpy(one), numpy(other))
    assert copy.with_settings(dropout=0.5, remat=True) is copy
    narrow = copy.with_settings(dtype="bfloat16", scan=True)
    assert {str(w.dtype) for w in narrow.backbone.weights} == {"bfloat16"}
    assert (narrow.scan, narrow.backbone.dropout) == (True, 0.5)
    assert not narrow.with_settings(scan=False).scan
    palm = DecoderOnly(make_hub("palm"), separate=False, remat="products")
    copy = palm.with_settings(dropout=0.5)
    assert (copy.separate, copy.remat) == (False, "products")
    assert copy.backbone.dropout == 0.5
    with pytest.raises(InputError, match="unknown setting 'rate'"):
        palm.with_settings(rate=0.5)


def test_a_copy_would_lose_an_adapter():
    model = make_t5(num_layers=1)
    add_lora(model, 2)
    assert model.with_settings(remat=False) is model
    with pytest.raises(InputError, match="which a copy would lose"):
        model.with_settings(remat=True)


# The README generates by default.
@pytest.mark.slow
@pytest.mark.parametrize("family", ["t5", "palm"])
def test_generates_strings(family):
    keras.utils.set_random_seed(0)
    model = make_t5() if family == "t5" else DecoderOnly(make_hub("palm"))
    model.vocabulary = LetterVocabulary()
    settings = {"max_new_tokens": 4, "temperature": 1.0}
    text = model.generate("ab", **settings)
    assert isinstance(text, str)
    assert model.generate(["ab", "c"], **settings)[0] == text
    [texts] = model.generate(["ab"], samples=3, **settings)
    assert len(texts) == 3
    assert texts[0] == text
    assert model.generate("ab", samples=1, **settings) == [text]
