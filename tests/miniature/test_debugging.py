"""Programs with bugs: what they give is what the sandbox says."""

import dataclasses
import re

import pytest

from keras_flan.data.records.shards import read_records
from keras_flan.miniature.experiments import cells
from keras_flan.miniature.experiments.plan import (
    Cell,
    Evaluation,
    View,
    load_plan,
)
from keras_flan.miniature.universe import (
    DEBUGGING,
    TASKS,
    build_records,
    generate,
)
from keras_flan.miniature.universe.debugging import check_programs, repaired

SPECS = list(DEBUGGING.values())


@pytest.fixture(scope="module")
def examples():
    return {spec.name: generate(spec, "test", 40) for spec in SPECS}


def test_programs_are_run_when_records_are_made(examples, tmp_path):
    for made in examples.values():
        check_programs(made)
        for example in made:
            assert len(example.fields["question"]) < 220
            assert example.fields["answer"] not in example.fields["question"]
    [first] = examples["debugging_sign"][:1]
    for field, value in (("answer", "a = 1; b = a + 1"), ("given", "999")):
        wrong = dataclasses.replace(
            first, fields={**first.fields, field: value}
        )
        with pytest.raises(AssertionError, match="the repaired program gives"):
            check_programs([wrong])
    name = "debugging_lost"
    build_records(tmp_path, tasks=[name], sizes={"test": 5})
    rows = list(read_records(tmp_path / name / "test"))
    assert {"code", "given", "expected"} <= rows[0].fields.keys()


def test_the_reasoning_names_the_lines_that_differ(examples):
    for made in examples.values():
        for example in made:
            broken = example.fields["code"].rstrip(".").split("; ")
            right = example.fields["answer"].split("; ")
            told = re.findall(
                r"It says (.+?), but .+? is (.+?)\.(?: |$)",
                example.fields["rationale"],
            )
            assert told == [
                pair
                for pair in zip(broken, right, strict=True)
                if pair[0] != pair[1]
            ]


def test_kinds_of_bugs_are_held_out_and_nothing_else_changed():
    assert {s.name for s in SPECS if s.held_out} == {
        f"debugging_{kind}" for kind in ("swapped", "order", "lost")
    }
    # Pretraining and the published experiments draw from these.
    assert not DEBUGGING.keys() & TASKS.keys() and len(TASKS) >= 200


def test_what_is_repaired_does_the_same_from_any_start():
    target = "a = 7; b = a + 2; c = b * 3"
    texts = {
        f"It says b = a - 2. The answer is {target}.": True,
        "a = 7; b = 2 + a; c = 3 * b": True,
        "a = 7; b = a + 2; c = b * 4": False,
        # It comes to 27, but from 7 alone.
        "a = 7; b = a + 2; c = 27": False,
        "a = 8; b = a + 2; c = b * 3": False,
        "no program": False,
    }
    found = repaired(list(texts), [target] * len(texts))
    assert found == list(texts.values())


def test_mixtures_grow_by_them(tmp_path):
    bench = cells.Bench(tmp_path, {}, Evaluation(), quiet=True)
    bench._train_records = lambda *_: tmp_path
    bugs = {spec.name for spec in SPECS if not spec.held_out}

    def tasks(stage):
        return {
            task["name"]
            for group in stage["groups"].values()
            for task in group["tasks"]
        }

    plan = load_plan().only(["f_growing"])
    made = {
        arm: bench._mixture(cell)
        for (_, arm, seed), (cell, _) in plan.cells().items()
        if seed == 0
    }
    assert not bugs & tasks(made["without"])
    assert bugs < tasks(made["joint"])
    first, second = made["growing"]["stages"]
    assert first["steps"] == 200
    assert tasks(first) == tasks(made["without"])
    assert tasks(second) == tasks(made["joint"])
    bench._records = lambda *_: tmp_path
    assert bench._asked_records("cot", True)[1][-3:] == cells.held_out_bugs()
    assert not bugs & set(bench._asked_records("cot")[1])


def test_cells_without_them_keep_their_scores(tmp_path, monkeypatch):
    """Their keys are those of before there were such tasks."""
    seen = []
    monkeypatch.setattr(
        cells, "content_hash", lambda *parts: seen.append(parts[2]) or "x"
    )
    bench = cells.Bench(tmp_path, load_plan().bases, Evaluation(), quiet=True)
    for debugging in ("none", "joint"):
        bench.key(Cell(debugging=debugging), View())
    assert "debugging" not in seen[0] and seen[1]["debugging"] == "joint"
