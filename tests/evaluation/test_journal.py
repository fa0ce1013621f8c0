import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from keras_flan.errors import InputError
from keras_flan.evaluation.runs.evaluate import evaluate
from keras_flan.evaluation.runs.journal import Journal
from keras_flan.evaluation.scores.predictions import Prediction
from keras_flan.files import read_jsonl

RUN = {"seed": 0, "mode": "cot"}


def rows(*indices):
    return {
        i: Prediction(id=f"{i}", target="\u2028é", outputs=[f"{i}"])
        for i in indices
    }


def test_a_journal_goes_on(tmp_path):
    path = tmp_path / "run" / "journal.jsonl"
    Journal(path, RUN, resume=True).add(rows(3, 1))
    again = Journal(path, RUN, resume=True)
    assert sorted(again.rows) == [1, 3]
    again.add(rows(1, 2))  # what is there already is not repeated
    found = Journal(path, RUN, resume=True).rows
    assert list(found) == [3, 1, 2] and found[2] == rows(2)[2]
    assert len(path.read_bytes().split(b"\n")) == 5


def test_a_line_of_another_run_is_refused(tmp_path):
    paths = [tmp_path / name for name in "ab"]
    for seed, path in enumerate(paths):
        Journal(path, {**RUN, "seed": seed}, resume=True).add(rows(seed))
    ours, theirs = (path.read_bytes() for path in paths)
    paths[0].write_bytes(ours + theirs.splitlines(keepends=True)[1])
    with pytest.raises(InputError, match=r"a:3: a line of another run"):
        Journal(paths[0], RUN, resume=True)


@pytest.mark.parametrize("lost", [1, 5, 25])
def test_a_torn_last_line_is_cut_off(tmp_path, lost):
    path = tmp_path / "journal.jsonl"
    Journal(path, RUN, resume=True).add(rows(0, 1))
    data = path.read_bytes()
    path.write_bytes(data[:-lost])
    journal = Journal(path, RUN, resume=True)
    assert list(journal.rows) == [0]
    journal.add(rows(1))
    assert path.read_bytes() == data


def test_a_torn_first_line_begins_anew(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b'{"run": {"se')
    journal = Journal(path, RUN, resume=True)
    assert journal.rows == {}
    journal.add(rows(0))
    assert list(Journal(path, RUN, resume=True).rows) == [0]


def test_a_block_of_zeros_at_the_end_is_cut_off(tmp_path):
    path = tmp_path / "journal.jsonl"
    Journal(path, RUN, resume=True).add(rows(0))
    data = path.read_bytes()
    path.write_bytes(data + b"\0" * 40 + b"\n")
    assert list(Journal(path, RUN, resume=True).rows) == [0]
    assert path.read_bytes() == data


def test_other_runs_and_broken_files_are_refused(tmp_path):
    path = tmp_path / "journal.jsonl"
    Journal(path, RUN, resume=True).add(rows(0, 1))
    with pytest.raises(InputError, match=r"another run \(seed 0 -> 1\)"):
        Journal(path, {**RUN, "seed": 1}, resume=True)
    # Without resume it is replaced, but not before there is something new.
    journal = Journal(path, {**RUN, "seed": 1}, resume=False)
    assert list(Journal(path, RUN, resume=True).rows) == [0, 1]
    journal.add(rows(5))
    assert list(Journal(path, {**RUN, "seed": 1}, resume=True).rows) == [5]
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([lines[0], b"{", lines[1], b""]))
    with pytest.raises(InputError, match=r"journal.jsonl:2: not JSON"):
        Journal(path, {**RUN, "seed": 1}, resume=True)


@pytest.mark.parametrize(
    "row",
    [
        *({}, [], 3, None),
        *({"index": index} for index in ("1", -1, True, 0.5, [], {})),
    ],
)
def test_what_is_no_row_of_a_journal_is_named(tmp_path, row):
    path = tmp_path / "journal.jsonl"
    Journal(path, RUN, resume=True).add(rows(0, 1))
    data = path.read_bytes()
    if isinstance(row, dict) and row:
        row = {**json.loads(data.splitlines()[1]), **row}
    first, *others = data.splitlines(keepends=True)
    line = json.dumps(row).encode() + b"\n"
    path.write_bytes(first + line + b"".join(others))
    with pytest.raises(
        InputError, match=r"journal\.jsonl:2: not JSON of a row"
    ):
        Journal(path, RUN, resume=True)
    # What is last may be torn.
    path.write_bytes(data + line)
    assert list(Journal(path, RUN, resume=True).rows) == [0, 1]


# === Whole runs ===


QUESTIONS = [
    {"question": f"What is {i} + {i % 3}?", "answer": f"So.\n#### {i + i % 3}"}
    for i in range(12)
]
# A model that counts its calls on disk, and is slow.
SLOW = """
import os, time

def ask(prompts, *, samples, seed, **settings):
    with open("calls", "a") as f:
        f.write("".join(f"{p!r}\\n" for p in prompts))
    time.sleep(float(os.environ.get("PAUSE", "0")))
    return [
        [f"{len(p)} and {seed}. The answer is {i}." for i in range(samples)]
        for p in prompts
    ]
"""


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "test.jsonl"
    path.write_text("\n".join(map(json.dumps, QUESTIONS)))
    return path


def asked(prompts, *, samples, seed, **settings):
    return [[f"The answer is {len(p)}."] * samples for p in prompts]


def test_an_interrupted_run_writes_what_a_whole_one_does(tmp_path, data):
    settings = {"batch_paths": 4, "samples": 2, "resume": True}
    whole = tmp_path / "whole"
    evaluate(asked, "gsm8k", data, output=whole, **settings)
    calls = []

    class Broken(Exception):
        pass

    def failing(prompts, **values):
        calls.append(prompts)
        if len(calls) == 4:
            raise Broken
        return asked(prompts, **values)

    # It stands for the same model: the journal is that of the same run.
    failing.__module__, failing.__qualname__ = (
        asked.__module__,
        asked.__qualname__,
    )
    output = tmp_path / "run"
    with pytest.raises(Broken):
        evaluate(failing, "gsm8k", data, output=output, **settings)
    names = sorted(path.name for path in output.iterdir())
    assert names == [".keras_flan.json", "journal.jsonl"]
    assert len(read_jsonl(output / "journal.jsonl")) == 1 + 3 * 2
    evaluate(failing, "gsm8k", data, output=output, **settings)
    assert len(calls) == 4 + 3  # six batches, and the one that failed
    assert sum(map(len, calls)) == 12 + 2
    for name in ("predictions.jsonl", "metrics.json"):
        assert (output / name).read_bytes() == (whole / name).read_bytes()
    timing = json.loads((output / "timing.json").read_text())
    assert timing["resumed"] == 6 and timing["examples"] == 6
    # A finished run is not asked again.
    evaluate(failing, "gsm8k", data, output=output, **settings)
    assert len(calls) == 7


def test_another_question_or_setting_is_another_run(tmp_path, data):
    output = tmp_path / "run"
    settings = {"output": output, "limit": 3, "resume": True}
    first = evaluate(asked, "gsm8k", data, **settings)
    data.write_text(data.read_text().replace("What is 1 +", "And 1 +"))
    second = evaluate(asked, "gsm8k", data, **settings)
    assert first["run"]["data"] != second["run"]["data"]
    third = evaluate(asked, "gsm8k", data, **settings, seed=1)
    assert third["run"]["seed"] == 1


@pytest.mark.slow
def test_two_kills_lose_and_repeat_nothing(tmp_path, data):
    """The command itself, killed with SIGKILL while it generates."""
    (tmp_path / "slow.py").write_text(SLOW)
    root = Path(__file__).parents[2]
    command = [
        *(sys.executable, "-m", "keras_flan.cli", "evaluate", "--quiet"),
        *("--model", "slow:ask", "--benchmark", "gsm8k", "--samples", "3"),
        *("--data", str(data), "--batch-paths", "6", "--output", "run"),
    ]
    environment = {**os.environ, "PYTHONPATH": str(root), "PAUSE": "0.5"}
    journal = tmp_path / "run" / "journal.jsonl"

    def lines():
        return journal.read_bytes().count(b"\n") if journal.is_file() else 0

    for stop_at in (3, 7):
        process = subprocess.Popen(command, cwd=tmp_path, env=environment)
        while lines() < stop_at and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert stop_at <= lines() < 1 + len(QUESTIONS)
    with open(journal, "ab") as f:
        f.write(b'{"task": "gsm8k", "id": "te')  # a write that was cut
    kept = {row["id"] for row in read_jsonl_head(journal)}
    (tmp_path / "calls").unlink()
    environment["PAUSE"] = "0"
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    found = read_jsonl(tmp_path / "run" / "predictions.jsonl")
    assert [row["id"] for row in found] == [
        f"test.jsonl:{number}" for number in range(1, 13)
    ]
    asked_again = (tmp_path / "calls").read_text().count("\n")
    assert asked_again == len(QUESTIONS) - len(kept)
    assert not journal.exists()
    subprocess.run(
        [*command[:-1], "whole"], cwd=tmp_path, env=environment, check=True
    )
    assert (tmp_path / "run" / "predictions.jsonl").read_bytes() == (
        tmp_path / "whole" / "predictions.jsonl"
    ).read_bytes()


def read_jsonl_head(path):
    """The whole lines of a journal, without its first."""
    lines = path.read_bytes().split(b"\n")[1:-1]
    return [json.loads(line) for line in lines]
