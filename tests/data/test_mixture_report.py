import json

import numpy as np
import pytest
from typer.testing import CliRunner

from keras_flan.cli import app
from keras_flan.data.analysis import statistics
from keras_flan.data.analysis.report import write_mixture_report
from keras_flan.data.analysis.statistics import measure_mixture
from keras_flan.data.analysis.writing_systems import main_script
from keras_flan.data.mixtures.inspection import inspect
from keras_flan.data.mixtures.mixture import Mixture, MixtureGroup
from keras_flan.data.pipeline.pipeline import build_dataset
from keras_flan.data.records.example import Example
from keras_flan.data.records.writing import write_records
from keras_flan.data.templates.task import Task
from keras_flan.data.vocabularies.training import train_vocabulary
from tests.data.batches import fill
from tests.pages.reading import Page


@pytest.fixture(scope="module")
def mixture(tmp_path_factory):
    folder = tmp_path_factory.mktemp("records")
    questions = {
        "sums": "What is <{0}> plus {0}, and {0} more?",
        "words": "তিন যোগ {0} কত?",
        "long": "very " * 120 + "long {0}",
    }
    tasks = []
    for name, question in questions.items():
        write_records(
            [
                Example(
                    {"question": question.format(i), "answer": f"is {i}"},
                    name,
                    f"{name}:{i}",
                )
                for i in range(40)
            ],
            folder / name,
            name=name,
            templates="generic",
        )
        tasks.append(Task.from_directory(folder / name))
    formats = {"zero_shot_direct": 3, "few_shot_direct": 1}
    return Mixture(
        "test <mixture>",
        [
            MixtureGroup("one", tasks[:1], proportion=7, formats=formats),
            MixtureGroup("two", tasks[1:], proportion=3, formats=formats),
        ],
        shots=2,
    )


@pytest.fixture(scope="module")
def vocabulary(mixture, tmp_path_factory):
    texts = [
        row[side]
        for row in inspect(mixture, 200)
        for side in ("inputs", "targets")
    ]
    path = tmp_path_factory.mktemp("vocabulary") / "v.model"
    return train_vocabulary(texts, 320, path)


SIZES = {"input_length": 128, "target_length": 32}
FEW = {"draws": 20_000, "examples": 4096}


@pytest.fixture
def few_draws(monkeypatch):
    """Lets the page draw less."""
    monkeypatch.setattr(
        "keras_flan.data.analysis.statistics.measure_mixture",
        lambda *args, **options: measure_mixture(*args, **options, **FEW),
    )


def test_shares_are_counted(mixture, vocabulary):
    found = measure_mixture(mixture, vocabulary, **SIZES, **FEW)
    json.dumps(found)
    assert (found["draws"], found["examples"]) == (20_000, 4096)
    for kind, number in (("groups", 20_000), ("tasks", 20_000)):
        rows = found[kind]
        assert sum(row["share"] for row in rows) == pytest.approx(1)
        assert sum(row["realised"] for row in rows) == pytest.approx(1)
        for row in rows:
            error = (row["share"] * (1 - row["share"]) / number) ** 0.5
            off = (row["realised"] - row["share"]) / error
            assert row["off"] == pytest.approx(off, abs=0.01)
            assert abs(off) < 4
    assert [row["share"] for row in found["groups"]] == [0.7, 0.3]
    assert {row["name"]: row["share"] for row in found["formats"]} == {
        "zero_shot_direct": pytest.approx(0.75),
        "few_shot_direct": pytest.approx(0.25),
    }
    scripts = {row["name"]: row["share"] for row in found["scripts"]}
    assert scripts == {
        "Latin": pytest.approx(0.85, abs=0.03),
        "Bengali": pytest.approx(0.15, abs=0.03),
    }


@pytest.mark.slow
def test_lengths_and_fill_are_those_of_training(mixture, vocabulary):
    # The tasks are small, so that their order does not matter.
    found = measure_mixture(
        mixture, vocabulary, **SIZES, draws=8192, examples=8192
    )
    dataset = build_dataset(mixture, vocabulary, batch_size=1, **SIZES)
    rows = list(dataset.take(400))
    assert found["fill"] == pytest.approx(fill(rows), abs=0.03)
    lengths = found["lengths"]["inputs"]
    assert sum(share for _, share in lengths["histogram"]) == pytest.approx(1)
    ends = [end for end, _ in lengths["histogram"]]
    assert ends == [16 << i for i in range(len(ends))]
    assert ends[-1] >= lengths["longest"] > ends[-2]
    # "long" is trimmed zero-shot, and left out with exemplars.
    left_out = 0.15 / 4
    assert found["left_out"] == pytest.approx(left_out, abs=0.01)
    trimmed = (0.15 - left_out) / (1 - left_out)
    assert lengths["trimmed"] == pytest.approx(trimmed, abs=0.02)
    assert found["lengths"]["targets"]["trimmed"] == 0


def test_balanced_rows_are_full_on_both_sides():
    rng = np.random.default_rng(0)
    for most in ((100, 60), (60, 100)):
        lengths = [rng.integers(4, most, (4000, 2))]
        before = statistics._fill(lengths, (512, 512))
        assert min(before.values()) < 0.7
        rows = statistics._balanced(before, (512, 512))
        assert sorted(rows.values())[0] == 512
        after = statistics._fill(lengths, tuple(rows.values()))
        assert min(after.values()) > 0.93


def test_without_a_vocabulary_characters_are_counted(mixture):
    found = measure_mixture(mixture, **FEW)
    assert found["unit"] == "characters"
    assert found["fill"] is found["balanced"] is None and found["left_out"] == 0
    rows = inspect(mixture, 400, seed=5)
    mean = np.mean([len(row["targets"]) for row in rows])
    targets = found["lengths"]["targets"]
    assert targets["mean"] == pytest.approx(mean, rel=0.1)
    assert targets["trimmed"] is None


@pytest.mark.parametrize("tokens", [True, False])
def test_the_page_shows_all_and_loads_nothing(
    tokens, mixture, vocabulary, tmp_path, few_draws
):
    path = tmp_path / "page.html"
    known = vocabulary if tokens else None
    found = write_mixture_report(path, mixture, known, samples=4, **SIZES)
    text = path.read_text("utf-8")
    page = Page(text)
    for tag in ("script", "link", "img", "iframe"):
        assert tag not in page.tags
    assert "test <mixture>" in page.text
    assert page.tags.count("details") == 2 * 4 + 2 + len(found["shown"])
    for group in ("one", "two"):
        for row in inspect(mixture, 4, group=group):
            assert row["inputs"] in page.text
            assert row["task"] in (["sums"], ["words", "long"])[group == "two"]
    for row in (*found["groups"], *found["tasks"], *found["formats"]):
        if row not in found["formats"]:
            assert row["name"] in page.text
        else:
            assert row["name"].replace("_", " ") in page.text
        assert f"{100 * row['realised']:.2f}%" in page.text
    assert "Bengali" in page.text and "a simple look at the letters" in text
    assert ("Fill of packed rows" in text) == tokens
    assert ("are longer." in text) == tokens
    # With exemplars "long" is left out.
    assert ('class="wrong"' in text) == bool(found["advice"]) == tokens
    two = found["groups"][1]
    assert two["trained"] == pytest.approx(0.273 if tokens else 0.3, abs=0.01)
    for line in found["advice"]:
        assert line in page.text
    for row in found["shown"]:
        assert row["fate"] in ("no_exemplar", "cut_inputs")
        assert row["inputs"] in page.text
    [language] = found["languages"]
    assert (language["name"], language["share"]) == ("not stated", 1.0)
    assert language["stated"] == pytest.approx(1)
    assert ("fertility" in language) == tokens
    assert "not stated" in page.text
    write_mixture_report(path, mixture, known, samples=4, **SIZES)
    assert path.read_text("utf-8") == text


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("Größe: 3 ÷ 4", "Latin"),
        ("Сколько будет 2+2 in all?", "Cyrillic"),
        ("كم", "Arabic"),
        ("各店では、とても安い", "Japanese (kana and Han)"),
        ("各店很便宜", "Han"),
        ("얼마예요", "Hangul"),
        ("เท่าไร", "Thai"),
        ("ఎంత", "Telugu"),
        ("12 + (3 ÷ 4) 🙂", "no letters"),
        ("", "no letters"),
    ],
)
def test_main_script(text, script):
    assert main_script(text) == script


def test_the_command_writes_the_page(mixture, tmp_path, few_draws):
    path = tmp_path / "m.yaml"
    path.write_text(
        f"records: {mixture.tasks[0].task.directory.parent}\n"
        "groups: {all: {tasks: [sums]}}\n"
    )
    page = tmp_path / "page.html"
    bench = tmp_path / "bench.jsonl"
    leak = "What is <3> plus 3, and 3 more?"
    bench.write_text(json.dumps({"question": leak, "answer": "9"}) + "\n")
    command = ["mixture", str(path), "--report", str(page), "--json"]
    command += ["--against", str(bench)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    found = json.loads(result.output)
    assert found["realised"]["draws"] == 20_000
    assert found["realised"]["groups"][0]["realised"] == 1
    leaks = found["realised"]["contamination"]["benchmark"]
    assert leaks["near_duplicates"] == 1
    text = Page(page.read_text("utf-8")).text
    assert "sums #3" in text and leak in text


@pytest.mark.often
def test_the_command_says_at_once_which_setting_to_change(
    mixture, vocabulary, tmp_path, few_draws
):
    path = tmp_path / "m.yaml"
    path.write_text(
        f"records: {mixture.tasks[0].task.directory.parent}\nshots: 2\n"
        "groups: {all: {tasks: [sums, long], formats: {zero_shot_direct: 1, "
        "few_shot_direct: 1}}}\n"
    )

    def run(*options):
        command = ["mixture", str(path), "--vocabulary", str(vocabulary.path)]
        result = CliRunner().invoke(app, [*command, *options])
        assert result.exit_code == 0, result.output
        return result.output

    small = ["--input-length", "128", "--target-length", "32"]
    for output in (
        run(*small),
        run(*small, "--report", str(tmp_path / "p.html")),
    ):
        assert "more than 2 points off" in output
        [line] = [
            line
            for line in output.split("\n")
            if "no place for an" in line and "examples (" in line
        ]
        assert "(long, few_shot_direct: 100.0%)" in line
        advised = line.rpartition("--input-length ")[2]
    assert "long, few_shot_direct" in run(*small)
    enough = run("--input-length", advised, "--target-length", "32")
    assert "points off" not in enough and "examples (" not in enough


def test_stages_and_missing_tasks_are_shown(mixture, tmp_path, few_draws):
    path = tmp_path / "m.yaml"
    path.write_text(
        f"records: {mixture.tasks[0].task.directory.parent}\n"
        "missing: skip\n"
        "stages:\n"
        "- {steps: 9, groups: {a: {tasks: [sums, nothing]}}}\n"
        "- groups: {a: {proportion: 1, tasks: [words]},"
        " b: {proportion: 3, tasks: [nowhere]}}\n"
    )
    page = tmp_path / "page.html"
    found = write_mixture_report(page, Mixture.from_yaml(path), samples=2)
    assert [row["tasks"][0]["name"] for row in found["stages"]] == [
        "sums",
        "words",
    ]
    text = Page(page.read_text("utf-8")).text
    assert text.count("Tasks without records") == 2
    assert "75.00%" in text and "25.00%" in text


def test_a_group_keeps_its_name_and_short_answers_are_counted(
    tmp_path, few_draws
):
    write_records(
        [
            Example({"question": f"Is {i} odd?", "answer": "yes"}, "a", str(i))
            for i in range(9)
        ],
        tmp_path / "a",
        name="a",
        templates="generic",
    )
    formats = {"zero_shot_direct": 1}
    tasks = [Task.from_directory(tmp_path / "a")]
    mixture = Mixture("m", [MixtureGroup("t0_sf", tasks, formats=formats)])
    path = tmp_path / "page.html"
    found = write_mixture_report(path, mixture, samples=1)
    targets = found["lengths"]["targets"]
    assert targets["longest"] <= 8
    assert targets["histogram"] == [[16, 1.0]]
    text = Page(path.read_text("utf-8")).text
    assert "t0_sf" in text and "zero shot direct" in text
    assert "in 1 sub-mixture" in text
    assert "in 1 sub-mixtures" not in text
