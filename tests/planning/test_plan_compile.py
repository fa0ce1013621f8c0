"""Plans checked by the TPU's own compiler, which needs no TPU."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from keras_flan.distribution import plan
from keras_flan.errors import InputError
from keras_flan.planning import compiler as plan_compile
from keras_flan.planning.compiler import compile_job, have_compiler
from keras_flan.planning.flops import done_flops
from keras_flan.planning.kernels import kernel_cost
from keras_flan.training import TrainConfig

DOCS = Path(__file__).parents[2] / "docs"
needs_compiler = pytest.mark.skipif(
    not have_compiler(), reason="the TPU's compiler (libtpu) isn't installed"
)
# Of sizes that ship with the package.
TINY = {"palm": "palm_test", "t5": "flan_nano"}


def tiny(family, **settings):
    """A run's job, as a YAML gives it."""
    config = TrainConfig.model_validate(
        {
            "output": "run",
            "mixture": "cot_only",
            "vocabulary": "vocabulary.model",
            "precision": "mixed_bfloat16",
            "model": {"init": TINY[family]},
            "data": {
                "batch_size": 8,
                "input_length": 256,
                "target_length": 128,
            },
        }
    )
    return plan(config, "v4:2x2x1", "batch=2,model=2", **settings).job


def test_without_the_compiler_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(plan_compile, "have_compiler", lambda: False)
    with pytest.raises(InputError, match=r"pip install 'keras_flan\[tpu\]'"):
        plan("flan_t5_small", compile=True)


def test_gpus_are_planned_by_arithmetic_alone():
    with pytest.raises(InputError, match="a GPU, whose compiler needs one"):
        plan("flan_t5_small", "a100-80:8", compile=True)


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
    said = compile_job(tiny(family, side=side), count=False)
    assert said["fits"] and not said["message"]
    programs = [program["program"] for program in said["programs"]]
    assert programs == [side]
    held = said["bytes_per_device"]
    assert 0 < held["arguments"] <= held["total"] < 2**30
    assert said["seconds"] > 0 and said["host_bytes"] > 2**27


@pytest.mark.slow
@needs_compiler
def test_what_does_not_fit_is_refused_by_the_compiler():
    """The weights alone are more than a chip has."""
    made = plan("flan_palm_8b", "v5e:1x1", data={"batch_size": 1})
    said = compile_job(made.job)
    assert not said["fits"]
    assert "RESOURCE_EXHAUSTED" in said["message"]
    assert said["bytes_per_device"]["total"] > 16 * 2**30


@pytest.mark.slow
@needs_compiler
def test_a_job_of_the_paper_compiles_and_fits_as_estimated():
    """Its seconds are counted too: every product of every layer."""
    made = plan("flan_t5_small", "v4:2x2x1", "batch=4", compile=True)
    assert made.fits and made.compiler["fits"]
    held = made.compiler["bytes_per_device"]["total"]
    assert made.memory.total == pytest.approx(held, rel=0.2)
    done = done_flops(made.job) / made.job.slice.devices
    flops = made.compiler["cost"]["flops"] + kernel_cost(made.job)[0]
    assert flops == pytest.approx(done, rel=0.2)
    assert made.step_seconds == made.compiled_seconds > 0


@pytest.mark.slow
@needs_compiler
def test_the_run_of_the_manual_compiles_and_fits(tmp_path):
    """docs/multi_host_tpu.md's own YAML, on the slice that it takes."""
    text = (DOCS / "multi_host_tpu.md").read_text("utf-8")
    [yaml] = re.findall(r"```yaml\n(.*?)```", text, flags=re.DOTALL)
    [slice] = re.findall(r"--accelerator-type=(\S+)", text)
    path = tmp_path / "train.yaml"
    path.write_text(yaml)
    made = plan(TrainConfig.from_yaml(path), slice)
    said = compile_job(made.job, count=False)
    assert made.fits and said["fits"]
    assert made.training == ""  # As written.
    held = said["bytes_per_device"]["total"]
    assert made.memory.total == pytest.approx(held, rel=0.2)
