"""`keras-flan train`: killed and gone on with, recipes, held-out, adapters."""

import csv
import gzip
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import keras
import numpy as np
import pytest
import yaml

from keras_flan.errors import InputError
from keras_flan.training import TrainConfig, train
from tests.odd import write_odd

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with records, a mixture and a vocabulary."""
    folder = tmp_path_factory.mktemp("data")
    write_odd(folder)
    return folder


def write(files, folder, **values):
    config = {
        "mixture": str(files / "odd.yaml"),
        "vocabulary": str(files / "v.model"),
        "output": str(folder),
        "steps": 12,
        "log_every": 3,
        "checkpoint_every": 4,
        "model": {
            "num_layers": 1,
            "num_heads": 2,
            "hidden_dim": 16,
            "intermediate_dim": 16,
            "dropout": 0.2,
        },
        "data": {"input_length": 48, "target_length": 12, "batch_size": 4},
        "optimizer": {"learning_rate": 0.05},
        **values,
    }
    path = folder.parent / f"{folder.name}.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def run(config, *overrides, **settings):
    return train(TrainConfig.from_yaml(config, overrides), quiet=True)


# Kills itself at a step, as hard as the system can.
KILLED = """
import os, signal, sys
import keras
from keras_flan.training import TrainConfig, train
from keras_flan.training.callbacks import StepLog

ours = StepLog.on_train_batch_end
def step(self, batch, logs=None):
    if self.step == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    ours(self, batch, logs)
StepLog.on_train_batch_end = step
train(TrainConfig.from_yaml(sys.argv[1]), quiet=True)
"""


def test_killed_at_any_step_goes_on_bit_for_bit(files, tmp_path):
    straight = run(write(files, tmp_path / "a"))
    config = write(files, tmp_path / "b")
    for step in (3, 10):
        killed = subprocess.run(
            [sys.executable, "-c", KILLED, config, str(step)],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            capture_output=True,
        )
        assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert [p.name for p in (tmp_path / "b" / "checkpoints").iterdir()]
    # Other settings or data are not mixed in.
    with pytest.raises(InputError, match="a stopped run had seed: 0, now"):
        run(config, "seed=1")
    with pytest.raises(InputError, match="of step 8, more than steps=2"):
        run(config, "steps=2")
    resumed = run(config)
    for key in ("loss", "loss_steps", "gradient_norm"):
        assert resumed[key] == straight[key], key
    assert len(straight["loss"]) == len(set(straight["loss"])) == 4
    assert not (tmp_path / "b" / "checkpoints").exists()
    state = json.loads((tmp_path / "b" / "run.json").read_text())
    assert state["finished"] and state["seed"] == 0
    assert len(state["data"]["odd"]) == 64

    # The folder is enough to make the run again.
    again = run(tmp_path / "a", f"output={tmp_path / 'c'}")
    assert again["loss"] == straight["loss"]


class Counted(keras.callbacks.Callback):
    """Counts what it is told, also after a kill."""

    told: ClassVar[list] = []

    def __init__(self):
        super().__init__()
        self.rates = []

    def on_train_batch_end(self, batch, logs=None):
        if "learning_rate" in logs:
            self.rates.append(logs["learning_rate"])
        self.told.append(sorted(logs))

    def state(self):
        return self.rates

    def set_state(self, value):
        self.rates = value

    def on_train_end(self, logs=None):
        Path(os.environ["COUNTED"]).write_text(json.dumps(self.rates))


def test_settings_survive_a_kill_and_stop_early(files, tmp_path, monkeypatch):
    """AdamW with a schedule in parts, validation, patience, a callback."""
    values = {
        "validation": 0.1,
        "held_out": {"every": 2, "batches": 2, "patience": 2},
        "callbacks": [f"{__name__}:Counted"],
        "checkpoint_every": 2,
        "tensorboard": True,
        "optimizer": {
            "name": "adamw",
            "learning_rate": 0.01,
            "schedule": "cosine",
            "warmup": 0.2,
            "weight_decay": 0.1,
            "accumulate": 2,
        },
    }
    monkeypatch.setenv("COUNTED", str(tmp_path / "straight.json"))
    straight = run(write(files, tmp_path / "a", **values))
    # Both are told at step 6, after 12 parts of batches.
    assert {"learning_rate", "val_loss"} <= set(Counted.told[2 * 6 - 1])
    [events] = (tmp_path / "a" / "tensorboard").iterdir()
    assert read_events(events) >= {"held_out/loss", "learning_rate", "loss"}
    for name in ("loss.png", "training.html", "held_out.csv"):
        assert (tmp_path / "a" / name).stat().st_size

    config = write(files, tmp_path / "b", **values)
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, config, "5"],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    monkeypatch.setenv("COUNTED", str(tmp_path / "resumed.json"))
    resumed = run(config)
    for key in ("loss", "loss_steps", "learning_rate", "held_out", "steps"):
        assert resumed[key] == straight[key], key
    rates = (tmp_path / "straight.json").read_text()
    assert (tmp_path / "resumed.json").read_text() == rates

    # Weights that stay as they are get no better.
    still = run(
        write(files, tmp_path / "c", **values),
        "optimizer.learning_rate=1.0e-30",
    )
    its = still["held_out"]
    assert (its["steps"], its["best"], its["stopped"]) == ([2, 4, 6], 2, True)
    assert still["steps"] == 6 and straight["held_out"]["steps"][-1] >= 6


def test_a_benchmark_says_what_is_best(files, tmp_path):
    rows = [
        {"question": f"is {i} odd?", "answer": f"So.\n#### {i % 2}"}
        for i in range(4)
    ]
    data = tmp_path / "test.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    benchmark = {"name": "gsm8k", "data": str(data), "limit": 3}
    held_out = {"every": 2, "patience": 1, "benchmark": benchmark}
    config = write(files, tmp_path / "r", held_out=held_out, steps=6)
    metrics = run(config)
    its = metrics["held_out"]
    assert its["loss"] == [] and len(its["score"]) == len(its["steps"])
    for step, score in zip(its["steps"], its["score"], strict=True):
        place = tmp_path / "r" / "benchmark" / str(step)
        found = json.loads((place / "metrics.json").read_text())
        assert (found["accuracy"], found["n"]) == (score, 3)
    # The model was asked, and trained on as if it had not been.
    plain = run(write(files, tmp_path / "p", steps=6))
    number = len(metrics["loss"]) - its["stopped"]
    assert metrics["loss"][:number] == plain["loss"][:number]
    data.unlink()
    with pytest.raises(InputError, match=r"test\.jsonl"):
        run(config, f"output={tmp_path / 'q'}")


def test_held_out_keeps_the_best(files, tmp_path):
    from keras_flan.models import load

    held_out = {"mixture": str(files / "odd.yaml"), "every": 5, "batches": 2}
    config = write(files, tmp_path / "r", held_out=held_out, tensorboard=True)
    metrics = run(config, "profile=4:7")
    curve = metrics["held_out"]
    assert curve["steps"] == [5, 10, 12]
    assert curve["best"] == curve["steps"][int(np.argmin(curve["loss"]))]
    assert load(tmp_path / "r" / "best").vocabulary is not None
    rows = (tmp_path / "r" / "telemetry.csv").read_text().splitlines()
    assert rows[0].startswith("step,seconds,tokens_per_second,fill")
    values = dict(zip(rows[0].split(","), rows[1].split(","), strict=True))
    assert 0.3 < float(values["fill"]) <= 1
    assert float(values["tokens_per_second"]) > 0
    assert 0 <= float(values["input_wait"]) <= 1
    [events] = (tmp_path / "r" / "tensorboard").iterdir()
    assert read_events(events) >= {"speed/fill", "loss"}
    profile = metrics["speed"]["profile"]
    assert profile["steps"] == [4, 7] and profile["seconds"] > 0
    assert profile["collective"] < 0.01  # One device.
    [trace] = (tmp_path / "r").glob("profile/plugins/profile/*/perfetto*.gz")
    events = json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]
    assert "train" in {event.get("name") for event in events}


def read_events(path):
    import tensorflow as tf

    return {
        value.tag
        for record in tf.data.TFRecordDataset(str(path))
        for value in tf.compat.v1.Event.FromString(record.numpy()).summary.value
    }


def test_an_adapter_on_a_run(files, tmp_path):
    from keras_flan.models import load

    run(write(files, tmp_path / "base"), "steps=2")
    base = str(tmp_path / "base" / "model")
    adapter = {"kind": "lora", "rank": 2}
    config = write(
        files,
        tmp_path / "r",
        model={"init": base},
        adapter=adapter,
        vocabulary=None,
        optimizer={
            "name": "adam",
            "learning_rate": 0.01,
            "warmdown": 0.5,
            "accumulate": 2,
        },
        precision="mixed_bfloat16",
    )
    metrics = run(config)
    # Parts of a batch are no steps.
    assert metrics["loss_steps"] == [3, 6, 9, 12]
    assert metrics["attention"] == "einsum"
    rows = (tmp_path / "r" / "telemetry.csv").read_text().splitlines()[1:]
    assert [row.split(",")[0] for row in rows] == ["3", "6", "9", "12"]
    one = load(tmp_path / "r" / "model")
    other = load(tmp_path / "r" / "adapter.safetensors")
    assert len(other.trainable_variables) < len(one.trainable_variables)
    x = {
        "encoder_token_ids": np.arange(3, 9)[None],
        "encoder_padding_mask": np.ones((1, 6), "int32"),
        "decoder_token_ids": np.arange(6)[None],
        "decoder_padding_mask": np.ones((1, 6), "int32"),
    }
    np.testing.assert_allclose(
        np.asarray(one(x)), np.asarray(other(x)), atol=1e-3
    )


def test_what_saves_memory_reaches_the_model_and_changes_no_loss(
    files, tmp_path
):
    from keras_flan.training.start import start_model

    config = write(files, tmp_path / "r", steps=2, log_every=1)
    advice = ("model.remat=true", "model.query_chunk=8", "model.scan=true")
    chunk = "optimizer.loss_chunk=5"
    lean = TrainConfig.from_yaml(config, [*advice, chunk])
    model = start_model(lean)
    assert (model.remat, model.query_chunk, model.scan) == (True, 8, True)
    # The weights are drawn otherwise for a scan.
    losses = [
        run(config, *some, f"output={tmp_path / str(len(some))}")["loss"]
        for some in ((), (*advice[:2], chunk))
    ]
    np.testing.assert_allclose(*losses, rtol=1e-5)
    assert len(train(lean, model=model, quiet=True)["loss"]) == 2


@pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="products are JAX's"
)
def test_products_in_bfloat16_change_the_loss_a_little(files, tmp_path):
    found = {}
    for dtype in ("float32", "bfloat16"):
        config = write(
            files, tmp_path / dtype, steps=3, log_every=1, products=dtype
        )
        found[dtype] = train(TrainConfig.from_yaml(config), quiet=True)["loss"]
    whole, rounded = found.values()
    assert whole != rounded
    np.testing.assert_allclose(rounded, whole, rtol=0.02)


def test_a_pretrained_decoder_reads_prompts_as_its_rows_do(files, tmp_path):
    """Prompts of a base model have no end token; those of the rows have."""
    from keras_flan.data import Vocabulary
    from keras_flan.models import DecoderOnly, load
    from tests.models.decoders import make_hub

    vocabulary = Vocabulary(files / "v.model")
    hub = make_hub("llama", vocabulary_size=vocabulary.size)
    model = DecoderOnly(hub, vocabulary, separate=False)
    config = TrainConfig.from_yaml(write(files, tmp_path / "run", steps=1))
    train(config, model=model, quiet=True)
    for found in (model, load(tmp_path / "run" / "model")):
        ids = vocabulary.encode("a b")
        assert found.decoding.frame(ids, 99)[-1] == vocabulary.eos_id


def test_it_says_when_many_examples_are_trimmed(files, tmp_path, capsys):
    data = {"input_length": 8, "target_length": 12, "batch_size": 4}
    config = write(files, tmp_path / "run", steps=1, data=data)
    train(TrainConfig.from_yaml(config))
    lines = capsys.readouterr().err.split("\n")
    [line] = [
        one for one in lines if "have inputs" in one and "left out" in one
    ]
    found = re.fullmatch(
        r"training: ([\d,]+) of ([\d,]+) examples \(([\d.]+)%\) have inputs "
        r"longer than data\.input_length 8, and are left out \(.*: [\d.]+%\); "
        r"99% of these would fit into data\.input_length \d+",
        line,
    )
    cut, drawn = (int(found[i].replace(",", "")) for i in (1, 2))
    assert 0.01 * drawn < cut <= drawn
    assert float(found[3]) == pytest.approx(100 * cut / drawn, abs=0.05)
    [last] = [line for line in lines if "were left out" in line]
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert f"{metrics['data']['left_out']:,} were left out" in last
    rows = list(csv.DictReader((tmp_path / "run" / "draws.csv").open()))
    assert {"task", "format", "share", "trained", "long_inputs"} <= set(rows[0])
    for name in ("drawn", "left_out"):
        key = {"drawn": "examples"}.get(name, name)
        assert sum(int(row[name]) for row in rows) == metrics["data"][key]


def test_a_text_that_is_too_long_is_an_error_if_that_is_asked(files, tmp_path):
    data = {"input_length": 256, "target_length": 2, "batch_size": 4}
    data["long"] = {"targets": "fail"}
    config = write(files, tmp_path / "run", steps=1, data=data)
    with pytest.raises(InputError, match=r"its target has \d+ tokens, target_"):
        train(TrainConfig.from_yaml(config), quiet=True)


@pytest.mark.slow
def test_experts_and_few_bits_in_a_run(files, tmp_path):
    from keras_flan.models import load
    from keras_flan.models.compression.notes import forms_of

    experts = {"experts": 4, "top_k": 1}
    run(write(files, tmp_path / "base", model={"experts": experts}), "steps=4")
    model = load(tmp_path / "base" / "model")
    assert forms_of(model.backbone)["experts"]["experts"] == 4
    run(write(files, tmp_path / "dense"), "steps=2")
    config = write(
        files,
        tmp_path / "small",
        model={"init": str(tmp_path / "dense" / "model"), "quantize": "int8"},
        adapter={"kind": "lora", "rank": 2, "targets": "query"},
        vocabulary=None,
    )
    run(config)
    # What is adapted is whole again; the rest keeps its bits.
    held = forms_of(load(tmp_path / "small" / "model").backbone)["quantised"]
    assert held and not any(name.endswith("query") for name in held)
