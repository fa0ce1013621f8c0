"""Files as the public has them: keys, marks, delimiters, encodings, ids."""

import json

import pytest

from keras_flan.data.importers import import_source
from keras_flan.data.records.shards import read_records
from keras_flan.errors import InputError

CHOICE = {"question": "q", "options": "c", "answer": "a"}


def lines(*rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def choices(*answers, options=("oak", "iron", "wool", "salt")):
    return lines(*({"q": "?", "c": options, "a": a} for a in answers))


# Keys as ARC has them; class labels from 0 on; both spelt in brackets; and
# numbers that are options' own texts.
@pytest.mark.parametrize(
    ("text", "answers"),
    [
        (choices("A", "2", "4"), ["A", "iron", "salt"]),
        (choices(0, 3, 1), ["oak", "salt", "iron"]),
        (choices("(1)", "2."), ["oak", "iron"]),
        (choices("3", "0", options=("0", "3", "7")), ["3", "0"]),
        (choices("2", options=("4", "6")), ["6"]),
        # What both text and option have at their ends goes.
        (choices("red ", options=["red ", "blue  sky"]), ["red"]),
        (
            choices(" green\nleaf", options=["a", " green\nleaf"]),
            ["green leaf"],
        ),
        (choices("x\r\ny", options=["x\ny", "z"]), ["x y"]),
    ],
)
def test_answers_name_options(text, answers, imported):
    _, rows, reasons = imported("jsonl", "t.jsonl", text, columns=CHOICE)
    assert [row["answer"] for row in rows] == answers and not reasons


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"a": "steam"}, "the answer 'steam' is none of the 2 options"),
        ({"a": "3"}, "the answer '3' is none of the 2 options"),
        ({"a": "C"}, "the answer 'C' is none of the 2 options"),
        ({"a": ""}, "the text under 'answer' is empty"),
        ({"a": " \n"}, "the text under 'answer' is empty"),
        ({"q": "\t"}, "the text under 'question' is empty"),
        ({"c": []}, "the text under 'options' is empty"),
        ({"c": ["x", " "]}, "option 2 of 2 is empty"),
    ],
)
def test_rows_that_cannot_be_asked_are_rejected(row, reason, imported):
    good = {"q": "?", "c": ["x", "y"], "a": "x"}
    text = lines(good, {**good, **row})
    _, rows, reasons = imported("jsonl", "t.jsonl", text, columns=CHOICE)
    assert len(rows) == 1 and reasons == [reason]


def test_what_templates_ask_is_never_empty(imported):
    rows = [{"text": t, "answer": "x"} for t in ("a", "", "b")]
    options = {"templates": "named_entities"}
    _, rows, reasons = imported("jsonl", "t.jsonl", lines(*rows), **options)
    assert [row["text"] for row in rows] == ["a", "b"]
    assert reasons == ["the text under 'text' is empty"]


@pytest.mark.parametrize("name", ["big.csv", "big.tsv", "big.csv.gz"])
def test_a_cell_has_any_length(name, imported):
    comma = "," if ".csv" in name else "\t"
    long = "word " * 40_000 + "How many?"
    text = f"question{comma}answer\n{long}{comma}40000\n"
    format = "csv" if ".csv" in name else "tsv"
    _, [row], _ = imported(format, name, text)
    assert row["question"] == long


@pytest.mark.parametrize(
    ("text", "given", "says"),
    [
        ("question;answer\n1,5 + 1?;2,5\n", None, "semicolon"),
        ("question|answer\n1,5 + 1?|2,5\n", None, "bar"),
        ("question\tanswer\n1,5 + 1?\t2,5\n", None, "tab"),
        ("question:answer\n1,5 + 1?:2,5\n", ":", ""),
        ("question\tanswer\n1,5 + 1?\t2,5\n", "\\t", ""),
        ('question,answer\n"1,5 + 1?","2,5"\n', None, ""),
    ],
)
def test_delimiters(text, given, says, imported, capsys):
    _, rows, _ = imported("csv", "t.csv", text, delimiter=given)
    assert rows == [{"question": "1,5 + 1?", "answer": "2,5"}]
    shown = capsys.readouterr().err
    assert (says in shown and "--delimiter" in shown) if says else not shown


FRENCH = "question;réponse\nOù est l'été ?;à côté\n"


@pytest.mark.parametrize(
    ("encoding", "given", "says"),
    [
        ("utf-8-sig", None, ""),
        ("utf-16", None, ""),
        ("utf-32", None, ""),
        ("cp1252", None, "Windows-1252"),
        ("cp1252", "cp1252", ""),
        ("utf-16-le", "utf-16-le", ""),
    ],
)
@pytest.mark.parametrize("format", ["csv", "json"])
def test_encodings(format, encoding, given, says, imported, capsys):
    text = FRENCH
    if format == "json":
        text = json.dumps(
            [{"question": "Où est l'été ?", "réponse": "à côté"}],
            ensure_ascii=False,
        )
    _, rows, _ = imported(
        *(format, f"t.{format}", text.encode(encoding)),
        columns={"question": "question", "answer": "réponse"},
        encoding=given,
    )
    assert rows == [{"question": "Où est l'été ?", "answer": "à côté"}]
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (
            "слово,язык\nжизнь,язык\n".encode("cp1251"),
            {},
            "--encoding, such as",
        ),
        ("質問,答え\nはい,いいえ\n".encode("cp932"), {}, "such as cp1251"),
        (b"a,b\n\xff,1\n", {"encoding": "utf-8"}, "--encoding 'utf-8'"),
        (b"a,b\n1,2\n", {"encoding": "utf-9"}, "unknown encoding: utf-9"),
        (b"a,b\n1,2\n", {"delimiter": ";;"}, "expected one character"),
    ],
)
def test_what_cannot_be_guessed_is_asked(data, options, message, imported):
    with pytest.raises(InputError, match=message):
        imported("csv", "t.csv", data, **options)


def test_formats_of_their_own_take_no_delimiter(imported):
    for option in ("delimiter", "encoding"):
        with pytest.raises(InputError, match=f"'gsm8k' has its own {option}"):
            imported("gsm8k", "t.jsonl", "{}", **{option: ";"})


def test_marks_inside_of_files_put_together_go(imported):
    row = '{"question": "?", "answer": "a"}\n'
    text = f"\ufeff{row}\ufeff{row}"
    _, rows, reasons = imported("jsonl", "t.jsonl", text)
    assert rows == [{"question": "?", "answer": "a"}] * 2 and not reasons


def test_fields_and_tasks_have_names_of_all_scripts(files, tmp_path):
    text = "вопрос,größe\nжизнь,5\n"
    # As a Mac writes it: u, and two dots.
    path = files("fru\u0308hling.csv", text)
    own = files(
        "own.yaml",
        "family: own\nfields: [вопрос, größe]\n"
        'zero_shot_direct: [{input: "{вопрос}", target: "{größe}"}]\n',
    )
    output = tmp_path / "out"
    [info] = import_source("csv", path, output, templates=str(own)).tasks
    assert info.name == "frühling"
    [example] = read_records(output)
    assert example.fields == {"вопрос": "жизнь", "größe": "5"}


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("boolq/test.csv", "boolq"),
        ("boolq/dev.csv.gz", "boolq"),
        ("boolq/train-00000-of-00001.csv", "boolq"),
        ("boolq/boolq_test.csv", "boolq"),
        ("boolq/passages.csv", "passages"),
        ("my data/validation.csv", "my_data"),
    ],
)
def test_a_file_called_after_its_split_has_its_folders_name(
    file, name, imported
):
    info, _, _ = imported("csv", file, "question,answer\na,b\n")
    assert info.name == name


def sentences(text, imported):
    _, rows, _ = imported("conll", "dev", text)
    return [row["text"] for row in rows]


def test_the_language_of_wikiann_is_no_part_of_a_token(imported):
    text = "en:Sioux\tB-ORG\nen::\tO\n\nen:en:x\tO\n"
    assert sentences(text, imported) == ["Sioux :", "en:x"]
    text = "zh-min-nan:Tai\tB-LOC\nzh-min-nan:5:30\tO\n"
    assert sentences(text, imported) == ["Tai 5:30"]
    # Where not all have it, it is a token's own.
    text = "re:Sioux\tB-ORG\nFalls\tO\n"
    assert sentences(text, imported) == ["re:Sioux Falls"]


FLAT = {"id": "1", "title": "T", "context": "Ada was born in London."}
IN_LONDON = {"text": ["in London", "London"], "answer_start": [13, 16]}


@pytest.mark.parametrize("name", ["s.json", "s.jsonl", "data.json"])
def test_flat_rows_of_squad(name, imported):
    rows = [
        {**FLAT, "question": "Where?", "answers": IN_LONDON},
        {**FLAT, "question": "Died?", "answers": {"text": []}},
        {**FLAT, "question": "Then?", "answers": None},
        {**FLAT, "question": "And?", "answers": {"text": "x"}},
    ]
    text = lines(*rows)
    if name == "s.json":
        text = json.dumps(rows)
    if name == "data.json":
        text = json.dumps({"data": rows})
    _, found, reasons = imported("squad", name, text)
    assert [row["answer"] for row in found] == [
        "in London",
        "unanswerable",
        "x",
    ]
    assert json.loads(found[0]["references"]) == IN_LONDON["text"]
    assert reasons == ["data[2]: the question has no answer"]


@pytest.mark.parametrize(
    ("version", "qa", "usable"),
    [
        ("v2.0", {"answers": [], "is_impossible": True}, True),
        ("v2.0", {"answers": []}, True),
        ("2.0", {"answers": [], "is_impossible": False}, False),
        ("1.1", {"answers": []}, False),
        ("1.1", {"answers": [], "is_impossible": True}, True),
    ],
)
def test_questions_without_an_answer(version, qa, usable, imported):
    good = {"question": "?", "answers": [{"text": "London"}]}
    qas = [good, {"question": "Died?", **qa}]
    data = [{"paragraphs": [{"context": "London.", "qas": qas}]}]
    text = json.dumps({"version": version, "data": data})
    _, rows, reasons = imported("squad", "s.json", text)
    assert [r["answer"] for r in rows[1:]] == ["unanswerable"] * usable
    assert len(reasons) == (not usable)


def t0_row(template):
    return {"template": template, "prompt": "a", "completion": "b"}


@pytest.mark.parametrize(
    ("format", "suffix", "good", "bad"),
    [
        ("t0", ".jsonl", lines(t0_row("x")), b"\xff"),
        ("mmlu", "_test.csv", "?,1,2,3,4,A\n", b'?,"1'),
        ("flan-cot", ".tsv", "?\t5\tso\n", b"\xff"),
    ],
)
def test_one_bad_file_of_a_folder_is_named(
    format, suffix, good, bad, files, tmp_path
):
    paths = [
        files(f"all/{name}{suffix}", text)
        for name, text in (
            ("a", good),
            ("b", bad),
            ("c", good.replace("x", "y")),
        )
    ]
    folder = paths[0].parent
    imported = import_source(format, folder, tmp_path / "out")
    assert sum(info.num_examples for info in imported.tasks) == 2
    rejects = (tmp_path / "out" / "rejects.jsonl").read_text("utf-8")
    assert f"b{suffix}" in json.loads(rejects)["reason"]
    with pytest.raises(InputError, match=f"b{suffix}"):
        import_source(format, folder, tmp_path / "strict", strict=True)
