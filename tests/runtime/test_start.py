"""Importing sets nothing; commands and models set what speed needs."""

import json
import os
import subprocess
import sys

import pytest

WATCH = """
import ctypes, json, os, sys
before = dict(os.environ)
real, tuned = ctypes.CDLL, []
class Library:
    def __init__(self, library):
        self._library = library
    def __getattr__(self, name):
        if name == "mallopt":
            tuned.append(name)
        return getattr(self._library, name)
ctypes.CDLL = lambda name, *a, **k: (
    Library(real(name)) if name is None else real(name, *a, **k)
)
{code}
changed = {{k: v for k, v in os.environ.items() if before.get(k) != v}}
gone = sorted(before.keys() - os.environ.keys())
print(json.dumps([changed, gone, bool(tuned)]))
"""
MODEL = """
from keras_flan.models import T5
T5.from_config_values(
    vocabulary_size=8, num_layers=1, num_heads=1, hidden_dim=8,
    intermediate_dim=8, key_value_dim=8,
)
"""
UNSET = ("KERAS_BACKEND", "TF_CPP_MIN_LOG_LEVEL", "XLA_FLAGS")


def run(code, **environment):
    """Returns what changed, stdout's last line read, and stderr."""
    made = subprocess.run(
        [sys.executable, "-c", WATCH.format(code=code)],
        env={k: v for k, v in os.environ.items() if k not in UNSET}
        | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert made.stdout.count("\n") == 1, made.stdout
    return (*json.loads(made.stdout), made.stderr)


def test_importing_the_package_sets_the_backend_alone():
    assert run("import keras_flan") == ({"KERAS_BACKEND": "jax"}, [], False, "")


@pytest.mark.slow
def test_importing_models_sets_nothing_for_speed_and_prints_nothing():
    changed, gone, tuned, stderr = run(
        "from keras_flan.models import T5\n"
        "from keras_flan.data import build_dataset\n"
        "from keras_flan.generation import ask"
    )
    # TensorFlow and JAX set some of their own.
    assert "XLA_FLAGS" not in changed
    assert changed.get("TF_CPP_MIN_LOG_LEVEL") != "3"
    assert (gone, tuned, stderr) == ([], False, "")


@pytest.mark.parametrize(
    ("code", "environment"),
    [
        ("import keras_flan", {"KERAS_BACKEND": "torch"}),
        ("import types, sys; sys.modules['keras'] = types.ModuleType('keras')"
         "\nimport keras_flan", {}),
    ],
)  # fmt: skip
def test_the_backend_stays_where_it_was_chosen(code, environment):
    changed, *_ = run(code, **environment)
    assert changed == {}


@pytest.mark.often
def test_a_model_sets_what_speed_needs():
    changed, gone, tuned, stderr = run(MODEL)
    assert "ynn" in changed["XLA_FLAGS"]
    assert (gone, tuned, stderr) == ([], sys.platform == "linux", "")


def test_a_command_sets_what_speed_needs():
    changed, *_, tuned, stderr = run(
        "import keras_flan.cli, io, contextlib\n"
        "sys.argv = ['keras-flan', '--help']\n"
        "with contextlib.redirect_stdout(io.StringIO()), "
        "contextlib.suppress(SystemExit):\n"
        "    keras_flan.cli.main()"
    )
    assert "ynn" in changed["XLA_FLAGS"]
    assert (tuned, stderr) == (sys.platform == "linux", "")


@pytest.mark.slow
def test_nothing_is_set_after_jax_has_started():
    changed, _, tuned, _ = run(
        "import keras_flan, jax; jax.numpy.ones(3).block_until_ready()" + MODEL
    )
    assert "XLA_FLAGS" not in changed
    assert not tuned
