"""Eight simulated devices do what one does."""

import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow
FAMILIES = ("palm", "llama", "t5")
ADAPTERS = ("dora", "ia3", "houlsby", "qlora")


@pytest.fixture(scope="module")
def found():
    """What `eight_devices.py` gave, by case."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tests.distribution.eight_devices"),
            *(*FAMILIES, "experts", *ADAPTERS),
        ],
        env={**os.environ, "PYTHONPATH": os.getcwd(), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(line) for line in done.stdout.splitlines())


def near(losses, expected):
    return len(losses) == len(expected) and all(
        abs(a - b) < 1e-5 for a, b in zip(losses, expected, strict=True)
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_five_steps_have_the_losses_of_one_device(found, family):
    for case in (family, f"{family} lora"):
        one = found[case].pop("one")["losses"]
        assert len(set(one)) == 5
        for preset, run in found[case].items():
            assert near(run["losses"], one), (case, preset)
    assert set(found[family]) == {"data", "fsdp", "model", "fsdp+model"}


@pytest.mark.parametrize("family", FAMILIES)
def test_kernels_have_the_losses_of_the_plain_form(found, family):
    expected = found[family]["data"]["losses"]
    for name, losses in found[f"{family} kernels"].items():
        assert near(losses, expected), name


@pytest.mark.parametrize("family", FAMILIES)
def test_devices_hold_parts_of_weights(found, family):
    embedding = "token_embedding/embeddings"
    parts = {"data": 1, "fsdp": 8, "model": 2, "fsdp+model": 8}
    for preset, expected in parts.items():
        whole, held = found[family][preset]["held"][embedding]
        assert whole == expected * held, preset
    kernels = {
        path: sizes
        for path, sizes in found[family]["fsdp+model"]["held"].items()
        if path.endswith("kernel")
    }
    # All but those of keys and values, which have less than four heads.
    for path, (whole, held) in kernels.items():
        narrow = family != "t5" and ("/key/" in path or "/value/" in path)
        assert whole == (2 if narrow else 8) * held, path


@pytest.mark.parametrize("family", FAMILIES)
def test_slots_of_adafactor_lie_as_their_weights(found, family):
    slots = found[family]["fsdp+model"]["slots"]
    name = "adafactor/token_embedding_embeddings"
    # Each of the two has lost one axis.
    both = [*slots[f"{name}_row_moment"], *slots[f"{name}_column_moment"]]
    assert sorted(both) == ["batch", "model"]


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("family", ["t5", "llama"])
def test_other_adapters_too_are_those_of_one_device(found, family, adapter):
    case = found[f"{family} {adapter}"]
    one, many = case["one"]["losses"], case["fsdp+model"]["losses"]
    assert len(set(one)) == 5 and near(many, one)
    assert case["parts"] < 1e-5


@pytest.mark.parametrize("family", FAMILIES)
def test_lora_weights_are_parts_too(found, family):
    held = found[f"{family} lora"]["fsdp+model"]["held"]
    lora = {p: s for p, s in held.items() if "lora_" in p}
    assert lora
    assert all(
        whole > part
        for path, (whole, part) in lora.items()
        if path.endswith("query/lora_a") or path.endswith("output/lora_b")
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_checkpoints_go_on_on_other_meshes(found, family):
    """Saved on 2 x 4 devices, restored on one and on 4 x 2."""
    expected = found[family]["fsdp+model"]["losses"][3:]
    for mesh in ("one", "4x2"):
        assert near(found[f"{family} checkpoints"][mesh], expected), mesh
    profile = found[f"{family} checkpoints"]["profile"]
    assert profile["steps"] == [2, 3]
    assert 0 < profile["collective"] <= 1


@pytest.mark.parametrize("family", FAMILIES)
def test_paths_are_those_of_one_device(found, family):
    one, many = found[f"{family} paths"].values()
    assert len(one) == 12
    assert [path[:3] for path in many] == [path[:3] for path in one]
    assert near([path[3] for path in many], [path[3] for path in one])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_that_cannot_be_shared_out_is_named(found, family):
    for said in found[f"{family} short"]:
        assert said.startswith("a batch of 5 rows: the mesh shares")
        assert "over 8;" in said
    assert len(found[f"{family} short"]) == 2


@pytest.mark.parametrize("family", FAMILIES)
def test_target_tokens_of_all_parts_weigh_the_same(found, family):
    assert found[f"{family} parts"] < 1e-6


def test_experts_on_eight_devices_are_those_of_one(found):
    """Losses, places of weights, checkpoints and paths."""
    one = found["experts"].pop("one")["losses"]
    for preset, run in found["experts"].items():
        assert near(run["losses"], one), preset
    for preset in ("model", "fsdp+model", "experts"):
        held = found["experts"][preset]["held"]
        mesh = {"model": 2, "fsdp+model": 8, "experts": 4}[preset]
        parts = [s for path, s in held.items() if path.endswith("experts/into")]
        assert parts
        assert all(whole == mesh * part for whole, part in parts)
    expected = found["experts"]["fsdp+model"]["losses"][3:]
    for mesh in ("one", "4x2"):
        assert near(found["experts checkpoints"][mesh], expected), mesh
    one, many = found["experts paths"].values()
    assert [path[:3] for path in many] == [path[:3] for path in one]
