"""All that a run reads and writes lies in a bucket."""

import json
import sys

import pytest
import yaml

from keras_flan import cli
from keras_flan.training import TrainConfig, train
from keras_flan.training.callbacks import StepLog


@pytest.fixture
def run(monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["keras-flan", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        captured = capsys.readouterr()
        assert not stop.value.code, captured.err
        return captured.out

    return run


@pytest.mark.usefixtures("bucket")
def test_a_run_in_a_bucket(run, bucket, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [
        {"question": f"{i} + 1?", "answer": str(i + 1)} for i in range(4000)
    ]
    bucket.write("raw/sums.jsonl", "\n".join(map(json.dumps, rows)))
    url = bucket.url
    run(
        "import",
        "jsonl",
        f"{url}/raw/sums.jsonl",
        "--output",
        f"{url}/r/sums",
        "--templates",
        "generic",
    )
    assert "1?" in run("inspect", f"{url}/r/sums", "-n", 1)
    bucket.write(
        "sums.yaml",
        "name: sums\nrecords: r\ngroups: {all: {tasks: [sums], "
        "formats: {zero_shot_direct: 1}}}\n",
    )
    vocabulary = f"{url}/v.model"
    run("vocabulary", f"{url}/r", "--size", 273, "--output", vocabulary)
    assert json.loads(run("mixture", f"{url}/sums.yaml", "--json"))["groups"]
    settings = {
        "mixture": "sums.yaml",
        "vocabulary": "v.model",
        "output": f"{url}/run",
        "steps": 3,
        "log_every": 1,
        "checkpoint_every": 1,
        "tensorboard": True,
        "model": {
            "num_layers": 1,
            "num_heads": 2,
            "hidden_dim": 16,
            "intermediate_dim": 16,
        },
        "data": {"input_length": 32, "target_length": 8, "batch_size": 2},
    }
    bucket.write("train.yaml", yaml.safe_dump(settings))
    straight = train(
        TrainConfig.from_yaml(f"{url}/train.yaml", ["output=straight"])
    )

    # Cut short after a step, and gone on with.
    count = StepLog.on_train_batch_end

    def stop(self, batch, logs=None):
        if self.step == 2:
            raise KeyboardInterrupt
        count(self, batch, logs)

    config = TrainConfig.from_yaml(f"{url}/train.yaml")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(StepLog, "on_train_batch_end", stop)
        train(config, quiet=True)
    assert any("checkpoints/" in name for name in bucket.objects())
    run("train", f"{url}/train.yaml", "--quiet")
    found = json.loads(bucket.read("run/metrics.json"))
    assert found["loss"] == straight["loss"]
    assert not any("checkpoints/" in name for name in bucket.objects())
    # The folder is enough to make the run again.
    again = TrainConfig.from_yaml(f"{url}/run")
    assert again == config.model_copy(
        update={"mixture": again.mixture, "vocabulary": again.vocabulary}
    )
    assert str(again.mixture) == f"{url}/sums.yaml"

    model = f"{url}/run/model"
    for way in ("direct", "rank"):
        run(
            *("evaluate", "--benchmark", "records", "--model", model),
            *("--data", f"{url}/r", "--output", f"{url}/e/{way}"),
            *("--mode", way, "--limit", 3, "--max-new-tokens", 4),
        )
    page = run("report", f"{url}/e", "--output", f"{url}/report").strip()
    assert page == f"{url}/report/report.html"
    assert "<html" in bucket.read("report/report.html")
    assert not (tmp_path / "gs:").exists()
    assert not any("rewriteTo" in line for line in bucket.log())
