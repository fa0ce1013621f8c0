"""From a user's chat file to a tuned tiny model and a score: five commands."""

import json

import pytest
from typer.testing import CliRunner

from keras_flan import cli

TINY = "{num_layers: 1, num_heads: 2, hidden_dim: 16, intermediate_dim: 16}"
ROWS = {
    "messages": [
        {
            "messages": [
                {"role": "system", "content": "Be short."},
                {"role": "user", "content": f"What is {i} + 1?"},
                {"role": "assistant", "content": f"{i + 1}"},
                {"role": "user", "content": "Thanks!"},
                {"role": "assistant", "content": "Welcome."},
            ]
        }
        for i in range(20)
    ],
    "sharegpt": [
        {
            "conversations": [
                {"from": "human", "value": f"What is {i} + 1?"},
                {"from": "gpt", "value": f"{i + 1}"},
            ]
        }
        for i in range(20)
    ],
    "alpaca": [
        {"instruction": "Add one.", "input": f"{i}", "output": f"{i + 1}"}
        for i in range(20)
    ],
}
# Pieces that so few texts have; a model, and how it reads conversations.
MODELS = {
    "messages": (
        310,
        "{init: palm_test, dropout: 0}",
        ", chat: plain",
        ["--chat"],
    ),
    "sharegpt": (300, TINY, "", []),
    "alpaca": (294, TINY, "", []),
}


@pytest.mark.slow
@pytest.mark.often
@pytest.mark.parametrize("format", ROWS)
def test_a_file_becomes_a_model_and_a_score(format, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    size, model, chat, asked = MODELS[format]
    (tmp_path / "own.json").write_text(json.dumps(ROWS[format]))
    (tmp_path / "mixture.yaml").write_text(
        "records: records\nshots: 0\ngroups: {all: {tasks: [own]}}\n"
    )
    (tmp_path / "train.yaml").write_text(
        "output: runs/own\nmixture: mixture.yaml\nvocabulary: own.model\n"
        f"steps: 3\ncheckpoint_every: 0\nmodel: {model}\n"
        f"data: {{input_length: 96, target_length: 32, batch_size: 2{chat}}}\n"
    )
    commands = [
        f"import {format} own.json --output records/own/train --strict",
        f"vocabulary own.json --size {size} --output own.model",
        "train train.yaml --quiet",
        "evaluate --model runs/own/model --benchmark records --limit 2 "
        "--data records/own/train --output runs/scores --max-new-tokens 4",
        "generate --model runs/own/model --prompt Hello --max-new-tokens 4 "
        "--json",
    ]
    for command in commands:
        words = command.split()
        if words[0] in ("evaluate", "generate"):
            words += asked
        run = CliRunner().invoke(cli.app, words, catch_exceptions=False)
        assert run.exit_code == 0, run.output
    metrics = json.loads((tmp_path / "runs/scores/metrics.json").read_text())
    assert 0 <= metrics["accuracy"] <= 1
    [answered] = json.loads(run.stdout)
    if chat:
        assert answered["prompt"].endswith("User:\nHello\nAssistant:\n")
