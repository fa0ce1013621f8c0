import json

import pytest
from typer.testing import CliRunner

from keras_flan import cli
from keras_flan.data.importers.base import parse_exact_json
from keras_flan.errors import InputError
from tests.data.mutations import lines


def test_tsv(imported):
    text = 'a\tb\n"x\ty"\n1\t2\t3\n \t\n'
    _, rows, reasons = imported("tsv", "t.tsv", text)
    assert rows == [{"a": '"x', "b": 'y"'}]
    # A line of blanks only is no row.
    assert reasons == ["expected 2 columns, found 3"]


def test_columns_by_number(imported):
    columns = {"question": "#2", "options": ["#3", "#1"]}
    _, rows, reasons = imported(
        "tsv", "t.tsv", "a\tb\tc\nd\te\nf\tg\th\ti\nj\tk\tl\n", columns=columns
    )
    assert rows == [
        {"question": "b", "options": "c\na"},
        {"question": "k", "options": "l\nj"},
    ]
    assert reasons == [
        "expected 3 columns, found 2",
        "expected 3 columns, found 4",
    ]
    with pytest.raises(InputError, match=r"no '#4'\. Choose from: #1, #2"):
        imported("tsv", "t.tsv", "a\tb\tc\n", columns={"q": "#4"})
    _, rows, _ = imported("csv", "t.csv", '"a,b",c\n', columns={"x": "#1"})
    assert rows == [{"x": "a,b"}]


@pytest.mark.parametrize(
    ("format", "text", "columns", "message"),
    [
        ("tsv", "a b\tc\n1\t2\n", None, r"'a b' can't be the name of a field"),
        ("csv", "a,b\n1,2\n", {"q": "#1", "x": "b"}, r"no column '#1'"),
        ("csv", "a,b\n1,2\n", {"q x": "a"}, r"'q x' can't be the name"),
        ("csv", "a,b\n1,2\n", {"q": ["a", "b"]}, "only 'options' can have se"),
        ("csv", "a\nb\rc\n", None, r":2: not CSV \(new-line character"),
        ("json", "{}", None, "or an object with one such list, found an obj"),
        ("json", '{"a": [{}], "b": [{}]}', None, "an object with the keys"),
        ("json", '{"a": 1}\n{"a": 2}', None, "each line has the format jsonl"),
        ("json", "3", None, "list of objects, .* found int"),
        ("json", "[1.0]", None, "expected a JSON object, found Number"),
        ("labelled-lines", "1 a\n", {"x": "lable"}, "the columns label and t"),
    ],
)
def test_bad_tables(imported, format, text, columns, message):
    with pytest.raises(InputError, match=message):
        imported(format, "x", text, columns=columns)


def test_json(imported):
    items = [{"q": "a", "n": 3, "f": 1.50}, {"q": "b"}, 3]
    text = json.dumps({"canary": "x", "examples": items}, indent=1)
    text = text.replace("1.5", "1.50")
    info, rows, reasons = imported("json", "coins.json", text)
    assert info["name"] == "coins"
    # A number is spelt as in the file.
    assert rows == [{"q": "a", "n": "3", "f": "1.50"}, {"q": "b"}]
    assert reasons == ["expected a JSON object, found int"]


def test_nested_columns(imported):
    row = {"a": {"b": [{"c": "x"}, {"c": "y"}]}, "a.b": "flat", "l": ["m", 2]}
    for column, value in [
        ("a.b", "flat"),
        ("a.b.1.c", "y"),
        ("l.1", "2"),
        ("a.b.c", None),
        ("a.b.2.c", None),
        ("a.x", None),
        ("a", None),
    ]:
        text = lines(row, {"ok": "1"} if value is None else row)
        columns = {"q": column}
        if value is None:
            with pytest.raises(InputError):
                imported("jsonl", "x.jsonl", text, columns=columns)
        else:
            _, rows, _ = imported("jsonl", "x.jsonl", text, columns=columns)
            assert rows[0] == {"q": value}
    columns = {"options": "a.b.c"}
    del row["a.b"]
    _, rows, _ = imported("jsonl", "x.jsonl", lines(row), columns=columns)
    assert rows == [{"options": "x\ny"}]


def test_what_json_takes_in_silence(imported):
    text = '{"q": "a", "q": "b"}\n{"q": NaN}\n{"q": "c"}\n'
    _, rows, reasons = imported("jsonl", "x.jsonl", text)
    assert rows == [{"q": "c"}]
    assert reasons == [
        "not JSON (the key 'q' is given twice)",
        "not JSON (NaN is not a JSON number)",
    ]
    assert parse_exact_json('{"a": 1e3}')["a"] == 1000


def test_labelled_lines(imported):
    text = "0 bad film \n1  good\n1\n 1 x\n2 so so\n"
    _, rows, reasons = imported("labelled-lines", "x.train", text)
    assert rows[:2] == [
        {"label": "0", "text": "bad film"},
        {"label": "1", "text": "good"},
    ]
    assert reasons == ["expected a label, one blank and a text"] * 2


def test_names_of_labels(imported):
    options = {
        "columns": {"question": "text", "answer": "label"},
        "labels": {"0": "bad", "1": "good"},
    }
    text = "0 x\n1 y\n2 z\n"
    _, rows, reasons = imported("labelled-lines", "x", text, **options)
    assert rows == [
        {"question": "x", "answer": "bad", "options": "bad\ngood"},
        {"question": "y", "answer": "good", "options": "bad\ngood"},
    ]
    assert reasons == ["expected a label of 0, 1, found '2'"]
    text = lines({"q": "a", "options": ["x", "y"], "answer": 1})
    _, rows, _ = imported("jsonl", "x", text, labels={"1": "y"})
    assert rows == [{"q": "a", "options": "x\ny", "answer": "y"}]
    with pytest.raises(InputError, match="there is no field 'answer'"):
        imported("labelled-lines", "x", "0 x\n", labels={"0": "bad"})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--map", "q"], "--map: expected FIELD=COLUMN, found 'q'"),
        (["--label", "=a"], "--label: expected NAME=VALUE, found '=a'"),
        (["--label", "0=a", "--label", "0=b"], "--label: '0' is given twice"),
        (["--map", "q=a", "--map", "q=b"], "'q' has the columns a, b; only"),
    ],
)
def test_wrong_arguments(files, tmp_path, arguments, message):
    path = files("x.csv", "a,b\n1,2\n")
    run = CliRunner().invoke(
        cli.app,
        ["import", "csv", str(path), "--output", str(tmp_path), *arguments],
    )
    assert message in str(run.exception)


def test_columns_are_joined_by_a_pattern(imported):
    text = "title,body,the label\nA,b,1\nC,,2\n"
    columns = {
        "question": "{title}{body?: {body}?}?",
        "answer": "<{the label}>",
    }
    _, rows, _ = imported("csv", "t.csv", text, columns=columns)
    assert rows == [
        {"question": "A: b?", "answer": "<1>"},
        {"question": "C?", "answer": "<2>"},
    ]
    lines = '{"a": {"b": 1.50}}\n{"a": {"b": "x"}, "c": null}\n{"c": "y"}\n'
    columns = {"question": "{a.b}{c? {c}?}"}
    _, rows, reasons = imported("jsonl", "t.jsonl", lines, columns=columns)
    assert [row["question"] for row in rows] == ["1.50", "x"]
    assert reasons == ["no 'a.b'. Choose from: c."]
    for pattern, message in (
        ("{titel}", r"no column 'titel'.*Did you mean 'title'"),
        ("{title", "--map: single '{'"),
    ):
        with pytest.raises(InputError, match=message):
            imported("csv", "t.csv", text, columns={"question": pattern})
