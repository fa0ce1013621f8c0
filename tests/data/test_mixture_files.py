"""Named mixtures, tasks of the registry, missing tasks and stages."""

from pathlib import Path

import pytest

from keras_flan.data.mixtures.files import library_mixtures
from keras_flan.data.mixtures.mixture import Mixture
from keras_flan.data.mixtures.task_registry import registry_tasks, sub_mixtures
from keras_flan.data.records.example import Example
from keras_flan.data.records.writing import write_records
from keras_flan.data.templates.families import Format
from keras_flan.errors import InputError
from keras_flan.schema import read_yaml

SCALING = {"scaling_9": 9, "scaling_89": 89, "scaling_282": 282}


def write(path, count=20, templates="generic"):
    fields = ("question", "answer", "rationale")
    if templates in ("natural_instructions", "t0"):
        fields = ("definition", "inputs", "targets")
    examples = [Example(dict.fromkeys(fields, "x"), "t")] * count
    write_records(examples, path, name=path.name, templates=templates)


@pytest.fixture
def records(tmp_path):
    """Some tasks of each sub-mixture but T0-SF."""
    folder = tmp_path / "records"
    write(folder / "rte", 30)
    write(folder / "sst2", 10)
    write(folder / "gsm8k", 40, "gsm8k")
    for number, count in ((1, 5), (2, 15)):
        for task in registry_tasks("niv2"):
            if task.name.startswith(f"task00{number}_"):
                write(folder / task.name, count, "natural_instructions")
    held_out = next(t for t in registry_tasks("niv2") if t.held_out)
    write(folder / held_out.name, 50, "natural_instructions")
    return folder


def skipped(mixture):
    return {g["name"]: len(g["skipped"]) for g in mixture.summary()["groups"]}


def test_paper_b_with_missing_tasks(records):
    mixture = Mixture.from_yaml("flan2022_paper_b", records, "skip")
    rates = mixture.rates()
    # T0-SF has no task at all: the others share its 27.9%.
    total = 46 + 1.8 + 24.2
    assert rates["rte"] == pytest.approx(46 / total * 30 / 40)
    assert rates["gsm8k"] == pytest.approx(1.8 / total)
    assert sum(rates.values()) == pytest.approx(1)
    assert sorted(name[:7] for name in rates if name[0] == "t") == [
        "task001",
        "task002",
    ]
    groups = {g["name"]: g for g in mixture.summary()["groups"]}
    assert groups["t0_sf"]["proportion"] == 0
    assert groups["t0_sf"]["stated"] == pytest.approx(27.9 / 99.9)
    assert groups["niv2"]["proportion"] == pytest.approx(24.2 / total)
    assert skipped(mixture) == {
        "muffin": 78,
        "t0_sf": 193,
        "cot": 8,
        "niv2": 1554,
    }
    assert [group.name for group in mixture.groups] == ["muffin", "cot", "niv2"]


def test_missing_tasks_are_an_error_by_default(records, tmp_path):
    with pytest.raises(
        InputError,
        match=r"groups\.muffin\.tasks\.0: 78 of the 80 tasks of 'muffin' have "
        r"no records in .*, such as 'aeslc'.*missing: skip",
    ):
        Mixture.from_yaml("flan2022_paper_b", records)
    with pytest.raises(InputError, match="none of its 9 tasks has records"):
        Mixture.from_yaml("cot_only", tmp_path / "none", "skip")


def test_names_of_the_library(tmp_path, monkeypatch, records):
    with pytest.raises(InputError, match=r"no mixture 'cot_onyl'.*'cot_only'"):
        Mixture.from_yaml("cot_onyl")
    # Without a folder, `records` here.
    monkeypatch.chdir(tmp_path)
    mixture = Mixture.from_yaml("cot_only", missing="skip")
    assert mixture.rates() == {"gsm8k": 1.0}


@pytest.mark.parametrize("name", library_mixtures())
def test_library_mixtures_are_those_of_the_paper(name, records):
    mixture = Mixture.from_yaml(name, records, "skip")
    for group in mixture.summary()["groups"]:
        about = sub_mixtures().get(group["name"])
        for task in group["tasks"]:
            assert about is None or task["cap"] == about.cap
    if name in SCALING:
        tasks = len(mixture.tasks) + sum(skipped(mixture).values())
        assert tasks == SCALING[name]


def test_library_states_the_proportions_of_the_paper(records):
    stated = {
        "flan2022_paper_a": {"muffin": 52, "t0_sf": 15, "cot": 3, "niv2": 30},
        "flan2022_paper_b": {
            **{"muffin": 46, "t0_sf": 27.9, "cot": 1.8, "niv2": 24.2}
        },
        "flan2022_release": {
            **{"flan2021": 40, "t0": 32, "niv2": 20, "cot": 5, "dialog": 3}
        },
        "scaling_89": {"muffin": 52, "cot": 3},
        "scaling_282": {"muffin": 52, "cot": 3, "t0_sf": 15},
    }
    for name, shares in stated.items():
        mixture = Mixture.from_yaml(name, records, "skip")
        total = sum(shares.values())
        assert {
            group["name"]: pytest.approx(group["stated"])
            for group in mixture.summary()["groups"]
        } == {group: share / total for group, share in shares.items()}


def test_release_turns_examples_around_at_a_weight_of_0_3(records):
    mixture = Mixture.from_yaml("flan2022_release", records, "skip")
    [cot] = [part for part in mixture.tasks if part.task.name == "gsm8k"]
    assert cot.formats == pytest.approx(
        {
            Format.zero_shot_cot: 1 / 2.6,
            Format.few_shot_cot: 1 / 2.6,
            Format.zero_shot_inverted: 0.3 / 2.6,
            Format.few_shot_inverted: 0.3 / 2.6,
        }
    )


def make(tmp_path, text):
    path = tmp_path / "m.yaml"
    path.write_text("records: records\n" + text)
    return path


def test_stages(tmp_path, records):
    path = make(
        tmp_path,
        "missing: skip\n"
        "stages:\n"
        "- {steps: 500, groups: {direct: {tasks: [rte, nothing]}}}\n"
        "- {steps: 20, mixture: cot_only}\n"
        "- groups: {all: {tasks: '*'}}\n",
    )
    mixture = Mixture.from_yaml(path)
    assert [stage.steps for stage in mixture.stages] == [500, 20, None]
    assert [list(stage.rates()) for stage in mixture.stages[:2]] == [
        ["rte"],
        ["gsm8k"],
    ]
    assert len(mixture.stages[2].tasks) == 6
    summary = mixture.summary()
    assert [stage["name"] for stage in summary["stages"]] == [
        "m, stage 1",
        "m, stage 2",
        "m, stage 3",
    ]
    assert summary["stages"][0]["groups"] == summary["groups"]
    assert summary["stages"][0]["groups"][0]["skipped"] == ["nothing"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stages: []", "stages: found"),
        ("name: x", "groups: give this key, or mixture"),
        (
            "stages: [{steps: 3, groups: {a: {tasks: [rte]}}}]",
            "stages.0.steps: the last stage lasts to the end",
        ),
        (
            "stages: [{mixture: cot_only}, {mixture: no_cot}]",
            "stages.0.steps: this key is missing",
        ),
        (
            "stages: [{steps: 0, mixture: cot_only}, {mixture: no_cot}]",
            "stages.0.steps: found 0",
        ),
        ("stages: [{steps: 3}]", "stages.0: give either groups or a mixture"),
        ("stages: [{mixture: cot_onyl}]", "no mixture 'cot_onyl'"),
        (
            "groups: {a: {tasks: {registry: nvi2}}}",
            "groups.a.tasks.0.registry: no sub-mixture 'nvi2'",
        ),
        (
            "groups: {a: {tasks: {registry: cot, cap: 3}}}",
            "groups.a.tasks.0: `registry` stands alone",
        ),
        ("missing: ignore", "missing: 'ignore' is not one of the allowed"),
    ],
)
def test_bad_files_name_the_key(text, message, tmp_path, records):
    with pytest.raises(InputError) as error:
        Mixture.from_yaml(make(tmp_path, text + "\n"))
    assert message in str(error.value)


def test_stages_in_python_need_steps(records):
    mixture = Mixture.from_yaml("cot_only", records, "skip")
    with pytest.raises(InputError, match=r"`steps`.*belong together"):
        Mixture("m", mixture.groups, steps=3)
    with pytest.raises(InputError, match=r"`steps`.*belong together"):
        Mixture("m", mixture.groups, then=mixture)
    with pytest.raises(InputError, match="at least 1"):
        Mixture("m", mixture.groups, steps=0, then=mixture)


def test_library_files_hold_no_other_keys():
    from keras_flan.data.mixtures.files import LIBRARY

    for name in library_mixtures():
        config = read_yaml(LIBRARY / f"{name}.yaml")
        assert config["name"] == name
        assert set(config) == {"name", "groups", "flan_rounds"}
        assert config["flan_rounds"] is True


def test_tasks_have_splits_and_folders_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path.parent)

    def put(folder, name, split, count):
        example = Example({"question": "q", "answer": "a"}, name)
        write_records(
            [example] * count,
            tmp_path / folder,
            name=name,
            split=split,
            templates="generic",
        )

    put("records/a", "a", "train", 3)
    put("records/a/dev", "a", "dev", 4)
    put("records/b/dev", "b", "dev", 5)
    # Many that were imported into a folder of their own.
    put("records/niv2/task1", "task1", "train", 6)
    put("records/niv2/task2", "task2", "train", 7)
    put("more/c/dev", "c", "dev", 8)
    # Relative paths are to the file, wherever one works.
    file = Path(tmp_path.name, "m.yaml")

    def sizes(tasks):
        file.write_text(
            "records: records\ngroups: {all: {formats: {zero_shot_direct: 1}, "
            f"tasks: {tasks}}}}}"
        )
        mixture = Mixture.from_yaml(file)
        return {p.task.name: p.task.num_examples for p in mixture.tasks}

    assert sizes('"*"') == {"a": 3, "task1": 6, "task2": 7}
    assert sizes("[a, {name: b, split: dev}]") == {"a": 3, "b": 5}
    assert sizes("[{name: a, split: dev}, task2]") == {"a": 4, "task2": 7}
    assert sizes('[{name: "*", records: more, split: dev}]') == {"c": 8}
    assert sizes('[a, {name: "*", split: dev}]') == {"a": 3, "b": 5}
    assert sizes('[{name: "*", records: records/niv2}]') == {
        **{"task1": 6, "task2": 7}
    }
    with pytest.raises(InputError, match="the task 'c', split 'dev'"):
        sizes("[{name: c, split: dev}]")
    with pytest.raises(InputError, match="`registry` stands alone"):
        sizes("[{registry: cot, split: dev}]")
    put("records/other/a", "a", "train", 3)
    with pytest.raises(InputError, match="two folders are of the task 'a'"):
        sizes("[a]")


def test_rounds_are_those_of_the_groups_unless_the_file_says(records, tmp_path):
    file = tmp_path / "m.yaml"
    write(records / "rte", 37)
    for line, used in (
        ("mixture: flan2022_paper_b", 30),
        ("mixture: flan2022_paper_b\nflan_rounds: false", 37),
        ("groups: {a: {tasks: [rte]}}", 37),
        ("flan_rounds: true\ngroups: {a: {tasks: [rte]}}", 30),
    ):
        file.write_text(f"records: {records}\nmissing: skip\n{line}\n")
        [part] = [
            p for p in Mixture.from_yaml(file).tasks if p.task.name == "rte"
        ]
        assert part.task.num_usable == used
