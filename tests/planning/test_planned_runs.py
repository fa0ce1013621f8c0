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


@pytest.mark.slow
def test_what_is_written_trains_as_one_device(tmp_path):
    """Every family under every preset: the losses of two steps."""
    names = [f"{family}:{preset}" for family in RUNS for preset in MESHES]
    found = runs(tmp_path, *names)
    assert set(found) == set(RUNS)
    for family, losses in found.items():
        one = losses.pop("one")
        assert len(set(one)) == 2 and set(losses) == set(MESHES)
        for preset, its in losses.items():
            assert its == pytest.approx(one, abs=1e-5), (family, preset)
