"""Malformed files of others: refused with a line that names them."""

import gzip
import json
import os
import random
import shutil
import struct

import h5py
import numpy as np
import pytest

from keras_flan.data.records.checksums import masked_checksums
from keras_flan.data.records.example import Example
from keras_flan.data.records.reader import RecordReader
from keras_flan.data.records.shards import read_records
from keras_flan.data.records.writing import write_records
from keras_flan.errors import InputError
from keras_flan.files import read_data
from keras_flan.models.gguf.file import GgufFile
from keras_flan.models.weight_files import (
    check_claims,
    check_h5,
    files_of_weights,
    opened_safetensors,
    read_npz,
)
from tests.malformed import KINDS, Reader, fault, make_sources, mutate

CASES = int(os.environ.get("KERAS_FLAN_MALFORMED", "300"))


@pytest.mark.slow
def test_malformed_files_are_refused_or_read(tmp_path):
    pytest.importorskip("gguf")
    sources = tmp_path / "sources"
    make_sources(sources)
    reader, faults, outcomes, most = Reader(sources), [], {}, {}
    try:
        for number in range(CASES):
            rng = random.Random(number)
            kind = list(KINDS)[number % len(KINDS)]
            folder = sources / f"{kind}-{number}"
            shutil.copytree(sources / kind, folder)
            pattern = rng.choice(KINDS[kind][1])
            path = rng.choice(sorted(folder.glob(pattern)))
            way = mutate(path, rng)
            found = reader.read(kind, folder)
            outcome = found["outcome"].partition(":")[0]
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
            for key in ("seconds", "megabytes"):
                most[key] = max(most.get(key, 0), found[key])
            if wrong := fault(found, folder):
                faults.append(f"{number} {path.name} {way}: {wrong}")
            shutil.rmtree(folder)
    finally:
        reader.close()
    print(CASES, outcomes, most)
    assert not faults, "\n".join(faults)


def test_a_gzip_that_fills_the_memory_is_refused(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(bytes(10**7)) * 20)
    with pytest.raises(InputError, match=r"a\.jsonl\.gz: unpacks to more"):
        read_data(path)
    path.write_bytes(gzip.compress(b"x" * 10**6))  # Small ones may be.
    assert len(read_data(path)) == 10**6


def test_frames_are_held_against_the_file(tmp_path):
    info = write_records(
        [Example({"question": "?"}, "s")] * 3, tmp_path, name="s"
    )
    path = tmp_path / info.shards[0].file
    data = path.read_bytes()
    length = struct.pack("<Q", 2**40)
    check = masked_checksums([length]).astype("<u4").tobytes()
    path.write_bytes(length + check + data[12:])
    for read in (
        lambda: list(read_records(tmp_path)),
        lambda: RecordReader([tmp_path]),
    ):
        with pytest.raises(InputError, match="record 0: truncated or corrupt"):
            read()
    path.write_bytes(data)
    assert len(list(read_records(tmp_path))) == 3


def test_weights_are_held_against_the_file(tmp_path):
    (tmp_path / "model.weights.h5").write_bytes(bytes(1000))
    sizes = {"vocabulary_size": 10, "hidden_dim": 20, "num_layers": 2}
    files = files_of_weights(tmp_path)
    check_claims("config.json", sizes, files)
    sides = {"vocabulary_size": 10, "encoder_hidden_dim": 20}
    check_claims("config.json", sides, files)
    for wrong in (
        {**sizes, "num_layers": 10**12},
        {**sides, "encoder_num_layers": 10**12},
        {**sides, "decoder_intermediate_dim": 10**12},
    ):
        with pytest.raises(InputError, match=r"config\.json: asks for at lea"):
            check_claims("config.json", wrong, files)
    with h5py.File(tmp_path / "model.weights.h5", "w") as file:
        file["a"] = np.ones(3)
    check_h5(tmp_path / "model.weights.h5")
    for change, message in (
        (lambda f: f.create_dataset("b", (10**9,), chunks=(9,)), "claims"),
        (lambda f: f.create_dataset("b", (3,), external="x.h5"), "claims"),
        (lambda f: f.update({"b": h5py.ExternalLink("x.h5", "/")}), "a link"),
    ):
        with h5py.File(tmp_path / "model.weights.h5", "w") as file:
            change(file)
        with pytest.raises(InputError, match=f"'b' .*{message}"):
            check_h5(tmp_path / "model.weights.h5")
    path = tmp_path / "weights.npz"
    np.savez(path, a=np.ones((2, 3), "float16"))
    [(name, array)] = read_npz(path, {"a": (2, 3)})
    assert name == "a" and array.tolist() == np.ones((2, 3)).tolist()
    for shape in ((2, 2), (10**6, 10**6)):
        with pytest.raises(InputError, match=r"weights\.npz: 'a' has"):
            list(read_npz(path, {"a": shape}))
    for kind in ("int64", "bool", "complex64"):
        np.savez(path, a=np.ones((2, 3), kind))
        with pytest.raises(InputError, match=rf"'a' has .* of {kind}, expect"):
            list(read_npz(path, {"a": (2, 3)}))
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match=r"weights\.npz: not the weights"):
        list(read_npz(path, {"a": (2, 3)}))


def test_what_numpy_cannot_read_of_safetensors_is_named(tmp_path):
    path = tmp_path / "a.safetensors"
    tensor = {"dtype": "F8_E4M3", "shape": [2], "data_offsets": [0, 2]}
    header = json.dumps({"a": tensor}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"12")
    with (
        opened_safetensors(path) as file,
        pytest.raises(InputError, match=r"a\.safetensors: tensor 'a' cannot"),
    ):
        file.read("a")


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (struct.pack("<4sIQQ", b"GGML", 3, 0, 0), "does not begin with GGUF"),
        (struct.pack("<4sIQQ", b"GGUF", 9, 0, 0), "version 9, expected 2 or 3"),
        (struct.pack("<4sIQQ", b"GGUF", 3, 2**40, 0), "claims 1,099,511"),
        (struct.pack("<4sIQQ", b"GGUF", 3, 0, 2**40), "claims 1,099,511"),
        (struct.pack("<4sIQQQ", b"GGUF", 3, 0, 1, 2**63), "claims 9,223,"),
        (
            struct.pack("<4sIQQQ1sIIQ", b"GGUF", 3, 0, 1, 1, b"a", 9, 8, 2**40),
            "claims 1,099,511",
        ),
        (
            struct.pack("<4sIQQQ1sIIQ", b"GGUF", 3, 0, 1, 1, b"a", 9, 4, 2**40),
            "claims 1,099,511",
        ),
        (
            struct.pack("<4sIQQQ1sIQQ", b"GGUF", 3, 1, 0, 1, b"a", 2, 9, 2**40),
            "claim 9,895,604,649,984 weights in a file",
        ),
    ],
)
def test_headers_of_gguf_are_walked(tmp_path, header, words):
    pytest.importorskip("gguf")
    path = tmp_path / "a.gguf"
    path.write_bytes(header + bytes(60))
    with pytest.raises(InputError, match=rf"a\.gguf: not a GGUF.*{words}"):
        GgufFile(path)
