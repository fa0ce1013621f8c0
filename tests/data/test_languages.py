"""Languages: localised formats, importers, temperature, figures."""

import json

import pytest

from keras_flan.data.analysis.fertility import fertility, script_warning
from keras_flan.data.analysis.statistics import measure_mixture
from keras_flan.data.importers import import_source
from keras_flan.data.mixtures.groups import MixtureGroup
from keras_flan.data.mixtures.mixture import Mixture
from keras_flan.data.records.example import Example
from keras_flan.data.records.languages import language_code, language_name
from keras_flan.data.records.shards import read_records
from keras_flan.data.records.writing import write_records
from keras_flan.data.templates.families import LOCALISED_FORMATS
from keras_flan.data.templates.library import languages, load_family
from keras_flan.data.templates.localisation import localised
from keras_flan.data.templates.task import Task
from keras_flan.errors import InputError
from keras_flan.evaluation.scores.scoring import score
from keras_flan.testing import check_templates
from tests.data.mutations import lines

KINDS = ("mgsm", "nli", "squad", "summarisation", "topic", "translation")


def test_names_and_codes_of_languages():
    for text in ("ko", "ko-KR", "kor_Hang", "Korean", "KOREAN", "kor"):
        assert language_code(text) == "ko"
    for text in ("no", "nb", "nob", "nor", "Norwegian"):
        assert language_code(text) == "nb"
    assert language_code("arb_Arab") == language_code("ara") == "ar"
    assert [language_code(text) for text in ("dev", "", "xx", "devtest")] == (
        [None] * 4
    )
    assert language_name("ko") == "Korean"
    assert all(language_name(code) != code for code in languages())


@pytest.mark.parametrize("kind", KINDS)
def test_all_languages_render_the_same_in_python_and_graph(kind):
    # One task of each language would be a graph of its own: as one family.
    fields = load_family(f"{kind}_en").fields
    examples = [
        {
            name: "da\nnein" if name == "options" else f"{name} é {number}"
            for name in fields
        }
        for number in range(2)
    ]
    together = []
    for language in languages():
        family = load_family(f"{kind}_{language}")
        together += family.zero_shot_direct[:2]
        assert len(family.few_shot_direct) >= 10
    mixed = load_family(f"{kind}_ja")
    check_templates(
        type(mixed)(
            kind,
            mixed.fields,
            zero_shot_direct=tuple(together),
            few_shot_direct=tuple(
                load_family(f"{kind}_{language}").few_shot_direct[0]
                for language in languages()
            ),
        ),
        examples,
    )


@pytest.mark.slow
@pytest.mark.parametrize("language", languages())
@pytest.mark.parametrize("kind", KINDS)
def test_every_localised_template_renders_the_same(kind, language):
    examples = [
        {
            name: "a\nb" if name == "options" else f"{name} {number}"
            for name in load_family(f"{kind}_{language}").fields
        }
        for number in range(3)
    ]
    check_templates(f"{kind}_{language}", examples)


def records(folder, name, language, number, templates="nli"):
    rows = [
        Example(
            {
                "premise": f"{name} {i}",
                "hypothesis": "b",
                "options": "ja\nnein",
                "answer": "ja",
            },
            f"{name}-{i}",
        )
        for i in range(number)
    ]
    extra = {"language": language} if language else {}
    write_records(
        rows, folder / name, name=name, templates=templates, extra=extra
    )
    return Task.from_directory(folder / name)


def test_a_task_is_asked_in_english_or_in_its_language(tmp_path):
    task = records(tmp_path, "xnli_de", "de", 3)
    assert task.language == "de"
    assert set(LOCALISED_FORMATS) & set(task.formats) == {
        "zero_shot_localised",
        "few_shot_localised",
    }
    assert task.family.zero_shot_localised == (
        load_family("nli_de").zero_shot_direct
    )
    # English stays what the task's own formats ask in.
    assert task.family.zero_shot_direct == load_family("nli").zero_shot_direct
    # Reasoning needs a rationale; MGSM's family and GSM8K's have it.
    for name in ("gsm8k", "mgsm_en", "mgsm_ko"):
        family = localised(load_family(name), "ko")
        assert family.few_shot_localised_cot == (
            load_family("mgsm_ko").few_shot_cot
        )
    same = load_family("boolean_qa")
    assert localised(same, "de") is same
    assert localised(load_family("nli"), "tlh") == load_family("nli")


def test_a_mixture_of_languages(tmp_path):
    records(tmp_path, "a", "en", 9)
    records(tmp_path, "b", "en", 7)
    records(tmp_path, "c", "de", 4)
    records(tmp_path, "d", None, 1)
    file = tmp_path / "m.yaml"
    file.write_text(
        "records: .\ngroups:\n  all:\n    language_temperature: 2\n"
        "    formats: {zero_shot_direct: 1, zero_shot_localised: 3}\n"
        "    tasks: [a, b, c, {name: d, language: sw}]\n"
    )
    mixture = Mixture.from_yaml(file)
    # sqrt(16) : sqrt(4) : sqrt(1), and 9 : 7 within English.
    expected = {"a": 4 * 9 / 16, "b": 4 * 7 / 16, "c": 2.0, "d": 1.0}
    assert mixture.rates() == pytest.approx(
        {name: share / 7 for name, share in expected.items()}
    )
    assert mixture.tasks[3].task.language == "sw"
    assert mixture.tasks[2].formats == {
        "zero_shot_direct": 0.25,
        "zero_shot_localised": 0.75,
    }
    file.write_text(
        file.read_text().replace("temperature: 2", "temperature: 1")
    )
    by_examples = {"a": 9 / 21, "b": 7 / 21, "c": 4 / 21, "d": 1 / 21}
    assert Mixture.from_yaml(file).rates() == pytest.approx(by_examples)
    with pytest.raises(InputError, match="expected more than 0, found -1"):
        MixtureGroup("x", [], language_temperature=-1)


# === Importers ===


def test_massive(files, imported, tmp_path):
    rows = [
        {
            "id": "0",
            "partition": "train",
            "utt": "깨워 줘",
            "intent": "alarm_set",
        },
        {
            "id": "1",
            "partition": "test",
            "utt": "날씨",
            "intent": "weather_query",
        },
        {"id": "2", "partition": "train", "utt": " ", "intent": "alarm_set"},
    ]
    info, found, reasons = imported("massive", "ko-KR.jsonl", lines(*rows))
    assert (info["name"], info["language"]) == ("massive_ko", "ko")
    assert (info["templates"], info["answer_kind"]) == ("intent", "option")
    assert found == [
        {
            "text": "깨워 줘",
            "answer": "alarm set",
            "options": "alarm set\nweather query",
            "scenario": "",
        }
    ]
    assert reasons == ["the text under 'utt' is empty"]
    done = import_source(
        "massive", files("x/ko-KR.jsonl", lines(*rows)).parent, tmp_path / "all"
    )
    assert [(i["name"], i["split"]) for i in done.tasks] == [
        ("massive_ko", "train"),
        ("massive_ko", "test"),
    ]
    with pytest.raises(InputError, match="no rows of the split 'dev'"):
        import_source(
            "massive",
            tmp_path / "files" / "ko-KR.jsonl",
            tmp_path / "no",
            split="dev",
        )


def test_xp3_and_aya_make_a_task_of_each_language(files, imported, tmp_path):
    row = {"inputs": "Translate: 물", "targets": "water"}
    info, found, _ = imported("xp3", "merged_ko.jsonl", lines(row))
    assert (info["name"], info["language"]) == ("xp3_ko", "ko")
    assert found == [row]
    rows = [
        {**row, "language": "ko", "dataset": "d", "template": "T 1"},
        {**row, "language": "kor_Hang", "dataset": "d", "template": "T 2"},
        {**row, "language": "sw", "dataset": "d", "template": "T 1"},
    ]
    done = import_source(
        "xp3", files("x.jsonl", lines(*rows)), tmp_path / "xp3"
    )
    assert [i["name"] for i in done.tasks] == [
        "xp3_ko_d_T_1",
        "xp3_ko_d_T_2",
        "xp3_sw_d_T_1",
    ]
    rows = [
        {**row, "language": "Korean", "language_code": "kor"},
        {**row, "language": "Yoruba", "language_code": "yor"},
        {**row, "language": "Yoruba", "language_code": "yor", "targets": ""},
    ]
    done = import_source(
        "aya", files("aya.jsonl", lines(*rows)), tmp_path / "aya"
    )
    assert [(i["name"], i["num_rejected"]) for i in done.tasks] == [
        ("aya_ko", 0),
        ("aya_yo", 1),
    ]
    [example] = read_records(tmp_path / "aya" / "aya_ko")
    assert example.fields == {"question": "Translate: 물", "answer": "water"}


def test_parallel_texts(files, tmp_path):
    folder = files("flores/eng_Latn.dev", "Water.\n\nFire.\n").parent
    files("flores/kor_Hang.dev", "물.\n흙.\n불.\n")
    files("flores/README.txt", "not a language")
    done = import_source("parallel", folder, tmp_path / "out")
    [info] = done.tasks
    assert info["name"] == "flores_en_ko"
    assert info["templates"] == "translation"
    assert (info["language"], info["num_rejected"]) == ("ko", 1)
    task = Task.from_directory(tmp_path / "out" / "flores_en_ko")
    assert "zero_shot_localised" in task.formats
    first = next(task.read())
    assert first.fields == {
        "source": "Water.",
        "target": "물.",
        "source_language": "English",
        "target_language": "Korean",
    }
    both = {"source": "kor", "target": "en"}
    done = import_source("parallel", folder, tmp_path / "back", columns=both)
    assert [i["name"] for i in done.tasks] == ["flores_ko_en"]
    for columns, message in (
        ({"source": "de", "target": "en"}, "no texts in this language"),
        ({"question": "de"}, "expected the fields source and target"),
    ):
        with pytest.raises(InputError, match=message):
            import_source("parallel", folder, tmp_path / "n", columns=columns)
    files("flores/deu_Latn.dev", "Wasser.\n")
    with pytest.raises(InputError, match="1 lines, but eng_Latn"):
        import_source(
            "parallel", folder, tmp_path / "n2",
            columns={"source": "en", "target": "de"},
        )  # fmt: skip


def test_parallel_rows_of_json(imported):
    rows = [
        {"id": 7, "translation": {"en": "Water", "de": "Wasser"}},
        {"sentence_eng_Latn": "Fire", "sentence_deu_Latn": "Feuer"},
        {"translation": {"en": "Air", "de": None}},
    ]
    info, found, reasons = imported("parallel", "wmt.jsonl", lines(*rows))
    assert info["name"] == "wmt_en_de"
    assert [row["target"] for row in found] == ["Wasser", "Feuer"]
    assert reasons == ["expected a text under 'de', found None"]
    assert json.dumps(info["input_languages"]) == '["English"]'


# === Figures ===


class Bytes:
    """A vocabulary of bytes; `unknown` are all but ASCII."""

    unk_id = 2

    def __init__(self, unknown=False):
        self._unknown = unknown

    def encode_batch(self, texts):
        return [
            [2 if self._unknown and b > 127 else b for b in text.encode()]
            for text in texts
        ]


def test_fertility_and_scripts_without_pieces():
    english = fertility(["two words", "one"], Bytes())
    assert english == {
        "tokens_per_word": 4.0,
        "tokens_per_character": 1.0,
        "unknown": 0.0,
    }
    assert script_warning("English", english) is None
    chinese = fertility(["只写数字"], Bytes())
    assert chinese["tokens_per_word"] is None
    assert chinese["tokens_per_character"] == 3.0
    assert script_warning("Chinese", chinese).startswith(
        "Chinese: 3.0 tokens per character: the vocabulary has no pieces"
    )
    telugu = fertility(["నీరు"], Bytes(unknown=True))
    assert telugu["unknown"] == 1.0
    assert "100% of the tokens are unknown" in script_warning("Te", telugu)


def test_the_report_says_what_each_language_becomes(tmp_path):
    records(tmp_path, "a", "en", 30)
    records(tmp_path, "b", "de", 10)
    mixture = Mixture(
        "m",
        [MixtureGroup("g", [Task.from_directory(tmp_path / n) for n in "ab"])],
    )
    found = measure_mixture(mixture, draws=2000, examples=400)
    rows = {row["name"]: row for row in found["languages"]}
    assert rows["English"]["stated"] == pytest.approx(0.75)
    assert rows["German"]["share"] == pytest.approx(0.25, abs=0.05)
    assert sum(row["trained"] for row in rows.values()) == pytest.approx(1)


def test_scores_by_language():
    rows = [
        {"task": "x", "target": "1.500", "output": "1.500", "language": "de"},
        {"task": "y", "target": "2", "output": "2", "language": "de"},
        {"task": "y", "target": "2", "output": "3", "language": "sw"},
        {"task": "y", "target": "2", "output": "3"},
    ]
    rows = [{**row, "answer_kind": "number"} for row in rows]
    found = score("records", rows)["languages"]
    assert {name: (f["n"], f["accuracy"]) for name, f in found.items()} == {
        "de": (2, 1.0),
        "sw": (1, 0.0),
    }
    assert "languages" not in score("records", rows[3:])
