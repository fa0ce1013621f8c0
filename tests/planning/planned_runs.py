"""Trains from the files that `plan --write` makes, on eight devices.

    python -m tests.planning.planned_runs FOLDER t5:fsdp+model palm:data ...

Run by `test_planned_runs.py` in one process of its own: how many devices
there are is settled when JAX starts, and starting is what costs most. Prints
a line of JSON for each run.
"""

import json
import os
import sys
from pathlib import Path

if __name__ == "__main__":  # Not where tests only look up its names.
    os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"
    os.environ["KERAS_BACKEND"] = "jax"

import keras
import keras_hub

from keras_flan.data import Vocabulary
from keras_flan.models import DecoderOnly
from keras_flan.planning.planner import plan
from keras_flan.planning.writing import write_fitting
from keras_flan.training import TrainConfig, train
from tests.odd import write_odd

MESHES = {
    "data": "batch=8",
    "fsdp": "batch=8",
    "model": "batch=4,model=2",
    "fsdp+model": "batch=2,model=4",
}
T5 = {"num_layers": 1, "num_heads": 4, "hidden_dim": 32, "intermediate_dim": 64}
RUNS = {
    "t5": {"model": {**T5, "scan": True, "query_chunk": 8}},
    "palm": {"model": {"init": "palm_test", "remat": True}},
    "llama": {"model": {"init": "llama"}},
    "lora": {
        "model": {"init": "llama"},
        "adapter": {"kind": "lora", "rank": 2, "targets": "all"},
        "optimizer": {"name": "adam", "accumulate": 2, "loss_chunk": 16},
    },
}
CHANGED = ("model", "data", "optimizer", "distribution", "adapter")


def make(folder):
    """Writes records, a mixture, a vocabulary and a model."""
    write_odd(folder)
    keras.utils.set_random_seed(3)
    backbone = keras_hub.models.LlamaBackbone(
        vocabulary_size=384,
        num_layers=1,
        num_query_heads=4,
        num_key_value_heads=2,
        hidden_dim=32,
        intermediate_dim=64,
    )
    model = DecoderOnly(backbone, Vocabulary(folder / "v.model"))
    model.save_to_preset(folder / "llama")


def config(folder, family):
    """Returns a run of one device."""
    values = json.loads(json.dumps(RUNS[family]))
    values["model"]["dropout"] = 0.0
    path = folder / f"{family}.yaml"
    path.write_text(
        json.dumps(
            {
                "output": str(folder / f"{family} one"),
                "mixture": "odd.yaml",
                "vocabulary": "v.model",
                "steps": 2,
                "log_every": 1,
                "checkpoint_every": 0,
                "data": {
                    "input_length": 48,
                    "target_length": 12,
                    "batch_size": 16,
                },
                **values,
            }
        )
    )
    return TrainConfig.from_yaml(path)


def trained(config):
    """Returns what a run says, and leaves no devices in use."""
    keras.distribution.set_distribution(None)
    return train(config, quiet=True)


def planned(folder, family, preset):
    """Plans a run, writes the YAML, trains from it."""
    made = plan(
        config(folder, family),
        "v5e:2x4",
        MESHES[preset],
        distribution={"preset": preset},
    )
    path = folder / f"{family} {preset}.yaml"
    write_fitting(made, path)
    written = TrainConfig.from_yaml(path, [f"output={folder / path.stem}"])
    for section in CHANGED:
        assert getattr(written, section) == getattr(made.job, section), section
    result = trained(written)
    assert result["parameters"] == made.parameters
    return result["loss"]


def main():
    folder = Path(sys.argv[1])
    make(folder)
    pairs = [name.split(":") for name in sys.argv[2:]]
    for family in dict(pairs):
        found = {"one": trained(config(folder, family))["loss"]}
        found |= {
            preset: planned(folder, family, preset)
            for its, preset in pairs
            if its == family
        }
        print(json.dumps([family, found]), flush=True)


if __name__ == "__main__":
    main()
