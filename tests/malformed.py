"""Sources of every kind of file, mutations of them, and a warm reader.

`python -m tests.malformed FOLDER` reads, case by case, the files of which the
lines on stdin tell, and tells what came of each: so one process pays for the
imports, and its death is that of one case.
"""

import contextlib
import gzip
import itertools
import json
import math
import resource
import select
import struct
import subprocess
import sys
import time
from pathlib import Path

from keras_flan.errors import InputError

SECONDS, MEGABYTES = 2.0, 500
_PATIENCE = 30.0  # Seconds until a reader is killed.
RUN = {"seed": 0}
_CLAIMS = [struct.pack("<Q", n) for n in (2**40, 2**63, 2**64 - 1, 2**31)]
_VALUES = [
    *(10**12, 10**400, -1, 0, 0.5, math.inf, math.nan, True, None),
    *("", "x" * 10**6, [], [[]], {}, {"a": {}}, "\ud800", "1e999"),
]
_DEEP = 50_000


# === Reading ===


def _read_records(folder):
    import numpy as np

    from keras_flan.data.records.reader import RecordReader
    from keras_flan.data.records.shards import read_records

    list(read_records(folder))
    reader = RecordReader([folder])
    reader.read(np.zeros(2, int), np.arange(2))


def _read_model(folder):
    from keras_flan.models import load

    load(folder)


def _read_config(folder):
    from keras_flan.training.config import TrainConfig

    TrainConfig.from_yaml(folder / "train.yaml")


def _read_mixture(folder):
    from keras_flan.data.mixtures.mixture import Mixture

    Mixture.from_yaml(folder / "mixture.yaml")


def _read_journal(folder):
    from keras_flan.evaluation.runs.journal import Journal

    Journal(folder / "journal.jsonl", RUN, resume=True)


def _read_predictions(folder):
    from keras_flan.evaluation.scores.predictions import read_predictions

    read_predictions(folder / "predictions.jsonl")


def _read_adapter(folder):
    from keras_flan.models import load, load_adapter

    load_adapter(load(folder.parent / "keras"), folder / "a.safetensors")


def _read_gguf(folder):
    from keras_flan.models import smollm2

    smollm2(folder / "model.gguf")


def _read_preset(folder):
    from keras_flan.models.presets import read_preset

    read_preset(folder)


def _read_import(folder):
    from keras_flan.data.importers import import_source

    import_source("gsm8k", folder / "train.jsonl.gz", folder / "out")


# What reads each kind, and the files of which one at a time is mutated.
KINDS = {
    "records": (_read_records, ["*.tfrecord", "dataset_info.json"]),
    "huggingface": (
        _read_model,
        ["*.safetensors", "config.json", "spiece.model", "*.index.json"],
    ),
    "tokenizer": (_read_model, ["tokenizer.json"]),
    "keras": (_read_model, ["*.h5", "config.json", "metadata.json"]),
    "adapter": (_read_adapter, ["a.safetensors"]),
    "gguf": (_read_gguf, ["model.gguf"]),
    "preset": (_read_preset, ["weights.npz", "config.json"]),
    "config": (_read_config, ["train.yaml"]),
    "mixture": (_read_mixture, ["mixture.yaml"]),
    "journal": (_read_journal, ["journal.jsonl"]),
    "predictions": (_read_predictions, ["predictions.jsonl"]),
    "import": (_read_import, ["train.jsonl.gz"]),
}


def _peak():
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1000


def _read(kind, folder):
    """Returns what came of a case: fine, an error for people, or a fault."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    before, began = _peak(), time.process_time()
    try:
        KINDS[kind][0](folder)
        outcome = "read"
    except InputError as error:
        outcome = f"refused: {error}"
    except BaseException as error:
        outcome = f"FAULT {type(error).__name__}: {error!s:.300}"
    return {
        "outcome": outcome,
        "seconds": time.process_time() - began,
        "megabytes": _peak() - before,
    }


def _serve():
    for kind in KINDS:  # Imports, and what XLA compiles once.
        found = _read(kind, Path(sys.argv[1], kind))
        assert found["outcome"] == "read", (kind, found)
    print("ready", flush=True)
    for line in sys.stdin:
        kind, folder = json.loads(line)
        print(json.dumps(_read(kind, Path(folder))), flush=True)


class Reader:
    """A process that reads cases; the next is started when it dies."""

    def __init__(self, sources):
        self._sources, self._process = sources, None

    def read(self, kind, folder):
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.malformed", str(self._sources)],
                cwd=Path(__file__).parents[1],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            while (line := self._process.stdout.readline()) != "ready\n":
                assert line, self._process.stderr.read()
        case = json.dumps([kind, str(folder)])
        self._process.stdin.write(case + "\n")
        self._process.stdin.flush()
        out = self._process.stdout
        is_there, *_ = select.select([out], [], [], _PATIENCE)
        line = out.readline() if is_there else ""
        if line:
            return json.loads(line)
        self.close()
        fate = "died" if is_there else f"took over {_PATIENCE} s"
        return {"outcome": f"FAULT: {fate}", "seconds": 0.0, "megabytes": 0.0}

    def close(self):
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def fault(found, folder):
    """Returns what is wrong with what came of a case, or None."""
    outcome = found["outcome"]
    if outcome.startswith("FAULT"):
        return outcome
    if found["seconds"] > SECONDS or found["megabytes"] > MEGABYTES:
        return f"{found['seconds']:.1f} s, {found['megabytes']:.0f} MB"
    if outcome.startswith("refused") and str(folder) not in outcome:
        return f"does not name the file: {outcome[:300]}"
    return None


# === Sources ===


def make_sources(root):
    """Writes a small whole source of each kind to a folder of its name."""
    import keras

    from keras_flan.data.records.example import Example
    from keras_flan.data.records.writing import write_records
    from keras_flan.data.vocabularies.sentencepiece import Vocabulary
    from keras_flan.evaluation.runs.journal import Journal
    from keras_flan.evaluation.scores.predictions import (
        Prediction,
        write_predictions,
    )
    from keras_flan.models import T5, save, save_adapter, to_huggingface
    from keras_flan.models.adapters.lora import LoRA
    from keras_flan.models.presets import shipped_folder, write_preset

    keras.utils.set_random_seed(0)
    examples = [
        Example({"question": f"{i}?", "answer": "a"}, "s") for i in (0, 1)
    ]
    write_records(examples, root / "records", name="s")
    vocabulary = Vocabulary(shipped_folder("flan_nano") / "vocabulary.model")
    model = T5.from_config_values(
        vocabulary_size=vocabulary.size + 100,
        num_layers=1,
        num_heads=2,
        hidden_dim=8,
        intermediate_dim=8,
        key_value_dim=4,
        vocabulary=vocabulary,
    )
    save(model, root / "keras")
    write_preset(model, root / "preset")
    to_huggingface(model, root / "huggingface", shard_bytes=4000)
    to_huggingface(model, root / "tokenizer")
    (root / "huggingface" / "tokenizer.json").unlink()
    (root / "tokenizer" / "spiece.model").unlink()
    LoRA.add(model, rank=2)
    (root / "adapter").mkdir()
    save_adapter(model, root / "adapter" / "a.safetensors")
    from tests.models import test_smollm2

    (root / "gguf").mkdir()
    file = root / "gguf" / "model.gguf"
    test_smollm2.write(file, test_smollm2.llama(True), True)
    row = Prediction(
        id="0",
        target="4",
        outputs=["The answer is 4."],
        log_probabilities=[-1.0],
        token_counts=[4],
    )
    Journal(root / "journal" / "journal.jsonl", RUN, True).add({0: row, 1: row})
    (root / "predictions").mkdir()
    write_predictions(root / "predictions" / "predictions.jsonl", [row, row])
    for kind, text in _TEXTS.items():
        (root / kind).mkdir()
        (
            root / kind / {"config": "train.yaml"}.get(kind, f"{kind}.yaml")
        ).write_text(text.format(records=root / "records"))
    (root / "import").mkdir()
    rows = [{"question": f"{i}?", "answer": "So.\n#### 4"} for i in range(9)]
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    (root / "import" / "train.jsonl.gz").write_bytes(gzip.compress(data))


_TEXTS = {
    "config": """\
output: run
mixture: mixture.yaml
vocabulary: spiece.model
steps: 10
model: {{hidden_dim: 8, num_layers: 1, num_heads: 2, intermediate_dim: 8}}
data: {{batch_size: 2, input_length: 32, target_length: 16}}
optimizer: {{learning_rate: 0.001}}
""",
    "mixture": """\
name: m
groups:
  a:
    proportion: 1.0
    tasks: [{{name: s, records: "{records}", templates: generic}}]
""",
}


# === Mutations ===


def mutate(path, random):
    """Changes a file in one of many ways; returns which."""
    ways = [_cut, _flip, _claim, _replaced, _repeated, _swapped]
    if path.suffix in (".json", ".jsonl", ".yaml"):
        ways = [_value, _value, _value, _deep, _key, _cut, _flip]
    if path.suffix == ".yaml":
        ways += [_aliases, _aliases, _claimed_text]
    if path.suffix == ".safetensors":
        ways += [_header, _header, _header]
    if path.suffix == ".gz":
        ways += [_bomb, _bomb, _inside, _inside]
    way = random.choice(ways)
    path.write_bytes(way(path.read_bytes(), random, path))
    return way.__name__.strip("_")


def _cut(data, random, path):
    return data[: random.randrange(len(data))]


def _flip(data, random, path):
    data = bytearray(data)
    for _ in range(random.choice([1, 3, 30])):
        # Headers are in front.
        most = random.choice([16, 200, len(data)])
        data[random.randrange(min(most, len(data)))] ^= 1 << random.randrange(8)
    return bytes(data)


def _claim(data, random, path):
    most = random.choice([1, 9, 40, 400, max(1, len(data) // 2)])
    place = random.randrange(min(most, len(data)))
    return data[:place] + random.choice(_CLAIMS) + data[place + 8 :]


def _replaced(data, random, path):
    return random.choice([b"", b"\0" * 64, b"x" * 1000, random.randbytes(500)])


def _repeated(data, random, path):
    return data * 2


def _swapped(data, random, path):
    half = len(data) // 2
    return data[half:] + data[:half]


def _deep(data, random, path):
    left, right = random.choice([("[", "]"), ('{"a":', "}"), ("- ", "")])
    return f"{left * _DEEP}1{right * _DEEP}".encode()


def _places(value, place=()):
    yield place
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, part in list(items)[:50]:
            yield from _places(part, (*place, key))


def _changed(value, random, change):
    places = [place for place in _places(value) if place]
    if not places:
        return value
    *parents, last = random.choice(places)
    part = value
    for key in parents:
        part = part[key]
    change(part, last)
    return value


def _structured(data, random, path, change):
    import yaml

    if path.suffix == ".yaml":
        value = _changed(yaml.safe_load(data), random, change)
        return yaml.safe_dump(value).encode("utf-8", "surrogatepass")
    lines = data.split(b"\n") if path.suffix == ".jsonl" else [data]
    number = random.randrange(max(1, len(lines) - 1))
    value = _changed(json.loads(lines[number]), random, change)
    lines[number] = json.dumps(value).encode()
    return b"\n".join(lines)


def _value(data, random, path):
    def change(part, key):
        part[key] = random.choice(_VALUES)

    return _structured(data, random, path, change)


def _key(data, random, path):
    def change(part, key):
        value = part.pop(key)
        if isinstance(part, dict):
            part[random.choice(["x", "name", "a" * 10**5])] = value

    return _structured(data, random, path, change)


def _header(data, random, path):
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])

    def change(part, key):
        part[key] = random.choice([*_VALUES, "F4", "F8_E4M3", "BF16", "I64"])

    text = json.dumps(_changed(header, random, change)).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + size :]


def _aliases(data, random, path):
    names = "abcdefghijklmnop"
    lines = ['a: &a ["x","x","x","x","x","x","x","x","x","x"]']
    for before, name in itertools.pairwise(names):
        lines.append(f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]")
    if random.random() < 0.3:
        lines = ["name: &a [*a]"]
    if random.random() < 0.3:
        lines = ["name: &a x", "groups: [" + ", ".join(["*a"] * 10**4) + "]"]
    return "\n".join(lines).encode()


def _claimed_text(data, random, path):
    texts = (".inf", "-.inf", ".nan", "1" * 5000, "2024-13-45", "!!int x")
    word = random.choice([b"10", b"8", b"1.0", b"0.001", b"m", b"a", b"run"])
    return data.replace(word, random.choice(texts).encode(), 1)


def _bomb(data, random, path):
    size = random.choice([10**8, 10**9])
    block = gzip.compress(b"\0" * 10**7, 9)
    return block * (size // 10**7)


def _inside(data, random, path):
    text = bytearray(gzip.decompress(data))
    return gzip.compress(_flip(text, random, path))


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _serve()
