import json

import pytest

from keras_flan.cli.printing.data import print_mixture, print_prompts
from keras_flan.data.mixtures.inspection import inspect
from keras_flan.data.mixtures.mixture import Mixture
from keras_flan.data.records.example import Example
from keras_flan.data.records.writing import write_records
from keras_flan.data.templates.families import Format
from keras_flan.errors import InputError


@pytest.fixture
def records(tmp_path):
    for name, fields in (
        ("full", ("question", "answer", "rationale")),
        ("plain", ("question", "answer")),
    ):
        write_records(
            (
                Example({f: f"{name} {f} {i} [b]" for f in fields}, name)
                for i in range(25)
            ),
            tmp_path / name,
            name=name,
            templates="generic",
        )
    (tmp_path / "m.yaml").write_text(
        "records: .\nshots: 2\ngroups: {all: {tasks: [full, plain]}}\n"
    )
    return tmp_path


def test_a_task_is_shown_with_reasons_when_it_has_them(records):
    rows = inspect(records / "full", n=4)
    assert [row["format"] for row in rows] == ["zero_shot_cot"] * 4
    assert len({row["index"] for row in rows}) == 4
    for row in rows:
        assert row["template"] == row["index"] % 10
        assert f"full question {row['index']} [b]" in row["inputs"]
        assert f"full rationale {row['index']} [b]" in row["targets"]
    assert inspect(records / "plain", 1)[0]["format"] == "zero_shot_direct"
    assert inspect(records / "full", 1, cot=False)[0]["format"] == (
        "zero_shot_direct"
    )
    assert len(inspect(records / "full", n=100)) == 25  # All.


def test_exemplars_are_others(records):
    for row in inspect(records / "plain", n=20, shots=24):
        assert (row["format"], row["shots"]) == ("few_shot_direct", 24)
        assert row["inputs"].count(f"question {row['index']} ") == 1


def test_a_seed_gives_the_same_rows(records):
    for source in (records / "full", records / "m.yaml"):
        rows = inspect(source, n=5, shots=1, seed=1)
        assert rows == inspect(source, n=5, shots=1, seed=1)
        assert rows != inspect(source, n=5, shots=1, seed=2)


def test_a_mixture_is_drawn_at_its_rates(records):
    rows = inspect(records / "m.yaml", n=200)
    assert 60 < sum(row["task"] == "full" for row in rows) < 140
    assert {(row["task"], row["format"]) for row in rows} == {
        ("full", "zero_shot_direct"),
        ("full", "zero_shot_cot"),
        ("full", "few_shot_direct"),
        ("full", "few_shot_cot"),
        ("plain", "zero_shot_direct"),
        ("plain", "few_shot_direct"),
    }
    for row in rows:
        assert row["shots"] == (2 if "few" in row["format"] else 0)
    cot = inspect(records / "m.yaml", n=20, shots=1, cot=True)
    assert {(row["format"], row["shots"]) for row in cot} == {
        ("few_shot_cot", 1)
    }


def test_what_cannot_be_shown_says_so(records):
    with pytest.raises(InputError, match="needs the field 'rationale'"):
        inspect(records / "plain", cot=True)
    with pytest.raises(InputError, match="in the folders below: full, plain;"):
        inspect(records)
    with pytest.raises(InputError, match="no such file"):
        inspect(records / "none")
    (records / "m.yaml").write_text(
        "records: .\ngroups: {all: {tasks: [plain]}}\n"
    )
    with pytest.raises(InputError, match="no prompts of this kind; the mix"):
        inspect(records / "m.yaml", cot=True)


def test_printing_keeps_brackets_and_fits(records, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    print_prompts(inspect(records / "full", n=1, shots=1))
    out = capsys.readouterr().out
    assert "[b]" in out
    assert "1-shot" in out
    summary = Mixture.from_yaml(records / "m.yaml").summary()
    json.dumps(summary)
    print_mixture(summary)
    out = capsys.readouterr().out
    assert "50.00%" in out
    assert max(map(len, out.split("\n"))) <= 80


def test_a_table_of_many_formats_keeps_the_names(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    names = [format.value for format in Format]
    formats = dict.fromkeys(names, 0.1)
    task = {"examples": 7473, "usable": 7470, "cap": None, "rate": 1.0}
    task = {"name": "gsm8k", "formats": formats, **task}
    print_mixture(
        {
            "name": "all",
            "groups": [{"name": "cot", "proportion": 1.0, "tasks": [task]}],
        }
    )
    printed = capsys.readouterr().out
    assert "gsm8k" in printed
    assert printed.count("10%") == len(names)
