"""`keras-flan flan`: what is held out, left out, trained, asked and shown."""

import json

import pytest

from keras_flan.data.analysis.decontamination import SharedRuns
from keras_flan.data.mixtures.mixture import Mixture
from keras_flan.data.records.example import Example
from keras_flan.data.records.shards import read_records
from keras_flan.errors import InputError
from keras_flan.real_flan import run as run_module
from keras_flan.real_flan.arms import (
    affordable_steps,
    arm_tasks,
    cell_folder,
    write_config,
)
from keras_flan.real_flan.asking import ask_views
from keras_flan.real_flan.clusters import place_of
from keras_flan.real_flan.markdown import filled
from keras_flan.real_flan.page import write_page
from keras_flan.real_flan.plan import BASE, Arm, FlanPlan, load_plan
from keras_flan.real_flan.preparing import find_file, prepare
from keras_flan.real_flan.results import collect_results
from keras_flan.real_flan.run import run_flan
from keras_flan.schema import parse_yaml, validate
from tests.real_flan.folders import LEAK, LONG, PLAN, TASKS, WORDS, write_data


def own_plan(**changes):
    return validate(FlanPlan, {**parse_yaml(PLAN), **changes}, "plan")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("public"))


@pytest.fixture(scope="module")
def prepared(data, tmp_path_factory):
    run = tmp_path_factory.mktemp("run")
    return run, prepare(data, run, own_plan())


# === Plans and clusters ===


def test_the_plans_of_the_package():
    short, long = load_plan(30), load_plan(240)
    assert short.cells() == [("all", 0)]
    # At least 1,000 questions of whole tasks; see docs/results.
    assert short.views["instructions"].limit * 20 >= 1000
    assert {"without_cot", "cot_only", "one_template"} <= set(long.arms)
    assert [arm.clusters for arm in long.arms.values() if arm.clusters] == [
        *(1, 5, 20)
    ]
    cells = long.cells()
    first = cells[: len(long.arms)]
    assert {seed for _, seed in first} == {0}
    assert len(cells) == sum(len(arm.seeds) for arm in long.arms.values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arms": {"all": {"only": ["cod"]}}}, "proportions: no such name"),
        ({"proportions": {"cod": 1}}, "no such name 'cod'"),
        ({"arms": {"many": {}}}, "arms: no such name 'all'"),
        ({"views": {}}, "views: no such name 'instructions'"),
    ],
)
def test_a_wrong_plan_is_named(change, message):
    with pytest.raises(InputError, match=message):
        own_plan(**change)
    with pytest.raises(InputError, match="minutes: expected more than 0"):
        load_plan(0)


@pytest.mark.parametrize(
    ("name", "source", "cluster", "held_out"),
    [
        ("rte", "classification", "natural language inference", True),
        ("esnli", "cot", "natural language inference", True),
        (
            "task1364_hans_answer_generation",
            "natural_instructions",
            "natural language inference",
            True,
        ),
        ("amazon_polarity_user_satisfied", "t0", "sentiment", True),
        ("gsm8k", "cot", "grade school math word problems", False),
        ("task1146_country_capital", None, "facts on countries", False),
    ],
)
def test_whole_clusters_are_held_out(name, source, cluster, held_out):
    place = place_of(name)
    assert place.source == (source or "natural_instructions")
    assert place[1:] == (cluster, held_out)


# === Data ===


def test_what_shares_a_run_of_words_is_found():
    known = SharedRuns(["a b c d", "x"], ngram=3)
    examples = [
        Example({"q": "B, c: D?", "a": "no"}, "t"),
        Example({"q": "b c", "a": "d"}, "t"),
        Example({"q": "b", "a": "the A b C"}, "t"),
        Example({"q": ""}, "t"),
    ]
    assert known.of(examples).tolist() == [True, False, True, False]
    assert not len(known.of([]))
    with pytest.raises(InputError, match="ngram"):
        SharedRuns([], 0)


def test_no_training_row_shares_words_with_what_is_asked(prepared):
    run, found = prepared
    trained = found["trained"]
    assert found["removed"] == 1
    assert trained["task1146_country_capital"]["removed"] == 1
    assert trained["task1146_country_capital"]["examples"] == 11
    texts = [
        text
        for task in trained
        for example in read_records(run / "records" / task)
        for text in example.fields.values()
    ]
    assert not any(LEAK in text for text in texts)
    asked = [
        text
        for folder in (run / "asked").glob("*/*/*/")
        for example in read_records(folder)
        for text in example.fields.values()
    ]
    assert any(LEAK.title() in text for text in asked)


def test_questions_are_of_whole_tasks_that_are_not_trained(prepared):
    run, found = prepared
    assert set(found["asked"]) == {
        "task1447_drug_extraction_ade",
        "task1508_wordnet_antonyms",
        "sst2",
    }
    assert found["asked"]["sst2"]["guessing"] == 0.5
    assert not set(found["asked"]) & set(found["trained"])
    clusters = {task["cluster"] for task in found["trained"].values()}
    assert not clusters & {t["cluster"] for t in found["asked"].values()}
    assert set(found["not_asked"]) == {LONG, "amazon_polarity_Is_this_review"}
    assert "20 words" in found["not_asked"][LONG]
    parts = [
        {e.source_id for e in read_records(folder)}
        for folder in (
            run / "asked/instructions/task1508_wordnet_antonyms"
        ).iterdir()
    ]
    assert [len(part) for part in parts] == [6, 6]
    assert not parts[0] & parts[1]


def test_long_tasks_are_not_trained_on(data, prepared, tmp_path):
    _, found = prepared
    assert found["not_trained"] == {}
    short = prepare(data, tmp_path, own_plan(prompt_words=8))
    assert short["not_trained"]
    assert not set(short["not_trained"]) & set(short["trained"])
    both = set(short["not_trained"]) | set(short["trained"])
    assert both == set(found["trained"])
    for name, reason in short["not_trained"].items():
        assert reason.startswith(("prompts of", "answers of")), name
        assert not (tmp_path / "records" / name).exists()


def test_missing_data_sets_are_named(prepared, tmp_path):
    _, found = prepared
    assert {"mgsm", "bbh", "rte", "boolq", "ag_news"} <= set(found["missing"])
    assert not {"qqp", "sst2", "t0", "cot"} & set(found["missing"])
    (tmp_path / "notes.txt").write_text("nothing of use")
    with pytest.raises(InputError, match="found 0 tasks to train on and 0"):
        prepare(tmp_path, tmp_path / "run", own_plan())


def test_a_file_is_found_by_the_end_of_its_path(tmp_path):
    for name in ("a/b/x.json.gz", "c/x.json"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    assert find_file(tmp_path, "b/x.json") == tmp_path / "a/b/x.json.gz"
    assert find_file(tmp_path, "x.json").name in ("x.json", "x.json.gz")
    assert find_file(tmp_path, "d/x.json") is None


# === Arms ===


def trained_tasks():
    return {
        f"task{i}": {
            "source": "cot" if i % 4 == 0 else "t0",
            "cluster": f"kind {i % 6}",
            "examples": i,
        }
        for i in range(12)
    }


def test_fewer_clusters_are_among_more():
    def tasks(**arm):
        found = arm_tasks(Arm(**arm), 3, trained_tasks())
        return {name for names in found.values() for name in names}

    assert "task0" not in tasks()  # It has no examples left.
    one, three = tasks(clusters=1), tasks(clusters=3)
    assert one < three < tasks()
    assert {int(name[4:]) % 6 for name in three} and len(one) <= 2
    assert tasks(only=["cot"]) == {"task4", "task8"}
    with pytest.raises(InputError, match="no data of natural_instructions"):
        tasks(only=["natural_instructions"])


@pytest.mark.parametrize("minutes", [30, 240])
def test_the_package_s_plans_are_settings_of_train(minutes, prepared):
    run, found = prepared
    config = write_config(
        load_plan(minutes), "all", 0, 7, run, found["trained"]
    )
    assert config.model.init == "gemma3_270m"
    assert config.model.trainable == "all_but_embedding"


def test_an_arm_is_a_mixture_that_train_reads(prepared):
    run, found = prepared
    config = write_config(own_plan(), "all", 0, 7, run, found["trained"])
    assert (config.steps, config.seed) == (7, 0)
    mixture = Mixture.from_yaml(config.mixture)
    assert len(mixture.tasks) == len(found["trained"]) == 5
    few = write_config(own_plan(), "one_cluster", 1, 7, run, found["trained"])
    counts = [
        part.task.num_templates(next(iter(part.formats)))
        for part in Mixture.from_yaml(few.mixture).tasks
    ]
    assert set(counts) == {1}


def test_the_budget_is_shared():
    assert affordable_steps(600, 1, asking=200, first=40, each=2) == 163
    assert affordable_steps(600, 2, asking=200, first=40, each=2) == 28
    with pytest.raises(InputError, match=r"asking takes 10\.0 minutes"):
        affordable_steps(300, 1, asking=600, first=30, each=2)


# === Asking and results ===


@pytest.fixture(scope="module")
def results(data, prepared):
    run, found = prepared
    plan = own_plan()
    plan = plan.model_copy(
        update={"views": {"instructions": plan.views["instructions"]}}
    )
    cells = [("all", 0), ("all", 1), ("one_cluster", 0)]
    for rate, folder in (
        (0.0, run / BASE),
        *((0.9, cell_folder(run, *cell) / "asked") for cell in cells),
    ):
        ask_views(_Knowing(rate), plan.views, found, data, run, folder)
    training = {"steps": 7, "loss": [3.0, 2.0], "loss_steps": [1, 2]}
    state = {
        "minutes": 30,
        "steps": 7,
        "trained": {f"{arm}-{seed}": training for arm, seed in cells},
    }
    found = collect_results(plan, found, cells, run, state)
    assert {one["task"] for one in found["shown"]} <= set(TASKS)
    return {**found, "seconds": {"training": 61.0, "asking_before": 12.0}}


class _Knowing:
    """Answers with a word of the prompt's last line, or with nothing."""

    def __init__(self, rate):
        self.rate = rate

    def __call__(self, prompts, **settings):
        return [
            [f"{WORDS[len(prompt) % 3]}\nand on" if self.rate else "?"]
            for prompt in prompts
        ]


def test_results_have_paired_intervals(results):
    found = results["arms"]["all"]["views"]["instructions"]["rouge_l"]
    assert found["base"] == 0
    assert found["difference"] == pytest.approx(found["tuned"] - found["base"])
    for edges in (found["examples"], found["tasks"]):
        assert edges[0] <= found["difference"] <= edges[1]
    assert found["questions"] == 6 and len(found["by_task"]) == 2
    first, second = results["claims"]
    assert first["verdict"] in ("agrees", "undecided")
    assert second["difference"] == 0 and second["verdict"] == "undecided"
    assert results["arms"]["all"]["seeds"] == [0, 1]
    json.dumps(results, allow_nan=False)


def test_the_page_and_its_markdown(results, tmp_path):
    write_page(tmp_path / "report.html", results)
    page = (tmp_path / "report.html").read_text()
    assert "flan_nano" in page and "of 2 held-out tasks" in page
    assert "<svg" in page and "<script" not in page and "src=" not in page
    names = ("headline", "tasks", "arms", "claims", "data", "shown")
    text = "".join(f"<!-- {n} -->\n<!-- end -->\n" for n in names)
    done = filled(text, results)
    assert filled(done, results) == done
    assert "| wordnet" not in done and "task1508_wordnet_antonyms" in done
    with pytest.raises(InputError, match="no table 'heading'"):
        filled("<!-- heading -->\n<!-- end -->", results)


# === The whole ===


@pytest.fixture
def plan_file(tmp_path):
    path = tmp_path / "plan.yaml"
    path.write_text(PLAN.replace(", seeds: [0, 1]", ""))
    return path


@pytest.mark.slow
def test_a_run_goes_on_after_a_kill(data, plan_file, tmp_path, monkeypatch):
    output, asked = tmp_path / "run", []
    ask = run_module._Run._ask

    def stop(self, model, folder):
        asked.append(folder.name)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return ask(self, model, folder)

    monkeypatch.setattr(run_module._Run, "_ask", stop)
    with pytest.raises(KeyboardInterrupt):
        run_flan(data, output, steps=2, plan=plan_file, quiet=True)
    state = json.loads((output / "state.json").read_text())
    assert list(state["trained"]) == ["all-0"] and "done" not in state
    with pytest.raises(InputError, match="trained for 2 steps"):
        run_flan(data, output, steps=3, plan=plan_file, quiet=True)
    results = run_flan(data, output, plan=plan_file, quiet=True)
    assert results["steps"] == 2
    assert list(results["arms"]) == ["all", "one_cluster"]
    # The second arm began where the first one did.
    straight = tmp_path / "straight"
    straight = run_flan(data, straight, steps=2, plan=plan_file, quiet=True)
    for name, arm in straight["arms"].items():
        again = results["arms"][name]
        assert again["views"] == arm["views"]
        for one, other in zip(
            again["trainings"], arm["trainings"], strict=True
        ):
            assert one["loss"] == other["loss"]
    assert set(results["views"]) == {"instructions", "ranked"}
    assert json.loads((output / "results.json").read_text()) == results
    assert (output / "report.html").is_file()
    # A finished run is only read.
    again = run_flan(data, output, plan=plan_file, quiet=True)
    assert again["arms"] == results["arms"]
    with pytest.raises(InputError, match="another plan"):
        run_flan(data, output, quiet=True)
