"""Plans: operations of the paper, bytes, advice that works, the command."""

import json
import math
from pathlib import Path

import pytest

from keras_flan.cli import app
from keras_flan.distribution import plan, suggest_plans
from keras_flan.distribution.mesh import PRESETS, Mesh
from keras_flan.errors import InputError
from keras_flan.planning.flops import forward_flops, rule_flops
from keras_flan.planning.jobs import ModelSize, PlannedJob, Topology
from keras_flan.planning.planner import plan_job
from keras_flan.planning.search import OPTIONS
from keras_flan.planning.weights import (
    moments_per_device,
    numbers_per_device,
    weights,
)
from keras_flan.training import TrainConfig, recipe, recipes

# What benchmarks/tpu_plans.py wrote.
COMPILED = json.loads(
    (Path(__file__).parents[2] / "docs" / "tpu_plans.json").read_text("utf-8")
)
TINY = {
    "vocabulary_size": 512,
    "num_layers": 2,
    "num_heads": 6,
    "hidden_dim": 256,
    "intermediate_dim": 384,
    "key_value_dim": 16,
}


WHOLE = {"model": {"remat": False}}
DATA = {"distribution": {"preset": "data"}}


def command(*arguments):
    """Runs `keras-flan plan` and returns what it printed as JSON."""
    from typer.testing import CliRunner

    result = CliRunner().invoke(
        app, ["plan", *arguments, "--json"], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.mark.parametrize("name", list(recipes()))
def test_operations_are_those_of_the_paper(name):
    """Tables 2 and 22, within 3%; the last row is a misprint."""
    its, made = recipe(name), plan(name)
    published, misprint = its.published, its.misprint
    pretraining = rule_flops(
        made.job.family, its.nominal, its.pretraining_tokens
    )
    if misprint is None:
        steps, expected = its.steps, published.finetuning_flops
        assert pretraining == pytest.approx(
            published.pretraining_flops, rel=0.03
        )
        assert made.percent_of_pretraining == pytest.approx(
            published.percent, abs=0.055
        )
    else:
        # It repeats the row above it, of fewer steps, and forgets a zero.
        assert name == "flan_u_palm_540b"
        steps = misprint.steps_printed
        assert steps == recipe("flan_palm_540b").steps
        assert made.total_flops == pytest.approx(
            misprint.finetuning_flops, rel=0.03
        )
        assert pretraining > 9 * published.pretraining_flops
        expected = published.finetuning_flops
    tokens = steps * its.batch_size * 2560
    assert rule_flops(made.job.family, its.nominal, tokens) == pytest.approx(
        expected, rel=0.03
    )
    assert made.total_flops == made.flops_per_step * its.steps
    assert ("misprint" in made.as_dict()["published"]) == bool(misprint)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("flan_t5_small", 76_961_152),
        ("flan_t5_base", 247_577_856),
        ("flan_t5_large", 783_150_080),
        ("flan_t5_xl", 2_849_757_184),
        ("flan_t5_xxl", 11_135_332_352),
        ("flan_palm_8b", 8_632_012_800),
        ("flan_palm_62b", 62_495_662_080),
        ("flan_palm_540b", 540_356_474_880),
    ],
)
def test_parameters_are_those_of_the_checkpoints(name, parameters):
    assert plan(name).parameters == parameters


def test_counted_operations_by_hand_and_their_growth():
    """A forward pass of PaLM is two operations a weight, and attention."""
    size = ModelSize(**TINY)
    parts = forward_flops("palm", size, 48, 16)
    kernels = sum(
        w.numbers
        for w in weights("palm", size)
        if w.part in ("attention", "feedforward", "embedding")
    )
    products = 2 * (2 * 64 * 64) * size.attention_dim * size.num_layers
    assert sum(parts.values()) == 2 * 64 * kernels + products
    longer = forward_flops("palm", size, 96, 32)
    assert longer["attention_products"] == 4 * parts["attention_products"]
    assert longer["feedforward"] == 2 * parts["feedforward"]
    wider = size.model_copy(
        update={"hidden_dim": 512, "intermediate_dim": 768, "num_heads": 12}
    )
    wide = forward_flops("t5", wider, 48, 16)
    narrow = forward_flops("t5", size, 48, 16)
    assert wide["attention_projections"] == 4 * narrow["attention_projections"]
    assert wide["attention_products"] == 2 * narrow["attention_products"]
    assert wide["logits"] == 2 * narrow["logits"]


@pytest.mark.parametrize("preset", list(PRESETS))
def test_bytes_of_weights_are_those_of_the_layouts(preset):
    """Of a real model, looked up weight by weight."""
    from keras_flan.distribution import build_abstract, layout_map
    from keras_flan.models import PaLMBackbone
    from keras_flan.training import Adafactor
    from keras_flan.training.adafactor import factorings

    mesh = Mesh("batch=4,model=8")
    sizes = {**TINY, "head_dim": 16}
    del sizes["key_value_dim"]
    model = build_abstract(lambda: PaLMBackbone(**sizes))
    layouts = layout_map(lambda: model, mesh, preset)
    found = layouts.found.values()
    size = ModelSize(**TINY)
    assert sum(v.bytes_per_device(mesh) for v in found) == 4 * sum(
        numbers_per_device(w, PRESETS[preset], mesh)
        for w in weights("palm", size)
    )
    # Adafactor's slots, on one device.
    variables = model.trainable_variables
    least = Adafactor().min_dim_to_factor
    slots = 0
    for variable, its in zip(
        variables, factorings(variables, least), strict=True
    ):
        shape = tuple(variable.shape)
        kept = [(*its.layers, *its.rows), (*its.layers, *its.columns)]
        if not its.rows:
            kept = [range(len(shape))]
        slots += sum(math.prod(shape[i] for i in axes) for axes in kept)
    one = Mesh("batch=1")
    assert slots == sum(
        moments_per_device(w, PRESETS[preset], one)
        for w in weights("palm", size)
    )


def test_what_splits_what():
    base = plan("flan_palm_8b", "v4:2x2x4", "batch=8,model=4").memory
    wide = plan("flan_palm_8b", "v4:2x2x4", "batch=4,model=8").memory
    assert wide.weights == pytest.approx(base.weights, rel=0.1)
    whole = plan("flan_palm_8b", "v4:2x2x4", "batch=8,model=4", **WHOLE)
    assert whole.memory.activations > 5 * base.activations
    data = plan("flan_palm_8b", "v4:2x2x4", "batch=32", **DATA)
    assert data.memory.weights == 4 * data.parameters
    assert not data.collectives["activations"]


# Jobs that do not fit.
TOO_LARGE = (
    "flan_palm_540b --topology v4:4x4x4",
    "flan_palm_62b --mesh batch=2,model=4",
    "flan_t5_xxl --topology v5e:2x4 --no-remat",
    "flan_t5_xl --mesh batch=8 --layout data",
    # More parts than rows.
    "flan_palm_8b --topology v4:4x4x4 --mesh batch=128",
    # Everything against it.
    "flan_palm_62b --layout data --topology v4:4x4x4 --no-remat "
    "--mesh batch=32,model=4 --loss-chunk 0",
    "flan_t5_xxl --layout model --no-remat --no-sequence "
    "--mesh batch=2,model=4 --loss-chunk 0 --attention-chunk 0 --batch 512",
    # On the largest slice.
    "flan_palm_62b --topology v5e:16x16 --batch 8192",
)


@pytest.mark.parametrize("arguments", TOO_LARGE)
def test_advice_that_is_followed_fits(arguments):
    arguments = ["--preset", *arguments.split()]
    made = command(*arguments)
    assert not made["fits"] and made["problem"] and made["advice"]
    options = [o for step in made["advice"] for o in step["options"]]
    assert [step["fits"] for step in made["advice"][:-1]] == [False] * (
        len(made["advice"]) - 1
    )
    # Options given twice: the last one counts.
    followed = command(*arguments, *options)
    assert followed["fits"] and not followed["advice"]
    assert (
        followed["bytes_per_device"]["total"]
        == made["advice"][-1]["bytes_per_device"]
    )


def test_advice_is_taken_by_train_for_every_key(tmp_path):
    """Also where the YAML has no section `distribution`."""
    path = tmp_path / "x.yaml"
    path.write_text("output: run\nmixture: cot_only\nvocabulary: v.model\n")
    seen = set()
    for arguments in TOO_LARGE:
        made = command("--preset", *arguments.split())
        pasted = [o for step in made["advice"] for o in step["overrides"]]
        config = TrainConfig.from_yaml(path, pasted)
        # Of a key that is given twice the last one counts.
        for key, value in dict(o.split("=", 1) for o in pasted).items():
            seen.add(key)
            section, name = key.split(".")
            taken = getattr(getattr(config, section), name)
            assert str(taken).lower() == value, key
    # The slice is what is asked for, not a setting of the run.
    assert seen == set(OPTIONS) - {"topology"}


@pytest.mark.parametrize("preset", ["flan_t5_xl", "flan_palm_8b"])
def test_what_is_planned_is_what_train_takes(preset, tmp_path):
    made = plan(preset, "v4:2x2x4", data={"batch_size": 16})
    path = tmp_path / "x.yaml"
    path.write_text("output: run\nmixture: cot_only\nvocabulary: v.model\n")
    option, name, *overrides = made.training.split()
    assert option == "--recipe"
    config = TrainConfig.from_yaml(path, overrides, name)
    assert config.precision == "mixed_bfloat16"
    for section in ("data", "optimizer", "distribution"):
        assert getattr(config, section) == getattr(made.job, section)
    assert config.model.settings() == made.job.model.settings()
    assert config.model.init == made.job.model.init


def test_what_the_planner_does_not_know_is_refused():
    with pytest.raises(InputError, match="only Adafactor, with a batch in one"):
        plan("flan_t5_small", optimizer={"accumulate": 4})


@pytest.mark.parametrize("name", COMPILED)
def test_estimates_are_near_what_the_compiler_said(name):
    """Within 20% of the compiler; a smaller slice is too small."""
    written = COMPILED[name]
    for values in (written, written.get("decode")):
        if values is None:  # Not compiled yet.
            continue
        made = plan_job(PlannedJob.model_validate(values["job"]))
        held = values["compiler"]["bytes_per_device"]["total"]
        assert made.fits and values["compiler"]["fits"]
        assert made.memory.total == pytest.approx(held, rel=0.2)
    if "smaller" in written:
        values = written["smaller"]
        assert not plan_job(PlannedJob.model_validate(values["job"])).fits
        assert not values["compiler"]["fits"]
        assert Topology(values["job"]["topology"]).chips < made.job.slice.chips
    elif name != "flan_palm_540b":  # The paper's own slice.
        assert made.job.topology == "v4:2x2x1"  # The smallest there is.


def test_json_has_the_promised_keys():
    made = command(
        *("--preset", "flan_palm_540b", "--topology", "v4:8x8x8"),
        *("--mesh", "batch=32,model=32"),
    )
    assert made["parameters"] == 540_356_474_880
    assert made["total_flops"] == pytest.approx(5.6e21, rel=0.03)
    assert made["percent_of_pretraining"] == pytest.approx(0.22, abs=0.01)
    assert made["fits"] and made["advice"] == []
    held = made["bytes_per_device"]
    # Four bytes a parameter, on 1,024 devices.
    assert held["weights"] == pytest.approx(540e9 * 4 / 1024, rel=0.1)
    assert held["gradients"] == held["weights"]
    assert held["optimizer"] < held["weights"] / 20
    assert held["total"] >= held["weights"] + held["gradients"]
    # 37 hours in the paper; less than half the peak was used.
    assert 10 < made["hours"] < 60
    assert made["chip_hours"] == pytest.approx(512 * made["hours"])


def test_decoding_is_planned_too():
    made = command(
        *("--preset", "flan_palm_8b", "--side", "decode"),
        *("--mesh", "batch=4,model=2"),
    )
    # 32 KiB of keys and values a token (PaLM shares them): prompts once, and
    # the paths' own.
    tokens = 32 / 4 * (2048 + 8 * 512)
    assert made["bytes_per_device"]["cache"] == tokens * 32 * 1024
    assert made["bytes_per_device"]["gradients"] == 0
    assert made["prefill_seconds"] > 0
    assert made["bound"] in ("memory", "network", "compute")


def test_suggestions_fit_and_are_the_smallest_and_fastest():
    found = suggest_plans("flan_t5_xl", "v4", max_chips=64)
    smallest, fastest = found["smallest"], found["fastest"]
    assert smallest.fits and fastest.fits
    assert smallest.job.slice.chips <= fastest.job.slice.chips <= 64
    assert fastest.time.step <= smallest.time.step
    assert suggest_plans("flan_palm_540b", "v5e", max_chips=4) == {
        "smallest": None,
        "fastest": None,
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("flan_t5_xxxl",), "preset 'flan_t5_xxxl' is not known. Did you mean"),
        (("flan_t5_xl", "v9:2x2x1"), "chip 'v9' is not known"),
        (("flan_t5_xl", "v4:8x8"), "expected 3 sides, such as 'v4:2x2x1'"),
        (("flan_t5_xl", "v4:2x2x1", "batch=4"), "4 devices are asked for"),
    ],
)
def test_wrong_questions_are_answered_in_one_line(arguments, message):
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        plan(*arguments)


def test_slices_count_chips_and_cores():
    assert Topology("v4:8x8x8").chips == 512
    assert Topology("v4:8x8x8").devices == 1024
    assert Topology("v5e:2x4").devices == 8
