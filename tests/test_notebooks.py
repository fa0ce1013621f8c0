"""The notebooks in `examples/`, executed on a CPU with tiny settings."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SUFFIXES = {".ipynb", ".py", ".yaml", ""}
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook(notebook, tmp_path):
    pytest.importorskip("nbmake")
    environment = {
        **os.environ,
        "KERAS_FLAN_FOLDER": str(tmp_path / "run"),
        "KERAS_FLAN_TINY": "1",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(ROOT),
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
    }
    command = [sys.executable, "-m", "pytest", "--nbmake", str(notebook)]
    options = ["-o", "addopts=", "-p", "no:cacheprovider", f"--rootdir={ROOT}"]
    trained = []
    # The second time is after a runtime was lost: nothing is done twice.
    for _ in range(2 if "tpu" in notebook.stem else 1):
        done = subprocess.run(
            [*command, *options, "--nbmake-timeout=600"],
            env=environment,
            capture_output=True,
            text=True,
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stdout
        run = tmp_path / "run" / "run"
        if "tpu" in notebook.stem:
            trained.append((run / "adapter.safetensors").stat().st_mtime)
            state = json.loads((run / "run.json").read_text())
            assert state["finished"]
    assert len(set(trained)) <= 1
    # What it writes is in its own folder.
    assert {path.suffix for path in notebook.parent.iterdir()} <= SUFFIXES


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_kept_small_and_without_outputs(notebook):
    text = notebook.read_text(encoding="utf-8")
    assert len(text) < 20_000
    assert '"output_type"' not in text
    assert text.count("%pip install") == 1
    assert "colab-badge.svg" in text
