"""What answers in a model's stead, asked by `ask` and by `evaluate`."""

import json
import types

import pytest

from keras_flan.errors import InputError
from keras_flan.evaluation import evaluate
from keras_flan.evaluation.runs.identity import model_hash
from keras_flan.files import read_jsonl
from keras_flan.generation import Path, Recorded, ask
from keras_flan.generation.language_model_like import as_language_model
from keras_flan.generation.outputs import Likelihood


@pytest.fixture
def gsm8k(tmp_path):
    rows = [
        {"question": f"What is 1 + {i}?", "answer": f"So.\n#### {1 + i}"}
        for i in (2, 3)
    ]
    path = tmp_path / "test.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def count(prompts, *, samples, **settings):
    """Answers with what stands before the question mark, plus one."""
    return [
        [f"It is {1 + int(p.partition('?')[0][-1])}."] * samples
        for p in prompts
    ]


class Counter:
    """The same, with paths and likelihoods, as a class."""

    def generate(self, prompts, *, samples, **settings):
        return [
            [Path(text, [5], -0.5, True, [-0.5]) for text in texts]
            for texts in count(prompts, samples=samples)
        ]

    def log_likelihoods(self, prompts, continuations):
        return [
            [Likelihood(-float(len(text)), 1) for text in texts]
            for texts in continuations
        ]


@pytest.mark.parametrize("model", [count, Counter()])
def test_one_form_serves_ask_and_evaluate(model, gsm8k, tmp_path):
    answered = ask(model, ["1 + 2?", "1 + 3?"], samples=3, kind="number")
    assert [a.vote.counts for a in answered] == [{"3": 3}, {"4": 3}]
    json.dumps(answered[0].to_dict(), allow_nan=False)
    output = tmp_path / "run"
    metrics = evaluate(
        model, "gsm8k", gsm8k, output=output, mode="cot", samples=3
    )
    assert metrics["accuracy"] == 1
    [row, _] = read_jsonl(output / "predictions.jsonl")
    known = model is not count
    assert row.get("log_probabilities") == ([-0.5] * 3 if known else None)


def test_likelihoods_come_by_a_method(tmp_path):
    metrics = evaluate(
        Counter(), "winogender", output=tmp_path / "run", mode="rank", limit=2
    )
    assert metrics["n"] == 6
    with pytest.raises(InputError, match="a callable with a method log_like"):
        as_language_model(count).log_likelihoods(["a"], [["b"]])


def test_a_log_answers_as_the_model_did(gsm8k, tmp_path):
    ways = [("gsm8k", gsm8k, {"samples": 3}), ("winogender", None, {})]
    for name, data, settings in ways:
        if not settings:
            settings = {"mode": "rank", "limit": 1}
        first = evaluate(
            Counter(), name, data, output=tmp_path / name, **settings
        )
        log = Recorded(read_jsonl(tmp_path / name / "predictions.jsonl"))
        again = evaluate(log, name, data, output=tmp_path / "x", **settings)
        assert again["accuracy"] == first["accuracy"]
        assert model_hash(log) != model_hash(Recorded([]))
    with pytest.raises(InputError, match="does not have it"):
        ask(log, ["unheard of"])
    short = Recorded([{"prompt": "a", "output": "b"}])
    assert ask(short, ["a"])[0].paths[0].text == "b"
    with pytest.raises(InputError, match="of 2 texts; found"):
        ask(short, ["a"], samples=2)
    with pytest.raises(InputError, match=r"each prompt: \[2\]; found \[0\]"):
        as_language_model(short).log_likelihoods(["a"], [["b", "c"]])
    with pytest.raises(InputError, match="row 1 of the log has no prompt"):
        Recorded([{"output": "b"}])


def test_other_forms_are_refused_with_what_to_return():
    def stream(prompts, *, samples, **settings):
        yield 0, 0, Path("a")

    expected = r"stream: expected 1 list, one per prompt, of 2 texts; found a"
    with pytest.raises(InputError, match=expected + ".*do not yield"):
        ask(stream, ["a"], samples=2)
    with pytest.raises(InputError, match="got an unexpected keyword"):
        ask(lambda prompts: [["a"]], ["a"])
    with pytest.raises(InputError, match="found 'a' for a prompt"):
        ask(lambda prompts, **settings: ["a"], ["a"])
    with pytest.raises(InputError, match="or a callable, found str"):
        ask("model", ["a"])
    bare = types.SimpleNamespace(vocabulary=None)
    with pytest.raises(InputError, match="a model with a vocabulary"):
        ask(bare, ["a"])
