"""Tests of the importers that only benchmarks use."""

import json

import pytest

from keras_flan.data.importers import Options, RejectCode
from keras_flan.data.importers.benchmark_files import IMPORTERS
from keras_flan.data.importers.word_problems import ASDIV
from keras_flan.errors import InputError
from keras_flan.evaluation.benchmarks.readers import read_questions

AQUA = {
    "question": " 1 + 1? ",
    "options": ["A)2 ", "B)", "C)3\n4"],
    "correct": "A",
    "rationale": "One and one.",
}
COMMON = {
    "id": "x1",
    "question": {"stem": "Hot?", "choices": [{"text": "ice"}, {"text": "sun"}]},
    "answerKey": "B",
}


def rows(format, path, **options):
    return list(IMPORTERS[format].read(path, Options(**options)).rows)


def test_aqua(files):
    other = {**AQUA, "options": ["A)2", 3]}
    lines = [AQUA, {**AQUA, "correct": None}, other, [AQUA]]
    path = files("a.jsonl", "\n".join(map(json.dumps, lines)) + "\n{")
    first, *rejects = rows("aqua", path)
    assert first.fields == {
        "question": "1 + 1?",
        "options": "2\nB)\n3 4",
        "answer": "A",
        "rationale": "One and one.",
    }
    assert [reject.reason[:42] for reject in rejects] == [
        "expected a text under 'correct', found Non",
        "expected texts under 'options', found ['A)",
        "expected a JSON object, found list",
        "not JSON (Expecting property name enclosed",
    ]
    with pytest.raises(InputError, match=r"a.jsonl:2: .*'correct'.*mend the"):
        read_questions("aqua", path)


def test_commonsenseqa(files):
    other = {**COMMON, "question": {"stem": "Hot?", "choices": [{}]}}
    lines = [COMMON, other, {**COMMON, "question": "Hot?"}]
    path = files("c.jsonl", "\n".join(map(json.dumps, lines)))
    first, *rejects = rows("commonsenseqa", path)
    assert first.source_id == "x1"
    assert first.fields == {
        "question": "Hot?",
        "options": "ice\nsun",
        "answer": "B",
    }
    assert [reject.reason for reject in rejects] == [
        "expected texts under 'choices', found [{}]",
        "expected a JSON object, found str",
    ]


def test_worked_prompts(files):
    block = "Q: 1?\nA: Let's think step by step.\nOne. So the answer is 1."
    path = files("p.txt", f"canary\n-----\nCount.\n\n{block}")
    [row] = rows("bbh-prompt", path)
    assert row.fields == {
        "question": "1?",
        "rationale": "\nOne. So the answer is 1.",
        "answer": "1",
        "description": "Count.",
    }
    path = files("mmlu-cot.json", json.dumps({"sums": f"Count.\n\n{block}"}))
    [row] = rows("mmlu-cot", path, name="sums")
    assert (row.source_id, row.fields["answer"]) == ("sums:1", "1")
    for name in ("sum", None):
        with pytest.raises(InputError, match=f"no prompt for {name!r}.*sums"):
            rows("mmlu-cot", path, name=name)


def test_examples(files):
    listed = [{"question": "1? ", "answer": "1"}, {"question": "2?"}]
    path = files("e.json", json.dumps({"examples": listed}))
    first, second = rows("examples", path)
    assert first.fields == {"question": "1? ", "answer": "1"}
    assert "'answer'" in second.reason


def test_all_right_answers_of_squad(files):
    answers = [{"text": "two "}, {"text": "2"}, {"text": "two"}, {"text": 2}]
    one, other = [{"text": "x"}], [{"text": "y"}]
    asked = {"question": "How many?"}
    qas = [
        {"id": "a", **asked, "answers": answers},
        {"id": "a", **asked, "answers": one},  # the same id again
        {**asked, "answers": other},
    ]
    data = [{"paragraphs": [{"context": "x", "qas": qas}]}]
    path = files("s.json", json.dumps({"data": data}))
    questions = read_questions("squad", path)
    references = [q.references for q in questions]
    assert references == [("two", "2"), ("x",), ("y",)]
    assert len({q.id for q in questions}) == 3


def test_what_is_left_out_depends_on_no_wording(files):
    problem = "<Problem><Body>b</Body><Question>q</Question><Answer>{}</Answer>"
    text = "".join(f"{problem}</Problem>" for _ in "ab").format("4 (x)", "a; b")
    path = files("a.xml", f"<all>{text}</all>")
    good, bad = ASDIV.read(path, Options()).rows
    assert (good.fields["answer"], bad.code) == ("4", RejectCode.NO_NUMBER)
    assert len(read_questions("asdiv", path)) == 1
    path = files("b.xml", f"<all>{text.replace('<Body>b</Body>', '')}</all>")
    with pytest.raises(InputError, match="expected one Body"):
        read_questions("asdiv", path)
    with pytest.raises(InputError, match=r"no reader 'asdv'.*'asdiv'"):
        read_questions("asdv", path)
