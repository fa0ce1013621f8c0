"""What `plan --write` writes is what `train` runs, on eight devices."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.planning.planned_runs import MESHES, RUNS

ROOT = Path(__file__).parents[2]


def runs(folder, *names):
    """Returns the losses of runs, by family and preset."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.planning.planned_runs", folder, *names],
        env={**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    lines = [x for x in done.stdout.splitlines() if x.startswith("[")]
    return dict(json.loads(line) for line in lines)


def check(found):
    """The losses are those of one device."""
    for family, losses in found.items():
        one = losses.pop("one")
        assert len(set(one)) == 2, family
        for preset, its in losses.items():
            assert its == pytest.approx(one, abs=1e-5), (family, preset)


def test_a_written_plan_trains_as_one_device(tmp_path):
    check(runs(tmp_path, "palm:fsdp+model"))


@pytest.mark.slow
def test_every_family_and_preset_trains_as_one_device(tmp_path):
    names = [f"{family}:{preset}" for family in RUNS for preset in MESHES]
    found = runs(tmp_path, *names)
    assert set(found) == set(RUNS)
    check(found)
