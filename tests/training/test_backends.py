"""The same training steps on every backend, each in a process of its own."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.slow

BACKENDS = ("jax", "tensorflow", "torch")
# Builds a tiny model, gives it the same weights everywhere, and trains one
# step; says the losses before and after and some logits.
SCRIPT = """
import json, sys
import keras, numpy as np
from keras_flan.models import add_lora
from keras_flan.training import Adafactor, TokenCrossentropy
from tests.conftest import make_t5
from tests.models.test_adapters import batch, make

made = {}
for family in ("t5", "palm", "llama"):
    for adapter in (False, True):
        model = make(family)
        if adapter:
            add_lora(model, 2, targets="all")
        rng = np.random.default_rng(0)
        for weight in model.weights:
            value = rng.normal(scale=0.2, size=weight.shape)
            if weight.path.endswith(("scale", "gamma", "weight")):
                value = value + 1
            weight.assign(value.astype("float32"))
        x, y, weight = batch(family)
        model.compile(
            optimizer=Adafactor(0.02, min_dim_to_factor=8, momentum=0.9),
            loss=TokenCrossentropy(z_loss=1e-3),
        )
        # The second step shows what the first one left behind.
        history = model.fit(
            x, y, sample_weight=weight, epochs=2, shuffle=False, verbose=0
        )
        logits = keras.ops.convert_to_numpy(model(x))[0, :4, :6]
        made[f"{family} {adapter}"] = [
            *history.history["loss"],
            float(model.evaluate(x, y, sample_weight=weight, verbose=0)),
            float(keras.ops.convert_to_numpy(model.optimizer.gradient_norm)),
            *map(float, logits.ravel()),
        ]
print("RESULT" + json.dumps(made))
"""


def run(backend):
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": root},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    [line] = [s for s in done.stdout.splitlines() if s.startswith("RESULT")]
    return json.loads(line.removeprefix("RESULT"))


# jax and tensorflow are always here, torch where it is installed.
here = [b for b in BACKENDS if importlib.util.find_spec(b)]


@pytest.mark.often
@pytest.mark.parametrize("backend", here[1:])
def test_parts_of_an_update_and_losses_of_paths(backend):
    files = "models/test_accumulation.py", "training/test_path_losses.py"
    command = [sys.executable, "-m", "pytest", "-n", "0", "-m", ""]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", *(f"tests/{f}" for f in files)],
        env={**os.environ, "KERAS_BACKEND": backend},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:]


def test_two_fit_steps_agree():
    assert here[:2] == ["jax", "tensorflow"]
    first, *others = [run(backend) for backend in here]
    for backend, other in zip(here[1:], others, strict=True):
        for name, values in first.items():
            np.testing.assert_allclose(
                values,
                other[name],
                rtol=1e-4,
                atol=1e-4,
                err_msg=f"{name}: {here[0]} and {backend}",
            )
