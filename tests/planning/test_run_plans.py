"""Plans of training runs: what is counted, advised and written."""

import json
import math

import pytest
from typer.testing import CliRunner

from keras_flan.cli import app
from keras_flan.distribution import plan
from keras_flan.errors import InputError
from keras_flan.planning.flops import train_flops
from keras_flan.planning.kernels import kernel_cost, kernel_of
from keras_flan.planning.shapes import model_shape
from keras_flan.planning.writing import write_fitting
from keras_flan.training import TrainConfig

BASE = {
    "output": "run",
    "mixture": "cot_only",
    "vocabulary": "v.model",
    "precision": "mixed_bfloat16",
    "model": {"init": "palm_8b", "remat": True},
    "data": {"input_length": 2048, "target_length": 512, "batch_size": 32},
    "optimizer": {"loss_chunk": 256},
}


def run(**values):
    return TrainConfig.model_validate({**BASE, **values})


def write(folder, **values):
    """A YAML, which is JSON too, beside what it names."""
    (folder / "v.model").write_bytes(b"")
    path = folder / "train.yaml"
    path.write_text(json.dumps({**BASE, **values}))
    return path


def command(*arguments):
    result = CliRunner().invoke(
        app, ["plan", *map(str, arguments)], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    return result.output


def test_state_is_that_of_optimizer_precision_and_accumulation():
    numbers = plan("flan_palm_8b").parameters
    data = {"distribution": {"mesh": "batch=4", "preset": "data"}}
    adam = {"optimizer": {"name": "adam", "accumulate": 4}}
    held = plan(run(**data, **adam)).memory
    assert held.weights == held.gradients == 4 * numbers
    assert held.optimizer == (4 + 4 + 4) * numbers
    assert held.copies == 2 * numbers
    its = {**adam["optimizer"], "name": "adamw", "schedule": "cosine"}
    assert plan(run(**data, optimizer=its)).memory == held
    whole = plan(run(**data, precision="float32")).memory
    assert not whole.copies and whole.weights == held.weights
    half = plan(run(**data, precision="bfloat16")).memory
    assert not half.copies and half.weights == 2 * numbers
    one = plan(run(**data)).memory
    assert held.kept == one.kept / 4
    assert one.optimizer < 0.01 * held.optimizer


@pytest.mark.parametrize("kind", ["lora", "houlsby"])
def test_only_what_trains_has_state(kind):
    """By the weights of a model that is built without them."""
    model = {"init": "flan_nano"}
    both = [
        plan(run(model=model, adapter=adapter), "v5e:1x1")
        for adapter in (None, {"kind": kind})
    ]
    whole, its = both
    assert whole.trained == whole.parameters < its.parameters
    assert 0 < its.trained < 0.2 * its.parameters
    assert its.memory.gradients == 4 * its.trained
    assert its.memory.weights == 4 * its.parameters
    # No gradients of frozen kernels.
    for part in ("feedforward", "attention_projections"):
        frozen, trained = its.counted_flops[part], whole.counted_flops[part]
        assert frozen == pytest.approx(trained * 2 / 3)


def test_a_plan_is_what_train_takes(tmp_path):
    """Every setting of the YAML and of overrides, and nothing to add."""
    place = {"mesh": "batch=-1,model=2", "preset": "model", "sequence": True}
    path = write(
        tmp_path,
        distribution=place,
        optimizer={
            **{"name": "adamw", "schedule": "cosine", "warmup": 0.1},
            "weight_decay": 0.1,
        },
        validation=0.05,
        held_out={"patience": 2},
        callbacks=["trackers:WandB"],
    )
    overrides = ["data.batch_size=64", "optimizer.accumulate=2", "data.seed=1"]
    config = TrainConfig.from_yaml(path, overrides)
    made = plan(config, "v4-16")
    for name in type(config).model_fields.keys() & vars(made.job).keys():
        assert getattr(made.job, name) == getattr(config, name), name
    assert made.job.axes == {"batch": 4, "model": 2}
    assert made.job.rows == 64 // 2 // 4
    assert made.training == ""
    said = json.loads(
        command(path, *overrides, "--topology", "v4-16", "--json")
    )
    assert said == json.loads(json.dumps(made.as_dict()))


def test_what_is_written_fits_and_is_not_overwritten(tmp_path):
    path, new = write(tmp_path, precision="float32"), tmp_path / "new.yaml"
    said = command(path, "--topology", "v5litepod-8", "--write", new)
    assert "precision=mixed_bfloat16" in said and f"written: {new}" in said
    config = TrainConfig.from_yaml(new)
    made = plan(config, "v5litepod-8")
    assert made.fits and made.training == ""
    assert config.output.is_absolute()
    with pytest.raises(InputError, match=r"new\.yaml exists"):
        write_fitting(made, new)
    with pytest.raises(InputError, match="expected the plan of a training"):
        write_fitting(plan("flan_t5_small"), tmp_path / "x.yaml")
    with pytest.raises(InputError, match="fits no slice of t4"):
        write_fitting(plan(run(), "t4:1"), tmp_path / "x.yaml")


def test_a_run_without_devices_has_one_or_is_given_a_mesh():
    alone = plan(run(model={"init": "palm_test"}), "v5e:1x1")
    assert alone.fits and alone.training == ""
    many = plan(run(model={"init": "palm_test"}), "v5e:2x4")
    assert "distribution.mesh=batch=8" in many.training.split()


def test_suggestions_are_one_table(tmp_path):
    lines = command(
        write(tmp_path), "--topology", "v4", "--suggest", "--max-chips", 64
    ).splitlines()
    assert lines[0].split()[:2] == ["slice", "mesh"]
    assert len(lines) == 6
    assert all(line.startswith("v4:") for line in lines[1:])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected either a training config"),
        (["--preset", "flan_t5_xl", "--recipe", "x"], "it goes with a config"),
        (["--preset", "flan_t5_xl", "--suggest", "--compile"], "leave out"),
    ],
)
def test_the_command_says_what_it_wants(arguments, message):
    with pytest.raises(InputError, match=message):
        command(*arguments)


def test_settings_that_a_family_does_not_have_are_refused():
    """As `train` refuses them, and before there is a TPU."""
    model = {"init": "flan_nano", "attention": "splash"}
    with pytest.raises(InputError, match="'splash', which a T5 has no kernel"):
        plan(run(model=model), "v5e:1x1")


def test_attention_is_einsum_where_there_is_no_kernel():
    job = plan(run(model={"init": "palm_8b", "attention": "einsum"})).job
    assert kernel_of(job) is None and kernel_cost(job) == (0, 0)


def test_a_plan_counts_few_bits_and_the_adapter_on_them(tmp_path):
    """As the model has them, which is only looked at."""
    from keras_flan.models import DecoderOnly, save
    from keras_flan.planning.shapes import shape_of
    from keras_flan.training.config import JobConfig
    from keras_flan.training.start import weightless_model
    from tests.models.decoders import make_hub, numpy

    model = DecoderOnly(make_hub("palm"))
    whole = shape_of(model)
    model.quantize("int4", group=8)
    held = sum(numpy(w).nbytes for w in model.backbone.weights)
    save(model, tmp_path / "m")
    values = {
        "model": {"init": str(tmp_path / "m")},
        "adapter": {"kind": "dora"},
    }
    looked_at = weightless_model(JobConfig.model_validate(values))
    found = shape_of(looked_at)
    base = [w for w in found.weights if w.part != "adapter"]
    assert sum(w.numbers for w in base) == whole.parameters
    assert sum(w.numbers * (w.each or 4) for w in base) == held
    assert not any(w.trained for w in base)
    trained = sum(math.prod(v.shape) for v in looked_at.trainable_variables)
    assert found.trained == trained


def test_a_plan_counts_the_masks_of_a_pruned_model(tmp_path):
    """A byte for each number of its projections, if these are trained."""
    from keras_flan.models import DecoderOnly, prune, save
    from keras_flan.models.adapters.targets import projections
    from keras_flan.planning.memory import job_memory
    from tests.models.decoders import make_hub

    model = DecoderOnly(make_hub("palm"))
    save(model, tmp_path / "whole")
    prune(model, "magnitude", 0.5)
    save(model, tmp_path / "pruned")
    masks = sum(
        layer.kernel.constraint.mask.nbytes
        for layer in projections(model.backbone).values()
    )

    def held(name, **settings):
        init = {"model": {"init": str(tmp_path / name)}}
        return job_memory(plan(run(**init, **settings)).job).weights

    assert held("pruned") - held("whole") == masks > 0
    lora = {"adapter": {"kind": "lora"}}
    assert held("pruned", **lora) == held("whole", **lora)


@pytest.mark.slow
def test_layers_with_experts_are_refused():
    import keras_hub

    from keras_flan.distribution import build_abstract
    from keras_flan.models import DecoderOnly
    from keras_flan.planning.shapes import shape_of
    from tests.models.decoders import sizes_of

    backbone = keras_hub.models.Qwen3MoeBackbone
    model = build_abstract(
        lambda: DecoderOnly(backbone(**sizes_of("qwen3_moe")))
    )
    with pytest.raises(InputError, match="have experts, which a plan can't"):
        shape_of(model)


def test_a_plan_counts_experts():
    """Weights, and the operations of the places that tokens may fill."""
    experts = {"experts": 4, "top_k": 2, "capacity": 1.5}
    dense, found = (
        model_shape(run(model={"init": "flan_nano", **more}))
        for more in ({}, {"experts": experts})
    )
    width, inner = dense.hidden_dim, dense.intermediate_dim
    blocks = 2 * (dense.num_layers // 2)
    more = blocks * (3 * 3 * width * inner + 4 * width)
    assert found.parameters == dense.parameters + more
    assert (found.experts, found.crowding) == (4, 3.0)
    kernels = [w for w in found.weights if "expert_mlp" in w.axes]
    assert {w.share for w in kernels} == {0.75}
    before, after = (
        train_flops(shape, 100, 50)["feedforward"] for shape in (dense, found)
    )
    block = 6 * 3 * width * inner * (blocks // 2) * (100 + 50)
    router = 6 * 4 * width * (blocks // 2) * (100 + 50)
    assert after - before == pytest.approx(2 * block + router)


@pytest.mark.slow
def test_qlora_is_suggested_where_all_weights_do_not_fit(tmp_path):
    """The adapter's optimizer is small, and the base an eighth."""
    said = command(
        *("--preset", "flan_palm_8b", "--topology", "v5e"),
        *("--suggest", "--max-chips", 4),
    )
    *rows, last = said.splitlines()
    assert "QLoRA" in rows[-1]
    assert last.startswith("QLoRA: the weights in 4 bits, and an adapter of")
    given = last.split("trained: ")[1].split()
    assert "adapter.kind=lora" in given and "model.quantize=int4" in given
