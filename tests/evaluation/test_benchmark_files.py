"""Files and records of benchmarks as the public has them."""

import json

import pytest

from keras_flan.data.importers import import_source
from keras_flan.data.records.example import Example
from keras_flan.data.records.writing import write_records
from keras_flan.errors import InputError
from keras_flan.evaluation import evaluate
from keras_flan.evaluation.benchmarks.files import load_benchmark
from keras_flan.evaluation.scores.predictions import read_predictions

MARK = "\ufeff"
SQUAD = {"context": "Ada was born in 1815 in London.", "question": "Where?"}
ANSWERS = {"text": ["in London", "London"], "answer_start": [1, 2]}


def nested(*qas):
    paragraph = {"context": SQUAD["context"], "qas": list(qas)}
    return {"version": "x", "data": [{"paragraphs": [paragraph]}]}


def qa(question, *texts, **more):
    return {
        "question": question,
        "answers": [{"text": text} for text in texts],
        **more,
    }


# Without ids, with the same id twice, and as flat rows.
@pytest.mark.parametrize(
    "document",
    [
        nested(
            qa("Where?", "in London", "London"), qa("When?", "in 1815", "1815")
        ),
        nested(
            qa("Where?", "in London", "London", id="a"),
            qa("When?", "in 1815", "1815", id="a"),
        ),
        {
            "data": [
                {**SQUAD, "answers": ANSWERS},
                {**SQUAD, "question": "When?", "answers": {"text": ["1815"]}},
            ]
        },
    ],
)
def test_every_reference_of_squad_counts(document, tmp_path):
    (tmp_path / "xquad.en.json").write_text(json.dumps(document))

    def model(prompts, samples=1, **_):
        places = ["London" if "Where?" in p else "1815" for p in prompts]
        return [[place] * samples for place in places]

    output = tmp_path / "out"
    found = evaluate(model, "xquad", tmp_path, output=output)
    assert (found["accuracy"], found["f1"], found["n"]) == (1, 1, 2)
    assert len({row.id for row in read_predictions(output)}) == 2


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-8"])
def test_files_may_begin_with_a_mark(encoding, tmp_path):
    rows = {
        "gsm8k": {"question": "2+2?", "answer": "2+2=4\n#### 4"},
        "aqua": {
            "question": "2+2?",
            "options": ["A)1", "B)4"],
            "rationale": "x",
            "correct": "B",
        },
        "xquad": nested(qa("Where?", "London")),
    }
    for name, row in rows.items():
        file = "xquad.en.json" if name == "xquad" else "test.json"
        folder = tmp_path / name
        folder.mkdir()
        path = folder / (file + "l" * (name == "gsm8k"))
        path.write_bytes(json.dumps(row).encode(encoding))
        [item] = load_benchmark(name, path).items()
        assert item.target in ("4", "B", "London")
        assert MARK not in item.prompt
    recorded = tmp_path / "predictions.jsonl"
    line = json.dumps({"target": "9", "output": "The answer is 9."})
    mark = MARK if encoding == "utf-8" else ""
    # Where files were put together, marks are inside.
    text = f"{line}\n{mark}{line}\n"
    recorded.write_bytes(text.encode(encoding))
    assert [row.target for row in read_predictions(recorded)] == ["9", "9"]


def test_a_file_called_after_its_split_is_of_its_folders_task(tmp_path):
    path = tmp_path / "astronomy" / "test.csv"
    path.parent.mkdir()
    path.write_text("Where?,a,b,c,d,B\n")
    assert load_benchmark("mmlu", path).tasks == ["astronomy"]
    [item] = load_benchmark("mmlu", path).items()
    assert item.task == "astronomy"


def test_a_test_file_without_answers_is_said_to_be_one(tmp_path):
    choices = [{"label": "A", "text": "red"}, {"label": "B", "text": "blue"}]
    row = {"id": "1", "question": {"stem": "Sky?", "choices": choices}}
    path = tmp_path / "test_rand_split_no_answers.jsonl"
    path.write_text(json.dumps(row) + "\n")
    with pytest.raises(InputError, match=r"can't be scored.*dev_rand_split"):
        load_benchmark("commonsenseqa", path).items()


def sums(folder, split, numbers, text="What is {} plus {}?"):
    examples = [
        Example(
            {
                "question": text.format(i, i),
                "answer": str(2 * i),
                "rationale": "r.",
            },
            "t",
        )
        for i in numbers
    ]
    write_records(
        *(examples, folder / split), name="t", split=split, templates="generic"
    )


@pytest.mark.parametrize(
    "copy", ["What is {} plus {}?", " what  is {} plus {}? "]
)
def test_no_exemplar_of_records_is_the_question(copy, tmp_path):
    sums(tmp_path / "t", "train", [0, 1, 2, 3, 1, 2, 0], copy)
    sums(tmp_path / "t", "test", range(4))
    items = load_benchmark("records", tmp_path).items(mode="direct", shots=3)
    for number, item in enumerate(items):
        text = " ".join(item.prompt.lower().split())
        assert item.shots == 3
        for i in range(4):
            assert text.count(f"what is {i} plus {i}?") == 1, number
    with pytest.raises(InputError, match="expected 4 exemplars, found 3"):
        load_benchmark("records", tmp_path).items(mode="direct", shots=4)


def test_records_of_t0_and_natural_instructions_can_be_evaluated(tmp_path):
    document = {
        "Definition": ["Say the colour."],
        "Instances": [
            {"input": f"Object {i}.", "output": ["red", "crimson"]}
            for i in range(3)
        ],
    }
    row = {"template": "x", "prompt": "Object.", "completion": "red"}
    (tmp_path / "task1_colours.json").write_text(json.dumps(document))
    (tmp_path / "t0.jsonl").write_text((json.dumps(row) + "\n") * 2)
    for format, file in (
        ("natural-instructions", "task1_colours.json"),
        ("t0", "t0.jsonl"),
    ):
        output = tmp_path / format
        import_source(format, tmp_path / file, output, split="test")
        for answer, accuracy in (("red", 1), ("crimson", None), ("blue", 0)):
            found = evaluate(
                lambda prompts, samples=1, answer=answer, **_: [
                    [answer] * samples for _ in prompts
                ],
                *("records", output),
                output=tmp_path / f"{format}-{answer}",
            )
            expected = accuracy
            if accuracy is None:  # The second reference of the one.
                expected = int(format == "natural-instructions")
            assert found["accuracy"] == expected
