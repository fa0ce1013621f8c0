import json
from dataclasses import dataclass, field

import pytest

from keras_flan.errors import InputError
from keras_flan.evaluation.benchmarks.protocols import load_protocol
from keras_flan.evaluation.runs.evaluate import evaluate
from keras_flan.evaluation.runs.identity import model_hash
from keras_flan.evaluation.scores.predictions import read_predictions
from keras_flan.evaluation.scores.scoring import score
from keras_flan.files import read_jsonl


@dataclass
class FakePath:
    text: str
    log_probability: float = -2.0
    token_ids: list[int] = field(default_factory=lambda: [3, 4])


class FakeModel:
    """Answers each prompt from a table of texts, one a path."""

    def __init__(self, texts):
        self.texts = texts
        self.calls = []

    def __call__(self, prompts, **settings):
        self.calls.append((list(prompts), settings))
        return [
            [
                FakePath(text)
                for key, texts in self.texts.items()
                if key in prompt.rpartition("Q: ")[2]
                for text in texts[: settings["samples"]]
            ]
            for prompt in prompts
        ]


@pytest.fixture
def gsm8k(tmp_path):
    rows = [
        {"question": "What is 1 + 2?", "answer": "So 3.\n#### 3"},
        {"question": "What is 5 + 5?", "answer": "So 10.\n#### 10"},
        {"question": "What is 4 + 4, in words?", "answer": "So.\n#### 8"},
    ]
    path = tmp_path / "test.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


TEXTS = {
    "1 + 2": ["The answer is 3.", "It is 4.", "The answer is 3."],
    "5 + 5": ["The answer is 1,0.", "no idea", "The answer is 10.\nQ: 9"],
    "4 + 4": ["no idea", "none", ""],
}


def test_rows_metrics_and_score_agree(tmp_path, gsm8k):
    model = FakeModel(TEXTS)
    output = tmp_path / "run"
    metrics = evaluate(
        model, "gsm8k", gsm8k, output=output, mode="cot", samples=3, seed=5
    )
    (_, settings), *_ = model.calls
    assert settings == {
        "samples": 3,
        "temperature": 0.7,
        "top_k": 40,
        "seed": 5,
        "max_new_tokens": 256,
    }
    first, second, third = read_jsonl(output / "predictions.jsonl")
    assert first == {
        "task": "gsm8k",
        "id": "test.jsonl:1",
        "prompt": "Q: What is 1 + 2?\nA: Let's think step by step.",
        "shots": 0,
        "target": "3",
        "answer_kind": "number",
        "options": [],
        "stop": ["\nQ:"],
        "outputs": TEXTS["1 + 2"],
        "log_probabilities": [-2.0, -2.0, -2.0],
        "token_counts": [2, 2, 2],
        "answers": ["3", "4", "3"],
        "rules": ["phrase", "last", "phrase"],
        "spans": [[14, 15], [6, 7], [14, 15]],
        "votes": {"3": 2, "4": 1},
        "answer": "3",
        "confidence": 2 / 3,
        "correct": True,
        "protocol": "gsm8k",
        "protocol_version": 1,
        "extractor_version": 2,
        "mode": "cot",
        "seed": 5,
        "model": model_hash(model),
    }
    # The output is logged whole, and read to where the model begins a
    # question of its own.
    assert second["outputs"][2] == "The answer is 10.\nQ: 9"
    assert second["answers"][1:] == [None, "10"]
    assert third["answer"] is None and not third["correct"]
    assert third["votes"] == {} and third["spans"] == [None] * 3

    assert metrics == json.loads((output / "metrics.json").read_text())
    run = metrics.pop("run")
    assert run["samples"] == 3 and run["temperature"] == 0.7
    assert metrics == score("gsm8k", read_predictions(output))
    right = [row["correct"] for row in (first, second, third)]
    assert metrics["accuracy"] == pytest.approx(sum(right) / 3)
    assert metrics["tasks"]["gsm8k"]["n"] == 3
    assert metrics["unparsed"] == 1


def test_a_protocol_goes_in_place_of_a_name(tmp_path, gsm8k):
    protocol = load_protocol("gsm8k").model_copy(update={"extractor": "text"})
    read = [
        evaluate(FakeModel(TEXTS), one, gsm8k, output=tmp_path / str(number))
        for number, one in enumerate(("gsm8k", protocol))
    ]
    assert [metrics["accuracy"] for metrics in read] == [
        pytest.approx(1 / 3),
        pytest.approx(1 / 3),
    ]
    rows = read_predictions(tmp_path / "1")
    assert [row.answer_kind for row in rows] == ["text"] * 3


def test_one_path_is_greedy_and_runs_are_the_same(tmp_path, gsm8k):
    files = []
    for name in ("a", "b"):
        model = FakeModel(TEXTS)
        evaluate(model, "gsm8k", gsm8k, output=tmp_path / name, limit=2)
        assert model.calls[0][1]["temperature"] == 0.0
        folder = tmp_path / name
        (folder / "timing.json").unlink()
        files.append([p.read_bytes() for p in sorted(folder.glob("[!.]*"))])
    assert len(files[0]) == 2
    assert files[0] == files[1]


def test_long_runs_are_asked_in_batches(tmp_path):
    rows = [
        {"question": f"What is {'1 + ' * (i % 7)}{i}?", "answer": "#\n#### 7"}
        for i in range(20)
    ]
    path = tmp_path / "test.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))

    class Echo(FakeModel):
        def __call__(self, prompts, **settings):
            self.calls.append(list(prompts))
            return [[FakePath(p)] * settings["samples"] for p in prompts]

    model = Echo({})
    output = tmp_path / "run"
    evaluate(model, "gsm8k", path, output=output, samples=32)
    sizes = [len(prompts) for prompts in model.calls]
    assert sizes == [8, 8, 4]
    for row, made in zip(
        rows, read_jsonl(output / "predictions.jsonl"), strict=True
    ):
        assert row["question"] in made["prompt"]
        assert made["outputs"][0] == made["prompt"]


def test_a_failed_run_leaves_the_earlier_one(tmp_path, gsm8k):
    output = tmp_path / "run"
    evaluate(FakeModel(TEXTS), "gsm8k", gsm8k, output=output)
    before = {p.name: p.read_bytes() for p in output.iterdir()}

    def broken(prompts, **settings):
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError):
        evaluate(broken, "gsm8k", gsm8k, output=output, samples=2)
    with pytest.raises(InputError):
        evaluate(FakeModel(TEXTS), "gsm8k", tmp_path / "no", output=output)
    assert {p.name: p.read_bytes() for p in output.iterdir()} == before


def test_bad_arguments(tmp_path, gsm8k):
    with pytest.raises(InputError, match="expected a folder to write"):
        evaluate(FakeModel(TEXTS), "gsm8k", gsm8k, output=gsm8k)
    with pytest.raises(InputError, match="a callable, found str"):
        evaluate("model", "gsm8k", gsm8k, output=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.realdata
@pytest.mark.parametrize("mode", ["direct", "cot"])
def test_targets_score_full_marks(tmp_path, realdata, mode):
    """A model that knows the targets is right everywhere it can be."""
    from keras_flan.evaluation.benchmarks.files import load_benchmark

    for name in ("gsm8k", "bbh", "mmlu"):
        items = load_benchmark(name, realdata / name).items(limit=20, mode=mode)
        targets = {item.prompt: item.target for item in items}

        def oracle(prompts, targets=targets, **settings):
            return [[FakePath(f"The answer is {targets[p]}.")] for p in prompts]

        metrics = evaluate(
            oracle,
            name,
            realdata / name,
            output=tmp_path / name,
            limit=20,
            mode=mode,
        )
        assert metrics["accuracy"] == 1.0, metrics
