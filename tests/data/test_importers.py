import gzip
import json

import pytest
from typer.testing import CliRunner

from keras_flan import cli
from keras_flan.data.importers import (
    IMPORTERS,
    Importer,
    Reject,
    Row,
    Source,
    describe_formats,
    import_file,
    import_source,
    task_name,
)
from keras_flan.data.records.info import read_info
from keras_flan.data.records.shards import read_records
from keras_flan.errors import InputError


def jsonl(*rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def fields_of(folder):
    return [example.fields for example in read_records(folder, verify=True)]


def rejects_of(folder):
    lines = (folder / "rejects.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


# === Formats ===


def test_gsm8k(files, tmp_path):
    path = files(
        "train.jsonl.gz",
        jsonl(
            {
                "question": "How many?",
                "answer": "He has 2*3 = <<2*3=6>>6.\nSo $<<600*2=1200>>1,200.\n"
                "#### 1,200",
            },
            {"question": "No mark?", "answer": "12"},
            {"question": "No number?", "answer": "so\n#### many"},
            {"question": "No rationale?", "answer": "#### 3"},
            {"question": "", "answer": "a\n#### 3"},
            {"question": "Negative?", "answer": "So\n#### -1.5"},
        ),
    )
    info = import_file("gsm8k", path, tmp_path / "out")
    assert (info["name"], info["templates"], info["answer_kind"]) == (
        "gsm8k",
        "gsm8k",
        "number",
    )
    assert info["license"] == "MIT"
    assert info["source"].endswith("grade-school-math train.jsonl.gz")
    first, last = fields_of(tmp_path / "out")
    assert first == {
        "question": "How many?",
        "answer": "1200",
        "rationale": "He has 2*3 = 6.\nSo $1,200.",
    }
    assert last["answer"] == "-1.5"
    assert [(r["row"], r["reason"]) for r in rejects_of(tmp_path / "out")] == [
        (2, "expected 'answer' to end with a line '#### number'"),
        (3, "expected 'answer' to end with a line '#### number'"),
        (4, "expected a rationale before '####' in 'answer'"),
        (5, "the text under 'question' is empty"),
    ]


def test_flan_cot(files, tmp_path):
    path = files(
        "qasc_train.tsv",
        'What?\\nOptions:\\n- (A) "x\t(A)\tFirst.\\nThen\u2028so.\r\n'
        "\n"
        "only\ttwo\n"
        "an\tempty\t \n"
        "2+2?\t4\tBecause.",
    )
    info = import_file("flan-cot", path, tmp_path / "out")
    assert (info["name"], info["templates"], info["answer_kind"]) == (
        "qasc",
        "qasc",
        "option",
    )
    first, last = fields_of(tmp_path / "out")
    assert first == {
        "question": 'What?\nOptions:\n- (A) "x',
        "answer": "(A)",
        "rationale": "First.\nThen\u2028so.",
    }
    assert last["rationale"] == "Because."
    assert rejects_of(tmp_path / "out") == [
        {
            "row": 3,
            "source": "qasc_train.tsv",
            "reason": "expected 3 tab-separated columns (question, answer, "
            "rationale), found 2",
            "text": "only\ttwo",
        },
        {
            "row": 4,
            "source": "qasc_train.tsv",
            "reason": "the column 'rationale' is empty",
            "text": "an\tempty\t ",
        },
    ]


def test_flan_cot_folder(files, tmp_path):
    files("creak_train.tsv.gz", "q\tyes\tr\n")
    folder = files("qasc_train.tsv", "q\t(A)\tr\n").parent
    imported = import_source("flan-cot", folder, tmp_path / "out")
    assert [info["templates"] for info in imported.tasks] == ["creak", "qasc"]
    assert fields_of(tmp_path / "out" / "qasc")[0]["answer"] == "(A)"
    with pytest.raises(InputError, match="a folder holds many tasks"):
        import_file("flan-cot", folder, tmp_path / "out")


@pytest.mark.parametrize(
    ("file", "name", "family", "kind"),
    [
        ("creak_train.tsv.gz", None, "creak", "yes_no"),
        ("ecqa_validation.tsv", None, "ecqa", "text"),
        ("aqua_train.tsv", "mine", "aqua", "option"),
        ("mine.tsv", "gsm8k", "gsm8k", "number"),
        ("mine.tsv", None, None, None),
    ],
)
def test_flan_cot_family(files, tmp_path, file, name, family, kind):
    path = files(file, "q\ta\tr\n")
    info = import_file("flan-cot", path, tmp_path / "out", name=name)
    assert info["name"] == name or info["name"] == task_name(path, "")
    assert (info["templates"], info["answer_kind"]) == (family, kind)


def test_bbh(files, tmp_path):
    examples = [
        {"input": "True and False is", "target": "False"},
        {"input": "not True is", "target": 0},
        "text",
    ]
    document = {"canary": "canary GUID 0", "examples": examples}
    path = files("boolean_expressions.json", json.dumps(document))
    info = import_file("bbh", path, tmp_path / "out", split="test")
    assert info["name"] == "boolean_expressions"
    assert info["canary"] == "canary GUID 0"
    assert (info["templates"], info["answer_kind"]) == ("bbh", "text")
    assert fields_of(tmp_path / "out") == [
        {"question": "True and False is", "answer": "False"}
    ]
    assert [r["reason"] for r in rejects_of(tmp_path / "out")] == [
        "examples[1]: expected a text under 'target', found 0",
        "examples[2]: expected a JSON object, found str",
    ]


def test_bbh_options(files, tmp_path):
    examples = [{"input": "Which?", "target": t} for t in ("(A)", "(B)", "x")]
    path = files("dates.json", json.dumps({"examples": examples}))
    info = import_file("bbh", path, tmp_path / "out")
    assert info["answer_kind"] == "option"
    assert "canary" not in info


def test_mmlu(files, tmp_path):
    path = files(
        "high_school_history_test.csv.gz",
        '"A text\nof\x85 two lines\n",1,"2,5",3,"4\r\n4",B\r\n'
        "Which?,a,b,c,d,E\n"
        "Which?,a,b,c,d\n"
        "Which?,a,,c,d,A\n"
        'Last "one",a,b,c,d,D',
    )
    info = import_file("mmlu", path, tmp_path / "out", split="test")
    assert info["name"] == "high_school_history"
    assert (info["templates"], info["answer_kind"]) == ("mmlu", "option")
    first, last = fields_of(tmp_path / "out")
    assert first == {
        "question": "A text\nof\x85 two lines",
        "options": "1\n2,5\n3\n4 4",
        "answer": "B",
        "subject": "high school history",
    }
    assert last["question"] == 'Last "one"'
    assert [(r["row"], r["reason"]) for r in rejects_of(tmp_path / "out")] == [
        (5, "expected A, B, C or D as answer, found 'E'"),
        (6, "expected 6 columns (question, A, B, C, D, answer), found 5"),
        (7, "the question or an option is empty"),
    ]


def test_mmlu_folder(files, tmp_path):
    files("b_test.csv", "Q1,a,b,c,d,A\n")
    folder = files("a_test.csv.gz", "Q2,a,b,c,d,B\nQ3,a,b,c,d,C\n").parent
    info = import_file("mmlu", folder, tmp_path / "out", shards=2)
    assert info["name"] == "mmlu"
    examples = list(read_records(tmp_path / "out"))
    assert [e.source_id for e in examples] == [
        "a_test.csv.gz:1",
        "a_test.csv.gz:2",
        "b_test.csv:1",
    ]
    assert [e.fields["subject"] for e in examples] == ["a", "a", "b"]
    with pytest.raises(InputError, match=r"out: .* \.csv\.gz files, found"):
        import_file("mmlu", tmp_path / "out", tmp_path / "new")


def test_squad(files, tmp_path):
    answers = [{"text": " 308 ", "answer_start": 3}, {"text": "309"}]
    qas = [
        {"id": "q1", "question": "How many?", "answers": answers},
        {"id": "q2", "question": "Who?", "answers": [], "is_impossible": True},
        {"id": "q3", "question": "Why?", "answers": [{"answer_start": 1}]},
        {"id": "q4", "answers": answers},
        {"question": "Без id?", "answers": answers},
    ]
    data = [
        {"title": "T", "paragraphs": [{"context": "Some 308.", "qas": qas}]},
        {"paragraphs": [{"qas": qas[:1]}, 3]},
        "text",
    ]
    path = files("xquad.ru.json", json.dumps({"data": data}))
    info = import_file("squad", path, tmp_path / "out")
    assert (info["name"], info["templates"], info["answer_kind"]) == (
        "xquad.ru",
        "squad",
        "text",
    )
    first, second, third = read_records(tmp_path / "out")
    ids = [e.source_id for e in (first, second, third)]
    assert ids == ["q1", "q2", "xquad.ru.json:5"]
    assert first.fields == {
        "context": "Some 308.",
        "question": "How many?",
        "answer": "308",
        "title": "T",
        "references": '["308", "309"]',
    }
    assert second.fields["answer"] == "unanswerable"
    assert [r["reason"] for r in rejects_of(tmp_path / "out")] == [
        "data[0].paragraphs[0].qas[2]: expected a text under 'text', found "
        "None",
        "data[0].paragraphs[0].qas[3]: expected a text under 'question', "
        "found None",
        "data[1].paragraphs[0].qas[0]: expected a text under 'context', "
        "found None",
        "data[1].paragraphs[1].qas[0]: expected a JSON object, found int",
        "data[2].paragraphs[0].qas[0]: expected a JSON object, found str",
    ]


def test_csv(files, tmp_path):
    path = files(
        "my table.csv",
        '\ufeffQ,A,note\r\n"one, two",1,\r\nthree\r\n\r\n,,\r\n"a\nb",2,x\r\n',
    )
    info = import_file("csv", path, tmp_path / "out")
    assert (info["name"], info["templates"], info["answer_kind"]) == (
        "my_table",
        None,
        None,
    )
    assert fields_of(tmp_path / "out") == [
        {"A": "1", "Q": "one, two", "note": ""},
        {"A": "2", "Q": "a\nb", "note": "x"},
    ]
    assert [(r["row"], r["reason"]) for r in rejects_of(tmp_path / "out")] == [
        (3, "expected 3 columns, found 1"),
        (5, "all columns are empty"),
    ]
    columns = {"question": "Q", "answer": "A"}
    import_file(
        "csv", path, tmp_path / "out", columns=columns, templates="generic"
    )
    assert fields_of(tmp_path / "out")[0] == {
        "answer": "1",
        "question": "one, two",
    }


def test_jsonl(files, tmp_path):
    path = files(
        "rows.jsonl",
        jsonl(
            {"q": "ü\u2028x", "n": 3, "ok": True, "options": ["a\nb", 2]},
            {"q": "x", "n": 1.5, "ok": False, "options": "c"},
            {"q": None, "n": 1},
            {"q": {"x": 1}},
            {"q": ["a"]},
            ["q"],
            {"q": "fine"},
        )
        + '{"q": "half \\ud800"}\n{"q": \n',
    )
    import_file("jsonl", path, tmp_path / "out")
    assert fields_of(tmp_path / "out") == [
        {"n": "3", "ok": "true", "options": "a b\n2", "q": "ü\u2028x"},
        {"n": "1.5", "ok": "false", "options": "c", "q": "x"},
        {"q": "fine"},
    ]
    assert [(r["row"], r["reason"]) for r in rejects_of(tmp_path / "out")] == [
        (3, "expected a text or number under 'q', found None"),
        (4, "expected a text or number under 'q', found {'x': 1}"),
        (5, "expected a text or number under 'q', found ['a']"),
        (6, "expected a JSON object, found list"),
        (8, "'q' holds a lone surrogate at character 5"),
        (9, "not JSON (Expecting value at column 7)"),
    ]
    import_file("jsonl", path, tmp_path / "out", columns={"question": "n"})
    assert fields_of(tmp_path / "out")[1] == {"question": "1.5"}
    assert "no 'n'. Choose from: q." in [
        r["reason"] for r in rejects_of(tmp_path / "out")
    ]


def test_own_importer(files, tmp_path):
    def read(path, options):
        rows = [Row(path, 1, {"question": "a"}), Reject(path, 2, "bad", "b")]
        return Source(rows, task_name(path, "own"))

    own = Importer("own", "A format of one's own.", read)
    info = import_file(own, files("x.own", ""), tmp_path / "out")
    assert (info["name"], info["num_examples"], info["num_rejected"]) == (
        "x",
        1,
        1,
    )


# === Options and errors ===


def test_limit_counts_usable_rows(files, tmp_path):
    path = files("x.tsv", "a\tb\n" + "q\ta\tr\n" * 5)
    info = import_file("flan-cot", path, tmp_path / "out", limit=3)
    assert (info["num_examples"], info["num_rejected"]) == (3, 1)


def test_template_files_travel_with_the_records(files, tmp_path, monkeypatch):
    own = files(
        "own.yaml",
        "family: own\nfields: [question, answer]\n"
        "zero_shot_direct: [{input: '{question}', target: '{answer}'}]\n",
    )
    path = files("x.tsv", "q\ta\tr\n")
    monkeypatch.chdir(path.parent)
    info = import_file("flan-cot", path, tmp_path / "out", templates="own.yaml")
    assert (tmp_path / "out" / info["templates"]).read_bytes() == (
        own.read_bytes()
    )
    with pytest.raises(InputError, match=r"owm\.yaml: no such file"):
        import_file("flan-cot", path, tmp_path / "out", templates="owm.yaml")


@pytest.mark.parametrize(
    ("format", "file", "text", "message"),
    [
        (
            "flan-cot",
            "x.tsv",
            "a\tb\nc\td\n",
            r"x\.tsv:1: expected 3 tab-separated columns .*, found 2 "
            r"\(none of the 2 rows can be used",
        ),
        ("flan-cot", "x.tsv", "\n\n", r"x\.tsv: no rows .* file is empty"),
        ("gsm8k", "x.jsonl", "{\n", r"x\.jsonl:1: not JSON \(Expecting prop"),
        ("squad", "x.json", '{"data":\n[1,}', r"x\.json:2: not JSON .*column"),
        ("squad", "x.json", "[]", "list under 'data', found list"),
        ("squad", "x.json", '{"date": []}', r"found an object .*\['date'\]"),
        ("bbh", "x.json", '{"examples": 3}', "'examples', found int there"),
        ("bbh", "x.json", "[" * 100_000, "not JSON .*recursion"),
        ("bbh", "x.json", '{"examples": []}', "no rows"),
        ("mmlu", "x.csv", 'a,"b\nc,d', r"x\.csv:1: not CSV \(unexpected end"),
        ("csv", "x.csv", "a,b,a\n1,2,3", "distinct column names, found 'a' 2"),
        ("csv", "x.csv", "a,\n1,2", "distinct column names, found '' 1"),
        ("csv", "x.csv", "a,b\n", "no rows"),
        ("csv", "x.csv", b"a\n\xcf\xf0\xe8", "x.csv: not UTF-8 at byte 2"),
        ("csv", "x.csv.gz", b"", "no rows"),
        ("jsonl", "x.jsonl", '{"_id": "3"}', "'_id' can't be the name of a f"),
        ("jsonnl", "x.jsonl", "", "format 'jsonnl'. Did you mean 'jsonl'?"),
    ],
)
def test_bad_files(files, tmp_path, format, file, text, message):
    output = tmp_path / "out"
    import_file("flan-cot", files("good.tsv", "q\ta\tr\n"), output)
    before = {path: path.read_bytes() for path in output.iterdir()}
    path = files(file, text)
    with pytest.raises(InputError, match=message) as error:
        import_file(format, path, output)
    assert "\n" not in str(error.value)
    assert before == {path: path.read_bytes() for path in output.iterdir()}
    with pytest.raises(InputError):
        import_file(format, path, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_broken_gzip(tmp_path):
    (tmp_path / "x.tsv.gz").write_bytes(gzip.compress(b"q\ta\tr\n")[:-9])
    with pytest.raises(InputError, match=r"x\.tsv\.gz: cannot be read"):
        import_file("flan-cot", tmp_path / "x.tsv.gz", tmp_path / "out")


def test_bad_arguments(files, tmp_path):
    path = files("x.csv", "question,answer\n1,2\n")
    with pytest.raises(InputError, match=r"no column 'qestion' .*'question'\?"):
        import_file(
            "csv", path, tmp_path / "out", columns={"question": "qestion"}
        )
    with pytest.raises(InputError, match=r"only csv, .* take a mapping"):
        import_file("mmlu", path, tmp_path / "out", columns={"a": "b"})
    with pytest.raises(InputError, match=r"no\.csv: no such file or folder"):
        import_file("csv", tmp_path / "no.csv", tmp_path / "out")
    with pytest.raises(InputError, match="expected a file, found a folder"):
        import_file("csv", tmp_path, tmp_path / "out")


def test_strict_names_the_row_and_writes_nothing(files, tmp_path):
    path = files("x.tsv", "q\ta\tr\n" * 3 + "a\tb\n")
    with pytest.raises(InputError, match=r"x\.tsv:4: .*\(mend the row"):
        import_file("flan-cot", path, tmp_path / "out", strict=True)
    assert not (tmp_path / "out").exists()


def test_an_id_that_is_no_text(files, tmp_path):
    qas = [
        {"id": i, "question": "?", "answers": {"text": "a"}}
        for i in ("\ud800", "1")
    ]
    data = [{"paragraphs": [{"context": "a", "qas": qas}]}]
    path = files("s.json", json.dumps({"data": data}))
    info = import_file("squad", path, tmp_path / "out")
    assert (info["num_examples"], info["num_rejected"]) == (1, 1)
    reason = rejects_of(tmp_path / "out")[0]["reason"]
    assert reason == "'id' holds a lone surrogate at character 0"


# === The command ===


def test_command(files, tmp_path):
    path = files("x.jsonl", '{"q": "1", "a": "2"}\n{"q": \n')
    arguments = ["import", "jsonl", str(path), "--output"]
    output = str(tmp_path / "out")
    options = ["--map", "question=q", "--map", "answer=a", "--json"]
    run = CliRunner().invoke(cli.app, [*arguments, output, *options])
    assert run.exit_code == 0, run.output
    info = json.loads(run.stdout)
    assert (info["num_examples"], info["num_rejected"]) == (1, 1)
    assert info["fields"] == ["answer", "question"]


def test_the_command_replaces_a_split_if_it_is_asked_to(files, tmp_path):
    path, output = files("x.jsonl", '{"q": "1"}\n'), tmp_path / "out"
    arguments = ["import", "jsonl", str(path), "--output", str(output)]
    other = [*arguments, "--split", "test"]
    found = [
        CliRunner().invoke(cli.app, [*given, "--quiet"]).exception
        for given in (arguments, other)
    ]
    assert found[0] is None and "--replace" in str(found[1])
    assert read_info(output).split == "train"
    assert CliRunner().invoke(cli.app, [*other, "--replace"]).exit_code == 0
    assert read_info(output).split == "test"
    import_file("jsonl", path, output, replace=True)
    assert read_info(output).split == "train"


def test_command_exits_with_2(files, tmp_path, monkeypatch, capsys):
    path = files("x.tsv", "a\tb\n")
    arguments = ["import", "flan-cot", str(path), "--output", str(tmp_path)]
    monkeypatch.setattr("sys.argv", ["keras-flan", *arguments])
    with pytest.raises(SystemExit) as exit:
        cli.main()
    assert exit.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"keras-flan: {path}:1: expected 3 tab-separated")
    assert err.count("\n") == 1


def test_describe_formats():
    rows = describe_formats()
    assert [row["format"] for row in rows] == list(IMPORTERS)
    assert all(len(row["summary"]) < 80 for row in rows)


# === Public data ===


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("file", "number", "kind"),
    [
        ("aqua_train.tsv", 2728, "option"),
        ("creak_train.tsv.gz", 6915, "yes_no"),
        ("ecqa_train.tsv.gz", 7112, "text"),
        ("gsm8k_train.tsv.gz", 7473, "number"),
        ("qasc_train.tsv", 1084, "option"),
        ("sensemaking_train.tsv.gz", 6070, "text"),
        ("strategyqa_train.tsv", 2061, "yes_no"),
    ],
)
def test_real_flan_cot(realdata, tmp_path, file, number, kind):
    info = import_file(
        "flan-cot", realdata / "flan_cot" / file, tmp_path, strict=True
    )
    assert (info["num_examples"], info["answer_kind"]) == (number, kind)
    assert info["templates"] == info["name"] == file.split("_")[0]
    examples = list(read_records(tmp_path, verify=True))
    assert len(examples) == number
    assert all(all(e.fields.values()) for e in examples)
    assert not any("\\n" in e.fields["question"] for e in examples)


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("file", "number"), [("train.jsonl.gz", 7473), ("test.jsonl", 1319)]
)
def test_real_gsm8k(realdata, tmp_path, file, number):
    path = realdata / "gsm8k" / file
    info = import_file("gsm8k", path, tmp_path, shards=4, strict=True)
    assert (info["name"], info["num_examples"]) == ("gsm8k", number)
    for example in read_records(tmp_path, verify=True):
        float(example.fields["answer"])
        assert "<<" not in example.fields["rationale"]
        assert "####" not in example.fields["rationale"]


@pytest.mark.realdata
def test_real_bbh(realdata, tmp_path):
    numbers, options = {}, 0
    for path in sorted((realdata / "bbh" / "bbh").glob("*.json")):
        info = import_file("bbh", path, tmp_path / path.stem, strict=True)
        numbers[info["name"]] = info["num_examples"]
        options += info["answer_kind"] == "option"
        assert "canary GUID" in info["canary"]
    assert (len(numbers), sum(numbers.values()), options) == (27, 6511, 17)
    assert numbers["causal_judgement"] == 187


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("split", "number"), [("dev", 285), ("val", 1531), ("test", 14042)]
)
def test_real_mmlu(realdata, tmp_path, split, number):
    path = realdata / "mmlu" / split
    info = import_file("mmlu", path, tmp_path, split=split, strict=True)
    assert info["num_examples"] == number
    examples = list(read_records(tmp_path, verify=True))
    assert len({e.fields["subject"] for e in examples}) == 57
    assert all(e.fields["options"].count("\n") == 3 for e in examples)


@pytest.mark.realdata
@pytest.mark.parametrize("file", ["en.json", "ar.json.gz", "ru.json.gz"])
def test_real_xquad(realdata, tmp_path, file):
    path = realdata / "xquad" / f"xquad.{file}"
    info = import_file("squad", path, tmp_path, strict=True)
    assert info["num_examples"] == 1190
    examples = list(read_records(tmp_path, verify=True))
    assert all(e.fields["answer"] in e.fields["context"] for e in examples)


def test_an_unknown_template_family_is_named(files, tmp_path):
    path = files("a.jsonl", '{"question": "1?", "answer": "1"}\n')
    with pytest.raises(InputError, match="Did you mean 'generic'"):
        import_file("jsonl", path, tmp_path / "out", templates="generik")
    assert not (tmp_path / "out").exists()


def test_templates_that_the_rows_cannot_fill_are_refused(files, tmp_path):
    path = files("a.jsonl", '{"q": "1?", "answer": "1"}\n' * 2)
    with pytest.raises(
        InputError,
        match=r"a\.jsonl: .*'generic' needs the field 'question'; the rows "
        r"have answer, q\. Name the column with --map question=COLUMN",
    ):
        import_file("jsonl", path, tmp_path / "out", templates="generic")
    broken = files("own.yaml", "family: own\n")
    with pytest.raises(InputError, match=r"own\.yaml: fields"):
        import_file("jsonl", path, tmp_path / "out", templates=str(broken))
    assert not (tmp_path / "out").exists()


def test_half_a_line_of_json_is_rejected_with_its_place(files, tmp_path):
    path = files(
        "a.jsonl", '{"question": "1?", "answer": "1"}\n{"question": "2'
    )
    import_file("jsonl", path, tmp_path / "out")
    [reject] = rejects_of(tmp_path / "out")
    assert (reject["row"], reject["reason"]) == (
        2,
        "not JSON (Unterminated string starting at column 14)",
    )


def test_the_letter_of_no_option_is_rejected(files, tmp_path):
    path = files("a.csv", "q,a,b,key\n1?,x,y,B\n2?,x,y,C\n3?,C,y,C\n4?,x,y,z\n")
    columns = {"question": "q", "options": ["a", "b"], "answer": "key"}
    info = import_file("csv", path, tmp_path / "out", columns=columns)
    assert info["num_examples"] == 2
    # A text that is no option, neither.
    assert [(r["row"], r["reason"]) for r in rejects_of(tmp_path / "out")] == [
        (3, "the answer 'C' is none of the 2 options"),
        (5, "the answer 'z' is none of the 2 options"),
    ]
