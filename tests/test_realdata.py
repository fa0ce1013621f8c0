"""The main job on public files: import, mix, train, evaluate, score."""

import csv
import json

import pytest

from keras_flan.data import (
    Mixture,
    import_file,
    read_info,
    train_vocabulary_from,
)
from keras_flan.data.records.shards import verify_records
from keras_flan.evaluation import evaluate
from keras_flan.evaluation.scores.predictions import read_predictions
from keras_flan.evaluation.scores.scoring import score
from keras_flan.models import load
from keras_flan.training import TrainConfig, train

pytestmark = pytest.mark.realdata

COT = ["aqua", "creak", "ecqa", "gsm8k", "qasc", "sensemaking", "strategyqa"]
BBH = ["boolean_expressions", "date_understanding", "word_sorting"]
MMLU = [
    "abstract_algebra",
    "anatomy",
    "college_chemistry",
    "high_school_us_history",
    "nutrition",
]


@pytest.fixture(scope="module")
def records(realdata, tmp_path_factory):
    """Every file of the list, imported without a rejected row."""
    folder = tmp_path_factory.mktemp("records")

    def add(format, source, name, **options):
        import_file(format, source, folder / name, strict=True, **options)
        verify_records(folder / name)

    for name in COT:
        [source] = (realdata / "flan_cot").glob(f"{name}_train.tsv*")
        add("flan-cot", source, name, shards=2)
    add("gsm8k", realdata / "gsm8k" / "train.jsonl.gz", "gsm8k_jsonl")
    for name in BBH:
        add("bbh", realdata / "bbh" / "bbh" / f"{name}.json", name)
    for name in MMLU:
        source = realdata / "mmlu" / "test" / f"{name}_test.csv.gz"
        add("mmlu", source, name, split="test")
    return folder


def test_everything_is_imported(records):
    counts = {
        path.name: read_info(path)["num_examples"] for path in records.iterdir()
    }
    assert counts["gsm8k"] == counts["gsm8k_jsonl"] == 7473
    assert sum(counts[name] for name in COT) == 33443
    assert [counts[name] for name in BBH] == [250, 250, 250]
    assert counts["abstract_algebra"] == 100
    assert len(counts) == 7 + 1 + 3 + 5


@pytest.fixture(scope="module")
def model(records, tmp_path_factory):
    """A small T5 after 30 steps on the real CoT mixture."""
    folder = tmp_path_factory.mktemp("cot")
    (folder / "cot.yaml").write_text(
        f"name: cot\nrecords: {records}\ngroups:\n  cot:\n    cap: 100000\n"
        f"    tasks: [{', '.join(COT)}]\n"
    )
    rates = Mixture.from_yaml(folder / "cot.yaml").rates()
    assert sum(rates.values()) == pytest.approx(1)
    assert rates["gsm8k"] / rates["qasc"] == pytest.approx(7473 / 1084)
    train_vocabulary_from(
        [folder / "cot.yaml"], 4000, folder / "vocabulary.model"
    )
    (folder / "train.yaml").write_text(
        f"output: {folder / 'run'}\nmixture: cot.yaml\n"
        "vocabulary: vocabulary.model\nsteps: 30\nlog_every: 5\n"
        "model: {num_layers: 2, num_heads: 2, hidden_dim: 64, "
        "intermediate_dim: 128}\n"
        "data: {input_length: 512, target_length: 128, batch_size: 4}\n"
        "optimizer: {learning_rate: 0.02}\n"
    )
    config = TrainConfig.from_yaml(folder / "train.yaml")
    metrics = train(config, quiet=True)
    assert metrics["loss"][-1] < 0.8 * metrics["loss"][0]
    run = folder / "run"
    assert json.loads((run / "metrics.json").read_text()) == metrics
    with open(run / "loss.csv") as f:
        rows = list(csv.DictReader(f))
    assert [int(row["step"]) for row in rows] == metrics["loss_steps"]
    assert TrainConfig.from_yaml(run / "config.yaml").steps == 30
    return load(run / "model")


@pytest.mark.parametrize(
    ("benchmark", "data", "options"),
    [
        ("gsm8k", "gsm8k/test.jsonl", {"limit": 20, "shots": 2}),
        ("bbh", "bbh", {"limit": 20, "tasks": BBH[:1], "shots": 3}),
    ],
)
def test_evaluate_with_votes(
    realdata, model, tmp_path, benchmark, data, options
):
    metrics = evaluate(
        model,
        benchmark,
        realdata / data,
        output=tmp_path,
        mode="cot",
        samples=4,
        max_new_tokens=32,
        **options,
    )
    lines = (tmp_path / "predictions.jsonl").read_text().split("\n")[:-1]
    rows = [json.loads(line) for line in lines]
    assert len(rows) == 20
    assert all(len(row["outputs"]) == 4 for row in rows)
    for row in rows:
        assert sum(row["votes"].values()) <= 4
        assert row["answer"] in [*row["votes"], None]
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics
    scores = score(benchmark, read_predictions(tmp_path))
    assert scores == {key: metrics[key] for key in scores}
