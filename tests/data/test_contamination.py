import gzip
import itertools
import json
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from keras_flan.cli import app
from keras_flan.data.analysis.benchmark_texts import read_benchmark
from keras_flan.data.analysis.contamination import check_contamination
from keras_flan.data.analysis.overlap import (
    SHINGLE,
    Index,
    Words,
    signatures,
    similarity,
    split_words,
)
from keras_flan.data.importers import import_file
from keras_flan.data.mixtures.mixture import Mixture, MixtureGroup
from keras_flan.data.records.example import Example
from keras_flan.data.records.writing import write_records
from keras_flan.data.templates.task import Task
from keras_flan.errors import InputError

WORDS = [f"{a}{b}" for a, b in itertools.product("bdfglmnprst", "aeiou")]


def _text(seed, number=40):
    rng = random.Random(seed)
    return " ".join(rng.choice(WORDS) for _ in range(number))


def _mixture(folder, texts):
    examples = [
        Example({"question": text, "answer": f"{i}"}, "sums", f"sums:{i}")
        for i, text in enumerate(texts)
    ]
    write_records(
        examples, folder / "sums", name="sums", templates="generic", shards=2
    )
    task = Task.from_directory(folder / "sums")
    return Mixture("test", [MixtureGroup("all", [task])])


def _benchmark(folder, texts):
    path = folder / "bench" / "test.jsonl"
    path.parent.mkdir()
    lines = [json.dumps({"question": text, "answer": "7"}) for text in texts]
    path.write_text("\n".join(lines), "utf-8")
    return path.parent


def test_a_planted_leak_is_found(tmp_path):
    bench = _benchmark(tmp_path, [_text(f"b{i}") for i in range(50)])
    leaked = _text("b7").upper().replace(" ", ",  ", 9)
    words = _text("b9").split()
    run = f"{_text('x', 20)}. {' '.join(words[20:33])}! {_text('y', 20)}"
    clean = [_text(f"t{i}") for i in range(300)]
    mixture = _mixture(tmp_path, [*clean, leaked, run, _text("z")])
    report = check_contamination(mixture, bench)
    assert report["mixture"]["tasks"] == [
        {
            "name": "sums",
            "group": "all",
            "examples": 303,
            "overlapping": 2,
            "near_duplicates": 1,
        }
    ]
    counts = {
        "examples": 50,
        "compared": 50,
        "overlapping": 2,
        "near_duplicates": 1,
    }
    files = [{"file": "test.jsonl", **counts}]
    assert report["benchmark"] == {**counts, "files": files}
    found = {
        (pair["kind"], pair["index"], pair["benchmark"]): pair
        for pair in report["found"]
    }
    assert found.keys() == {
        ("overlapping", 300, "test.jsonl:8"),
        ("overlapping", 301, "test.jsonl:10"),
        ("near_duplicate", 300, "test.jsonl:8"),
    }
    pair = found["overlapping", 301, "test.jsonl:10"]
    assert pair["words"] == " ".join(words[20:33])
    assert pair["source_id"] == "sums:301"
    assert found["near_duplicate", 300, "test.jsonl:8"]["similarity"] == 1
    json.dumps(report)


def test_twelve_words_are_no_overlap_of_thirteen(tmp_path):
    bench = _benchmark(tmp_path, [_text("b", 30)])
    words = _text("b", 30).split()
    text = " ".join(["xx", *words[3:15], "yy"])
    mixture = _mixture(tmp_path, [text, "other"])

    def overlapping(ngram):
        report = check_contamination(mixture, bench, ngram=ngram)
        return report["mixture"]["overlapping"]

    assert [overlapping(n) for n in (11, 12, 13)] == [1, 1, 0]


def test_a_reworded_copy_is_a_near_duplicate(tmp_path):
    bench = _benchmark(tmp_path, [_text(f"b{i}", 60) for i in range(20)])
    words = _text("b3", 60).split()
    # Every run of 13 is broken at the places 12, 24, 36 and 48.
    for place in (12, 24, 36, 48):
        words[place] = "other"
    mixture = _mixture(tmp_path, ["a", "b", " ".join(words)])
    report = check_contamination(mixture, bench, alike=0.6)
    assert report["benchmark"]["overlapping"] == 0
    assert report["benchmark"]["near_duplicates"] == 1
    [pair] = report["found"]
    assert (pair["index"], pair["benchmark"]) == (2, "test.jsonl:4")
    # 12 of 58 runs of three words hold a changed one.
    assert pair["similarity"] == pytest.approx(46 / 70, abs=1e-4)


def test_short_texts_say_nothing(tmp_path):
    bench = _benchmark(tmp_path, ["Paris is the capital.", "yes"])
    mixture = _mixture(tmp_path, ["Paris is the capital.", "yes"])
    report = check_contamination(mixture, bench)
    assert report["benchmark"]["compared"] == 0
    assert report["found"] == []


def test_a_text_of_many_examples_counts_for_all(tmp_path):
    bench = _benchmark(tmp_path, [_text("b")] * 3)
    mixture = _mixture(tmp_path, [_text("b"), _text("b"), _text("c")])
    report = check_contamination(mixture, bench)
    assert report["benchmark"]["overlapping"] == 3
    assert report["benchmark"]["near_duplicates"] == 3
    assert report["mixture"]["overlapping"] == 2
    assert len(report["found"]) == 2


def test_many_leaks_show_a_few(tmp_path):
    texts = [_text(i) for i in range(70)]
    report = check_contamination(
        _mixture(tmp_path, texts), _benchmark(tmp_path, texts)
    )
    assert report["benchmark"]["overlapping"] == 70
    kinds = [pair["kind"] for pair in report["found"]]
    assert kinds.count("overlapping") == kinds.count("near_duplicate") == 20


def test_all_stages_are_compared_once(tmp_path):
    bench = _benchmark(tmp_path, [_text("b")])
    for name, text in (("one", "b"), ("two", "c")):
        _mixture(tmp_path / name, [_text(text), _text("d")])
    stage = "groups: {all: {tasks: [{name: sums, records: two/sums}]}}"
    path = tmp_path / "m.yaml"
    path.write_text(
        "stages:\n"
        f"- {{steps: 5, {stage}}}\n"
        f"- {{steps: 5, {stage}}}\n"
        "- groups: {all: {tasks: [{name: more, records: one/sums}]}}\n"
    )
    report = check_contamination(Mixture.from_yaml(path), bench)
    assert [task["overlapping"] for task in report["mixture"]["tasks"]] == [
        0,
        1,
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't STOP: 3.5 km!", ["don", "t", "stop", "3", "5", "km"]),
        ("雨が降る2回。", ["雨", "が", "降", "る", "2", "回"]),
        ("আমি ভাত খাই", ["আমি", "ভাত", "খাই"]),
        ("cafe\u0301 =\u00a0CAF\u00c9", ["café", "café"]),
        (" \n", []),
    ],
)
def test_words(text, words):
    assert split_words(text) == words


@given(
    st.lists(st.lists(st.sampled_from("abc"), max_size=12), max_size=6),
    st.integers(1, 5),
)
def test_ngrams_are_those_of_python(texts, n):
    words = Words.of([" ".join(text) for text in texts])
    grams, owners = words.ngrams(n)
    expected = [
        (tuple(text[i : i + n]), number)
        for number, text in enumerate(texts)
        for i in range(len(text) - n + 1)
    ]
    assert [owner for _, owner in expected] == owners.tolist()
    # The same hash for the same words, and only for them.
    pairs = {
        (gram, hash_)
        for (gram, _), hash_ in zip(expected, grams.tolist(), strict=True)
    }
    assert len({gram for gram, _ in pairs}) == len(pairs)
    assert len({hash_ for _, hash_ in pairs}) == len(pairs)


@given(*[st.lists(st.integers(0, 9), max_size=20)] * 2)
def test_an_index_finds_all_pairs(known, others):
    at, places = Index(np.array(known, np.uint64)).find(
        np.array(others, np.uint64)
    )
    found = sorted(zip(at.tolist(), places.tolist(), strict=True))
    assert found == [
        (i, j)
        for i, other in enumerate(others)
        for j, one in enumerate(known)
        if one == other
    ]


def test_signatures_find_what_is_alike():
    rng = random.Random(0)
    found = wrong = 0
    for i in range(200):
        words = _text(i, 100).split()
        other = list(words)
        for place in rng.sample(range(100), 3):
            other[place] = "changed"
        both = Words.of([" ".join(words), " ".join(other), _text(-1 - i, 100)])
        grams, texts = both.ngrams(SHINGLE)
        assert similarity(grams[texts == 0], grams[texts == 1]) > 0.8
        bands, numbers = signatures(both)
        assert numbers.tolist() == [0, 1, 2]
        found += (bands[0] == bands[1]).any()
        wrong += (bands[0] == bands[2]).any()
    assert found >= 199
    assert wrong == 0


def test_every_layout_of_a_benchmark_is_read(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one.json").write_text(
        json.dumps(
            {
                "canary": "c",
                "examples": [
                    {"input": "p", "target": "q", "options": ["r", "s"]},
                    {"context": "t", "qas": [{"question": "u"}]},
                ],
            }
        )
    )
    # Two lines, a byte-order mark, and a number that is not JSON.
    text = '\ufeff{"x": "1"}\n{"x": "2", "y": {"z": "3", "n": NaN}}'
    (tmp_path / "b.json").write_text(text, "utf-8")
    (tmp_path / "c.csv.gz").write_bytes(gzip.compress(b'x,y\n"a,b",c\n'))
    (tmp_path / "d.tsv").write_text('"x\ty\n')
    (tmp_path / "e.txt").write_text("one\n\ntwo\n")
    (tmp_path / "f.md").write_text("not read")
    import_file("csv", tmp_path / "c.csv.gz", tmp_path / "records")
    found = list(read_benchmark(tmp_path))
    records = [one for one in found if "records" in one[0]]
    assert records == [("records/dataset_info.json:0", ["a,b", "c"])]
    assert [one for one in found if one not in records] == [
        ("a/one.json:1", ["c"]),
        ("a/one.json:2", ["p", "q", "r", "s"]),
        ("a/one.json:3", ["t"]),
        ("a/one.json:4", ["u"]),
        ("b.json:1", ["1"]),
        ("b.json:2", ["2", "3"]),
        ("c.csv.gz:1", ["x", "y"]),
        ("c.csv.gz:2", ["a,b", "c"]),
        ("d.tsv:1", ['"x', "y"]),
        ("e.txt:1", ["one"]),
        ("e.txt:3", ["two"]),
    ]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", "{", "a.json:1: not JSON"),
        ("a.jsonl", '{"a": "b"}\n{', "a.jsonl:2: not JSON"),
        ("a.json", "[" * 5000, "a.json: not JSON .*recursion"),
        ("a.jsonl", "{}\n" + "9" * 5000, "a.jsonl:2: not JSON .*4300"),
        ("a.md", "text", "nothing to compare with"),
        ("a.jsonl", "{}", "no texts"),
    ],
)
def test_a_bad_benchmark_is_named(tmp_path, name, text, message):
    mixture = _mixture(tmp_path, ["a", "b"])
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / name).write_text(text)
    with pytest.raises(InputError, match=message):
        check_contamination(mixture, tmp_path / "bench")


def test_bad_settings_are_named(tmp_path):
    mixture = _mixture(tmp_path, ["a", "b"])
    with pytest.raises(InputError, match="ngram: expected at least 1"):
        check_contamination(mixture, tmp_path, ngram=0)
    with pytest.raises(InputError, match="alike: expected"):
        check_contamination(mixture, tmp_path, alike=80)
    with pytest.raises(InputError, match="no such file or folder"):
        check_contamination(mixture, tmp_path / "nowhere")


def test_the_command_prints_tables_or_json(tmp_path):
    bench = _benchmark(tmp_path, [_text("b")])
    _mixture(tmp_path, [_text("b"), _text("c")])
    path = tmp_path / "m.yaml"
    path.write_text("records: .\ngroups: {all: {tasks: [sums]}}\n")
    command = ["contamination", str(path), "--against", str(bench)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "1 of 1 examples" in result.output
    assert "sums #0 ~ test.jsonl:1" in result.output
    result = CliRunner().invoke(app, [*command, "--json", "--ngram", "41"])
    assert json.loads(result.output)["benchmark"]["overlapping"] == 0


@pytest.mark.realdata
def test_training_questions_are_found_in_their_own_file(realdata, tmp_path):
    """GSM8K's training file holds what the mixture was made of; its test
    file shares a few phrases only."""
    folder = realdata / "gsm8k"
    import_file(
        "gsm8k", folder / "train.jsonl.gz", tmp_path / "gsm8k", limit=500
    )
    task = Task.from_directory(tmp_path / "gsm8k")
    mixture = Mixture("test", [MixtureGroup("cot", [task])])
    leaked = check_contamination(mixture, folder / "train.jsonl.gz")
    assert leaked["mixture"]["overlapping"] == 500
    clean = check_contamination(mixture, folder / "test.jsonl")
    assert clean["mixture"]["overlapping"] < 5
    assert clean["mixture"]["near_duplicates"] == 0
