"""Decoding and accumulation on the other backends: their tests, run there."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
FILES = (
    "tests/models/test_accumulation.py",
    "tests/models/test_path_attention.py",
    "tests/generation/test_sampling.py",
    "tests/generation/test_engine.py",
    "tests/generation/test_decoder_only_decoding.py",
)


@pytest.mark.parametrize("backend", ["tensorflow", "torch"])
def test_it_is_as_on_jax(backend):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "0", *FILES],
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout
