"""Settings of XLA's CPU compiler."""

import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from keras_flan.runtime import xla

NAME = "--xla_cpu_experimental_ynn_fusion_type="
FLAG = f"{NAME}individual_dot"


@pytest.fixture
def version(monkeypatch):
    def be(number):
        monkeypatch.setattr(metadata, "version", lambda name: number)

    return be


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, FLAG),
        ({"XLA_FLAGS": "--xla_dump_to=x"}, f"--xla_dump_to=x {FLAG}"),
        ({"XLA_FLAGS": f"{NAME}reduce"}, f"{NAME}reduce"),
    ],
)
def test_flag_is_added_to_those_of_the_user(version, before, after):
    version("0.10.2")
    xla.choose_products(before)
    assert before == {"XLA_FLAGS": after}


def test_no_flag_for_another_compiler(version):
    version("0.12.0")
    settings = {}
    xla.choose_products(settings)
    assert settings == {}


def test_jax_starts_with_the_flag():
    script = (
        "from keras_flan.runtime import prepare_process; prepare_process()\n"
        "import jax; print(jax.numpy.arange(3).sum())"
    )
    run = subprocess.run(
        [sys.executable, "-c", script],
        env={k: v for k, v in os.environ.items() if k != "XLA_FLAGS"},
        capture_output=True,
        text=True,
    )
    assert run.stdout == "3\n", run.stderr


@pytest.mark.slow
def test_the_benchmark_of_the_flag_runs():
    script = Path(__file__).parents[2] / "benchmarks" / "cpu_flags.py"
    made = subprocess.run(
        [sys.executable, script, "--steps", "1", "--model", "nano"],
        capture_output=True,
        text=True,
        check=True,
    )
    found = re.findall(r"takes (\d+\.\d\d) times as long", made.stdout)
    assert len(found) == 3 and found[0] == "1.00"


@pytest.mark.skipif(not xla._known(), reason="another version of jaxlib")
def test_sums_are_left_whole():
    import jax
    import jax.numpy as jnp

    def norm(x):
        return jnp.mean(x * x, axis=-1)

    x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 576)), "float32")
    text, found = {}, {}
    for options in (None, xla.plain_sums()):
        run = jax.jit(lambda x: norm(x), compiler_options=options)
        text[bool(options)] = run.lower(x).compile().as_text()
        found[bool(options)] = run(x)
    assert "reduce-window" in text[False]
    assert "reduce-window" not in text[True]
    np.testing.assert_allclose(found[True], found[False], rtol=1e-5)
