"""All that a run reads and writes lies in a bucket."""

import json
import sys

import pytest
import yaml

from keras_flan import cli
from keras_flan.data import Mixture, Vocabulary, build_dataset
from keras_flan.evaluation import evaluate
from keras_flan.storage import as_path
from keras_flan.training import TrainConfig, train
from keras_flan.training.callbacks import StepLog


@pytest.fixture
def run(bucket, tmp_path, monkeypatch, capsys):
    """Runs a command line; all happens in the bucket."""
    monkeypatch.chdir(tmp_path)

    def run(line):
        line = line.replace("gs:", f"{bucket.url}/all")
        monkeypatch.setattr(sys, "argv", ["keras-flan", *line.split()])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        captured = capsys.readouterr()
        assert not stop.value.code, captured.err
        return captured.out

    yield run
    assert list(tmp_path.iterdir()) == []
    assert not any("rewriteTo" in line for line in bucket.log())


@pytest.fixture
def data(run, bucket):
    """Records, a mixture and a vocabulary; returns their folder."""
    rows = [{"question": f"{i} + 1?", "answer": f"{i + 1}"} for i in range(900)]
    bucket.write("all/raw/sums.jsonl", "\n".join(map(json.dumps, rows)))
    bucket.write(
        "all/sums.yaml",
        "name: sums\nrecords: r\ngroups: {all: {tasks: [sums], "
        "formats: {zero_shot_direct: 1}}}\n",
    )
    made = "import jsonl gs:/raw/sums.jsonl --output gs:/r/sums"
    run(f"{made} --templates generic --shards 2")
    run("vocabulary gs:/r --size 273 --output gs:/v.model")
    return as_path(bucket.url, "all")


def test_data_and_reports(run, data, bucket):
    assert "1?" in run("inspect gs:/r/sums -n 1")
    assert "sums" in run("mixture gs:/sums.yaml")
    batches = build_dataset(
        Mixture.from_yaml(data / "sums.yaml"),
        Vocabulary(data / "v.model"),
        input_length=32,
        target_length=8,
        batch_size=2,
    )
    assert next(iter(batches))[0]["encoder_token_ids"].shape == (2, 32)

    def right(prompts, samples=1, **_):
        numbers = [int(p.split(" + ")[0].split()[-1]) for p in prompts]
        return [[str(number + 1)] * samples for number in numbers]

    for samples in (1, 2):
        settings = {
            "output": data / "e" / str(samples),
            "limit": 3,
            "samples": samples,
            "resume": True,
        }
        found = evaluate(right, "records", data / "r", **settings)
        assert found["accuracy"] == 1
        assert evaluate(right, "records", data / "r", **settings) == found
    # What was a journal on the way is gone, the predictions are there.
    assert "all/e/1/predictions.jsonl" in bucket.objects()
    assert not [n for n in bucket.objects() if n.endswith("journal.jsonl")]
    assert "3" in run("score --predictions gs:/e/1")
    page = run("report gs:/e --output gs:/report").strip()
    assert page == str(data / "report" / "report.html")
    assert "<html" in bucket.read("all/report/report.html")


@pytest.mark.slow
@pytest.mark.often
def test_a_training_goes_on(run, data, bucket, monkeypatch):
    settings = {
        "mixture": "sums.yaml",
        "vocabulary": "v.model",
        "output": str(data / "run"),
        "steps": 4,
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
    bucket.write("all/train.yaml", yaml.safe_dump(settings))
    config = TrainConfig.from_yaml(data / "train.yaml")
    count, seen = StepLog.on_train_batch_end, []

    def counted(self, batch, logs=None):
        if seen == ["step"] * 2:
            seen.append("killed")
            raise MemoryError
        seen.append("step")
        count(self, batch, logs)

    monkeypatch.setattr(StepLog, "on_train_batch_end", counted)
    with pytest.raises(MemoryError):
        train(config, quiet=True)
    assert any("/checkpoints/2/" in name for name in bucket.objects())
    # Not the third, which compiles: its trace would be large.
    run("train gs:/train.yaml profile=3:4 --quiet")
    assert seen == ["step", "step", "killed", "step", "step"]
    metrics = json.loads(bucket.read("all/run/metrics.json"))
    assert metrics["loss_steps"] == [1, 2, 3, 4]
    assert not any("/checkpoints/" in name for name in bucket.objects())
    for made in ("/tensorboard/events", "/perfetto_trace.json.gz"):
        assert any(made in name for name in bucket.objects())
    # The folder is enough to make the run again.
    again = TrainConfig.from_yaml(data / "run", ["profile=null"])
    assert again.to_yaml() == config.to_yaml()

    asked = "evaluate --benchmark records --model gs:/run/model --data gs:/r"
    run(f"{asked} --output gs:/e --limit 2 --max-new-tokens 4")
    assert "run/report.html" in run("report gs:/e --output gs:/run")
