"""`keras-flan templates check`."""

import json

import pytest
from typer.testing import CliRunner

from keras_flan.cli import app
from keras_flan.data.analysis.template_check import review_templates
from keras_flan.data.records.example import Example
from keras_flan.data.records.writing import write_records

FAMILY = """\
family: own
fields: [question, hint, label, answer, spare]
zero_shot_direct:
- {input: "{question}", target: "{answer}"}
- {input: "{question} ({hint})", target: "{answer}"}
- {input: "{question}{hint? ({hint})?}", target: "{answer}"}
- {input: "{question}", target: "{answer}."}
- {input: "{answer} {question}", target: "{answer}"}
- {input: "{label}: {question}", target: "{answer}"}
zero_shot_cot:
- {input: "{question}", target: "{hint} {missing?{missing}?}{answer}"}
few_shot_direct:
- {input: "{question}", target: "{answer}", style: bare}
- {input: "{question}", target: "{answer}", style: bare}
"""


@pytest.fixture
def files(tmp_path):
    family = tmp_path / "own.yaml"
    family.write_text(FAMILY.replace("answer, spare", "answer, spare, missing"))
    rows = [
        {
            "question": f"What is {i}?",
            "hint": "a number" if i % 2 else " ",
            "label": f"n{i}",
            "answer": f"n{i}",
            "source": "me",
        }
        for i in range(6)
    ]
    records = tmp_path / "records"
    write_records([Example(r, "own") for r in rows], records, name="own")
    return str(family), str(records)


def test_each_template_is_shown_and_what_is_odd_is_said(files):
    family, records = files
    found = review_templates(family, records)
    assert found["rows"] == 6 and len(found["prompts"]) == 9
    shown = {(p["format"], p["template"]): p for p in found["prompts"]}
    assert shown["zero_shot_direct", 1]["inputs"] == "What is 1? (a number)"
    assert shown["zero_shot_direct", 2]["inputs"] == "What is 2?"
    few = shown["few_shot_direct", 1]
    assert (few["shots"], few["targets"]) == (2, "n1")
    part = "write {hint?...{hint}...?}, which is left out there"
    assert found["warnings"] == [
        "no template shows the field 'spare' of the family",
        "no template shows the field 'source' of the records",
        f"zero_shot_direct 1: {{hint}} is empty in 3 of 6 rows: {part}",
        "zero_shot_direct 4: the input tells {answer}",
        "zero_shot_direct 5: the input tells {label}, which is the answer in "
        "6 of 6 rows",
        "zero_shot_direct 3: its prompts are those of template 0",
        f"zero_shot_cot 0: {{hint}} is empty in 3 of 6 rows: {part}",
        "few_shot_direct 1: its prompts are those of template 0",
    ]


def test_the_library_s_families_are_clean(tmp_path):
    rows = [
        {"instruction": f"Say {i}.", "input": "" * i, "answer": f"{i} it is"}
        for i in range(4)
    ]
    write_records([Example(r, "t") for r in rows], tmp_path, name="t")
    found = review_templates("instruction_input", tmp_path)
    # Without any input, only its place differs.
    assert all("prompts are those of" in w for w in found["warnings"])


def test_the_command(files):
    family, records = files
    command = ["templates", "check", family, "--records", records]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "warning: zero_shot_direct 4: the input tells {answer}" in (
        result.output
    )
    assert "own: 9 templates, 6 rows, 8 warnings" in result.output
    result = CliRunner().invoke(app, [*command, "--json"])
    assert json.loads(result.output) == review_templates(family, records)
    listed = CliRunner().invoke(app, ["templates", "--json"])
    assert "instruction_input" in {
        f["family"] for f in json.loads(listed.output)
    }
