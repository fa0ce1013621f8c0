import collections
import gzip
import json
import random

import pytest

from keras_flan.data.importers import IMPORTERS
from tests.data.mutations import SAMPLES, check_text, mutate_text, run


def test_every_format_has_a_sample():
    # Two read folders of libraries; flan2022 reads files by other importers.
    folders = {"hf", "tfds", "flan2022"}
    assert {s[0] for s in SAMPLES} == set(IMPORTERS) - folders


@pytest.mark.parametrize("case", range(len(SAMPLES)))
def test_malformed_files(case, tmp_path):
    format, files, options = SAMPLES[case]
    seen = collections.Counter()
    for seed in range(12):
        rng = random.Random(f"{case}/{seed}")
        seen[run(tmp_path / str(seed), format, files, options, rng)] += 1
    assert sum(seen.values()) == 12


def test_mutations_change_the_text():
    text = "one two three\n" * 5
    changed = [mutate_text(text, random.Random(i)) for i in range(50)]
    assert sum(data != text.encode() for data in changed) > 45


def test_an_altered_text_would_be_seen():
    check_text("gsm8k", "question", "two", "one two", {})
    with pytest.raises(AssertionError):
        check_text("gsm8k", "question", "twe", "one two", {})


# === Public data ===

_NLP = {
    "csv": ["ag_news/test.csv.gz", "snli/dev.csv.gz", "sick/dev.csv"],
    "jsonl": ["rte/val.jsonl", "aqua/test.json"],
    "labelled-lines": ["trec/test.txt", "sst2/stsa.binary.dev"],
    "slots": ["mit_movie/valid"],
    "json": ["boolq/test.json.gz", "openbookqa/test.json"],
    "bigbench": ["strategyqa/task.json", "bigbench_date/task.json"],
    "math-problems": [
        "svamp/SVAMP.json",
        "multiarith/MultiArith.json",
        "addsub/AddSub.json",
    ],
    "asdiv": ["asdiv/ASDiv.xml"],
    "conll": ["wnut17/wnut17train.conll"],
}
_OTHERS = {
    "gsm8k": ["gsm8k/test.jsonl"],
    "flan-cot": ["flan_cot/*.tsv*"],
    "natural-instructions": ["niv2/tasks/*.json", "niv2_sapt/*/dev.json"],
    "t0": ["t0_formatted/t0_train_sample.jsonl.gz"],
    "squad": ["xquad/xquad.*"],
    "tydiqa": ["tydiqa/tiny_dev.jsonl.gz", "tydiqa/xtreme_mock/labels/*"],
    "mgsm": ["mgsm/mgsm_*.tsv", "mgsm/mgsm_exemplars.json"],
    "esnli": ["esnli"],
    "qed": ["qed/qed-dev.jsonlines.gz"],
    "bbh": ["bbh/bbh/*.json"],
    "mmlu": ["mmlu/test/*.csv.gz"],
}
_AG_NEWS = {"columns": {"question": "Title", "answer": "Class Index"}}


def _read(path):
    data = path.read_bytes()
    return (gzip.decompress(data) if path.suffix == ".gz" else data).decode()


def _excerpt(path, rng):
    """Returns a piece of a real file that is a file of its format."""
    text = _read(path)
    name = path.name.removesuffix(".gz")
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if value is not None and name.endswith(".json"):
        return name, json.dumps(_shorten(value), ensure_ascii=False)
    if name.endswith(".xml"):
        problems = text.split("\t<Problem ")
        first = rng.randrange(1, len(problems) - 20)
        chosen = [problems[0], *problems[first : first + 15], problems[-1]]
        return name, "\t<Problem ".join(chosen)
    lines = text.split("\n")
    header = lines[:1] if name.endswith(".csv") else []
    first = rng.randrange(len(header), max(len(lines) - 20, 1 + len(header)))
    return name, "\n".join(header + lines[first : first + 25])


def _shorten(value):
    if isinstance(value, dict):
        return {key: _shorten(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_shorten(part) for part in value[:12]]
    return value


@pytest.mark.realdata
def test_a_thousand_mutated_real_files(realdata, tmp_path):
    sources = [
        (format, path)
        for format, patterns in [
            *_OTHERS.items(),
            *((f, [f"nlp/{p}" for p in ps]) for f, ps in _NLP.items()),
        ]
        for pattern in patterns
        for path in [sorted(realdata.glob(pattern))]
    ]
    assert all(paths for _, paths in sources)
    seen = collections.Counter()
    for seed in range(1000):
        rng = random.Random(f"real/{seed}")
        format, paths = sources[seed % len(sources)]
        path = rng.choice(paths)
        if format == "esnli":
            first = rng.randrange(9000)
            files = {
                f"e/{file.name}": "\n".join(
                    _read(file).split("\n")[first : first + 20]
                )
                for file in sorted(path.iterdir())
            }
        else:
            files = dict([_excerpt(path, rng)])
        options = _AG_NEWS if "ag_news" in str(path) else {}
        result = run(tmp_path / str(seed), format, files, options, rng)
        seen[format, result] += 1
    assert sum(seen.values()) == 1000
    # Both outcomes are common, so that the check of the texts bites.
    for result in ("accepted", "rejected"):
        assert sum(n for (_, r), n in seen.items() if r == result) >= 200, seen
