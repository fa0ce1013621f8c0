"""A benchmark, an extractor and a metric of a user's own, in their folder."""

import importlib.metadata
import json
import re
import sys
import types
from pathlib import Path

import pytest

from keras_flan import cli, extensions
from keras_flan.answers import KINDS, Kind, extract_answer
from keras_flan.data.records.example import Example
from keras_flan.data.records.writing import write_records
from keras_flan.errors import InputError
from keras_flan.evaluation import (
    evaluate,
    golden_prompts,
    load_benchmark,
    score,
)
from keras_flan.evaluation.benchmarks.protocols import (
    load_protocol,
    protocol_names,
)
from keras_flan.extensions import add_module, using
from keras_flan.generation import serving
from keras_flan.testing import check_protocol

DOCS = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", DOCS, re.S | re.M)
# The examples of the docs are those that are tested.
[MODULE] = [text for kind, text in BLOCKS if kind == "python"]
[REVIEWS] = [text for kind, text in BLOCKS if kind == "yaml"]
PROTOCOL = r"""
name: essays
version: 1
source: our own
reader: essays
extractor: grade
metrics: [grades_off, macro_f1]
formats:
  zero_shot_direct: {query: "{question}\nGrade:", stop: ["\n"]}
  zero_shot_cot: {query: "{question}\nLet's see."}
"""
ESSAYS = "A Good.\nB Fine.\nA Very good.\nB Well.\n"
COT, EXACT = "few_shot_cot", ["exact_match"]
OWN = ("--module", "own/module.py")


def ask(prompts, *, samples, **settings):
    return [[" A" if "ood" in p or "see" in p else "Eh"] for p in prompts]


@pytest.fixture(autouse=True)
def own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("own").mkdir()
    Path("own/module.py").write_text(MODULE)
    Path("own/essays.yaml").write_text(PROTOCOL)
    Path("essays.txt").write_text(ESSAYS)


@pytest.fixture
def run(monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["keras-flan", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        out, err = capsys.readouterr()
        return stop.value.code or 0, out, err

    return run


EVALUATE = (
    *("evaluate", "--benchmark", "own/essays.yaml", "--data", "essays.txt"),
    *OWN,
)


def test_answers_of_an_own_kind_vote(run, monkeypatch):
    """By `generate`, and on the page of `serve`."""
    monkeypatch.setattr("keras_flan.models.loading.load", lambda _: ask)
    prompt = ("--model", "m", "--prompt", "Good?", "--kind", "grade")
    code, out, _ = run("generate", *prompt, *OWN, "--json")
    assert code == 0 and json.loads(out)[0]["answer"] == "a"
    code, _, err = run("generate", *prompt)
    assert code == 2 and "no answer kind 'grade'" in err and "--module" in err

    def serve(load, *_):
        pages.append(serving._page()[0])

    pages = []
    monkeypatch.setattr(serving, "serve", serve)
    code, _, err = run("serve", "--model", "m", *OWN)
    assert code == 0 and '<option value="grade">grade</option>' in pages[0]


def test_an_own_protocol_is_evaluated_scored_again_compared_and_reported(run):
    name = f"{__name__}:ask"
    code, _, err = run(
        *(*EVALUATE, "--model", name, "--mode", "direct", "--mode", "cot"),
        *("--output", "runs", "--quiet"),
    )
    assert code == 0, err
    direct = Path("runs/essays-direct")
    metrics = json.loads((direct / "metrics.json").read_text())
    assert metrics["accuracy"] == 0.5 and metrics["unparsed"] == 2
    assert metrics["grades_off"] == 2.5
    assert metrics["measured"]["grades_off"] == "number"
    assert metrics["tasks"]["essays"]["classes"]["a"]["f1"] == 1
    assert list(metrics["run"]["modules"]) == ["own/module.py"]

    # The run keeps the protocol; only the module has to be given.
    Path("own/essays.yaml").unlink()
    code, out, _ = run("score", "--predictions", direct, *OWN, "--json")
    again = json.loads(out)
    assert again.pop("changes") == []
    del metrics["run"]
    assert again == metrics
    code, _, err = run("score", "--predictions", direct)
    assert code == 2 and "no answer kind 'grade'" in err and "--module" in err

    # Another rule, without the model.
    changed = MODULE.replace("grades[-1][0].lower()", "'b'")
    Path("own/module.py").write_text(changed)
    code, out, _ = run("score", "--predictions", direct, *OWN)
    assert "2 of 4 answers changed" in out
    Path("own/module.py").write_text(MODULE)

    runs = (direct, "runs/essays-cot", *OWN)
    code, out, _ = run("compare", *runs)
    assert code == 0 and "essays: 50.0%" in out
    code, out, _ = run("compare", *runs, "--metric", "grades_off")
    assert "grades_off: 2.5 (runs" in out and "difference -2" in out
    code, _, err = run("compare", *runs, "--metric", "macro_f1")
    assert code == 2 and "of a whole task" in err
    code, _, err = run("report", "runs", "--output", "page", *OWN)
    assert code == 0, err
    tables = Path("page/tables.md").read_text()
    assert "| essays | CoT | 0 | 1 | 4 | 50.0" in tables
    assert "| essays: essays | direct | a | 2 | 2 |" in tables
    assert "published results" not in tables  # none of theirs was asked
    # What a command was given is forgotten when it ends.
    assert "grade" not in KINDS


def test_golden_prompts_are_shown_kept_and_checked(run):
    code, out, _ = run(*EVALUATE, "--show-prompts", "--mode", "cot")
    assert code == 0 and "Good.\nLet's see.\n-> 'A', read as grade" in out
    code, out, _ = run(*EVALUATE, "--show-prompts", "--json")
    kept = json.loads(out)
    assert kept[0]["prompt"] == "Good.\nGrade:"
    assert len(kept) == 3 and kept[0]["form"] == "essays direct 0"
    Path("golden.json").write_text(out)
    with using("own/module.py"):
        check = ("own/essays.yaml", "essays.txt")
        check_protocol(*check, prompts="golden.json", outputs={"An F": "f"})
        assert golden_prompts(*check) == kept
        Path("essays.txt").write_text(ESSAYS.replace("Good", "Nice"))
        with pytest.raises(AssertionError, match="essays direct 0"):
            check_protocol(*check, prompts="golden.json")
    code, _, err = run(*EVALUATE)
    assert code == 2 and "expected --model and --output" in err


def test_a_table_needs_no_code():
    Path("reviews.csv").write_text(
        "Text,Label\nGreat,1\nBad,0\nLovely,1\nSo good,1\n"
    )
    Path("reviews.yaml").write_text(REVIEWS)

    said = {"Great": "Positive, I say", "Bad": "negative"}

    def positive(prompts, *, samples, **settings):
        asked = (prompt.split("\n")[0] for prompt in prompts)
        return [[said.get(text, "Positive.")] for text in asked]

    pytest.importorskip("rouge_score")
    found = evaluate(
        *(positive, "reviews.yaml", "reviews.csv"),
        output="out",
        metrics=["exact_match", "rouge_l"],
    )
    # The first says more than its answer.
    assert found["accuracy"] == found["exact_match"] == 0.75
    assert found["rouge_l"] == pytest.approx((0.5 + 3) / 4)
    assert found["macro_f1"] == pytest.approx((0.8 + 1) / 2)
    assert found["run"]["metrics"] == ["exact_match", "rouge_l"]
    shown = golden_prompts("reviews.yaml", "reviews.csv", shots=1)
    assert shown[0]["prompt"] == (
        "Review: Bad\nSentiment: negative\n\nReview: Great\nSentiment:"
    )
    assert [p["target"] for p in shown] == ["positive", "negative", "positive"]
    [shown, *_] = golden_prompts("reviews.yaml", "reviews.csv")
    assert shown["prompt"] == "Great\nIs this (A) negative (B) positive?"
    with pytest.raises(InputError, match="no zero_shot_cot form"):
        golden_prompts("reviews.yaml", "reviews.csv", mode="cot")
    Path("reviews.yaml").write_text(REVIEWS.replace("few_shot_direct", COT))
    with pytest.raises(InputError, match="no exemplars for 'cot'"):
        golden_prompts("reviews.yaml", "reviews.csv", mode="cot", shots=1)


def test_classes_of_records_have_their_names_whatever_the_prompt_calls_them():
    """The templates ask for texts and for markers such as (b) by turns."""
    texts = ("World", "Sports", "Business")
    examples = [
        Example(
            {
                "text": f"T{i}",
                "options": "\n".join(texts),
                "answer": texts[i % 3],
            },
            "topic",
        )
        for i in range(30)
    ]
    write_records(examples, "topic", name="topic", templates="topic")

    items = load_benchmark("records", "topic").items()
    assert len({item.names for item in items}) > 2
    named = [
        dict(zip(item.options, item.names or item.options, strict=True))
        for item in items
    ]
    rows = [
        {
            "task": item.task,
            "target": item.target,
            "output": names[
                "Sports" if item.target == names["Business"] else t
            ],
            "options": list(item.options),
            "answer_kind": item.answer_kind,
            **({"names": list(item.names)} if item.names else {}),
        }
        for i, (item, names) in enumerate(zip(items, named, strict=True))
        for t in [texts[i % 3]]
    ]
    [task] = score("records", rows)["tasks"].values()
    assert task["accuracy"] == pytest.approx(2 / 3)
    assert set(task["classes"]) == set(texts)
    # As sklearn's f1_score(labels=texts, average="macro") gives them.
    assert task["classes"]["Sports"] == {
        **{"n": 10, "found": 20, "precision": 0.5, "recall": 1.0},
        "f1": pytest.approx(2 / 3),
    }
    assert task["macro_f1"] == pytest.approx((1 + 2 / 3 + 0) / 3)


def test_metrics_can_be_asked_for_whatever_the_kind():
    rows = [
        {"target": "4", "output": "The answer is 4.", "id": str(i)}
        for i in range(3)
    ]
    protocol = load_protocol("gsm8k").with_metrics(["exact_match", "f1"])
    found = score(protocol, rows)
    assert (found["exact_match"], found["f1"]) == (1, 1)
    assert found["averages"]["micro"]["f1"] == 1
    rows = [{"target": str(i), "output": str(i)} for i in range(9)]
    assert "macro_f1" not in score("records", rows)  # no classes
    with pytest.raises(InputError, match="no metric 'rouge_k'"):
        score(load_protocol("gsm8k").with_metrics(["rouge_k"]), rows)


def test_every_shipped_protocol_is_shipped_and_a_changed_one_is_not():
    for name in protocol_names():
        assert load_protocol(name).shipped
    changed = load_protocol("gsm8k").model_copy(update={"extractor": "text"})
    assert not changed.shipped and not changed.with_metrics(["f1"]).shipped
    Path("kept.yaml").write_text(changed.to_yaml())
    assert load_protocol("kept.yaml") == changed


def test_another_way_of_scoring_asks_nothing_again():
    asked = []

    def counting(prompts, **settings):
        asked.append(prompts)
        return ask(prompts, **settings)

    arguments = (counting, "own/essays.yaml", "essays.txt")
    with using("own/module.py"):
        first = evaluate(*arguments, output="out")
        again = evaluate(*arguments, output="out", resume=True)
        more = evaluate(*arguments, output="out", resume=True, metrics=EXACT)
    assert again == first and more["exact_match"] == 0.5
    # A changed module: its answers come into the log too.
    changed = MODULE.replace("grades[-1][0].lower()", "'b'")
    Path("own/module.py").write_text(changed)
    with using("own/module.py"):
        other = evaluate(*arguments, output="out", resume=True)
    assert other["accuracy"] == 0 and "exact_match" not in other
    assert '"answer": "b"' in Path("out/predictions.jsonl").read_text()
    assert other["run"]["modules"] != first["run"]["modules"]
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "expected a dict KINDS, READERS or METRICS"),
        ("KINDS = {'number': 1}", "expected a Kind by name, found a int"),
        ("KINDS = 3", "expected a dict of names"),
        ("READERS = {'squad': print}", "a reader of this name already"),
        ("1 / 0", "ZeroDivisionError in the module"),
        ("import nowhere_at_all", "cannot import it"),
    ],
)
def test_what_a_module_does_wrong_is_said(text, message):
    Path("bad.py").write_text(text)
    with pytest.raises(InputError, match=message):
        add_module("bad.py")
    with pytest.raises(InputError, match="no such file"):
        add_module("missing.py")


def test_a_metric_has_to_be_a_number_with_a_name_of_its_own():
    Path("bad.py").write_text(
        "from keras_flan.evaluation import Metric\n"
        "METRICS = {'bad': Metric(lambda marked: float('nan')),\n"
        "           'vote': Metric(lambda marked: 1)}"
    )
    rows = [{"target": "4", "output": "4"}]
    with using("bad.py"):
        with pytest.raises(InputError, match="'bad': expected a finite number"):
            score(load_protocol("gsm8k").with_metrics(["bad"]), rows)
        with pytest.raises(InputError, match="'vote': every score has"):
            score(load_protocol("gsm8k").with_metrics(["vote"]), rows)


def test_an_installed_package_adds_by_its_entry_point(monkeypatch):
    Path("installed_kind.py").write_text(MODULE)
    monkeypatch.syspath_prepend(".")
    monkeypatch.setattr(extensions, "_seen_installed", set())
    entry = importlib.metadata.EntryPoint(
        "essays", "installed_kind", extensions.GROUP
    )
    monkeypatch.setattr(
        importlib.metadata, "entry_points", lambda *, group: [entry]
    )
    try:
        assert extract_answer("My grade is B", "grade").value == "b"
    finally:
        for one in [o for o in extensions._added if o.name == "installed_kind"]:
            one.remove()


def test_a_module_can_be_made_in_a_notebook():
    made = types.ModuleType("made")
    made.KINDS = {"always": Kind(lambda t: ("x", 0, 1, "own"), str)}
    for _ in range(2):  # a cell that is run again
        add_module(made)
    assert extract_answer("?", "always").rule == "own"
    add_module(made).remove()
    assert "always" not in KINDS
