"""Plans checked by the TPU's own compiler, which needs no TPU."""

import subprocess
import sys

import pytest

from keras_flan.distribution import plan
from keras_flan.errors import InputError
from keras_flan.planning import compiler as plan_compile
from keras_flan.planning.compiler import compile_job, have_compiler

needs_compiler = pytest.mark.skipif(
    not have_compiler(), reason="the TPU's compiler (libtpu) isn't installed"
)
TINY = {
    "vocabulary_size": 1024,
    "num_layers": 2,
    "num_heads": 6,
    "hidden_dim": 256,
    "intermediate_dim": 512,
    "key_value_dim": 64,
}
SHORT = {
    "data": {"batch_size": 8, "input_length": 256, "target_length": 128},
    "optimizer": {"loss_chunk": 64},
    "model": {"query_chunk": 64},
}


def tiny(family, **settings):
    values = {"size": TINY, **SHORT, **settings}
    return plan(
        topology="v4:2x2x1", mesh="batch=2,model=4", family=family, **values
    ).job


def test_without_the_compiler_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(plan_compile, "have_compiler", lambda: False)
    with pytest.raises(InputError, match=r"pip install 'keras_flan\[tpu\]'"):
        plan("flan_t5_small", compile=True)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"seconds": 0.2}, "stopped after 0 seconds"),
        ({"host_bytes": 10**6}, "GiB of this machine's memory"),
    ],
)
def test_a_process_that_takes_too_much_is_stopped(monkeypatch, limits, message):
    """Here one that only waits."""
    real = subprocess.Popen

    def waiting(command, **settings):
        command = [sys.executable, "-c", "import time; time.sleep(60)"]
        return real(command, **settings)

    monkeypatch.setattr(plan_compile, "have_compiler", lambda: True)
    monkeypatch.setattr(subprocess, "Popen", waiting)
    with pytest.raises(InputError, match=message):
        compile_job(tiny("palm"), **limits)


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize(
    ("family", "side"),
    # Training a T5 is below.
    [("palm", "train"), ("palm", "decode"), ("t5", "decode")],
)
def test_both_sides_of_both_families_compile(family, side):
    said = compile_job(tiny(family, side=side))
    assert said["fits"] and not said["message"]
    programs = [program["program"] for program in said["programs"]]
    assert programs == [side]
    held = said["bytes_per_device"]
    assert 0 < held["arguments"] <= held["total"] < 2**30
    assert said["seconds"] > 0 and said["host_bytes"] > 2**27


@pytest.mark.slow
@needs_compiler
def test_what_does_not_fit_is_refused_by_the_compiler():
    """A wide model: the weights alone are more than a core has."""
    wide = {**TINY, "hidden_dim": 16384, "intermediate_dim": 65536}
    said = compile_job(tiny("palm", size=wide, distribution={"preset": "data"}))
    assert not said["fits"]
    assert "RESOURCE_EXHAUSTED" in said["message"]
    assert said["bytes_per_device"]["total"] > 16 * 2**30


@pytest.mark.slow
@needs_compiler
def test_a_job_of_the_paper_compiles_and_fits_as_estimated():
    made = plan("flan_t5_small", "v4:2x2x1", "batch=8", compile=True)
    assert made.fits and made.compiler["fits"]
    held = made.compiler["bytes_per_device"]["total"]
    assert made.memory.total == pytest.approx(held, rel=0.2)
