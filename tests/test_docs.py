"""The numbers in README and docs are those of results; what they show ends."""

import json
import re
from collections import Counter
from pathlib import Path

from keras_flan.miniature.experiments.markdown import filled
from keras_flan.real_flan.markdown import filled as filled_flan
from keras_flan.real_flan.plan import TABLE_MINUTES, load_plan

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"


def test_the_readme_s_table_is_that_of_a_run():
    found = json.loads((RESULTS / "quickstart.json").read_text())
    readme = (ROOT / "README.md").read_text()
    rows = re.findall(
        r"^\| \**(before|after), (\S+) tasks\** \|(.*)\|$", readme, re.M
    )
    assert len(rows) == 4
    for when, group, cells in rows:
        scores = found[when][group.replace("-", "_")].values()
        low_high = found["intervals"][when][group.replace("-", "_")].values()
        expected = [
            f"{score:.1%} ({low:.0%} to {high:.0%})"
            for score, (low, high) in zip(scores, low_high, strict=True)
        ]
        assert [cell.strip(" *") for cell in cells.split("|")] == expected


def test_the_run_keeps_what_the_quickstart_promises():
    found = json.loads((RESULTS / "quickstart.json").read_text())
    assert min(found["after"]["trained"].values()) >= 0.6
    for way, (low, _) in found["intervals"]["after"]["held_out"].items():
        assert low > found["intervals"]["before"]["held_out"][way][1]
    for group in found["after"].values():
        assert group["cot_vote"] >= group["cot"]
    assert found["question"]["answer"] == "9"
    assert found["seconds"]["total"] < 300


def test_the_readme_s_votes_are_those_of_a_run():
    asked = json.loads((RESULTS / "quickstart.json").read_text())["question"]
    readme = (ROOT / "README.md").read_text()
    [((text, answer), number)] = Counter(
        (p["text"], p["answer"]) for p in asked["paths"]
    ).items()
    assert answer == asked["answer"] == "9"
    assert (RESULTS / "votes.png").read_bytes()[1:4] == b"PNG"
    said = f"![{text} ({number} of {len(asked['paths'])} paths)]"
    assert said in readme


def real_flan():
    return json.loads((RESULTS / "real_flan.json").read_text())


def test_real_flan_s_page_and_readme_are_those_of_a_run():
    page = ROOT / "docs" / "real_flan.md"
    text = page.read_text()
    assert text.count("<!-- end -->") == 4
    assert filled_flan(text, real_flan(), str(page)) == text
    assert f"--steps {real_flan()['steps']}" in text
    readme = (ROOT / "README.md").read_text()
    view = real_flan()["arms"]["all"]["views"]["instructions"]
    for name, metric, sign in (
        ("exact match", "exact_match", "%"),
        ("ROUGE-L", "rouge_l", ""),
    ):
        its = view[metric]
        low, high = its["examples"]
        assert (
            f"| {name} | {its['base']:.1f}{sign} | {its['tuned']:.1f}{sign} | "
            f"{its['difference']:+.1f} ({low:+.1f} to {high:+.1f}) |"
        ) in readme


def test_real_flan_keeps_what_it_promises():
    view = real_flan()["arms"]["all"]["views"]["instructions"]
    for metric, least in (("exact_match", 10), ("rouge_l", 4)):
        assert view[metric]["questions"] >= 1000
        assert len(view[metric]["by_task"]) >= 15
        assert view[metric]["difference"] >= least
        for over in ("examples", "tasks"):
            assert view[metric][over][0] > 0
    [speed] = [t["speed"] for t in real_flan()["arms"]["all"]["trainings"]]
    assert speed["peak_memory_gib"] < 12


def real_flan_arms():
    return json.loads((RESULTS / "real_flan_arms.json").read_text())


def test_all_arms_pages_are_those_of_a_run():
    page = ROOT / "docs" / "real_flan_arms.md"
    results, text = real_flan_arms(), page.read_text()
    assert text.count("<!-- end -->") == 4
    assert filled_flan(text, results, str(page)) == text
    assert f"--steps {results['steps']}" in text
    plan = load_plan(TABLE_MINUTES)
    assert set(results["arms"]) == set(plan.arms)
    told = {claim["claim"]: claim["verdict"] for claim in results["claims"]}
    assert list(told) == [claim.claim for claim in plan.claims]


def test_all_arms_keep_what_they_promise():
    results = real_flan_arms()
    found = results["arms"]["all"]["views"]["options"]["normalised"]
    assert found["difference"] >= 8 and found["examples"][0] > 0
    for arm in results["arms"].values():
        for training in arm["trainings"]:
            assert training["speed"]["peak_memory_gib"] < 12


def test_the_votes_of_a_small_model_are_those_of_a_run(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "tools")
    from votes_page import filled as filled_votes

    page = ROOT / "docs" / "votes.md"
    results = json.loads((RESULTS / "votes.json").read_text())
    text = page.read_text()
    assert text.count("<!-- end -->") == 2
    assert filled_votes(text, results, str(page)) == text
    settings = results["settings"]
    assert f"--limit {settings['limit']}" in text
    assert f"samples {settings['samples']} chains" in " ".join(text.split())


def test_what_a_model_learns_from_its_answers_is_of_a_run(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "tools")
    from improvement_page import filled as filled_improvement

    page = ROOT / "docs" / "improvement.md"
    results = json.loads((RESULTS / "improvement.json").read_text())
    text = page.read_text()
    assert text.count("<!-- end -->") == len(results)
    assert filled_improvement(text, results, str(page)) == text


def test_tables_are_those_of_benchmarks(monkeypatch):
    """Every result is in a page, and every table is of a result."""
    monkeypatch.syspath_prepend(ROOT / "tools")
    from measured_pages import BLOCKS, PAGES
    from measured_pages import filled as filled_measured

    texts = {name: (ROOT / "docs" / name).read_text() for name in PAGES}
    for name, text in texts.items():
        assert filled_measured(text, name) == text
    told = re.findall(r"<!-- (?!end)(\w+) -->", "".join(texts.values()))
    assert told == [b for b in BLOCKS if (RESULTS / f"{b}.json").is_file()]


def test_the_miniature_s_tables_are_those_of_a_run():
    page = ROOT / "docs" / "miniature.md"
    results = json.loads((RESULTS / "miniature.json").read_text())
    text = page.read_text()
    assert text.count("<!-- end -->") == len(results["experiments"])
    assert filled(text, results, str(page)) == text


def test_the_walk_of_an_example_names_what_there_is():
    page = (ROOT / "docs" / "architecture.md").read_text()
    rows = re.findall(r"^\| [^|]+ \| `(\S+\.py)` \| (.+) \|$", page, re.M)
    assert len(rows) == 21
    for path, names in rows:
        text = (ROOT / "keras_flan" / path).read_text()
        for name in re.findall(r"`(\w+)`", names):
            assert re.search(rf"^(def|class) {name}\b", text, re.M), name


def test_examples_that_fit_a_dataset_say_how_long():
    # It has no end, so without that neither has `fit`.
    fit = re.compile(r"\.fit\(((?:[^()]|\((?:[^()]|\([^()]*\))*\))*)\)")
    files = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    for folder in ("examples", "keras_flan"):
        files += (ROOT / folder).rglob("*.py")
    calls = [
        (path.name, call)
        for path in files
        for call in fit.findall(path.read_text("utf-8"))
        if re.search(r"\bdata(set)?\b", call)
    ]
    assert len(calls) > 15
    for name, call in calls:
        assert "steps_per_epoch" in call, (name, call)
