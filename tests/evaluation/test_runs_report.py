import json
import math
import re
import shutil

import pytest

from keras_flan.errors import InputError
from keras_flan.evaluation.reports.finished import (
    load_runs,
    paper_row,
    sureness,
    votes_curve,
    worst_examples,
)
from keras_flan.evaluation.reports.page import report_runs
from keras_flan.evaluation.runs.suite import plan, run_all
from keras_flan.evaluation.scores.comparing import compare_runs
from keras_flan.evaluation.scores.predictions import Prediction
from tests.pages.reading import Page

STEPS = "A: Let's think step by step."


def ask(prompts, *, samples, **settings):
    """Right when it reasons; of eight paths, three are wrong."""
    made = []
    for prompt in prompts:
        right = "no" if "not True" in prompt.rpartition("Q: ")[2] else "yes"
        paths = [f"It <is>. The answer is {right}."] * samples
        if not prompt.endswith(STEPS):
            paths = ["The answer is no."] * samples
        elif samples > 1:
            paths[:3] = ["The answer is no.", "?", "The answer is no."]
        made.append(paths)
    return made


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    data = root / "bbh"
    data.mkdir()
    for task in ("navigate", "boolean_expressions", "word_sorting"):
        examples = [
            {"input": f"{'not ' * (i % 2)}True {i} is", "target": t}
            for i, t in enumerate(("True", "False") * 3)
        ]
        (data / f"{task}.json").write_text(json.dumps({"examples": examples}))
    planned = plan(
        ["bbh"], ["cot-vote", "direct", "cot"], [str(data)], root / "runs", 8
    )
    assert [(r.output.name, r.sampling.samples) for r in planned] == [
        ("bbh-cot-vote", 8),
        ("bbh-direct", 1),
        ("bbh-cot", 1),
    ]
    run_all(ask, planned)
    return root / "runs"


def test_runs_are_read_back(runs):
    found = load_runs([runs, runs / "bbh-cot"])
    assert [run.way for run in found] == ["direct", "CoT", "CoT, 8 votes"]
    assert [run.metrics["accuracy"] for run in found] == [
        pytest.approx((0.5 + 0.5 + 0) / 3),
        pytest.approx((1 + 1 + 0) / 3),
        pytest.approx((1 + 1 + 0) / 3),
    ]
    assert set(found[0].metrics["groups"]) == {"algorithmic"}
    row = paper_row(found)
    assert set(row) == {"bbh_direct", "bbh_cot"}
    assert row["bbh_cot"]["n"] == 18
    assert row["bbh_cot"]["differs"] == ["3 of 27 tasks", "no exemplars"]
    curve = votes_curve(found[2])
    assert [number for number, _ in curve] == [1, 2, 4, 8]
    assert [share for _, share in curve] == sorted(s for _, s in curve)
    assert curve[-1][1] == pytest.approx(2 / 3)
    with pytest.raises(InputError, match=r"metrics.json.*found none"):
        load_runs([runs.parent])


def test_metrics_of_a_model_that_diverged_are_read(runs, tmp_path):
    folder = shutil.copytree(runs / "bbh-direct", tmp_path / "run")
    path = folder / "metrics.json"
    path.write_text(path.read_text().replace("{", '{"loss": NaN,', 1))
    assert [run.benchmark for run in load_runs([folder])] == ["bbh"]
    path.write_text("{")
    with pytest.raises(InputError, match=r"metrics.json:\d: not JSON"):
        load_runs([folder])


def test_the_report_is_whole_and_offline(runs, tmp_path):
    overlap = {
        "name": "<mixture>",
        "against": "data/bbh",
        "ngram": 13,
        "benchmark": {
            "examples": 18,
            "compared": 4,
            "overlapping": 1,
            "near_duplicates": 0,
        },
        "found": [{"task": "<t>", "benchmark": "b:1", "words": "<x> y"}],
    }
    path = tmp_path / "overlap.json"
    path.write_text(json.dumps(overlap))
    made = report_runs(
        [runs], tmp_path / "out", title="A <b>", contamination=[path]
    )
    text = made.read_text(encoding="utf-8")
    page = Page(text)
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    assert not [
        v
        for k, v in page.attributes
        if k in ("src", "href") and not v.startswith("#")
    ]
    for words in (
        "A <b>",
        "CoT, 8 votes",
        "Flan-T5-XXL",
        "This model",
        "word sorting",
        "Reliability of the votes",
        "Votes against accuracy",
        "Chain of thought against direct",
        "bbh: algorithmic",
        "bbh: direct → CoT",
        "Mixture: <mixture>.",
        "<t> ~ b:1",
        "<x> y",
        "It <is>. The answer is yes.",
    ):
        assert words in page.text, words
    # Colours are the page's own, in light and dark.
    assert not re.search(r"#0[1-9]0[1-9]0[1-9]", text)
    pictures = sorted(p.name for p in made.parent.glob("*.png"))
    assert pictures == [
        "bbh-tasks.png",
        "cot-against-direct.png",
        "reliability.png",
        "votes.png",
    ]
    assert all(
        p.read_bytes().startswith(b"\x89PNG") for p in made.parent.glob("*.png")
    )
    markdown = (made.parent / "tables.md").read_text()
    assert "| bbh | CoT | 0 | 3 | 18 | 66.7 | " in markdown
    latex = (made.parent / "tables.tex").read_text()
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") == 4
    assert r"\textbf{This model}" in latex and "$\\pm$" in latex
    # What was asked otherwise than in the paper is said under its table.
    for shown in (page.text, markdown, latex):
        words = "BBH direct, BBH CoT: 3 of 27 tasks, no exemplars."
        assert f"This model, {words}" in shown
        assert "MMLU: validation split, 5 exemplars" in shown
    before = made.read_bytes()
    report_runs([runs], tmp_path / "out", title="A <b>", contamination=[path])
    assert made.read_bytes() == before
    assert '<meta http-equiv="Content-Security-Policy"' in text
    for broken in (
        {**overlap, "ngram": "<img src=x onerror=alert(1)>"},
        {**overlap, "benchmark": {"examples": "<b>"}},
        {"found": []},
        [],
    ):
        path.write_text(json.dumps(broken))
        with pytest.raises(InputError, match="contamination --json"):
            report_runs([runs], tmp_path / "x", contamination=[path])


def test_the_worst_are_those_the_model_was_sure_of(runs):
    direct, cot, votes = load_runs([runs])
    alone = Prediction(
        target="a", outputs=["a"], log_probabilities=[-2.0], token_counts=[4]
    )
    assert sureness(alone) == pytest.approx(math.exp(-0.5))
    # One path of one votes for itself: that is no sureness.
    assert {sureness(row) for row in direct.rows} == {0.0}
    found = worst_examples([direct, cot, votes])
    assert [run.way for run, _ in found[:2]] == ["CoT, 8 votes"] * 2
    assert sureness(found[0][1]) == 7 / 8
    places = [(row.task, row.id) for _, row in found]
    assert len(places) == len(set(places)) == 5
    assert not any(row.logged.correct for _, row in found)


def test_runs_are_compared_example_by_example(runs, tmp_path):
    found = compare_runs(runs / "bbh-direct", runs / "bbh-cot")
    assert found["gained"] == 6 and found["lost"] == 0
    assert found["difference"] == pytest.approx(1 / 3)
    assert found["mcnemar"] == pytest.approx(2 / 2**6)
    other = tmp_path / "predictions.jsonl"
    lines = (runs / "bbh-cot" / "predictions.jsonl").read_text().split("\n")
    other.write_text("\n".join(lines[1:]))
    with pytest.raises(InputError, match="different questions"):
        compare_runs(runs / "bbh-direct", other)


def test_plans_say_what_is_wrong(tmp_path):
    with pytest.raises(InputError, match="Did you mean 'cot-vote'"):
        plan(["bbh"], ["cot_vote"], ["x"], "out")
    with pytest.raises(InputError, match=r"no data for bbh.*bbh=PATH"):
        plan(["mmlu", "bbh"], ["cot"], ["mmlu=x"], "out")
    with pytest.raises(InputError, match=r"--data bhb=x: no such.*'bbh'"):
        plan(["bbh"], ["cot"], ["bhb=x"], "out")
    [run] = plan(["bbh"], ["cot"], ["bbh=x"], tmp_path, samples=4)
    assert run.output == tmp_path and run.sampling.samples == 4
