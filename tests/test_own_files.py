"""From a user's file of each kind to a tuned tiny model and a score."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from keras_flan import cli

SUMS = [(f"What is {i} + 1?", f"{i + 1}") for i in range(20)]
ROWS = {
    "messages": [
        {
            "messages": [
                {"role": "system", "content": "Be short."},
                {"role": "user", "content": asked},
                {"role": "assistant", "content": answer},
                {"role": "user", "content": "Thanks!"},
                {"role": "assistant", "content": "Welcome."},
            ]
        }
        for asked, answer in SUMS
    ],
    "sharegpt": [
        {
            "conversations": [
                {"from": "human", "value": asked},
                {"from": "gpt", "value": answer},
            ]
        }
        for asked, answer in SUMS
    ],
    "alpaca": [
        {"instruction": "Add one.", "input": f"{i}", "output": answer}
        for i, (_, answer) in enumerate(SUMS)
    ],
    "csv": [
        {"Text": f"It was {how} {n}.", "Label": str(label)}
        for label, how in enumerate(("bad", "good"))
        for n in range(10)
    ],
    "jsonl": [{"input": asked, "output": answer} for asked, answer in SUMS],
}
# What an import and a score need besides.
ASKED = "--benchmark records --data records/own"
WAYS = {
    "csv": (
        "--map question=Text --map answer=Label --label 0=bad --label 1=good "
        "--templates generic",
        f"{ASKED} --metric macro_f1",
    ),
    "jsonl": (
        "--map question=input --map answer=output --templates generic",
        ASKED,
    ),
}
TRAIN = """
output: runs/own
mixture: mixture.yaml
steps: 3
checkpoint_every: 0
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A tiny model of each kind, that all users begin with."""
    import keras

    from keras_flan.data import train_vocabulary
    from keras_flan.models import (
        T5,
        DecoderOnly,
        PaLMBackbone,
        PaLMCausalLM,
        save,
    )

    folder = tmp_path_factory.mktemp("models")
    texts = [json.dumps(row) for rows in ROWS.values() for row in rows]
    vocabulary = train_vocabulary(texts, 330, folder / "v.model")
    keras.utils.set_random_seed(0)
    sizes = {"num_layers": 1, "num_heads": 2, "hidden_dim": 16}
    t5 = T5.from_config_values(
        vocabulary_size=384, intermediate_dim=16, vocabulary=vocabulary, **sizes
    )
    save(t5, folder / "t5")
    backbone = PaLMBackbone.from_preset(
        "palm_test", load_weights=False, vocabulary_size=384
    )
    save(DecoderOnly(PaLMCausalLM(backbone), vocabulary), folder / "palm")
    return folder


# A chat and a table run with every change.
FORMATS = [
    pytest.param(
        format,
        marks=[pytest.mark.often] if format in ("messages", "csv") else [],
    )
    for format in ROWS
]


def learnt_texts(chat):
    """What has weight of each example that the run's mixture makes."""
    from keras_flan.data import Mixture, Pipeline, Vocabulary

    vocabulary = Vocabulary("v.model")
    pipeline = Pipeline(
        Mixture.from_yaml("mixture.yaml"),
        vocabulary,
        input_length=96,
        target_length=32,
        batch_size=2,
        repeat=False,
        decoder_only=bool(chat),
        chat=chat,
    )
    segments = "segment_ids" if chat else "decoder_segment_ids"
    found = []
    for x, y, weight in pipeline.dataset().as_numpy_iterator():
        assert set(weight.ravel().tolist()) <= {0.0, 1.0}
        for row, learnt, part in zip(y, weight, x[segments], strict=True):
            for segment in range(1, part.max() + 1):
                ids = row[(part == segment) & (learnt > 0)]
                ends = np.flatnonzero(ids == vocabulary.eos_id) + 1
                assert ends[-1] == len(ids)
                answers = np.split(ids, ends[:-1])
                found.append("|".join(map(vocabulary.decode, answers)))
    return sorted(found)


@pytest.mark.slow
@pytest.mark.parametrize("format", FORMATS)
def test_a_file_becomes_a_model_and_a_score(
    format, models, tmp_path, monkeypatch
):
    """Four commands; the tokens of the assistant alone are learnt."""
    monkeypatch.chdir(tmp_path)
    chat = "plain" if format in ("messages", "sharegpt") else None
    name = write(format)
    Path("v.model").write_bytes((models / "v.model").read_bytes())
    Path("mixture.yaml").write_text(
        "records: records\nshots: 0\ngroups: {all: {tasks: [own]}}\n"
    )
    data = "input_length: 96, target_length: 32, batch_size: 2"
    Path("train.yaml").write_text(
        f"{TRAIN}model: {{init: {models / ('palm' if chat else 't5')}}}\n"
        f"data: {{{data}{', chat: plain' if chat else ''}}}\n"
    )
    options, scored = WAYS.get(format, ("", ASKED))
    into = f"import {format} {name} --strict {options} --output records/own"
    for command in (
        f"{into}/train",
        f"{into}/test --split test",
        "train train.yaml --quiet",
        f"evaluate --model runs/own/model --limit 2 --max-new-tokens 4 "
        f"--output runs/scores {scored} {'--chat' if chat else ''}",
    ):
        run(command)
    metrics = json.loads(Path("runs/scores/metrics.json").read_text())
    assert 0 <= metrics["accuracy"] <= 1
    answers = [answer for _, answer in SUMS]
    if format == "csv":
        answers = ["bad"] * 10 + ["good"] * 10
    if format == "messages":
        answers = [f"{answer}|Welcome." for answer in answers]
    assert learnt_texts(chat) == sorted(answers)


def write(format):
    """Writes a user's file; returns its name."""
    rows = ROWS[format]
    if format == "csv":
        with open("own.csv", "w", newline="") as file:
            table = csv.DictWriter(file, rows[0])
            table.writeheader()
            table.writerows(rows)
        return "own.csv"
    lines = format in ("messages", "jsonl")
    name = "own.jsonl" if lines else "own.json"
    text = "\n".join(map(json.dumps, rows)) if lines else json.dumps(rows)
    Path(name).write_text(text)
    return name


def run(command):
    result = CliRunner().invoke(cli.app, command.split())
    assert result.exit_code == 0, (command, result.output, result.exception)
