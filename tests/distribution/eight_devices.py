"""Runs cases on eight simulated devices; prints what they gave as JSON.

Run by `test_eight_devices.py` in one process of its own: how many devices
there are is settled when JAX starts, and starting is what costs most.
"""

import contextlib
import json
import os
import sys
import tempfile

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"
os.environ["KERAS_BACKEND"] = "jax"

import keras
import keras_hub
import numpy as np

from keras_flan.distribution import Layouts, ModelParallel, device_mesh
from keras_flan.errors import InputError
from keras_flan.generation.decoding import decode
from keras_flan.generation.sampling_settings import Sampling
from keras_flan.models import (
    T5,
    DecoderOnly,
    PaLMBackbone,
    add_dora,
    add_houlsby,
    add_ia3,
    add_lora,
    upcycle,
)
from keras_flan.models.adapters.base import adapter_of
from keras_flan.models.kernels.choice import interpreted
from keras_flan.training import (
    Adafactor,
    Profile,
    TokenCrossentropy,
    TrainingCheckpoint,
)

VOCABULARY, BATCH, LENGTH, STEPS = 128, 8, 12, 5


KERNELS = {"t5": "pallas", "palm": "splash", "llama": "splash"}


def t5(**settings):
    return T5.from_config_values(
        vocabulary_size=VOCABULARY,
        num_layers=1,
        num_heads=4,
        hidden_dim=32,
        intermediate_dim=64,
        dropout=0.0,
        **settings,
    )


def palm(**settings):
    backbone = PaLMBackbone(VOCABULARY, 2, 4, 32, 64, head_dim=8)
    return DecoderOnly(backbone, **settings)


def llama(**settings):
    backbone = keras_hub.models.LlamaBackbone(
        vocabulary_size=VOCABULARY,
        num_layers=1,
        num_query_heads=4,
        num_key_value_heads=2,
        hidden_dim=32,
        intermediate_dim=64,
    )
    return DecoderOnly(backbone, **settings)


def experts(**settings):
    model = t5(**settings)
    upcycle(model, 4, every=1)
    return model


FAMILIES = {"t5": t5, "palm": palm, "llama": llama, "experts": experts}
ADAPTERS = {
    "lora": lambda model: add_lora(model, rank=2, targets="all"),
    "dora": lambda model: add_dora(model, rank=2, targets="all"),
    "ia3": add_ia3,
    "houlsby": lambda model: add_houlsby(model, width=4),
    "qlora": lambda model: quantised(model),
}


def quantised(model):
    model.quantize("int4", group=8)
    add_lora(model, rank=2, targets="all")


def batches(family):
    """Packed batches of random ids."""
    rng = np.random.default_rng(7)
    shape = (BATCH, LENGTH)
    for _ in range(STEPS):
        segments = np.sort(rng.integers(1, 3, shape), axis=1).astype("int32")
        ids = rng.integers(2, VOCABULARY, (3, *shape)).astype("int32")
        if family in ("t5", "experts"):
            x = {
                "encoder_token_ids": ids[0],
                "encoder_segment_ids": segments,
                "decoder_token_ids": ids[1],
                "decoder_segment_ids": segments,
            }
        else:
            x = {"token_ids": ids[0], "segment_ids": segments}
        yield x, ids[2], rng.integers(0, 2, shape).astype("float32")


def start(family, adapter=None, **settings):
    """The same model in every case."""
    keras.utils.set_random_seed(3)
    model = FAMILIES[family](**settings)
    if adapter:
        ADAPTERS[adapter](model)
        # Else the second factor is zero and the first learns nothing.
        for value in adapter_of(model).state().values():
            value.assign(value + 0.01)
    model.compile(
        optimizer=Adafactor(1e-2, min_dim_to_factor=16),
        loss=TokenCrossentropy(),
    )
    return model


class Losses(keras.callbacks.Callback):
    """The loss of each step; Keras shows the mean since the epoch's begin."""

    def __init__(self):
        super().__init__()
        self.sums = []

    def on_train_batch_end(self, batch, logs=None):
        self.sums.append(float(logs["loss"]) * (batch + 1))

    def each(self):
        return np.diff([0.0, *self.sums]).tolist()


def fit(model, family, skip=0):
    losses = Losses()
    data = list(batches(family))[skip:]
    model.fit(
        (batch for batch in data),
        steps_per_epoch=len(data),
        callbacks=[losses],
        shuffle=None,
        verbose=0,
    )
    return losses.each()


def parallel(mesh, preset, **kwargs):
    return ModelParallel(Layouts(device_mesh(mesh), preset, **kwargs))


def cases(family, adapter, presets):
    """Losses of every preset, and how much of a weight a device holds."""
    found = {"one": {"losses": fit(start(family, adapter), family)}}
    for name, mesh, preset, kwargs in presets:
        distribution = parallel(mesh, preset, **kwargs)
        with distribution.scope():
            model = start(family, adapter)
            losses = fit(model, family)
        distribution.layouts.check(model)
        held = {}
        for variable in model.variables:
            value = variable.value
            shard = value.addressable_shards[0].data
            held[variable.path] = [value.size, shard.size]
        slots = {
            v.path: list(v.value.sharding.spec)
            for v in model.optimizer.variables
            if len(v.shape) > 0
        }
        found[name] = {"losses": losses, "held": held, "slots": slots}
    return found


def kernels(family):
    """Losses with a kernel of attention, which is interpreted."""
    found = {}
    for name, mesh, preset, kwargs in KERNEL_PRESETS:
        if preset == "data":
            distribution = keras.distribution.DataParallel(
                device_mesh=device_mesh(mesh), auto_shard_dataset=False
            )
        else:
            distribution = parallel(mesh, preset, **kwargs)
        with distribution.scope(), interpreted():
            model = start(family, attention=KERNELS[family])
            found[name] = fit(model, family)
    return found


def checkpoints(family):
    """Losses after a checkpoint of a 2 x 4 mesh, on other meshes.

    The last of the steps on the first mesh is profiled.
    """
    folder = tempfile.mkdtemp()
    profile = Profile(tempfile.mkdtemp(), (2, 3))
    with parallel("batch=2,model=4", "fsdp+model").scope():
        model = start(family)
        model.fit(
            (batch for batch in list(batches(family))[:3]),
            steps_per_epoch=3,
            callbacks=[TrainingCheckpoint(folder, every=3), profile],
            shuffle=None,
            verbose=0,
        )
    found = {"profile": profile.summary}
    for name, mesh in (("one", None), ("4x2", "batch=4,model=2")):
        scope = contextlib.nullcontext()
        if mesh:
            scope = parallel(mesh, "fsdp+model").scope()
        with scope:
            model = start(family)
            checkpoint = TrainingCheckpoint(folder)
            assert checkpoint.restore(model) == 3
            found[name] = fit(model, family, skip=3)
    return found


def paths(family):
    """Sampled paths on one device and on 2 x 4."""

    def said():
        model = start(family)
        made = decode(
            model,
            [[7, 9, 11, 1], [5, 1], [12, 3, 1]],
            Sampling(samples=4, temperature=0.7, max_new_tokens=6),
            ends=(1,),
            batch_paths=16,
            uniforms=lambda *key: (
                np.random.default_rng(key).random(6).astype("float32")
            ),
        )
        return sorted(
            (row, number, path.token_ids, sum(path.log_probabilities))
            for row, number, path in made
        )

    found = {"one": said()}
    with parallel("batch=2,model=4", "fsdp+model").scope():
        found["fsdp+model"] = said()
    return found


PRESETS = [
    ("data", "batch=8", "data", {}),
    ("fsdp", "batch=8", "fsdp", {}),
    ("model", "batch=4,model=2", "model", {}),
    ("fsdp+model", "batch=2,model=4", "fsdp+model", {}),
]


# Eight devices can't divide four heads.
KERNEL_PRESETS = [
    ("data", "batch=8", "data", {}),
    ("sequence", "batch=2,model=4", "fsdp+model", {"sequence": True}),
    ("odd", "batch=1,model=8", "model", {}),
]


def short(family):
    """What `fit` and `predict` say of a batch of five rows."""
    x, y, weight = next(iter(batches(family)))
    settings = {"batch_size": 5, "verbose": 0}
    said = []
    with parallel("batch=8", "data").scope():
        model = start(family)
        for run in (
            lambda: model.fit(x, y, sample_weight=weight, **settings),
            lambda: model.predict(x, **settings),
        ):
            try:
                run()
            except InputError as error:
                said.append(str(error))
    return said


def parts(family, adapter=None):
    """How far an update of two parts is from that of the whole batch."""
    x, y, weight = next(iter(batches(family)))
    weight[: BATCH // 2, 2:] = 0  # The first has few target tokens.
    changes = []
    with parallel("batch=2,model=4", "fsdp+model").scope():
        for count in (None, 2):
            model = start(family, adapter)
            before = model.get_weights()
            # So large that a change is told from a weight's last digit.
            sgd = keras.optimizers.SGD(100.0, gradient_accumulation_steps=count)
            model.compile(sgd, TokenCrossentropy())
            model.fit(
                x,
                y,
                sample_weight=weight,
                batch_size=BATCH // (count or 1),
                shuffle=False,
                verbose=0,
            )
            pairs = zip(model.get_weights(), before, strict=True)
            changes.append(np.concatenate([(a - b).ravel() for a, b in pairs]))
    whole, both = changes
    return float(np.linalg.norm(both - whole) / np.linalg.norm(whole))


EXPERTS = [*PRESETS, ("experts", "batch=2,model=4", "experts", {})]


def main():
    """Prints a line of JSON for each case, as it is done."""
    for family in sys.argv[1:]:
        if family in ADAPTERS:
            for name in ("t5", "llama"):
                found = cases(name, family, PRESETS[-1:])
                found["parts"] = parts(name, family)
                print(json.dumps([f"{name} {family}", found]), flush=True)
            continue
        if family == "experts":
            for name, run in (
                (family, lambda f: cases(f, None, EXPERTS)),
                (f"{family} checkpoints", checkpoints),
                (f"{family} paths", paths),
            ):
                print(json.dumps([name, run(family)]), flush=True)
            continue
        for name, run in (
            (family, lambda f: cases(f, None, PRESETS)),
            (f"{family} lora", lambda f: cases(f, "lora", PRESETS)),
            (f"{family} kernels", kernels),
            (f"{family} checkpoints", checkpoints),
            (f"{family} paths", paths),
            (f"{family} short", short),
            (f"{family} parts", parts),
        ):
            print(json.dumps([name, run(family)]), flush=True)


if __name__ == "__main__":
    main()
