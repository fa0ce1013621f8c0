"""A folder of downloads becomes the paper's mixture in one command."""

import json

import pytest
from typer.testing import CliRunner

from keras_flan.cli import app
from keras_flan.data.analysis.statistics import measure_mixture
from keras_flan.data.importers import import_source
from keras_flan.data.importers.flan2022 import public_files
from keras_flan.data.mixtures.mixture import Mixture
from keras_flan.data.mixtures.task_registry import registry_tasks
from keras_flan.data.records.info import read_info
from keras_flan.data.records.shards import read_records
from keras_flan.data.templates.library import load_family
from keras_flan.errors import InputError


def _natural_instructions(text="Say it."):
    return json.dumps(
        {
            "Definition": [text],
            "Instances": [
                {"id": f"i{i}", "input": f"in {i}", "output": [f"out {i}"]}
                for i in range(3)
            ],
        }
    )


def _lines(*values):
    return "".join(json.dumps(value) + "\n" for value in values)


@pytest.fixture
def downloads(files):
    """Files under the names that their publishers gave them."""
    cot = "Is {}?\t{}\tBecause.\n"
    for name, text in {
        "cot/gsm8k_train.tsv.gz": cot.format("it", 7) * 2,
        "cot/creak_train.tsv": cot.format("that", "yes"),
        "gsm8k/train.jsonl": _lines(
            {"question": "1?", "answer": "So.\n#### 1"}
        ),
        "e/s1.dev": "A red dog .\n",
        "e/s2.dev": "A dog .\n",
        "e/labels.dev": "entailment\n",
        "e/preproc1_expl_1.dev": "a red dog is a dog .\n",
        "nlp/rte/train.jsonl": _lines(
            {"premise": "P.", "hypothesis": "H.", "label": "not_entailment"}
        ),
        "nlp/rte/val.jsonl": _lines(
            {"premise": "V.", "hypothesis": "H.", "label": "entailment"}
        ),
        "nlp/snli/dev.csv": "premise,hypothesis,label\nP.,H.,neutral\n",
        "nlp/trec/train.txt": "NUM:dist How far is it ?\n",
        "t0/some.jsonl": _lines(
            *(
                {"template": t, "prompt": "p\n", "completion": "c"}
                for t in ("ropes_plain_bottom_hint", "cosmos_qa_no_prompt_id")
            )
        ),
        "niv2/tasks/task075_squad1.1_answer_generation.json": (
            _natural_instructions()
        ),
        "niv2/tasks/task723_mmmlu_answer_generation_moral_disputes.json": (
            _natural_instructions()
        ),
        "sapt/task002_quoref_answer_generation/train.json": (
            _natural_instructions()
        ),
        "sapt/task002_quoref_answer_generation/dev.json": (
            _natural_instructions()
        ),
        "copy/task075_squad1.1_answer_generation.json": (
            _natural_instructions("Another copy.")
        ),
        "mine/task9999_of_my_own.json": _natural_instructions(),
        "mine/notes.json": "[]",
    }.items():
        path = files(name, text)
    return next(p for p in path.parents if p.name == "files")


def test_takes_what_the_paper_trains_on(downloads, tmp_path):
    found = import_source("flan2022", downloads, tmp_path / "out")
    names = {info["name"]: info for info in found.tasks}
    assert set(names) == {
        *("creak", "gsm8k", "esnli", "rte", "snli", "trec"),
        "ropes_plain_bottom_hint",
        "task002_quoref_answer_generation",
        "task075_squad1.1_answer_generation",
    }
    assert not found.rejected
    assert {info["split"] for info in found.tasks} == {"train"}
    assert names["gsm8k"]["num_examples"] == 2  # from Flan's own file
    assert "google-research/FLAN" in names["gsm8k"]["source"]
    assert names["snli"]["source_split"] == "dev"
    assert names["snli"]["license"] == "CC BY-SA 4.0"
    assert names["rte"]["templates"] == "nli"
    assert (
        "natural-instructions"
        in (names["task002_quoref_answer_generation"]["source"])
    )
    [rte] = read_records(tmp_path / "out/rte")
    assert rte.fields["answer"] == "not entailment"
    assert rte.fields["options"] == "entailment\nnot entailment"
    [trec] = read_records(tmp_path / "out/trec")
    assert trec.fields["answer"] == "number"
    assert len(trec.fields["options"].split("\n")) == 6


def test_says_what_it_leaves_out_and_why(downloads, tmp_path):
    left_out = import_source("flan2022", downloads, tmp_path / "o").left_out
    reasons = {
        (entry["name"], entry["source"].split("files/")[1]): entry["reason"]
        for entry in left_out
    }
    squad = "task075_squad1.1_answer_generation"
    quoref = "task002_quoref_answer_generation"
    copy = reasons.pop((squad, f"niv2/tasks/{squad}.json"))
    assert copy.startswith(f"{squad} is taken from ")
    other = reasons.pop(("gsm8k", "gsm8k/train.jsonl"))
    assert other.endswith("cot/gsm8k_train.tsv.gz")
    mmlu = "task723_mmmlu_answer_generation_moral_disputes"
    not_listed = "not a task of the paper's mixture"
    assert reasons == {
        (mmlu, f"niv2/tasks/{mmlu}.json"): (
            "made of MMLU, a held-out benchmark"
        ),
        (quoref, f"sapt/{quoref}/dev.json"): "the split 'dev'",
        ("task9999_of_my_own", "mine/task9999_of_my_own.json"): not_listed,
        ("cosmos_qa_no_prompt_id", "t0/some.jsonl"): not_listed,
    }


def test_the_command_starts_a_mixture(downloads, tmp_path):
    output = tmp_path / "records"
    command = ["import", "flan2022", str(downloads), "--output", str(output)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "9 tasks, " in result.output
    assert "development split, as no other is there: esnli, snli" in (
        result.output
    )
    path = output / "flan2022_paper_b.yaml"
    assert f"keras-flan mixture {path}" in result.output
    mixture = Mixture.from_yaml(path)
    assert mixture.name == "flan2022_paper_b"
    shares = {"muffin": 46, "t0_sf": 27.9, "cot": 1.8, "niv2": 24.2}
    for group in mixture.summary()["groups"]:
        share = shares[group["name"]] / sum(shares.values())
        assert group["proportion"] == pytest.approx(share)
        assert group["tasks"] and group["skipped"]
    # What the user made of the file stays.
    path.write_text("mixture: cot_only\nrecords: .\nmissing: skip\n")
    assert CliRunner().invoke(app, command).exit_code == 0
    assert Mixture.from_yaml(path).groups[0].name == "cot"


def test_a_file_or_an_empty_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="expected the folder"):
        import_source("flan2022", tmp_path / "file", tmp_path / "out")
    with pytest.raises(InputError, match="no tasks to import"):
        import_source("flan2022", tmp_path, tmp_path / "out")


def test_the_table_of_files_fits_the_registry_and_the_templates():
    tasks = {
        task.name: task
        for mixture in ("cot", "muffin")
        for task in registry_tasks(mixture)
    }
    cot = {task.name for task in registry_tasks("cot")}
    assert cot <= set(public_files()) <= set(tasks)
    for name, entries in public_files().items():
        for entry in entries:
            assert "test" not in entry.file and entry.split in ("train", "dev")
            if entry.columns:
                given = {*entry.columns, "options"}
                fields = load_family(tasks[name].templates).fields
                assert set(fields) <= given


@pytest.mark.realdata
@pytest.mark.slow
def test_rates_of_the_public_data(realdata, tmp_path):
    """The first promise of the data engine, on 200,000 draws."""
    found = import_source("flan2022", realdata, tmp_path)
    assert not found.rejected
    names = {info["name"] for info in found.tasks}
    assert {task.name for task in registry_tasks("cot")} <= names
    assert sum(name.startswith("task") for name in names) >= 130
    assert not any("mmmlu" in name for name in names)
    assert read_info(tmp_path / "esnli")["num_examples"] > 9000
    path = tmp_path / "b.yaml"
    path.write_text("{mixture: flan2022_paper_b, records: ., missing: skip}")
    measured = measure_mixture(Mixture.from_yaml(path), draws=200_000)
    assert measured["draws"] >= 200_000
    assert len(measured["groups"]) == 4
    for group in measured["groups"]:
        assert abs(group["off"]) <= 3, group
