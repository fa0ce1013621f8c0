"""The kernels of attention, compiled by the TPU's own compiler."""

import json
import os
import subprocess
import sys

import pytest

from keras_flan.planning.compiler import have_compiler
from keras_flan.planning.programs import SETTINGS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not have_compiler(), reason="libtpu isn't installed"),
]
ROWS, LENGTH, HEADS = 2, 1024, 4
PROGRAM = f"""
import json, sys
import jax, jax.numpy as jnp
from jax.experimental import topologies
from keras_flan.models.dropout import Drop
from keras_flan.models.kernels.flash import flash_attention
from keras_flan.models.kernels.splash import splash_attention

device = topologies.get_topology_desc(sys.argv[1], platform="tpu").devices[0]
place = jax.sharding.SingleDeviceSharding(device)
def array(dtype, *shape):
    return jax.ShapeDtypeStruct(shape, dtype, sharding=place)

def t5(causal, query, key, value, bias, segments, seed):
    biases = {{}} if bias.shape[1] == 1 else {{"bias": bias}}
    out = flash_attention(query, key, value, segments[:, :query.shape[1]],
        segments, causal=causal, drop=Drop(0.05, seed), **biases)
    return jnp.sum(out.astype("float32"))

def palm(query, key, value, segments):
    settings = {{"scale": 0.1, "window": 300, "soft_cap": 30.0}}
    out = splash_attention(query, key, value, segments, **settings)
    return jnp.sum(out.astype("float32"))

def temporaries(function, places, *arguments):
    program = jax.jit(jax.grad(function, places)).lower(*arguments).compile()
    return program.memory_analysis().temp_size_in_bytes

B, L, H = {ROWS}, {LENGTH}, {HEADS}
wide, segments = array("bfloat16", B, L, H, 64), array("int32", B, L)
seed, bias = array("int32", 2), array("float32", H, 2 * L - 1)
found = {{}}
for causal in (False, True):
    found[f"t5 {{causal}}"] = temporaries(lambda *x: t5(causal, *x),
        (0, 1, 2, 3), wide, wide, wide, bias, segments, seed)
short, none = array("bfloat16", B, 300, H, 64), array("float32", H, 1)
found["t5 cross"] = temporaries(lambda *x: t5(False, *x),
    (0, 1, 2), short, wide, wide, none, segments, seed)
for heads in (1, 2):
    key = array("bfloat16", B, L, heads, 64)
    found[f"splash {{heads}}"] = temporaries(
        palm, (0, 1, 2), wide, key, key, segments)
print(json.dumps(found))
"""


@pytest.mark.parametrize("topology", ["v4:2x2x1", "v5e:2x2", "v6e:2x2"])
def test_scores_are_never_written(topology):
    """Forward and backward pass: less than a byte of memory per score."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, topology],
        env={**os.environ, "PYTHONPATH": os.getcwd(), **SETTINGS},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found) == 5
    for name, size in found.items():
        assert size < ROWS * HEADS * LENGTH**2, name
