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


@pytest.mark.slow
@pytest.mark.often
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


@pytest.mark.slow
@pytest.mark.often
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


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """The name of a callable in place of a model."""
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "compiled"))
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "stand_in.py").write_text(
        "def ask(prompts, *, samples, **settings):\n"
        "    others = ['The answer is 8.'] * (samples // 2)\n"
        "    paths = [*others, *['The answer is 7.'] * samples][:samples]\n"
        "    return [paths for _ in prompts]\n"
    )
    return "stand_in:ask"


@pytest.mark.realdata
def test_evaluate_smollm2(run, tmp_path, realdata, stand_in):
    settings = ("--model", stand_in, "--limit", 1)
    output = tmp_path / "runs"
    out = run("evaluate_smollm2.py", realdata, "--output", output, *settings)
    *scores, report = out.strip().split("\n")
    assert len(scores) == 12 and scores[-1].startswith("gsm8k cot-vote: ")
    assert Path(report).is_file()
    rows = (output / "bbh-cot-vote" / "predictions.jsonl").read_text()
    assert rows.count("\n") == 4


@pytest.mark.realdata
def test_vote_smollm2(run, tmp_path, realdata, stand_in):
    settings = ("--model", stand_in, "--limit", 3, "--samples", 10)
    output = tmp_path / "runs"
    out = run("vote_smollm2.py", realdata, "--output", output, *settings)
    found = json.loads((output / "votes.json").read_text())
    assert found.pop("settings")["samples"] == 10
    assert set(found) == {
        *("multiarith", "svamp", "coin_flip", "last_letters", "gsm8k")
    }
    for row in found.values():
        assert row["questions"] == 3 and set(row["votes"]) == {"1", "8", "10"}
    assert Path(out.strip().split("\n")[-1]).is_file()


@pytest.mark.slow
@pytest.mark.often
def test_finetune_smollm2_lora(run, tmp_path):
    """On a tiny random Llama instead of the real one."""
    from keras_flan.data import HubVocabulary
    from keras_flan.models import DecoderOnly, save, smollm2
    from tests.models.test_smollm2 import llama, write

    gguf = tmp_path / "tiny.gguf"
    write(gguf, llama(True), True)
    hub = smollm2(gguf)
    vocabulary = HubVocabulary(hub.preprocessor)
    save(DecoderOnly(hub, vocabulary, separate=False), tmp_path / "base")
    source = tmp_path / "a.tsv"
    source.write_text(
        "".join(f"ab {i}a 12?\t{i}\ta b 1 ab {i}\n" for i in range(40))
    )
    out = run(
        "finetune_smollm2_lora.py",
        source,
        *("--model", tmp_path / "base", "--output", tmp_path / "run"),
        *("--steps", 3, "--rank", 2, "--held-out", 10),
        *("--input-length", 64, "--target-length", 32),
        *("--learning-rate", 0.02),
    )
    losses = [
        float(line.split(": ")[1].split()[0])
        for line in out.splitlines()
        if line.startswith("held-out loss") or "on a fresh base" in line
    ]
    before, after, fresh = losses
    assert after < before
    assert abs(fresh - after) < 2e-4
