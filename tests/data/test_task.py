import dataclasses

import pytest

from keras_flan.data.importers import import_file
from keras_flan.data.records.example import Example
from keras_flan.data.records.writing import write_records
from keras_flan.data.templates.families import BASIC_FORMATS, Format
from keras_flan.data.templates.task import Task
from keras_flan.errors import InputError


def make(path, count=23, fields=("question", "answer", "rationale"), **options):
    examples = (
        Example({field: f"{field} {i}" for field in fields}, "toy", f"toy:{i}")
        for i in range(count)
    )
    write_records(
        examples,
        path,
        name="toy",
        **{"templates": "gsm8k", "answer_kind": "number", **options},
    )
    return path


def test_from_directory(tmp_path):
    task = Task.from_directory(make(tmp_path))
    assert (task.name, task.split, task.answer_kind) == (
        *("toy", "train", "number"),
    )
    assert task.family.name == "gsm8k"
    assert task.fields == ("answer", "question", "rationale")
    assert task.formats[:4] == BASIC_FORMATS
    assert [e.source_id for e in task.read(2)] == ["toy:0", "toy:1"]
    assert len(list(task.read())) == task.num_examples == 23


@pytest.mark.parametrize(
    ("count", "usable"), [(1, 1), (9, 9), (10, 10), (19, 10), (23, 20)]
)
def test_all_are_used_or_whole_rounds_of_templates(tmp_path, count, usable):
    task = Task.from_directory(make(tmp_path, count))
    assert task.usable(Format.zero_shot_cot) == task.num_usable == count
    task = dataclasses.replace(task, flan_rounds=True)
    assert task.usable(Format.zero_shot_cot) == task.num_usable == usable


def test_formats_follow_fields_and_number_of_examples(tmp_path):
    task = Task.from_directory(make(tmp_path, fields=("question", "answer")))
    assert task.formats == (
        Format.zero_shot_direct,
        Format.few_shot_direct,
        Format.few_shot_mixed,
    )
    with pytest.raises(InputError, match="needs the field 'rationale'"):
        task.require(Format.zero_shot_cot)
    alone = Task.from_directory(make(tmp_path, 1))
    assert alone.formats == (
        Format.zero_shot_direct,
        Format.zero_shot_cot,
        Format.zero_shot_inverted,
    )
    with pytest.raises(InputError, match="at least 2 examples, found 1"):
        alone.require(Format.few_shot_cot)


def test_templates_may_be_given(tmp_path):
    make(tmp_path, templates=None)
    assert Task.from_directory(tmp_path, "generic").family.name == "generic"
    with pytest.raises(InputError, match="the records name no templates; pass"):
        Task.from_directory(tmp_path)
    with pytest.raises(InputError, match=r"'toy' has no .*'context'"):
        Task.from_directory(tmp_path, "squad")


def test_misspelt_field(tmp_path):
    make(tmp_path, fields=("qestion", "answer"))
    with pytest.raises(InputError, match="Did you mean 'qestion'"):
        Task.from_directory(tmp_path)


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "rows", "used"),
    [
        ("aqua", 2728, 2715),
        ("creak", 6915, 6910),
        ("ecqa", 7112, 7110),
        ("gsm8k", 7473, 7470),
        ("qasc", 1084, 1080),
        ("sensemaking", 6070, 6070),
        ("strategyqa", 2061, 2060),
    ],
)
def test_the_papers_counts(realdata, tmp_path, name, rows, used):
    (source,) = (realdata / "flan_cot").glob(f"{name}_train.tsv*")
    import_file("flan-cot", source, tmp_path)
    task = dataclasses.replace(Task.from_directory(tmp_path), flan_rounds=True)
    assert (task.num_examples, task.num_usable) == (rows, used)
    assert task.formats[:4] == BASIC_FORMATS
