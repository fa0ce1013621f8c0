"""Progress, where nobody looks at a terminal."""

import re
import time

from keras_flan import progress
from keras_flan.progress import Progress


def test_what_is_waited_for_is_said_until_the_next_unit(monkeypatch, capsys):
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 0.05)
    with Progress("training", total=2, unit="steps") as shown:
        shown.wait("compiling")
        time.sleep(0.3)
        shown.advance(note="loss 1.0")
        during = capsys.readouterr().err.splitlines()
        time.sleep(0.2)
        after = capsys.readouterr().err
    assert len(during) >= 2
    assert re.fullmatch(r"training: compiling, \d+ s", during[0])
    assert during[-1].startswith("training: 1/2 steps")
    assert "compiling" not in after


def test_quiet_waits_in_silence(monkeypatch, capsys):
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 0.01)
    with Progress("training", enabled=False) as shown:
        shown.wait("compiling")
        time.sleep(0.05)
    assert capsys.readouterr().err == ""


def test_the_time_left_leaves_compiling_out(monkeypatch, capsys):
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 1.0)
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with Progress("training", total=100, unit="steps") as shown:
        shown.advance(50)  # Of an earlier run.
        shown.wait("compiling")
        now[0] = 1000.0
        shown.advance(1)
        now[0] = 1002.0
        shown.advance(4)
    first, last = [
        line
        for line in capsys.readouterr().err.splitlines()
        if "compiling" not in line
    ][-2:]
    assert first == "training: 51/100 steps"
    assert last == "training: 55/100 steps, 22 s left, 2.0/s"


def test_what_is_compiled_on_the_way_is_left_out(monkeypatch, capsys):
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 1.0)
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with Progress("generating", total=100, unit="paths") as shown:
        for compiled in (1000.0, 50.0):
            now[0] += 2.0
            with progress.left_out("compiling"), progress.left_out("again"):
                now[0] += compiled
            shown.advance(10)
    with progress.left_out("compiling"):
        now[0] += 5.0
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == "generating: 20/100 paths, 16 s left, 5.0/s"


def test_of_units_that_come_together_the_first_says_nothing(
    monkeypatch, capsys
):
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 1.0)
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with Progress("generating", total=400, unit="paths") as shown:
        for _ in range(3):
            now[0] += 2.0
            for _ in range(100):
                shown.advance()
            with progress.left_out("compiling"):
                now[0] += 50.0
    assert capsys.readouterr().err.splitlines() == [
        "generating: 1/400 paths",
        "generating: 101/400 paths, 6 s left, 50.0/s",
        "generating: 201/400 paths, 4 s left, 50.0/s",
    ]
