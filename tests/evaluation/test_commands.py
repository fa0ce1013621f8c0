"""The commands of evaluation, with a callable as the model."""

import json
import sys
from pathlib import Path

import pytest

from keras_flan import cli

MODEL = """
def ask(prompts, *, samples, **settings):
    return [
        [f"The answer is {3 if 'step' in p else 4}."] * samples
        for p in prompts
    ]

def judge(texts):
    return [0.9 if "4" in text else 0.1 for text in texts]

number = 3

def flat(prompts, **settings):
    return ["The answer is 3." for _ in prompts]

def few(prompts, **settings):
    return [["The answer is 3."]]

def plain(prompts):
    return [["The answer is 3."] for _ in prompts]
"""


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("own_model", None)
    Path("own_model.py").write_text(MODEL)
    rows = [
        {"question": f"What is {i} + {3 - i}?", "answer": "So.\n#### 3"}
        for i in range(6)
    ]
    Path("test.jsonl").write_text("\n".join(map(json.dumps, rows)))

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["keras-flan", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        out, err = capsys.readouterr()
        return stop.value.code or 0, out, err

    return run


EVALUATE = ("evaluate", "--model", "own_model:ask", "--quiet")
ALL = (*EVALUATE, "--benchmark", "gsm8k", "--data", "gsm8k=test.jsonl")


def test_from_a_callable_to_a_report(run):
    code, out, err = run(
        *(*ALL, "--mode", "direct", "--mode", "cot", "--mode", "cot-vote"),
        *("--samples", 3, "--output", "runs"),
    )
    assert code == 0, err
    assert out.count("normalised (0 is guessing)") == 3
    # Each table says how it was asked, and is not squeezed into a file.
    for way in ("gsm8k direct", "gsm8k CoT", "gsm8k CoT, 3 votes"):
        assert any(line.strip() == way for line in out.split("\n")), way
    folders = sorted(p.name for p in Path("runs").iterdir())
    assert folders == ["gsm8k-cot", "gsm8k-cot-vote", "gsm8k-direct"]
    log = Path("runs/gsm8k-cot-vote/predictions.jsonl")
    assert json.loads(log.read_text().split("\n")[0])["votes"] == {"3": 3}

    # The log says which benchmark it is of.
    code, out, _ = run("score", "--predictions", log)
    assert code == 0 and "0 of 6 answers changed" in out
    assert "100.0%" in out and "54.1-100.0" in out
    folder = log.parent
    assert run("score", "--predictions", folder)[1] == out
    code, _, err = run("score", "--predictions", "runs")
    assert code == 2 and "give the folder of one run" in err
    code, out, _ = run("score", "--predictions", log, "--json")
    metrics = json.loads(Path("runs/gsm8k-cot-vote/metrics.json").read_text())
    del metrics["run"]
    assert json.loads(out) == {**metrics, "changes": []}

    code, out, _ = run("compare", "runs/gsm8k-direct", "runs/gsm8k-cot")
    assert code == 0
    assert "difference +100.0 points" in out and "p = 0.0312" in out
    code, out, err = run("report", "runs", "--output", "report")
    assert code == 0, err
    assert Path("report/report.html").is_file()
    assert (Path("report/votes.png")).is_file()


def test_a_single_run_is_written_to_the_folder_itself(run):
    code, out, err = run(
        *(*ALL, "--output", "one", "--limit", 2, "--shots", "0", "--json")
    )
    assert code == 0, err
    assert json.loads(out)["n"] == 2
    assert Path("one/metrics.json").is_file()


def test_toxicity_with_a_scorer_of_ones_own(run):
    Path("p.jsonl").write_text('{"prompt": "one", "group": "a"}\n' * 3)
    code, out, err = run(
        *("toxicity", "--model", "own_model:ask", "--prompts", "p.jsonl"),
        *("--scorer", "own_model:judge", "--samples", 2, "--json"),
    )
    assert code == 0, err
    assert json.loads(out)["groups"]["a"]["any_toxic"] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((*EVALUATE, "--benchmark", "gsm8", "--data", "."), "'gsm8k'"),
        ((*EVALUATE, "--benchmark", "bbh"), "no data for bbh"),
        ((*ALL, "--split", "validation"), "split: found 'validation'. Choose"),
        ((*ALL, "--shots", "many"), "expected a number or 'protocol'"),
        ((*ALL, "--mode", "rank"), "no answers to choose from"),
        (("evaluate", "--model", "own_model:no", *ALL[4:]), "has no 'no'"),
        (("evaluate", "--model", "nowhere:ask", *ALL[4:]), "cannot import"),
        (
            ("evaluate", "--model", "own_model:number", *ALL[4:]),
            "expected a callable, found a int",
        ),
        (
            ("evaluate", "--model", "own_model:flat", *ALL[3:]),
            "flat: expected 6 lists, one per prompt, of 1 text; found 'The an",
        ),
        (
            ("evaluate", "--model", "own_model:few", *ALL[3:]),
            "few: expected 6 lists, one per prompt, of 1 text; found 1 list",
        ),
        (
            ("evaluate", "--model", "own_model:plain", *ALL[3:]),
            "plain(prompts): got an unexpected keyword argument 'samples'",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_line(run, arguments, message):
    code, out, err = run(*arguments, "--output", "out")
    assert code == 2 and not out
    assert err.startswith("keras-flan: ") and err.count("\n") == 1
    assert message in err
    assert not Path("out").exists()


def test_every_row_of_a_score_is_written(run):
    # Windows tools write a mark of byte order in front.
    rows = [
        {"target": "9", "output": "The answer is 9."},
        {"target": "9", "output": "No \ud800 idea."},
        {"target": "9", "outputs": ["9", "8"], "answer": "8", "correct": False},
    ]
    Path("p.jsonl").write_text(
        "\ufeff" + "\n".join(map(json.dumps, rows)), encoding="utf-8"
    )
    score = ("score", "--benchmark", "gsm8k", "--predictions", "p.jsonl")
    code, out, _ = run(*score, "--json", "--rows", "out/rows.jsonl")
    metrics = json.loads(out)
    assert code == 0 and metrics["averages"]["micro"]["accuracy"] == 2 / 3
    [changed] = metrics["changes"]
    assert (changed["row"], changed["after"]["answer"]) == (3, "9")
    lines = Path("out/rows.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    told = [(r["row"], r["answer"], r["rules"], r["correct"]) for r in found]
    assert told == [
        (1, "9", ["phrase"], True),
        (2, None, [None], False),
        (3, "9", ["last", "last"], True),
    ]
