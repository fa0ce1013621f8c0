"""Every public data set becomes records by one call, with exact counts."""

import collections
import json

import pytest

from keras_flan.data.importers import import_file, import_source
from keras_flan.data.records.shards import read_records
from keras_flan.data.templates.task import Task

pytestmark = pytest.mark.realdata

SST2 = {
    "columns": {"question": "text", "answer": "label"},
    "labels": {"0": "negative", "1": "positive"},
}
AG_NEWS = {
    "columns": {
        "title": "Title",
        "context": "Description",
        "answer": "Class Index",
    },
    "labels": {"1": "World", "2": "Sports", "3": "Business", "4": "Sci/Tech"},
}
CSQA = {
    "columns": {
        "question": "question.stem",
        "options": "question.choices.text",
        "answer": "answerKey",
    }
}
MCTACO = {
    "columns": {
        "context": "#1",
        "question": "#2",
        "candidate": "#3",
        "answer": "#4",
        "category": "#5",
    }
}
CODAH = {
    "columns": {
        "question": "#2",
        "options": ["#3", "#4", "#5", "#6"],
        "answer": "#7",
    },
    "labels": {"0": "A", "1": "B", "2": "C", "3": "D"},
}
SENTENCE = {"columns": {"question": "sentence", "answer": "label"}}


@pytest.mark.parametrize(
    ("format", "path", "accepted", "rejected", "options"),
    [
        ("tydiqa", "tydiqa/tiny_dev.jsonl.gz", 6, 5, {}),
        ("tydiqa", "tydiqa/small_gold_annotation.jsonl", 2, 1, {}),
        ("tydiqa", "tydiqa/xtreme_mock/labels", 9, 0, {}),
        ("mgsm", "mgsm/mgsm_de.tsv", 250, 0, {}),
        ("mgsm", "mgsm/mgsm_exemplars.json", 88, 0, {}),
        ("esnli", "esnli", 9842, 0, {}),
        # 183 multi-sentence explanations, 151 questions without any.
        ("qed", "qed/qed-dev.jsonlines.gz", 1021, 334, {}),
        ("csv", "nlp/ag_news/test.csv.gz", 7600, 0, AG_NEWS),
        ("jsonl", "nlp/rte/train.jsonl", 2490, 0, {}),
        ("jsonl", "nlp/rte/val.jsonl", 277, 0, {}),
        ("labelled-lines", "nlp/sst2/stsa.binary.train", 6920, 0, SST2),
        ("labelled-lines", "nlp/sst2/stsa.binary.dev", 872, 0, SST2),
        ("labelled-lines", "nlp/sst2/stsa.binary.test", 1821, 0, SST2),
        ("labelled-lines", "nlp/trec/train.txt", 5452, 0, {}),
        ("labelled-lines", "nlp/trec/test.txt", 500, 0, {}),
        ("slots", "nlp/mit_movie/train.gz", 7034, 0, {}),
        ("slots", "nlp/mit_movie/valid", 782, 0, {}),
        ("slots", "nlp/mit_movie/test", 1953, 0, {}),
        ("json", "nlp/boolq/train.json.gz", 2000, 0, SENTENCE),
        ("json", "nlp/boolq/test.json.gz", 3270, 0, SENTENCE),
        ("json", "nlp/qqp/train.json", 2000, 0, SENTENCE),
        ("json", "nlp/qqp/test.json.gz", 7600, 0, SENTENCE),
        ("csv", "nlp/snli/dev.csv.gz", 9831, 0, {}),
        ("csv", "nlp/sick/train.csv", 9500, 0, {}),
        ("csv", "nlp/sick/dev.csv", 500, 0, {}),
        ("tsv", "nlp/mctaco/dev_3783.tsv", 3783, 0, MCTACO),
        ("tsv", "nlp/codah/full_data.tsv", 2776, 0, CODAH),
        ("json", "nlp/openbookqa/train.json.gz", 4957, 0, {}),
        ("json", "nlp/openbookqa/test.json", 500, 0, {}),
        ("json", "nlp/arc_easy/test.json.gz", 2376, 0, {}),
        ("jsonl", "nlp/commonsenseqa/train_rand_split.jsonl.gz", 9741, 0, CSQA),
        ("jsonl", "nlp/commonsenseqa/dev_rand_split.jsonl", 1221, 0, CSQA),
        ("bigbench", "nlp/strategyqa/task.json", 2290, 0, {}),
        ("bigbench", "nlp/bigbench_date/task.json", 369, 0, {}),
        ("bigbench", "nlp/bigbench_object_tracking/task.json", 750, 0, {}),
        ("math-problems", "nlp/svamp/SVAMP.json", 1000, 0, {}),
        ("math-problems", "nlp/multiarith/MultiArith.json", 600, 0, {}),
        ("math-problems", "nlp/singleeq/questions.json", 508, 0, {}),
        ("math-problems", "nlp/addsub/AddSub.json", 395, 0, {}),
        # Names, times, ratios and pairs of numbers are left out.
        ("asdiv", "nlp/asdiv/ASDiv.xml", 2084, 221, {}),
        ("jsonl", "nlp/aqua/test.json", 254, 0, {}),
        ("json", "nlp/coin_flip/coin_flip.json", 500, 0, {}),
        ("json", "nlp/last_letters/last_letters.json", 500, 0, {}),
        ("conll", "nlp/wnut17/wnut17train.conll", 3394, 0, {}),
        ("conll", "nlp/wnut17/emerging.dev.conll", 1009, 0, {}),
    ],
)
def test_counts(realdata, tmp_path, format, path, accepted, rejected, options):
    info = import_file(format, realdata / path, tmp_path, **options)
    assert (info["num_examples"], info["num_rejected"]) == (accepted, rejected)
    examples = list(read_records(tmp_path, verify=True))
    assert len(examples) == accepted
    if info["templates"]:
        assert Task.from_directory(tmp_path).formats
    if "labels" in options:
        names = set(options["labels"].values())
        assert {e.fields["answer"] for e in examples} == names


def test_natural_instructions(realdata, tmp_path):
    done = import_source("natural-instructions", realdata / "niv2", tmp_path)
    assert (len(done.tasks), len(done.left_out)) == (128, 4)
    assert done.rejected == []
    assert sum(info["num_examples"] for info in done.tasks) == 12790
    # One instance has nothing but an empty output.
    assert sum(info["num_rejected"] for info in done.tasks) == 1
    names = {info["name"] for info in done.tasks}
    assert len(names) == 128 and not any("mmmlu" in name for name in names)
    wanted = (realdata / "niv2/splits/default/train_tasks.txt").read_text()
    assert names <= set(wanted.split())
    first = names.pop()
    for example in read_records(tmp_path / first, verify=True):
        references = json.loads(example.fields["references"])
        assert example.fields["targets"] == references[0]
        assert example.fields["definition"]
    assert Task.from_directory(tmp_path / first).formats


def test_the_filter_knows_the_mmlu_tasks(realdata, tmp_path):
    from keras_flan.data.importers import natural_instructions as module
    from keras_flan.data.importers.base import Options

    splits = realdata / "niv2" / "splits" / "default"
    names = (splits / "train_tasks.txt").read_text().split()
    names += (splits / "test_tasks.txt").read_text().split()
    for name in names:
        (tmp_path / f"{name}.json").touch()
    parts = module.IMPORTER.parts(tmp_path, Options())
    left_out = [p.path.name for p in parts if p.left_out]
    # The ids that the Flan release drops: 664 to 667 and 685 to 737.
    numbers = sorted(int(name[4:7]) for name in left_out)
    assert numbers == [*range(664, 668), *range(685, 738)]
    assert len(parts) == len(set(names))


def test_natural_instructions_in_parts(realdata, tmp_path):
    source = realdata / "niv2_sapt"
    done = import_source("natural-instructions", source, tmp_path)
    numbers = collections.Counter()
    for info in done.tasks:
        numbers[info["split"]] += info["num_examples"]
        numbers["rejected"] += info["num_rejected"]
    assert (len(done.tasks), done.rejected) == (30, [])
    assert numbers["rejected"] == 3
    assert sum(numbers.values()) == 1854
    folder = tmp_path / "task875_emotion_classification" / "train"
    assert next(read_records(folder)).fields["targets"]


def test_mgsm(realdata, tmp_path):
    done = import_source("mgsm", realdata / "mgsm", tmp_path, strict=True)
    assert len(done.tasks) == 11
    assert {info["num_examples"] for info in done.tasks} == {250}
    for info in done.tasks:
        assert info["templates"] == info["name"]
        Task.from_directory(tmp_path / info["name"])


def test_t0(realdata, tmp_path):
    source = realdata / "t0_formatted" / "t0_train_sample.jsonl.gz"
    done = import_source("t0", source, tmp_path, strict=True)
    assert len(done.tasks) == 182
    assert sum(info["num_examples"] for info in done.tasks) == 3568


def test_tydiqa_passages_hold_their_answers(realdata, tmp_path):
    source = realdata / "tydiqa" / "tiny_dev.jsonl.gz"
    import_file("tydiqa", source, tmp_path)
    examples = list(read_records(tmp_path))
    spans = [e for e in examples if e.fields["answer"] not in ("yes", "no")]
    assert spans and len(spans) < len(examples)
    assert all(e.fields["answer"] in e.fields["context"] for e in spans)
