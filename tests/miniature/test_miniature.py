"""The experiments: their plan, their cells, and what is made of them."""

import json
import math
import os
import runpy
from pathlib import Path

import pytest

from keras_flan.errors import InputError
from keras_flan.evaluation.scores.predictions import Prediction, Verdict
from keras_flan.miniature.experiments import cells as cells_module
from keras_flan.miniature.experiments.cells import asked_tasks, drawn_tasks
from keras_flan.miniature.experiments.execute import run_miniature
from keras_flan.miniature.experiments.markdown import filled
from keras_flan.miniature.experiments.plan import (
    Cell,
    Evaluation,
    content_hash,
    load_plan,
)
from keras_flan.miniature.experiments.report import write_page
from keras_flan.miniature.experiments.results import student_interval
from keras_flan.miniature.experiments.scores import (
    accuracy_by_paths,
    calibration,
    group_scores,
)
from keras_flan.miniature.universe import HELD_OUT_FAMILIES, TASKS

TOY = Path(__file__).parent / "toy.yaml"


# === The plan ===


@pytest.mark.parametrize("quick", [False, True])
def test_the_plan_of_the_package_has_every_experiment(quick):
    plan = load_plan(quick=quick)
    assert {name[0] for name in plan.experiments} == set("abcdefg")
    assert len(plan.seeds) >= 3
    cells = [cell for cell, _ in plan.cells().values()]
    assert len({cell.tasks for cell in cells}) >= 5
    if not quick:
        assert len({cell.base for cell in cells}) == 3
    assert {cell.method for cell in cells} == {"full", "lora", "houlsby"}
    assert len({cell.stages for cell in cells}) == 3
    assert len({cell.debugging for cell in cells}) == 4
    assert plan.views["vote"].samples == (16 if quick else 40)


def test_a_grid_is_all_combinations_and_untuned_cells_are_one():
    plan = load_plan(TOY)
    assert list(plan.experiments["tasks"].all_arms()) == ["tasks=2", "tasks=4"]
    cells = plan.cells()
    assert len(cells) == 2 * 2 + 3 * 2
    none = [cells["arms", "none", seed][0] for seed in (0, 1)]
    joint = [cells["arms", "joint", seed][0] for seed in (0, 1)]
    assert none[0] == none[1]
    assert joint[0] != joint[1]
    assert list(load_plan(TOY, quick=True).experiments["tasks"].all_arms()) == [
        "tasks=2",
        "tasks=3",
    ]


def test_an_experiment_can_have_its_own_seeds(tmp_path):
    text = TOY.read_text().replace("    x: tasks\n", "    seeds: [4, 7, 9]\n")
    path = tmp_path / "plan.yaml"
    path.write_text(text)
    plan = load_plan(path)
    places = list(plan.cells())
    assert [s for name, _, s in places if name == "tasks"] == [4, 7, 9] * 2
    assert [s for name, _, s in places if name == "arms"] == [0, 1] * 3
    assert plan.cells()["tasks", "tasks=2", 7][0].seed == 7


def test_the_hash_is_of_the_content():
    assert content_hash(Cell()) == content_hash(Cell(steps=400))
    assert content_hash(Cell()) != content_hash(Cell(steps=401))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("{steps: 0}", "{step: 0}", r"experiments\.arms\.none: step"),
        (
            "[direct, cot, vote]",
            "[direct, votes]",
            r"arms\.views: no such name",
        ),
        ("less: tasks=2", "less: tasks=1", r"checks: no such name 'tasks=1'"),
        ("base: toy", "base: joy", r"no such base 'joy'"),
        ("one_path: true", "one_path: false", "one_path False, group 'all'"),
        (
            "view: vote,\n       one_path",
            "view: cot,\n       one_path",
            "a view without votes",
        ),
        ("less_view: cot", "less_view: cod", r"checks: no such name 'cod'"),
        ("title: More tasks", "titel: More", r"experiments\.tasks\.tit"),
    ],
)
def test_a_wrong_plan_is_named(tmp_path, old, new, message):
    text = TOY.read_text()
    assert old in text
    path = tmp_path / "plan.yaml"
    path.write_text(text.replace(old, new))
    with pytest.raises(InputError, match=message):
        load_plan(path).cells()


def test_only_some_experiments():
    assert list(load_plan(TOY).only(["arms"]).experiments) == ["arms"]
    with pytest.raises(InputError, match="arm: no such experiment"):
        load_plan(TOY).only(["arm"])


# === Tasks ===


def test_fewer_tasks_are_among_more_and_of_many_families():
    every = drawn_tasks(None, 0)
    assert len(every) == sum(not spec.held_out for spec in TASKS.values())
    assert not any(TASKS[name].held_out for name in every)
    assert drawn_tasks(20, 0) == every[:20]
    assert drawn_tasks(20, 1) != every[:20]
    assert len({TASKS[name].family for name in every[:20]}) == 20


def test_groups_that_are_asked_are_apart():
    asked = asked_tasks(Evaluation(trained=30))
    assert len(asked["trained"]) == 30
    assert not any(TASKS[name].held_out for name in asked["trained"])
    for name in asked["held_out_families"]:
        assert TASKS[name].family in HELD_OUT_FAMILIES
    for name in asked["held_out_tasks"]:
        assert TASKS[name].held_out
        assert TASKS[name].family not in HELD_OUT_FAMILIES


# === Scores ===


def row(answers, target="a", confidence=0.5, correct=True):
    verdict = Verdict(answers, [], [], {}, None, confidence, correct)
    return Prediction(target=target, outputs=[], verdict=verdict)


def test_accuracy_by_paths():
    rows = [row(["a"] * 3 + ["b"]), row(["b"] * 4)]
    found = accuracy_by_paths(rows, 4)
    assert list(found) == ["1", "2", "4"]
    assert found["4"] == 0.5
    # One path of the first row is right three times of four.
    assert 0.2 < found["1"] < 0.5


def test_calibration_leaves_out_empty_bins():
    rows = [
        row([], confidence=1.0, correct=True),
        row([], confidence=0.9, correct=False),
        row([], confidence=0.0, correct=False),
    ]
    assert calibration(rows) == [
        {"n": 1, "confidence": 0.0, "accuracy": 0.0},
        {"n": 2, "confidence": 0.95, "accuracy": 0.5},
    ]


def test_group_scores_are_normalised_task_by_task():
    asked = {
        "trained": ["parity"],
        "held_out_tasks": ["sequences_before"],
        "held_out_families": ["money_afford", "reversal_word"],
    }
    scores = {"parity": 0.75, "sequences_before": 1.0, "money_afford": 0.25}
    found = group_scores(scores, asked)
    assert found["trained"] == {"exact": 75.0, "normalised": 50.0}
    assert found["held_out_families"] == {"exact": 25.0, "normalised": -50.0}
    assert found["held_out"]["exact"] == 62.5


def test_student_interval_is_student_s():
    mean, low, high = student_interval([1.0, 2.0, 3.0])
    assert mean == 2.0
    # t of 2 degrees of freedom is 4.3027, the standard error 1 / sqrt(3).
    assert high - mean == pytest.approx(4.3027 / math.sqrt(3), abs=1e-3)
    assert mean - low == pytest.approx(high - mean)
    assert student_interval([5.0])[1:] == (-math.inf, math.inf)


# === Runs ===


@pytest.mark.slow
def test_a_run_goes_on_after_a_kill_and_reports(tmp_path, monkeypatch):
    output = tmp_path / "run"
    trained = []
    run = cells_module.Bench.run

    def killed_at_the_fourth(self, cell, views):
        trained.append(cell)
        if len(trained) == 4:
            raise KeyboardInterrupt
        return run(self, cell, views)

    monkeypatch.setattr(cells_module.Bench, "run", killed_at_the_fourth)
    with pytest.raises(KeyboardInterrupt):
        run_miniature(output, plan=TOY, quiet=True)
    assert not (output / "results.json").exists()
    results = run_miniature(output, plan=TOY, quiet=True)
    # 4 of the grid, 1 untuned, 2 joint, 2 staged; one was begun twice.
    assert len(trained) == 9 + 1
    assert json.loads((output / "results.json").read_text()) == results

    # Nothing is run again, and the numbers stay.
    assert run_miniature(output, plan=TOY, quiet=True) == results
    assert len(trained) == 10
    # A cell that is made again has the same numbers: it does not matter what
    # the model was trained on before.
    for path in sorted((output / "cells").glob("*.json"))[::2]:
        path.unlink()
    assert run_miniature(output, plan=TOY, quiet=True) == results

    # Nor which process runs it, on how many cores.
    apart = run_miniature(tmp_path / "two", plan=TOY, workers=2, quiet=True)
    assert apart == results

    joint = results["experiments"]["arms"]["arms"]["joint"]["views"]
    assert list(joint["vote"]["by_paths"]) == ["1", "2", "4"]
    assert len(joint["direct"]["groups"]["held_out"]["exact"]["values"]) == 2
    [check] = results["experiments"]["tasks"]["checks"]
    assert check["verdict"] in ("agrees", "disagrees", "undecided")
    check, one_path = results["experiments"]["arms"]["checks"]
    votes = joint["vote"]["by_paths"]
    assert one_path["difference"]["mean"] == pytest.approx(
        votes["4"]["mean"] - votes["1"]["mean"], abs=1e-3
    )
    vote, cot = (
        joint[view]["groups"]["trained"]["normalised"]["values"]
        for view in ("vote", "cot")
    )
    assert check["difference"]["values"] == pytest.approx(
        [a - b for a, b in zip(vote, cot, strict=True)], abs=1e-3
    )
    page = (output / "report.html").read_text()
    assert page.count("<svg") == 1 + 1 + 3 * 2
    assert "More is better." in page
    assert "src=" not in page.replace("data:", "")
    for name in os.listdir(output / "mixtures"):
        text = (output / "mixtures" / name).read_text()
        assert not any(
            f"name: {task}\n" in text
            for task, spec in TASKS.items()
            if spec.held_out
        )


def test_the_page_is_made_of_the_results(tmp_path):
    spread = {"mean": 10.0, "low": 8.0, "high": 12.0, "values": [9.0, 11.0]}
    groups = {
        group: {"exact": spread, "normalised": spread}
        for group in ("trained", "held_out")
    }
    arm = {
        "changes": {},
        "views": {
            "vote": {
                "groups": groups,
                "by_paths": {"1": spread, "40": {**spread, "mean": 11.0}},
                "calibration": [[{"n": 3, "confidence": 0.5, "accuracy": 0.4}]],
            }
        },
    }
    check = {
        "claim": "A <b> is better.",
        "more": "A",
        "less": "B",
        "view": "vote",
        "less_view": "cot",
        "one_path": False,
        "group": "held_out",
        "margin": 0.0,
        "difference": {**spread, "mean": -3.0, "low": None},
        "verdict": "undecided",
    }
    results = {
        "defaults": {
            "steps": 10,
            "batch_size": 2,
            "input_length": 70,
            "target_length": 30,
        },
        "pretraining": {"nano": {"steps": 100, "tokens": 200_000}},
        "experiments": {
            "x": {
                "title": "T",
                "paper": "P",
                "seeds": [0, 1],
                "x": None,
                "arms": {"A": arm, "B": arm},
                "checks": [check],
            }
        },
    }
    text = "Before.\n<!-- x -->\nold\n<!-- end -->\nAfter.\n"
    made = filled(text, results)
    assert made.startswith("Before.\n<!-- x -->\n\n2 seeds.\n\n| arm |")
    assert "| A | vote | 10.0 ± 2.0 | 10.0 ± 2.0 |\n" in made
    assert "| A <b> is better. | -3.0 | **undecided** |\n" in made
    assert made.endswith("\n<!-- end -->\nAfter.\n")
    assert filled(made, results) == made
    with pytest.raises(InputError, match="no experiment 'y' in the results"):
        filled("<!-- y -->\n<!-- end -->", results)

    write_page(tmp_path / "report.html", results)
    page = (tmp_path / "report.html").read_text()
    assert "10.0 ± 2.0" in page
    assert "P Here: 2 seeds." in page
    assert "A &lt;b&gt; is better." in page
    assert "vote against cot, all held out" in page
    assert "-3.0" in page and "? undecided" in page
    assert "1.0%" in page  # 2,000 of 200,000 tokens
    assert page.count("<svg") == 1 + 2 * 2


def test_the_modules_once_called_otherwise_still_run(monkeypatch, tmp_path):
    results, page = tmp_path / "results.json", tmp_path / "page.md"
    results.write_text('{"experiments": {}}')
    page.write_text("Before.\n")
    argv = ["markdown", str(results), str(page)]
    monkeypatch.setattr("sys.argv", argv)
    runpy.run_module("keras_flan.miniature.markdown", run_name="__main__")
    assert page.read_text() == "Before.\n"
    monkeypatch.setattr("sys.argv", ["pretrain", "--help"])
    with pytest.raises(SystemExit, match="0"):
        runpy.run_module("keras_flan.miniature.pretrain", run_name="__main__")
