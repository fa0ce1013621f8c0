from pathlib import Path

import pytest

from keras_flan.cli.printing.data import print_tasks
from keras_flan.data.importers import IMPORTERS
from keras_flan.data.mixtures.task_registry import (
    REGISTRY,
    list_tasks,
    registry_tasks,
    sub_mixtures,
)
from keras_flan.data.records.example import Example
from keras_flan.data.records.writing import write_records
from keras_flan.data.templates.library import load_family
from keras_flan.errors import InputError

ALL = [task for name in sub_mixtures() for task in registry_tasks(name)]


def write(path: Path, split="train", count=3):
    examples = [Example({"question": "q", "answer": "a"}, "t")] * count
    write_records(examples, path, name="t", split=split, templates="generic")


@pytest.mark.parametrize(
    ("mixture", "listed", "in_paper", "cap"),
    [
        ("muffin", 80, 80, 30_000),
        ("t0_sf", 193, 193, 20_000),
        ("niv2", 1556, 1554, 5_000),  # The CSV's header says why.
        ("cot", 9, 9, 100_000),
    ],
)
def test_counts_and_caps_of_the_paper(mixture, listed, in_paper, cap):
    tasks = [t for t in registry_tasks(mixture) if not t.held_out]
    assert len(tasks) == listed
    assert sub_mixtures()[mixture].paper_tasks == in_paper
    assert {task.cap for task in tasks} == {cap}
    header = (REGISTRY / f"{mixture}.csv").read_text("utf-8")
    assert f"{listed:,}" in header.partition("name,dataset")[0]
    assert f"{in_paper:,}" in header.partition("name,dataset")[0]


def test_the_paper_counts_1836_tasks():
    assert sum(about.paper_tasks for about in sub_mixtures().values()) == 1836


def test_tasks_are_well_formed():
    names = [task.name for task in ALL]
    assert len(set(names)) == len(names)
    for task in ALL:
        assert task.dataset and task.category and all(task.languages)
        assert task.license != ""
        if task.templates:
            load_family(task.templates)
        else:
            assert task.format in IMPORTERS


def test_benchmarks_are_held_out():
    held_out = [task for task in ALL if task.held_out]
    assert len(held_out) == 57
    for task in held_out:
        assert "_mmmlu_" in task.name and task.held_out == "mmlu"
    assert not any(
        "mmlu" in task.name.lower() for task in ALL if not task.held_out
    )


def test_parts_of_muffin():
    sizes = {"flan2021": 72, "dialog": 3, "program_synthesis": 5}
    for part, size in sizes.items():
        assert len(registry_tasks(f"muffin/{part}")) == size
    with pytest.raises(InputError, match=r"no part 'dialogs'.*'dialog'"):
        registry_tasks("muffin/dialogs")
    with pytest.raises(InputError, match=r"no sub-mixture 'nvi2'.*'niv2'"):
        registry_tasks("nvi2")


def test_list_says_what_is_present(tmp_path, capsys):
    write(tmp_path / "gsm8k" / "train")
    write(tmp_path / "qasc", "test")
    # As the table spells a name that has "-" and "." in the file.
    write(tmp_path / "task143_odd_man_out_classification_generate_category")
    rows = {row["name"]: row for row in list_tasks(records=tmp_path)}
    assert rows["gsm8k"]["examples"] == 3
    assert rows["gsm8k"]["records"] == str(tmp_path / "gsm8k" / "train")
    assert rows["qasc"]["records"] is None
    assert rows["qasc"]["command"] == (
        f"keras-flan import flan-cot FLAN/flan/v2/cot_data --output {tmp_path}"
    )
    odd = "task143_odd-man-out_classification_generate_category"
    assert rows[odd]["examples"] == 3
    assert rows["rte"]["command"].startswith(
        "keras-flan import FORMAT FILES --name rte --templates nli --map "
        "premise=COLUMN "
    )
    assert rows["esnli"]["command"].startswith("keras-flan import esnli ")
    print_tasks(list(rows.values()), tmp_path)
    out = capsys.readouterr().out
    assert "cot: 1 of 9 tasks have records (the paper counts 9)" in out
    assert "niv2: 1 of 1,556 tasks have records (the paper counts" in out
    assert "(held out: mmlu)" in out


def test_printed_list_says_how_to_get_every_missing_task(tmp_path, capsys):
    write(tmp_path / "gsm8k")
    rows = list_tasks(records=tmp_path)
    print_tasks(rows, tmp_path)
    out = capsys.readouterr().out
    for row in rows:
        if row["records"] is None and not row["held_out"]:
            assert f"{row['origin']}\n" in out and row["command"] in out
    assert (
        "muffin          -  rte  [Natural Language Inference]\n"
        f"{'':19}the data set rte of TFDS, of Hugging Face or of its authors\n"
        f"{'':19}keras-flan import FORMAT FILES --name rte --templates nli "
    ) in out
    # A command that brings many tasks is said once.
    assert out.count("import flan-cot ") == 1
    assert out.count("https://github.com/OanaMariaCamburu/e-SNLI") == 1
    assert f"keras-flan import flan2022 FOLDER --output {tmp_path}" in out


def test_printed_list_of_what_is_there_asks_for_nothing(tmp_path, capsys):
    write(tmp_path / "gsm8k")
    print_tasks(list_tasks("cot", "math", tmp_path), tmp_path)
    assert "import" not in capsys.readouterr().out


def test_list_filters():
    rows = list_tasks("niv2", "TRANSLATION")
    assert len(rows) == 394
    assert {row["category"] for row in rows} == {"Translation"}
    with pytest.raises(InputError, match=r"'Summarizaton'.*'Summarization'"):
        list_tasks("muffin", "Summarizaton")


@pytest.mark.realdata
def test_real_task_files_are_registered(realdata):
    files = {path.stem for path in (realdata / "niv2" / "tasks").iterdir()}
    known = {task.name for task in registry_tasks("niv2")}
    assert len(files) == 128
    assert files <= known
