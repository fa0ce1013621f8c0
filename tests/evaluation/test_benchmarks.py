import csv
import gzip
import io
import json

import pytest

from keras_flan.data.importers.benchmark_files import parse_exemplars
from keras_flan.data.records.example import Example
from keras_flan.data.records.writing import write_records
from keras_flan.errors import InputError
from keras_flan.evaluation.benchmarks.files import load_benchmark
from keras_flan.evaluation.benchmarks.protocols import (
    load_protocol,
    protocol_names,
    read_protocol,
)
from tests.golden.make_prompts import cases, prompts
from tests.golden.make_prompts import load as load_golden

STEPS = "A: Let's think step by step."


@pytest.fixture
def gsm8k(tmp_path):
    folder = tmp_path / "gsm8k"
    folder.mkdir()
    test = {"question": "What is 1 + 2?", "answer": "1 + 2 = 3.\n#### 3"}
    (folder / "test.jsonl").write_text(json.dumps(test) + "\n")
    lines = [
        {
            "question": f"What is {i} + 1000?",
            "answer": f"{i} + 1000 = <<{i}+1000={i + 1000}>>1,00{i}.\n"
            f"#### 1,00{i}",
        }
        for i in range(4)
    ]
    text = "\n".join(map(json.dumps, lines))
    (folder / "train.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    return folder


@pytest.fixture
def bbh(tmp_path):
    root = tmp_path / "bbh"
    (root / "bbh").mkdir(parents=True)
    (root / "cot-prompts").mkdir()
    examples = [
        {"input": "not True is", "target": "False"},
        {"input": "not False is", "target": "True"},
    ]
    data = {"canary": "c", "examples": examples}
    (root / "bbh" / "logic.json").write_text(json.dumps(data))
    (root / "cot-prompts" / "logic.txt").write_text(
        "canary\n-----\nEvaluate the expression.\n\nMind the brackets.\n\n"
        f"Q: True is\n{STEPS}\nIt stands there. So the answer is True.\n\n"
        f"Q: False is\nA line more.\n{STEPS} Easy. So the answer is False."
    )
    return root


@pytest.fixture
def mmlu(tmp_path):
    root = tmp_path / "mmlu"
    for split in ("dev", "test", "val"):
        (root / split).mkdir(parents=True)
        question = f'"A {split}, question",a,b b,"c,c",d,B\r\n'
        (root / split / f"world_facts_{split}.csv").write_text(question * 2)
    header = "The following are multiple choice questions (with answers) about"
    prompt = (
        f"{header} world facts.\n\nQ: How many?\n(A) 1 (B) 2 (C) 3 (D) 4\n"
        f"{STEPS} Two. The answer is (B)."
    )
    (root / "mmlu-cot.json").write_text(json.dumps({"world_facts": prompt}))
    return root


def prompt(name, data, **settings):
    return load_benchmark(name, data).items(**settings)[0].prompt


# === Golden prompts ===


def test_gsm8k_prompts(gsm8k):
    query = "Q: What is 1 + 2?\nA:"
    assert prompt("gsm8k", gsm8k) == query
    assert prompt("gsm8k", gsm8k, mode="cot") == f"Q: What is 1 + 2?\n{STEPS}"
    numbers = {
        i: (
            f"Q: What is {i} + 1000?\nA: {i} + 1000 = 1,00{i}.\n"
            f"The answer is 100{i}.\n\n"
        )
        for i in range(4)
    }
    rendered = prompt("gsm8k", gsm8k, mode="cot", shots=2, seed=0)
    exemplars = rendered.removesuffix(query)
    assert sum(text in exemplars for text in numbers.values()) == 2
    assert len(exemplars) == 2 * len(numbers[0])
    direct = prompt("gsm8k", gsm8k, shots=1, seed=0)
    assert direct.startswith("Q: What is ")
    assert direct.count("A: The answer is 100") == 1
    assert direct.endswith(query)


def test_gsm8k_exemplars_follow_the_seed(gsm8k):
    prompts = {
        prompt("gsm8k", gsm8k, mode="cot", shots=2, seed=seed)
        for seed in range(20)
    }
    assert 1 < len(prompts) <= 12
    assert prompt("gsm8k", gsm8k / "test.jsonl", shots=2, seed=3) == prompt(
        "gsm8k", gsm8k, shots=2, seed=3
    )


def test_bbh_prompts(bbh):
    assert prompt("bbh", bbh) == "Q: not True is\nA:"
    assert prompt("bbh", bbh, mode="cot") == f"Q: not True is\n{STEPS}"
    text = (bbh / "cot-prompts" / "logic.txt").read_text()
    assert prompt("bbh", bbh, mode="cot", shots=2) == (
        text.partition("-----\n")[2] + f"\n\nQ: not True is\n{STEPS}"
    )
    assert prompt("bbh", bbh, shots=2) == (
        "Evaluate the expression.\n\nMind the brackets.\n\n"
        "Q: True is\nA: True\n\nQ: False is\nA line more.\nA: False\n\n"
        "Q: not True is\nA:"
    )
    file = bbh / "bbh" / "logic.json"
    assert prompt("bbh", file, shots=1) == (
        "Evaluate the expression.\n\nMind the brackets.\n\n"
        "Q: True is\nA: True\n\nQ: not True is\nA:"
    )


HEADER = (
    "The following are multiple choice questions (with answers) about world "
    "facts.\n\n"
)


def test_mmlu_prompts(mmlu):
    options = "A. a\nB. b b\nC. c,c\nD. d\nAnswer:"
    assert prompt("mmlu", mmlu) == f"{HEADER}A test, question\n{options}"
    assert prompt("mmlu", mmlu / "val", shots=2) == (
        f"{HEADER}"
        f"A dev, question\n{options} B\n\nA dev, question\n{options} B\n\n"
        f"A val, question\n{options}"
    )
    row = f"(A) a (B) b b (C) c,c (D) d\n{STEPS}"
    file = mmlu / "test" / "world_facts_test.csv"
    assert prompt("mmlu", file, mode="cot") == (
        f"{HEADER}Q: A test, question\n{row}"
    )
    cot = json.loads((mmlu / "mmlu-cot.json").read_text())["world_facts"]
    assert prompt("mmlu", mmlu, mode="cot", shots=1) == (
        f"{cot}\n\nQ: A test, question\n{row}"
    )


def test_mmlu_shows_all_exemplars_of_a_subject_with_fewer(mmlu):
    (item, _) = load_benchmark("mmlu", mmlu).items(mode="cot", shots=5)
    assert item.shots == 1
    with pytest.raises(InputError, match="expected 6 exemplars"):
        load_benchmark("mmlu", mmlu).items(mode="cot", shots=6)


def write_task(folder, split="test", n=3, **settings):
    fields = {"question": "{x}?", "answer": "yes", "rationale": "Because."}
    fields |= settings.pop("fields", {})
    examples = [
        Example({**fields, "question": f"{i} {{x}}?"}, "t", f"{split}/{i}")
        for i in range(n)
    ]
    settings = {"name": folder.name, "templates": "generic", **settings}
    return write_records(examples, folder / split, split=split, **settings)


def test_records_are_asked_with_their_templates(tmp_path):
    write_task(tmp_path / "one", answer_kind="yes_no")
    write_task(tmp_path / "one", split="train", n=5)
    write_task(tmp_path / "two")
    root = load_benchmark("records", tmp_path)
    assert root.tasks == ["one", "two"]
    items = root.items(limit=2)
    assert [item.task for item in items] == ["one", "one", "two", "two"]
    assert items[0].answer_kind == "yes_no"
    assert "0 {x}?" in items[0].prompt and "1 {x}?" in items[1].prompt
    assert items[1].id == "test/1" and items[1].target == "yes"

    for data in (tmp_path / "one", tmp_path / "one" / "test"):
        benchmark = load_benchmark("records", data)
        assert benchmark.tasks == ["one"]
        assert benchmark.items() == root.items(tasks=["one"])
    few = root.items(tasks=["one"], mode="cot", shots=2)
    assert [item.shots for item in few] == [2, 2, 2]
    assert few[0].prompt.count("Because.") == 2
    with pytest.raises(InputError, match="needed for exemplars of 'two'"):
        root.items(shots=1)


def test_options_are_scored_by_the_marker_that_the_prompt_shows(tmp_path):
    examples = [
        Example({"text": "Sky?", "options": "B\nA", "answer": "A"}, "t")
    ] * 20
    write_records(
        examples, tmp_path, name="t", templates="topic", answer_kind="option"
    )
    items = load_benchmark("records", tmp_path).items()
    targets = {item.target for item in items}
    assert len(targets) > 5
    assert {item.answer_kind for item in items if item.target != "A"} == {
        "text"
    }
    # "A" is the letter of "B": the markers are those of the first option.
    assert all(
        item.target == "B" or item.target in item.prompt.split("B")[0]
        for item in items
    )


def test_records_with_options_are_ranked(tmp_path):
    examples = [
        Example(
            {"text": f"{i}?", "options": "red\nblue", "answer": "blue"}, "t"
        )
        for i in range(20)
    ]
    write_records(examples, tmp_path, name="t", templates="topic")
    protocol = load_protocol("records").model_copy(update={"stop": ("\n",)})
    benchmark = load_benchmark(protocol, tmp_path)
    for item in benchmark.items(mode="rank"):
        assert len(set(item.choices)) == 2 and item.stop == ("\n",)
        assert item.choices[1] == item.target
        assert item.continuations == item.choices
    assert not any(item.choices for item in benchmark.items())


def test_records_without_rationales_can_be_asked_to_reason(tmp_path):
    examples = [Example({"question": "Why?", "answer": "so"}, "t", "0")]
    write_records(examples, tmp_path, name="t", templates="generic")
    (item,) = load_benchmark("records", tmp_path).items(mode="cot")
    assert "Why?" in item.prompt and item.answer_kind == "text"


def test_records_without_an_answer_are_refused(tmp_path):
    examples = [Example({"question": "Why?", "text": "so"}, "t", "0")]
    family = tmp_path / "family.yaml"
    family.write_text(
        "family: f\nfields: [question, text]\n"
        "zero_shot_direct: [{input: '{question}', target: '{text}'}]\n"
    )
    folder = tmp_path / "t"
    write_records(examples, folder, name="t", templates=str(family))
    benchmark = load_benchmark("records", folder)
    with pytest.raises(InputError, match="expected a field 'answer'"):
        benchmark.items()


# === Choices ===


def test_tasks_and_limit(bbh):
    benchmark = load_benchmark("bbh", bbh)
    assert len(benchmark.items()) == 2
    assert len(benchmark.items(limit=1, tasks=["logic"])) == 1
    with pytest.raises(InputError, match=r"'logik'.*Did you mean 'logic'"):
        benchmark.items(tasks=["logik"])
    with pytest.raises(InputError, match="mode"):
        benchmark.items(mode="reason")


def test_the_kind_of_a_task_does_not_depend_on_the_limit(bbh):
    path = bbh / "bbh" / "logic.json"
    targets = ["(A)", "monsters"]
    examples = [{"input": "x", "target": target} for target in targets]
    path.write_text(json.dumps({"examples": examples}))
    (item,) = load_benchmark("bbh", path).items(limit=1)
    assert item.answer_kind == "text"


def test_a_run_is_labelled_by_the_split_that_was_read(mmlu):
    val = mmlu / "val" / "world_facts_val.csv"
    assert load_benchmark("mmlu", mmlu).split == "test"
    assert load_benchmark("mmlu", mmlu, "val").split == "val"
    assert load_benchmark("mmlu", val).split == "val"
    (mmlu / "test" / "world_facts_test.csv").unlink()
    assert load_benchmark("mmlu", mmlu).split == "val"
    unknown = val.rename(val.with_name("world_facts.csv"))
    assert load_benchmark("mmlu", unknown).split == "val"  # its folder
    unknown = unknown.rename(mmlu / "world_facts.csv")
    assert load_benchmark("mmlu", unknown).split is None


# === Bad input ===


@pytest.mark.parametrize(
    ("remove", "settings", "message"),
    [
        ("gsm8k/test.jsonl", {}, r"expected the files of gsm8k \(test.jsonl"),
        ("gsm8k/train.jsonl.gz", {"shots": 1}, r"train.jsonl.*--shots 0"),
    ],
)
def test_missing_gsm8k_files(gsm8k, remove, settings, message):
    (gsm8k.parent / remove).unlink()
    with pytest.raises(InputError, match=message):
        prompt("gsm8k", gsm8k, **settings)


def test_missing_files(tmp_path, bbh, mmlu):
    with pytest.raises(InputError, match=r"nowhere: no such file or folder"):
        load_benchmark("bbh", tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"no benchmark 'bhb'.*'bbh'"):
        load_benchmark("bhb", tmp_path)
    with pytest.raises(InputError, match=r"expected the files of bbh"):
        load_benchmark("bbh", bbh / "cot-prompts")
    with pytest.raises(InputError, match=r"expected dataset_info.json"):
        load_benchmark("records", bbh)
    (bbh / "cot-prompts" / "logic.txt").unlink()
    with pytest.raises(InputError, match=r"logic.txt.*bbh exemplars"):
        prompt("bbh", bbh, shots=1)
    (mmlu / "dev" / "world_facts_dev.csv").unlink()
    with pytest.raises(InputError, match=r"world_facts_dev.csv"):
        prompt("mmlu", mmlu, shots=1)
    (mmlu / "mmlu-cot.json").write_text('{"world_fact": ""}')
    with pytest.raises(InputError, match=r"no prompt for 'world_facts'"):
        prompt("mmlu", mmlu, shots=1, mode="cot")
    (mmlu / "mmlu-cot.json").write_text("{")
    with pytest.raises(InputError, match=r"mmlu-cot.json:1: not JSON"):
        prompt("mmlu", mmlu, shots=1, mode="cot")
    (mmlu / "mmlu-cot.json").unlink()
    with pytest.raises(
        InputError, match=r"no mmlu-cot.json or mmlu_cot/mmlu-cot.json"
    ):
        prompt("mmlu", mmlu, shots=1, mode="cot")


def test_broken_files(bbh, gsm8k, mmlu):
    with open(gsm8k / "test.jsonl", "a") as f:
        f.write("{broken\n")
    with pytest.raises(InputError, match=r"test.jsonl:2: not JSON"):
        prompt("gsm8k", gsm8k)
    (gsm8k / "test.jsonl").write_text("")
    with pytest.raises(InputError, match="the file is empty"):
        prompt("gsm8k", gsm8k)
    with pytest.raises(
        InputError, match="expected 3 exemplars, found 2; give --shots 2 or"
    ):
        prompt("bbh", bbh, shots=3)
    path = bbh / "cot-prompts" / "logic.txt"
    path.write_text(path.read_text().partition("-----\n")[2])
    with pytest.raises(InputError, match="expected a canary line"):
        prompt("bbh", bbh, shots=1)
    double = mmlu / "test" / "world_facts_test.csv.gz"
    double.write_bytes(b"")
    with pytest.raises(InputError, match=r"'world_facts' is also in"):
        load_benchmark("mmlu", mmlu)


def test_exemplars_of_another_form():
    with pytest.raises(InputError, match=r"p.txt: exemplar 1: .*step by step"):
        parse_exemplars("Add.\n\nQ: 1?\nA: 1.", "p.txt")
    with pytest.raises(InputError, match=r"exemplar 1: expected 'answer is '"):
        parse_exemplars(f"Add.\n\nQ: 1?\n{STEPS} One.", "p.txt")


# === Pieces ===


@pytest.mark.parametrize("name", protocol_names())
def test_protocols_are_valid(name):
    protocol = load_protocol(name)
    assert protocol.name == name and protocol.version >= 1
    for format, layout in protocol.formats.items():
        assert bool(layout.exemplar) == format.few_shot
    grouped = [task for tasks in protocol.groups.values() for task in tasks]
    assert len(grouped) == len(set(grouped))
    assert set(protocol.baselines) <= set(grouped)


def test_a_protocol_of_ones_own(tmp_path):
    text = "name: mine\nversion: 1\nsource: me\nreader: gsm8k\nformats:\n"
    text += "  zero_shot_direct: {query: '{question}'}\nextractor: number\n"
    path, data = tmp_path / "mine.yaml", tmp_path / "test.jsonl"
    path.write_text(text)
    data.write_text('{"question": "1 + 1?", "answer": "So.\\n#### 2"}')
    [item] = load_benchmark(read_protocol(path), data).items()
    assert (item.prompt, item.target) == ("1 + 1?", "2")
    assert item.answer_kind == "number"
    path.write_text(text.replace("number", "numbr"))
    with pytest.raises(InputError, match=r"extractor: .*'numbr'.*'number'"):
        read_protocol(path)


def test_single_tasks_have_their_kinds():
    bbh = load_protocol("bbh")
    assert bbh.kind_of("snarks", ["(A)", "(B)"]) == "option"
    assert bbh.kind_of("word_sorting", ["a b"]) == "list"
    assert bbh.kind_of("snarks", ["(A)", "5"]) == "text"
    assert load_protocol("gsm8k").kind_of("gsm8k", []) == "number"


def test_protocols_are_those_of_the_paper():
    mmlu, bbh = load_protocol("mmlu"), load_protocol("bbh")
    assert [len(tasks) for tasks in mmlu.groups.values()] == [18, 13, 12, 14]
    assert {g: len(t) for g, t in bbh.groups.items()} == {
        "NLP": 12,
        "algorithmic": 15,
    }
    assert len(bbh.baselines) == 27
    assert load_protocol("tydiqa").headline == tuple(
        ["ar", "bn", "fi", "id", "ko", "ru", "sw", "te"]
    )
    assert len(load_protocol("mgsm").headline) == 10
    shots = {"mmlu": 5, "bbh": 3, "tydiqa": 1, "mgsm": 8}
    assert {n: load_protocol(n).shots for n in shots} == shots


def test_every_prompt_has_a_golden_one():
    golden = load_golden()
    assert set(golden) == {" ".join(map(str, case)) for case in cases()}
    assert {len(rows) for rows in golden.values()} == {3}


# === The published files ===


@pytest.mark.realdata
def test_prompts_equal_the_golden_ones(realdata):
    golden = load_golden()
    for case in cases():
        made = prompts(realdata, *case)
        assert made == golden[" ".join(map(str, case))], case


@pytest.mark.realdata
def test_no_question_is_its_own_exemplar(realdata):
    for name in ("strategyqa", "xquad", "commonsenseqa", "aqua"):
        for item in load_benchmark(name, realdata).items(
            mode="cot", shots=None, limit=100
        ):
            query = item.prompt.rpartition("Q: ")[2].partition("\nA")[0]
            assert item.prompt.count(query) == 1, item.prompt


@pytest.mark.realdata
def test_mgsm_prompts_hold_the_published_exemplars(realdata):
    path = realdata / "mgsm" / "mgsm_exemplars.json"
    published = json.loads(path.read_bytes())["MGSM_EXEMPLARS"]
    benchmark = load_benchmark("mgsm", realdata / "mgsm")
    assert len(benchmark.tasks) == 11
    for item in benchmark.items(mode="cot", shots=8, limit=1):
        exemplars = "".join(
            f"{e['q']}\n{e['a']}\n\n" for e in published[item.task].values()
        )
        assert item.prompt.startswith(exemplars)
        question, label = published[item.task]["1"].values()
        rest = item.prompt.removeprefix(exemplars)
        assert rest[:3] == question[:3] and label.startswith(
            rest.rpartition("\n")[2]
        )


@pytest.mark.realdata
def test_benchmarks_are_whole(realdata):
    sizes = {
        "multiarith": 600,
        "svamp": 1000,
        "asdiv": 2084,
        "addsub": 395,
        "singleeq": 508,
        "aqua": 254,
        "commonsenseqa": 1221,
        "strategyqa": 2290,
        "last_letters": 500,
        "coin_flip": 500,
        "mgsm": 2750,
        "xquad": 3570,
        "tydiqa": 9,
    }
    for name, size in sizes.items():
        assert len(load_benchmark(name, realdata).items()) == size, name
    mmlu = load_benchmark("mmlu", realdata, split="val")
    assert len(mmlu.items()) == 1531


@pytest.mark.realdata
def test_bbh_cot_prompts_equal_the_official_files(realdata):
    benchmark = load_benchmark("bbh", realdata / "bbh")
    items = benchmark.items(mode="cot", shots=3)
    assert len(benchmark.tasks) == 27 and len(items) == 6511
    questions = {}
    for task in benchmark.tasks:
        data = json.loads((realdata / f"bbh/bbh/{task}.json").read_bytes())
        questions[task] = iter(data["examples"])
    for item in items:
        file = realdata / f"bbh/cot-prompts/{item.task}.txt"
        official = file.read_bytes().split(b"\n", 2)[2].decode()
        example = next(questions[item.task])
        assert item.prompt == (f"{official}\n\nQ: {example['input']}\n{STEPS}")
        assert item.target == example["target"]


@pytest.mark.realdata
@pytest.mark.parametrize("mode", ["direct", "cot"])
def test_bbh_prompts_equal_those_of_the_recorded_runs(realdata, mode):
    benchmark = load_benchmark("bbh", realdata / "bbh")
    folder = realdata / "model_outputs" / "bbh_code_davinci_002" / mode
    # The files were mended after the runs: an option of an exemplar, a
    # paragraph that only the chain-of-thought form had, one question.
    others = {"direct": {"date_understanding": 0, "snarks": 0}}
    others["cot"] = {"snarks": 177}
    for path in sorted(folder.glob("*.json.gz")):
        task = path.name.partition("_few_shot")[0]
        recorded = json.loads(gzip.decompress(path.read_bytes()))["outputs"]
        prompts = {row["input"] for row in recorded}
        items = benchmark.items(mode=mode, shots=3, tasks=[task])
        equal = sum(item.prompt in prompts for item in items)
        assert equal == others[mode].get(task, len(items)), task


@pytest.mark.realdata
def test_mmlu_prompts_equal_the_published_ones(realdata):
    benchmark = load_benchmark("mmlu", realdata / "mmlu")
    assert len(benchmark.tasks) == 57
    cot = json.loads((realdata / "mmlu_cot/mmlu-cot.json").read_bytes())
    for item in benchmark.items(mode="cot", shots=5, limit=1):
        official = cot[item.task].strip("\n")
        assert item.prompt.startswith(f"{official}\n\nQ: ")
        assert item.shots == official.count("\n\nQ: ")

    csv.field_size_limit(1 << 20)
    folder = realdata / "model_outputs" / "mmlu_5shot_predictions"
    for path in sorted(folder.glob("*.csv.gz")):
        task = path.name.removesuffix("_result.csv.gz")
        text = gzip.decompress(path.read_bytes()).decode()
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
        items = benchmark.items(shots=5, tasks=[task])
        assert len(rows) == len(items)
        for row, item in zip(rows, items, strict=True):
            made = item.prompt.replace("about ", "about  ", 1)
            made = f"{made} {row['prediction']}"
            if task == "abstract_algebra":
                assert made == row["completion"]
            # Elsewhere blanks at the ends of fields differ, and their CSV
            # reader took the option "None" for a number.
            recorded = row["completion"].replace("nan", "None").split()
            assert made.replace("nan", "None").split() == recorded


@pytest.mark.realdata
def test_gsm8k_reads_the_published_files(realdata):
    items = load_benchmark("gsm8k", realdata / "gsm8k").items(
        mode="cot", shots=8, seed=1
    )
    assert len(items) == 1319
    assert items[0].target == "18"
    assert items[0].prompt.count("\nThe answer is ") == 8
    assert "<<" not in items[0].prompt
