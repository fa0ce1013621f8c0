import copy
import json

import pytest
from typer.testing import CliRunner

from keras_flan import cli
from keras_flan.data.importers import import_file, import_source
from keras_flan.data.records.shards import read_records
from keras_flan.errors import InputError
from tests.data.mutations import ASDIV, QED, TASK, TYDI, lines

# === Natural Instructions ===


def test_natural_instructions(imported):
    task = copy.deepcopy(TASK)
    task["Instance License"] = ["MIT", "CC0"]
    task["Instances"] += [
        {"id": "d", "input": "Coal?", "output": ["", " ", "black", "black "]},
        {"id": "e", "input": "Air?", "output": [""]},
        {"id": "f", "input": "", "output": "x"},
        {"id": "g", "input": "Fire?", "output": [3]},
        "text",
    ]
    info, rows, reasons = imported(
        "natural-instructions", "task1_x-y1.1_z.json", json.dumps(task)
    )
    assert info["name"] == "task1_x-y1.1_z"
    assert info["license"] == "MIT; CC0"
    assert info["categories"] == ["Question Answering"]
    assert info["domains"] == ["Nature"]
    assert info["input_languages"] == []
    assert info["templates"] == "natural_instructions"
    assert rows[0] == {
        "definition": "Tell the colour.",
        "inputs": "Grass?",
        "targets": "green",
        "references": '["green", "lush"]',
        "example_input": "Sky?",
        "example_output": "blue",
        "example_explanation": "It is.",
    }
    # The positive example with the same input would give the answer away.
    assert rows[1]["inputs"] == "Sky?" and rows[1]["targets"] == "blue"
    assert "example_input" not in rows[1]
    assert rows[3]["references"] == '["black"]'
    assert [row["targets"] for row in rows] == [
        "green",
        "blue",
        "white",
        "black",
    ]
    assert reasons == [
        "Instances[4]: expected a text, or a list with one, under 'output', "
        "found ['']",
        "Instances[5]: the text under 'input' is empty",
        "Instances[6]: expected a text, or a list with one, under 'output', "
        "found [3]",
        "Instances[7]: expected a JSON object, found str",
    ]


def test_natural_instructions_without_examples(imported):
    example = {"input": "a", "output": "b", "explanation": "c"}
    shown = [{**example, "input": i} for i in ("Grass?", "Sky?")]
    shown.append({"input": "no explanation", "output": "b"})
    task = {**TASK, "Positive Examples": shown}
    _, rows, _ = imported("natural-instructions", "t.json", json.dumps(task))
    inputs = [row["example_input"] for row in rows]
    # In turn, and never the instance's own input.
    assert inputs == ["Sky?", "Grass?", "Sky?"]
    task = {**TASK, "Positive Examples": shown[2:]}
    info, _, _ = imported("natural-instructions", "t.json", json.dumps(task))
    assert "example_input" not in info["fields"]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("Definition", [], r"t\.json: .*under 'Definition', found \[\]"),
        ("Definition", 3, r"t\.json: .*under 'Definition', found 3"),
        ("Categories", [None], r"t\.json: .*under 'Categories', found \[No"),
        ("Instances", {}, "list under 'Instances', found dict there"),
    ],
)
def test_broken_natural_instructions(imported, key, value, message):
    task = json.dumps({**TASK, key: value})
    with pytest.raises(InputError, match=message):
        imported("natural-instructions", "t.json", task)


@pytest.fixture
def folder(files):
    """A folder of task files: whole tasks, a split one, two to leave out."""
    text = json.dumps(TASK)
    for name in (
        "tasks/task2_b.json",
        "tasks/task1_a.json.gz",
        "tasks/task707_mmmlu_answer_generation_x.json",
        "parts/task3_c/train.json",
        "parts/task3_c/dev.json",
        "tasks/other.json",
    ):
        files(name, "{}" if "other" in name else text)
    return files("splits/train_tasks.txt", "task1_a\n").parents[1]


def test_a_folder_of_tasks(folder, tmp_path):
    output = tmp_path / "out"
    done = import_source("natural-instructions", folder, output, limit=2)
    assert sorted(p.parent for p in output.rglob("dataset_info.json")) == [
        output / "task1_a",
        output / "task2_b",
        output / "task3_c" / "dev",
        output / "task3_c" / "train",
    ]
    assert [info["num_examples"] for info in done.tasks] == [2] * 4
    assert {info["split"] for info in done.tasks} == {"train", "dev"}
    [left_out] = done.left_out
    assert "task707_mmmlu" in left_out["source"]
    assert "held-out" in left_out["reason"]
    [rejected] = done.rejected
    assert rejected["source"].endswith("other.json")
    assert "list under 'Instances'" in rejected["reason"]
    listed = (output / "rejects.jsonl").read_text("utf-8")
    assert json.loads(listed) == rejected
    with pytest.raises(InputError, match="list under 'Instances'"):
        import_source(
            "natural-instructions", folder, tmp_path / "new", strict=True
        )


def test_options_of_a_folder(folder, tmp_path):
    (folder / "tasks" / "other.json").unlink()
    done = import_source(
        "natural-instructions", folder, tmp_path / "out", keep_mmlu=True
    )
    assert len(done.tasks) == 5 and not done.left_out and not done.rejected
    assert not (tmp_path / "out" / "rejects.jsonl").exists()
    with pytest.raises(InputError, match=r"--name 'x': .* many tasks"):
        import_source("natural-instructions", folder, tmp_path, name="x")
    with pytest.raises(InputError, match="a folder holds many tasks"):
        import_file("natural-instructions", folder, tmp_path / "new")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no tasks to import"):
        import_source("natural-instructions", tmp_path / "empty", tmp_path)
    # A single file is what the user asked for.
    single = folder / "tasks" / "task707_mmmlu_answer_generation_x.json"
    assert import_file("natural-instructions", single, tmp_path / "one")


def test_two_files_of_one_task(files, tmp_path):
    files("a/task1_a.json", json.dumps(TASK))
    folder = files("b/task1_a.json", json.dumps(TASK)).parents[1]
    done = import_source("natural-instructions", folder, tmp_path / "out")
    assert len(done.tasks) == 1
    assert "rename one of the files" in done.rejected[0]["reason"]


def test_command_on_a_folder(folder, tmp_path):
    arguments = ["import", "natural-instructions", str(folder), "--output"]
    run = CliRunner().invoke(cli.app, [*arguments, str(tmp_path / "a")])
    assert run.exit_code == 0, run.output
    assert run.stdout.splitlines()[-1] == (
        f"4 tasks, 12 examples -> {tmp_path / 'a'}; 1 tasks rejected, 1 left "
        "out"
    )
    output = [str(tmp_path / "b"), "--json", "--keep-mmlu"]
    run = CliRunner().invoke(cli.app, [*arguments, *output])
    result = json.loads(run.stdout)
    assert len(result["tasks"]) == 5 and len(result["rejected"]) == 1


# === T0 ===


def test_t0(files, tmp_path):
    path = files(
        "t0.jsonl.gz",
        lines(
            {"template": "b 1", "prompt": "Q \n\n", "completion": "A"},
            {"template": "a", "prompt": "R\n", "completion": "B<|endoftext|>"},
            {"template": "a", "prompt": "S\n", "completion": "<|endoftext|>"},
            {"template": 3, "prompt": "S\n", "completion": "C"},
        )
        + "{\n",
    )
    done = import_source("t0", path, tmp_path / "out")
    assert [i["name"] for i in done.tasks] == ["b_1", "a"]
    assert [i["num_rejected"] for i in done.tasks] == [0, 3]
    [example] = read_records(tmp_path / "out" / "a")
    assert example.fields == {"inputs": "R", "targets": "B"}
    assert example.source_id == "t0.jsonl.gz:2"
    [example] = read_records(tmp_path / "out" / "b_1")
    assert example.fields == {"inputs": "Q \n", "targets": "A"}
    with pytest.raises(InputError, match="one template, found 2"):
        import_file("t0", path, tmp_path / "new")


def test_t0_of_one_template(imported):
    text = "{\n" + lines({"prompt": "Q\n", "completion": "A"})
    info, rows, reasons = imported("t0", "my_template.jsonl", text)
    assert info["name"] == "my_template" and len(rows) == len(reasons) == 1


# === TyDi QA and MGSM ===


def test_tydiqa_counts_bytes(imported):
    unanswered = {**TYDI, "annotations": TYDI["annotations"][:1]}
    yes = copy.deepcopy(TYDI)
    yes["annotations"][1]["yes_no_answer"] = "YES"
    cut = copy.deepcopy(TYDI)
    cut["annotations"][1]["minimal_answer"]["plaintext_start_byte"] += 1
    outside = copy.deepcopy(TYDI)
    outside["annotations"][1]["passage_answer"]["candidate_index"] = 0
    nowhere = copy.deepcopy(TYDI)
    nowhere["annotations"][1]["passage_answer"]["candidate_index"] = 2
    beyond = copy.deepcopy(TYDI)
    beyond["passage_answer_candidates"][1]["plaintext_end_byte"] = 99
    values = (TYDI, unanswered, yes, cut, outside, nowhere, beyond, {}, 3)
    info, rows, reasons = imported("tydiqa", "tiny_dev.jsonl", lines(*values))
    assert (info["name"], info["templates"]) == ("tiny", "squad")
    context = TYDI["document_plaintext"].split("\n")[1]
    assert rows[0] == {
        "context": context,
        "question": TYDI["question_text"],
        "answer": context[4:8],
        "title": TYDI["document_title"],
        "language": "russian",
    }
    assert rows[1]["answer"] == "yes"
    assert reasons == [
        "no annotation has a minimal answer",
        "the answer (12, 19) doesn't fit the passage (4, 20)",
        "the answer (11, 19) doesn't fit the passage (0, 3)",
        "expected the index of a passage, found 2",
        "the passage (4, 99) doesn't fit the document's bytes",
        "expected a text under 'question_text', found None",
        "expected a JSON object, found int",
    ]


def test_tydiqa_gold_passages(files, tmp_path):
    def squad(language):
        answers = [{"text": "b", "answer_start": 2}]
        qa = {"id": f"{language}-1-0", "question": "?", "answers": answers}
        return json.dumps(
            {"data": [{"paragraphs": [{"context": "a b", "qas": [qa]}]}]}
        )

    files("test-sw.json", squad("swahili"))
    folder = files("test-xx.json", squad("klingon")).parent
    info = import_file("tydiqa", folder, tmp_path / "out")
    assert (info["name"], info["num_examples"]) == ("tydiqa", 2)
    languages = [e.fields["language"] for e in read_records(tmp_path / "out")]
    assert languages == ["swahili", ""]


def test_mgsm(imported):
    text = "Ngapi?\t2,125\nWangapi?\t-3.5\na\tb\tc\n\t1\nNini?\t1,2\n"
    info, rows, reasons = imported("mgsm", "mgsm_sw.tsv", text)
    assert (info["name"], info["answer_kind"]) == ("mgsm_sw", "number")
    assert info["templates"] == "mgsm_sw"
    assert rows == [
        {"question": "Ngapi?", "answer": "2125", "language": "sw"},
        {"question": "Wangapi?", "answer": "-3.5", "language": "sw"},
    ]
    assert reasons == [
        "expected 2 tab-separated columns (question, answer), found 3",
        "the question is empty",
        "expected a number as answer, found '1,2'",
    ]


def test_mgsm_folder(files, tmp_path):
    files("mgsm_de.tsv", "Wie viel?\t1\n")
    files("mgsm_exemplars.json", "{}")
    folder = files("mgsm_xx.tsv", "?\t1\n").parent
    done = import_source("mgsm", folder, tmp_path / "out")
    assert [(i["name"], i["templates"]) for i in done.tasks] == [
        ("mgsm_de", "mgsm_de"),
        ("mgsm_xx", "gsm8k"),
    ]
    with pytest.raises(InputError, match="holds many tasks; import it with"):
        import_file("mgsm", folder, tmp_path / "new")


def test_mgsm_exemplars(imported):
    exemplars = {
        "zh": {"1": {"q": "\u95ee\u9898\uff1aX?", "a": "\u7b54\uff1aY: 3."}},
        "sw": {"2": {"q": "Swali: X", "a": "Jibu: Y"}, "x": {"q": "Q"}},
        "en": [],
    }
    document = {"EXEMPLAR_NUMBER_ANSWERS": [3], "MGSM_EXEMPLARS": exemplars}
    _, rows, reasons = imported("mgsm", "e.json", json.dumps(document))
    assert rows == [
        {
            "question": "X?",
            "rationale": "Y: 3.",
            "answer": "3",
            "language": "zh",
        }
    ]
    assert reasons == [
        "MGSM_EXEMPLARS.sw.2: no whole number for it in "
        "EXEMPLAR_NUMBER_ANSWERS",
        "MGSM_EXEMPLARS.sw.x: expected a text that begins 'Word:' under 'q'",
        "MGSM_EXEMPLARS.en: expected an object",
    ]
    with pytest.raises(InputError, match="EXEMPLAR_NUMBER_ANSWERS"):
        imported("mgsm", "e.json", "[]")


# === e-SNLI and QED ===


def _esnli(files, split="dev", **texts):
    names = {
        "labels": "neutral\nentailment\nmaybe\ncontradiction\n",
        "s1": "A dog . \nA cat . \nA cow . \n\n",
        "s2": "Red . \nAn animal . \nA cow . \nA pig . ",
        "preproc1_expl_1": "not all .\n\n \nno pig .\n",
        "preproc1_expl_2": "x\na cat is one ;  so .\n\ny\n",
        **texts,
    }
    for name, text in names.items():
        path = files(f"esnli/{name}.{split}", text)
    return path.parent


def test_esnli(files, tmp_path):
    folder = _esnli(files)
    info = import_file("esnli", folder, tmp_path / "out", split="dev")
    assert (info["name"], info["templates"]) == ("esnli", "esnli")
    assert (info["num_examples"], info["num_rejected"]) == (2, 2)
    first, second = read_records(tmp_path / "out")
    assert first.fields == {
        "premise": "A dog .",
        "hypothesis": "Red .",
        "label": "neutral",
        "question": "Premise: A dog .\nHypothesis: Red .\nIf the premise is "
        "true, is the hypothesis true?\nOPTIONS:\n- yes\n- no\n- it is not "
        "possible to tell",
        "answer": "it is not possible to tell",
        "rationale": "not all .",
    }
    assert second.fields["rationale"] == "a cat is one ;  so ."
    # One of the files stands for all of them.
    again = import_file("esnli", folder / "s1.dev", tmp_path / "again")
    assert again["shards"][0]["sha256"] == info["shards"][0]["sha256"]


def test_broken_esnli(files, tmp_path):
    folder = _esnli(files, s2="Only one .\n")
    with pytest.raises(InputError, match=r"s2\.dev: expected 4 lines .*d 1;"):
        import_file("esnli", folder, tmp_path / "out")
    _esnli(files, split="train")
    info = import_file("esnli", folder, tmp_path / "out")
    assert info["num_examples"] == 2
    with pytest.raises(InputError, match=r"expected one file labels\.test, f"):
        import_file("esnli", folder, tmp_path / "out", split="test")
    (folder / "preproc1_expl_1.train").unlink()
    (folder / "preproc1_expl_2.train").unlink()
    with pytest.raises(InputError, match=r"no file preproc1_expl_1\.train"):
        import_file("esnli", folder, tmp_path / "out")
    with pytest.raises(InputError, match=r"one of its files, such as labels"):
        import_file("esnli", files("x.txt", "a"), tmp_path / "out")


def test_qed(imported):
    implied = copy.deepcopy(QED)
    span = {"start": -1, "end": -1, "string": "", "bridge": "of"}
    references = implied["annotation"]["referential_equalities"]
    references[0]["sentence_reference"] = span
    moved = copy.deepcopy(QED)
    moved["annotation"]["selected_sentence"]["start"] = 11
    other = copy.deepcopy(QED)
    other["annotation"]["explanation_type"] = "none"
    wrong = copy.deepcopy(QED)
    wrong["annotation"]["referential_equalities"] = ["text"]
    none = {**QED, "annotation": None}
    values = (QED, implied, moved, other, wrong, none, {})
    info, rows, reasons = imported("qed", "qed.jsonlines", lines(*values))
    assert (info["name"], info["templates"]) == ("qed", "qed")
    assert rows[0] == {
        "question": "It is old . Romulus founded Rome .\n\nQuestion: who "
        "founded the city",
        "answer": "Romulus",
        "rationale": 'The passage says: "Romulus founded Rome ." There "Rome" '
        'is what the question means by "the city".',
        "title": "Rome",
    }
    says = 'The passage says: "Romulus founded Rome ."'
    assert rows[1]["rationale"] == says
    assert reasons == [
        "the answer or the sentence isn't where its offsets say",
        "expected a single_sentence explanation, found 'none'",
        "a reference isn't where its offsets say",
        "expected a single_sentence explanation, found None",
        "expected a text under 'question_text', found None",
    ]


# === BIG-bench and word problems ===


def test_bigbench(imported):
    def example(**values):
        return {"input": " Q ", **values}

    examples = [
        example(target_scores={"Yes": 1, "No": 0}, target="Yes. It is so."),
        example(target_scores={"a ": 0, "b\nc": 0.5}),
        example(target=["free", "text"]),
        example(target_scores={"a": 1, "b": 1}),
        example(target_scores={"a": "1", "b": 0}),
        example(target=" "),
        {"input": 3},
    ]
    document = {"canary": "GUID", "name": "a task", "examples": examples}
    info, rows, reasons = imported("bigbench", "x.json", json.dumps(document))
    assert (info["name"], info["canary"]) == ("a_task", "GUID")
    assert rows == [
        {
            "question": "Q",
            "options": "Yes\nNo",
            "answer": "Yes",
            "rationale": "It is so.",
        },
        {"question": "Q", "options": "a\nb c", "answer": "b c"},
        {"question": "Q", "answer": "free"},
    ]
    assert reasons == [
        "examples[3]: expected one option with the highest score",
        "examples[4]: expected options and scores under 'target_scores'",
        "examples[5]: expected a text under 'target', found ' '",
        "examples[6]: expected a text under 'input', found 3",
    ]


def test_math_problems(imported):
    problems = [
        {
            "ID": "c-1",
            "Body": "2 pens ",
            "Question": "Sum?",
            "Answer": 2.0,
            "Equation": "( 1 + 1 )",
        },
        {"sQuestion": " 1+1? ", "lSolutions": ["1,200.50"], "iIndex": 3},
        {"sQuestion": "Q", "lSolutions": [1, 2]},
        {"sQuestion": "Q", "lSolutions": ["many"]},
        {"Body": "x", "Question": "y", "Answer": True},
        {"Body": "x", "Answer": 1},
    ]
    text = json.dumps(problems)
    info, rows, reasons = imported("math-problems", "SVAMP.json", text)
    assert (info["name"], info["answer_kind"]) == ("SVAMP", "number")
    assert rows == [
        {"question": "2 pens Sum?", "answer": "2", "equation": "( 1 + 1 )"},
        {"question": "1+1?", "answer": "1200.50"},
    ]
    assert reasons == [
        "expected one solution, found [1, 2]",
        "expected a number as answer, found 'many'",
        "expected a number as answer, found True",
        "expected a text under 'Question', found None",
    ]
    with pytest.raises(InputError, match="list of problems, found dict"):
        imported("math-problems", "x.json", "{}")


def test_asdiv(imported, files, tmp_path):
    info, rows, reasons = imported("asdiv", "a.xml", ASDIV)
    assert info["license"] == "CC-BY-NC-4.0"
    assert rows == [
        {
            "question": "Tom & Ann have 4 pens. How many?",
            "answer": "4",
            "unit": "pens",
            "equation": "4=4",
        }
    ]
    assert reasons == ["expected a number as answer, found 'Yes'"]
    for old, new, reason in [
        ("It is 5.", "It is <b>5</b>.", "one Body without elements inside"),
        ("<Question>Is it?</Question>", "", "expected one Question"),
        ("It is 5.", " ", "the Body is empty"),
        ("<Question>Is", "stray<Question>Is", "text stands between the elem"),
        ("<Answer>Yes", "<Answer>1</Answer><Answer>2", "expected one Answer"),
    ]:
        _, _, reasons = imported("asdiv", "a.xml", ASDIV.replace(old, new))
        assert reason in reasons[0]
    for text, message in [
        (ASDIV[:-9], r"a\.xml: not XML"),
        ("<!DOCTYPE a>" + ASDIV, "with comments, CDATA or a DOCTYPE"),
        (ASDIV.replace("5.", "5<!-- x -->."), "with comments"),
        ("<a/>", "no rows"),
    ]:
        with pytest.raises(InputError, match=message):
            import_file("asdiv", files("a.xml", text), tmp_path / "new")


# === Tagging ===


def test_conll(imported):
    text = (
        "-DOCSTART- -X- O\n\n"
        "Ada NNP B-NP B-person\r\nLovelace NNP I-NP I-person\r\n"
        "in IN O O\nParis\tNNP\tO\tI-place\n\t\n \n"
        "One\tB-x\ntwo\tI-y\nthree\tB-y\n\ufeff\n"
        "bad\tX-y\n\nalone\n\n\n"
        "\tO\n\nNone\tO"
    )
    info, rows, reasons = imported("conll", "x.conll.gz", text)
    assert (info["name"], info["templates"]) == ("x", "named_entities")
    assert rows == [
        {
            "text": "Ada Lovelace in Paris",
            "tags": "B-person I-person O I-place",
            "answer": "person: Ada Lovelace; place: Paris",
        },
        {
            "text": "One two three",
            "tags": "B-x I-y B-y",
            "answer": "x: One; y: two; y: three",
        },
        {"text": "None", "tags": "O", "answer": "none"},
    ]
    assert reasons == [
        "expected O, B-type or I-type as tag, found 'X-y'",
        "expected a token and a tag, found 'alone'",
        "expected a token without blanks, found ''",
    ]


def test_slots(imported):
    text = "a:b:O c:B-Year <=> <NULL>\nno end:O\nx:O y <=> <NULL>\n"
    _, rows, reasons = imported("slots", "valid", text)
    assert rows == [{"text": "a:b c", "tags": "O B-Year", "answer": "Year: c"}]
    assert reasons == [
        "expected the line to end with ' <=> <NULL>'",
        "expected a token without blanks, found ''",
    ]
