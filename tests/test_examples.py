"""The scripts in `examples/`, run as a user runs them, with few steps."""

import json
import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def run(monkeypatch, capsys):
    def run(script, *arguments):
        argv = [script, *map(str, arguments)]
        monkeypatch.setattr(sys, "argv", argv)
        runpy.run_path(str(EXAMPLES / script), run_name="__main__")
        return capsys.readouterr().out

    return run


def test_finetune_t5(run, tmp_path):
    shape = ("--batch-size", 2, "--input-length", 128, "--target-length", 64)
    out = run(
        "finetune_t5.py",
        *("--mixture", EXAMPLES / "universe.yaml", "--output", tmp_path / "a"),
        *("--steps", 3, *shape),
    )
    assert "votes:" in out
    # On from the saved model.
    run(
        "finetune_t5.py",
        *("--mixture", EXAMPLES / "universe.yaml", "--output", tmp_path / "b"),
        *("--model", tmp_path / "a" / "model", "--steps", 2, *shape),
    )
    assert (tmp_path / "b" / "model" / "model.weights.h5").is_file()


def test_finetune_squad(run, tmp_path):
    context = "Anna keeps {n} bees in the {place}. They make honey in May."
    places = ["garden", "forest", "barn", "valley", "orchard", "meadow"]
    paragraphs = [
        {
            "context": context.format(n=n, place=place),
            "qas": [
                {
                    "id": f"{n}-{place}",
                    "question": "Where does Anna keep her bees?",
                    "answers": [{"text": place, "answer_start": 0}],
                }
            ],
        }
        for n in range(2, 20)
        for place in places
    ]
    for paragraph in paragraphs:
        [qa] = paragraph["qas"]
        [answer] = qa["answers"]
        answer["answer_start"] = paragraph["context"].index(answer["text"])
    source = tmp_path / "bees.json"
    data = [{"title": "Bees", "paragraphs": paragraphs}]
    source.write_text(json.dumps({"version": "1.1", "data": data}))
    out = run(
        "finetune_squad.py",
        source,
        *("--output", tmp_path / "run", "--steps", 3, "--batch-size", 2),
        *("--input-length", 128, "--target-length", 16),
        *("--vocabulary-size", 300),
    )
    assert "expected: garden" in out
