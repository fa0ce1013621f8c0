from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_flan.data.mixtures.mixture import Mixture, MixtureGroup
from keras_flan.data.records.example import Example
from keras_flan.data.records.writing import write_records
from keras_flan.data.templates.families import BASIC_FORMATS, Format
from keras_flan.data.templates.library import load_family
from keras_flan.data.templates.task import Task
from keras_flan.errors import InputError

FIELDS = ("question", "answer", "rationale")


def make_task(name, count, fields=FIELDS):
    family = load_family("generic")
    return Task(name, Path(name), family, "train", count, fields)


def write(path, count=20, split="train", fields=FIELDS):
    examples = [Example(dict.fromkeys(fields, "x"), "t") for _ in range(count)]
    write_records(
        examples, path, name="records", split=split, templates="generic"
    )


def test_rates_follow_the_formula():
    a, b, c = make_task("a", 1000), make_task("b", 250), make_task("c", 40)
    mixture = Mixture(
        "m",
        [
            MixtureGroup("one", [a, b], proportion=3, cap=500),
            MixtureGroup("two", [c], proportion=1),
        ],
    )
    assert mixture.rates() == pytest.approx(
        {"a": 0.75 * 500 / 750, "b": 0.75 * 250 / 750, "c": 0.25}
    )


def test_without_proportions_capped_examples_count():
    mixture = Mixture(
        "m",
        [
            MixtureGroup(
                "one",
                [make_task("a", 100), make_task("b", 100)],
                cap=60,
                caps={"b": 20},
            ),
            MixtureGroup("two", [make_task("c", 20)]),
        ],
    )
    assert mixture.rates() == pytest.approx({"a": 0.6, "b": 0.2, "c": 0.2})
    assert [part.weight for part in mixture.tasks] == [60, 20, 20]


def test_the_papers_shares_of_chain_of_thought_tasks():
    """Anchors of 2210.11416: e-SNLI is 48.4% of the CoT draws."""
    counts = {
        **{"gsm8k": 7473, "strategyqa": 2061, "creak": 6915, "qasc": 1084},
        **{"esnli": 36174, "ecqa": 7112, "sensemaking": 6070},
        **{"aqua": 2715, "qed": 5145},
    }
    tasks = [make_task(name, count) for name, count in counts.items()]
    mixture = Mixture("m", [MixtureGroup("cot", tasks, 1.0, 100_000)])
    rates = mixture.rates()
    assert rates["esnli"] == pytest.approx(0.484, abs=5e-4)
    assert rates["gsm8k"] == pytest.approx(0.100, abs=5e-4)
    assert rates["qasc"] == pytest.approx(0.0145, abs=5e-4)


@given(
    st.lists(
        st.tuples(
            st.lists(st.integers(1, 10**6), min_size=1, max_size=5),
            st.floats(1e-3, 1e3),
            st.none() | st.integers(1, 10**5),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_rates_sum_to_one_and_groups_keep_their_proportion(groups):
    mixture = Mixture(
        "m",
        [
            MixtureGroup(
                str(i),
                [make_task(f"{i}.{j}", n) for j, n in enumerate(counts)],
                proportion,
                cap,
            )
            for i, (counts, proportion, cap) in enumerate(groups)
        ],
    )
    assert sum(mixture.rates().values()) == pytest.approx(1)
    total = sum(proportion for _, proportion, _ in groups)
    for i, (_, proportion, _) in enumerate(groups):
        share = sum(p.rate for p in mixture.tasks if p.group == str(i))
        assert share == pytest.approx(proportion / total)


def test_formats_that_a_task_lacks_are_left_out():
    plain = make_task("plain", 50, ("question", "answer"))
    weights = {"zero_shot_direct": 3, "few_shot_direct": 1, "few_shot_cot": 4}
    tasks = [plain, make_task("full", 50)]
    formats = [
        part.formats
        for part in Mixture(
            "m", [MixtureGroup("g", tasks, formats=weights)]
        ).tasks
    ]
    assert formats[0] == {
        Format.zero_shot_direct: 0.75,
        Format.few_shot_direct: 0.25,
    }
    assert formats[1][Format.few_shot_cot] == 0.5
    group = MixtureGroup("g", [plain], formats={"zero_shot_cot": 1})
    with pytest.raises(InputError, match="'plain' can be asked in zero_shot_d"):
        Mixture("m", [group])


def test_no_shots_no_few_shot_formats():
    mixture = Mixture("m", [MixtureGroup("g", [make_task("a", 50)])], shots=0)
    assert set(mixture.tasks[0].formats) == {
        Format.zero_shot_direct,
        Format.zero_shot_cot,
    }


def test_groups_must_make_sense():
    a, b = make_task("a", 5), make_task("b", 5)
    for groups, message in (
        ([], "at least one group"),
        ([MixtureGroup("g", [])], "the group 'g' has no tasks"),
        ([MixtureGroup("g", [a]), MixtureGroup("h", [a])], "'a' .* twice"),
        (
            [MixtureGroup("g", [a], 1.0), MixtureGroup("h", [b])],
            "the group 'h' has no proportion",
        ),
    ):
        with pytest.raises(InputError, match=message):
            Mixture("m", groups)


def test_from_yaml(tmp_path):
    write(tmp_path / "records" / "plain")
    write(tmp_path / "records" / "split" / "train", 40)
    write(tmp_path / "records" / "split" / "test", 10, "test")
    write(tmp_path / "records" / "unseen", 10, "test")
    write(tmp_path / "elsewhere" / "mine", 30)
    path = tmp_path / "mixtures" / "m.yaml"
    path.parent.mkdir()
    path.write_text(
        """\
records: ../records
shots: 2
groups:
  some:
    proportion: 1
    cap: 25
    tasks:
    - split
    - {name: other, records: ../elsewhere/mine, templates: gsm8k, cap: 15}
  rest:
    proportion: 3
    formats: {zero_shot_cot: 1}
    tasks: "*"
"""
    )
    mixture = Mixture.from_yaml(path)
    assert (mixture.name, mixture.shots) == ("m", 2)
    assert mixture.rates() == pytest.approx(
        {"split": 0.25 * 25 / 40, "other": 0.25 * 15 / 40, "plain": 0.75}
    )
    assert mixture.tasks[1].task.family.name == "gsm8k"
    assert mixture.summary() == {
        "name": "m",
        "shots": 2,
        "groups": [
            {
                "name": "some",
                "proportion": 0.25,
                "tasks": [
                    {
                        "name": name,
                        "examples": examples,
                        "usable": examples,
                        "cap": cap,
                        "weight": cap,
                        "rate": 0.25 * cap / 40,
                        "formats": dict.fromkeys(
                            [f.value for f in BASIC_FORMATS], 0.25
                        ),
                    }
                    for name, examples, cap in (
                        ("split", 40, 25),
                        ("other", 30, 15),
                    )
                ],
            },
            {
                "name": "rest",
                "proportion": 0.75,
                "tasks": [
                    {
                        "name": "plain",
                        "examples": 20,
                        "usable": 20,
                        "cap": None,
                        "weight": 20,
                        "rate": 0.75,
                        "formats": {"zero_shot_cot": 1.0},
                    }
                ],
            },
        ],
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("grups: {a: {tasks: [toy]}}", "grups: unknown key. Did you mean 'gr"),
        ("groups: {a: {task: [toy]}}", "groups.a.task: unknown key. Did you"),
        ("groups: {a: {}}", "groups.a.tasks: this key is missing; add it"),
        (
            "groups: {a: {tasks: [{name: toy, capp: 3}]}}",
            "groups.a.tasks.0.capp: unknown key. Did you mean 'cap'?",
        ),
        (
            "groups: {a: {tasks: [toy, toyy]}}",
            "groups.a.tasks.1: no records of the task 'toyy', split 'train', "
            "in {folder}/toyy. Did you mean 'toy'? Write them with "
            "`keras-flan import ... --output {folder}/toyy --split train`",
        ),
        ("split: test\ngroups: {a: {tasks: [toy]}}", "groups.a.tasks.0: no re"),
        (
            "split: test\ngroups: {a: {tasks: '*'}}",
            "groups.a.tasks.0: '*' find",
        ),
        (
            "groups: {a: {tasks: [toy], formats: {zero_shot_cott: 1}}}",
            "groups.a.formats.zero_shot_cott: 'zero_shot_cott' is not one of "
            "the allowed names. Did you mean 'zero_shot_cot'?",
        ),
        ("shots: many\ngroups: {}", "shots: found 'many'; input should be"),
        ("groups: {a: {tasks: [3]}}", "groups.a.tasks.0: found 3; expected ke"),
        ("", "expected keys and values (name, records, split, shots, missing,"),
        ("groups: {a: {tasks: [toy, toy]}}", "m: the task 'toy' is in the mix"),
        (
            "groups: {a: {tasks: [{name: toy, templates: gsm}]}}",
            "groups.a.tasks.0: no template family 'gsm' in the library. Did",
        ),
    ],
)
def test_bad_yaml_names_the_place_and_the_remedy(tmp_path, text, message):
    write(tmp_path / "records" / "toy")
    path = tmp_path / "m.yaml"
    path.write_text("records: records\n" * bool(text) + text)
    with pytest.raises(InputError) as error:
        Mixture.from_yaml(path)
    message = message.replace("{folder}", str(tmp_path / "records"))
    assert str(error.value).startswith(f"{path}: {message}")
    assert "\n" not in str(error.value)


def test_yaml_itself_may_be_broken(tmp_path):
    path = tmp_path / "m.yaml"
    path.write_text("groups:\n  a: {tasks: [x]}\n  a: {tasks: [y]}\n")
    with pytest.raises(InputError, match=r"m\.yaml:3:3: .*'a' is given twice"):
        Mixture.from_yaml(path)
    path.write_text("groups: [")
    with pytest.raises(InputError, match=r"m\.yaml:1:10: not valid YAML"):
        Mixture.from_yaml(path)
