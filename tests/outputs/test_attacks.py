"""Writers killed, in pairs, and on a full disk: the old or the new, whole.

    python -m pytest -m slow -n 0 -s tests/outputs/test_attacks.py

prints how often each was hit, and what was found afterwards.
"""

import os
import random
import re
import shutil
import subprocess
from collections import Counter

import pytest

from tests.outputs.writers import Writers, make_source, read

pytestmark = pytest.mark.slow

KILLS = 40  # Of each writer.
PAIRS = {"records": 3, "model": 2, "run": 2, "evaluation": 3, "answers": 2}
# These write in the same ways; their disk is filled only.
FILLED = [*PAIRS, "search", "chains", "confidence", "small_model"]
JOURNALS = 25
BUSY = re.compile(r"keras-flan: .*process \d+ on \S+ is writing there; .*\n")
FULL = re.compile(
    r"keras-flan: \S+: no space left on the disk(: .* are missing)?\n"
)
# A lock file that nobody holds may stay until the next use.
LEFT = re.compile(r"\.writing-.*|.*\.tmp|.*keras_flan-(making|made).*")


@pytest.fixture(scope="module")
def writers(tmp_path_factory):
    source = tmp_path_factory.mktemp("attacked") / "source"
    make_source(source)
    writers = Writers(source)
    yield writers
    writers.close()


@pytest.fixture(scope="module")
def known(writers, tmp_path_factory):
    """What `read` returns of each writer's output, by its number."""
    folder = tmp_path_factory.mktemp("known")
    found = {}
    for name in FILLED:
        for number in (0, 1):
            output = folder / f"{name}{number}"
            job = {"name": name, "output": output, "number": number}
            [(code, error, events)] = writers.run(job)
            assert code == 0, error
            found[name, number] = read(name, output)
            found[name, "events"] = events
        assert found[name, 0] != found[name, 1], name
    return found


def leftovers(folder):
    return [p for p in folder.rglob("*") if LEFT.fullmatch(p.name)]


def written(writers, known, name, output, number):
    """Has a writer finish, and checks what it wrote."""
    job = {"name": name, "output": output, "number": number}
    [(code, error, _)] = writers.run(job)
    if code == 2 and re.search("journal of another run|a stopped run", error):
        return False
    assert code == 0, error
    assert read(name, output) == known[name, number]
    return True


@pytest.mark.parametrize("name", list(PAIRS))
def test_killed_at_any_time(writers, known, name, tmp_path):
    draws = random.Random(name)
    output = tmp_path / "out"
    written(writers, known, name, output, 0)
    state, number, seen = 0, 1, Counter()
    seconds = 8.0 if name in ("run", "model") else 1.0
    for kill in range(KILLS):
        job = {"name": name, "output": output, "number": number}
        if kill % 2:
            job["kill_after"] = draws.uniform(0, seconds)
        else:
            job["kill_at"] = draws.randint(1, known[name, "events"])
        [(code, error, _)] = writers.run(job)
        assert code in (0, -9), error
        if name == "run":
            done = check_run(known, output, state, number)
        else:
            found = read(name, output)
            assert found in (known[name, state], known[name, number]), kill
            done = found == known[name, number]
        how = "ended" if code == 0 else "killed"
        seen[f"{how}, {'new' if done else 'old'}"] += 1
        assert done or code == -9
        if done:
            # What was killed may be finished; nothing is left over then.
            assert written(writers, known, name, output, number)
            assert not leftovers(tmp_path)
            state, number = number, state
    while not written(writers, known, name, output, number):
        pass
    assert not leftovers(tmp_path)
    print(f"\n{name}: {dict(seen)}")


def check_run(known, output, state, number):
    """Whether a run is finished; checks that its parts are whole."""
    finished, weights, loss = read("run", output)
    both = [known["run", state], known["run", number]]
    assert weights in [value[1] for value in both]
    assert loss in [value[2] for value in both]
    if finished:
        assert (finished, weights, loss) in both
    return (finished, weights, loss) == known["run", number]


@pytest.mark.parametrize("name", list(PAIRS))
def test_pairs(writers, known, name, tmp_path):
    draws = random.Random(name)
    seen = Counter()
    for pair in range(PAIRS[name]):
        output = tmp_path / f"out{pair}"
        if pair:
            written(writers, known, name, output, 0)
        events = known[name, "events"]
        results = writers.run(
            *[
                {"name": name, "output": output, "number": 0},
                {"name": name, "output": output, "number": 1},
            ]
            if pair % 2
            else [
                {
                    **{"name": name, "output": output, "number": 0},
                    "hold_at": draws.randint(events // 4, 3 * events // 4),
                },
                {
                    **{"name": name, "output": output, "number": 1},
                    "begin_at": tmp_path / f".out{pair}.lock",
                },
            ]
        )
        for code, error, _ in results:
            assert code == 0 or (code == 2 and BUSY.fullmatch(error)), error
            seen["refused" if code else "written"] += 1
        assert any(code == 0 for code, *_ in results)
        found = read(name, output)
        assert found in (known[name, 0], known[name, 1])
        assert not leftovers(tmp_path)
    print(f"\n{name}: {dict(seen)}")


def test_torn_journals(writers, known, tmp_path):
    draws, seen = random.Random(5), Counter()
    files = {}
    for number in (0, 1):
        output = tmp_path / f"journal{number}"
        while not (output / "journal.jsonl").exists():
            events = known["evaluation", "events"]
            writers.run(
                {
                    **{"name": "evaluation", "output": output},
                    "number": number,
                    # Before the files of the finished run.
                    "kill_at": draws.randint(events // 3, 2 * events // 3),
                }
            )
        files[number] = (output / "journal.jsonl").read_bytes()
    for i in range(JOURNALS):
        output = tmp_path / str(i)
        output.mkdir()
        data = files[0]
        if i % 5 == 4:  # Lines of another run in between.
            others = files[1].splitlines(keepends=True)[1:]
            data += draws.choice(others)
        else:
            data = data[: draws.randint(1, len(data))]
        if i % 5 == 3:  # What a disk leaves after a power cut.
            data += b"\0" * draws.randint(1, 600)
        (output / "journal.jsonl").write_bytes(data)
        job = {"name": "evaluation", "output": output, "number": 0}
        [(code, error, _)] = writers.run(job)
        if code == 0:
            assert read("evaluation", output) == 0
            seen["gone on with"] += 1
        else:
            assert code == 2 and error.count("\n") == 1, error
            assert "journal.jsonl" in error
            assert not (output / "metrics.json").exists()
            seen["refused"] += 1
    assert seen["refused"] == JOURNALS // 5
    print(f"\njournals: {dict(seen)}")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MB, in memory."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount).returncode:
        pytest.skip("needs the right to mount")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("name", FILLED)
def test_full_disk(writers, known, name, small_disk):
    output, filler = small_disk / "out", small_disk / "filler"
    seen = Counter()
    state, number = 0, 1
    written(writers, known, name, output, 0)
    for room in (0, 4, 8, 16, 32, 64, 128, 256):  # KB
        free = shutil.disk_usage(small_disk).free
        filler.write_bytes(b"x" * max(0, free - (room << 10)))
        job = {"name": name, "output": output, "number": number}
        [(code, error, _)] = writers.run(job)
        filler.unlink()
        if code == 0:
            seen["written"] += 1
            assert read(name, output) == known[name, number]
            state, number = number, state
            continue
        assert code == 1 and FULL.fullmatch(error), error
        seen["refused"] += 1
        if name == "run":
            assert not check_run(known, output, state, number)
        else:
            assert read(name, output) == known[name, state]
        print(f"\n{name}, {room} KB: {error}", end="")
    while not written(writers, known, name, output, number):
        pass
    assert not leftovers(small_disk)
    assert seen["refused"] >= 1
    print(f"\n{name}: {dict(seen)}")
