"""CodeXGLUE's files, as the benchmark publishes them, in small."""

import json

import pytest

from keras_flan.data.importers import import_file, import_source
from keras_flan.data.records.shards import read_records
from keras_flan.errors import InputError

ADD = "def add(a, b):\n    return a + b"


def write(path, *rows):
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def imported(format, path, output):
    info = import_file(format, path, output)
    return info, [example.fields for example in read_records(output)]


def test_descriptions_and_programs(tmp_path):
    documented = (
        'def add(a, b):\n    r"""Adds two numbers."""\n    return a + b'
    )
    path = write(
        tmp_path / "python.jsonl",
        {"docstring": "Adds two numbers.", "code": documented,
         "language": "python"},
        {"nl": "Adds two numbers .", "code": ADD},
        {"docstring": "Other.", "code": documented},
        {"docstring": "All.", "code": '"""All."""'},
        {"nl": " ", "code": ADD},
    )  # fmt: skip
    info, rows = imported("code_synthesis", path, tmp_path / "out")
    assert (info["name"], info["templates"]) == ("python", "program_synthesis")
    # The text that the program is written from is not in the program.
    assert [row["code"] for row in rows] == [ADD, ADD, documented]
    assert rows[0]["question"] == "Adds two numbers."
    assert rows[0]["language"] == "python"
    rejects = (tmp_path / "out" / "rejects.jsonl").read_text()
    assert "is the docstring alone" in rejects and "'nl' is empty" in rejects


def test_pairs_of_files_and_their_splits(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    for split in ("train", "valid"):
        for key, sign in (("buggy", "-"), ("fixed", "+")):
            lines = [f"a {sign} {split}", "same"]
            file = folder / f"{split}.buggy-fixed.{key}"
            file.write_text("\n".join(lines) + "\n")
    done = import_source("code_repair", folder, tmp_path / "out")
    assert [(i["name"], i["split"]) for i in done.tasks] == [
        ("code_repair", "train"),
        ("code_repair", "validation"),
    ]
    assert [i["num_rejected"] for i in done.tasks] == [1, 1]
    [row] = read_records(tmp_path / "out" / "code_repair" / "validation")
    assert row.fields == {"code": "a - valid", "fix": "a + valid"}
    (folder / "valid.buggy-fixed.fixed").write_text("a\n")
    done = import_source("code_repair", folder, tmp_path / "again")
    assert [info["split"] for info in done.tasks] == ["train"]
    [problem] = done.rejected
    assert "1 lines, but valid.buggy-fixed.buggy has 2" in problem["reason"]
    (folder / "valid.buggy-fixed.fixed").unlink()
    with pytest.raises(InputError, match=r"no file that ends with \.fixed is"):
        import_source("code_repair", folder, tmp_path / "no")
    with pytest.raises(InputError, match=r"expected files such as train\.java"):
        import_source("code_translation", folder, tmp_path / "no")


def test_translation_and_defects(tmp_path):
    path = write(tmp_path / "train.jsonl", {"id": 3, "java": "a;", "cs": "b;"})
    info, [row] = imported("code_translation", path, tmp_path / "out")
    assert info["templates"] == "code_translation"
    assert row == {
        "source": "a;",
        "target": "b;",
        "source_language": "Java",
        "target_language": "C#",
    }
    rows = [{"func": "f()", "target": target} for target in (1, False, 2, None)]
    path = write(tmp_path / "devign.jsonl", *rows)
    info, rows = imported("code_defects", path, tmp_path / "defects")
    assert info["answer_kind"] == "yes_no" and info["num_rejected"] == 2
    assert [row["answer"] for row in rows] == ["yes", "no"]
