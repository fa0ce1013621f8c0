"""The loop: sampled, judged, weighed, trained; killed and gone on with."""

import csv
import functools
import json
import random
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

from keras_flan.data import Example, write_records
from keras_flan.errors import InputError
from keras_flan.improvement import ImproveConfig, improve
from tests.conftest import make_t5

ROOT = Path(__file__).parents[2]


def vowels(prompt, texts, target):
    """A judge that a random model can learn to please."""
    return [sum(c in "aeiou" for c in text) / 12 for text in texts]


def fails(prompt, texts, target):
    raise RuntimeError("no verdict")


@pytest.fixture(scope="module")
def mixture(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    examples = [
        Example({"question": f"what is {i}?", "answer": str(i)}, "counts")
        for i in range(24)
    ]
    write_records(
        examples,
        folder / "records" / "counts",
        name="counts",
        templates="generic",
    )
    path = folder / "m.yaml"
    path.write_text(
        json.dumps(
            {
                "name": "m",
                "records": "records",
                "groups": {
                    "all": {
                        "tasks": ["counts"],
                        "formats": {"zero_shot_direct": 1},
                    }
                },
            }
        )
    )
    return path


@pytest.fixture(autouse=True)
def unsaved(monkeypatch):
    """A vocabulary of letters has no file."""
    monkeypatch.setattr(
        "keras_flan.improvement.run.save_trained", lambda *_: "model"
    )


def config(mixture, output, **values):
    own = {
        "output": str(output),
        "mixture": str(mixture),
        "method": "advantage",
        "rounds": 2,
        "prompts": 3,
        "judges": ["tests.improvement.test_improve:vowels"],
        "sampling": {"paths": 4, "batch_paths": 16},
        "data": {"input_length": 64, "target_length": 32, "batch_size": 4},
        "optimizer": {"name": "adam", "learning_rate": 0.01},
        "model": {"dropout": 0.0},
        "vocabulary": str(mixture),
        **values,
    }
    return ImproveConfig.model_validate(own)


@functools.cache
def start():
    """A model and its weights: what it has compiled serves all tests."""
    model = make_t5(num_layers=1)
    return model, [np.asarray(w) for w in model.weights]


def fresh():
    model, values = start()
    for weight, value in zip(model.weights, values, strict=True):
        weight.assign(value)
    return model


def run(mixture, output, **values):
    its = config(mixture, output, **values)
    model = fresh()
    metrics = improve(its, model=model, quiet=True)
    return metrics, [np.asarray(w) for w in model.weights]


def journal(output):
    lines = (output / "paths.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_it_learns_what_is_rewarded(mixture, tmp_path):
    metrics, _ = run(mixture, tmp_path / "a", rounds=6)
    rewards = [row["reward"] for row in metrics["rounds"]]
    assert rewards[-1] > 2 * rewards[0]
    # All that was compiled before serves the changing weights too.
    assert set(metrics["compilations"]) == {1}
    assert not (tmp_path / "a" / "checkpoints").exists()
    rows = list(csv.DictReader((tmp_path / "a" / "rounds.csv").open()))
    assert float(rows[-1]["reward"]) == pytest.approx(rewards[-1], 1e-4)
    groups = journal(tmp_path / "a")
    assert len(groups) == 6 * 3
    for group in groups:
        rewards = [path["reward"] for path in group["paths"]]
        ended = [path["finished"] for path in group["paths"]]
        # No end, no reward.
        assert not any(r for r, e in zip(rewards, ended, strict=True) if not e)
        mean = np.mean(rewards)
        for path in group["paths"]:
            better = path["reward"] - mean
            assert abs(better) < 1e-9 or better * path["weight"] > 0
    # What is said is watched, from before the first update on.
    assert all(0 <= row["toxicity"] <= 1 for row in metrics["rounds"])
    page = (tmp_path / "a" / "improvement.html").read_text()
    assert "Toxicity of all paths" in page
    assert groups[0]["question"]["prompt"].split()[0] in page


def test_what_is_trained_on_is_what_was_sampled(mixture, tmp_path):
    """The log-probabilities of packed rows are those of the sampling."""
    from keras_flan.data import Mixture
    from keras_flan.data.pipeline.token_rows import Batches
    from keras_flan.improvement.journal import Journal
    from keras_flan.improvement.rollouts import Rollouts
    from keras_flan.improvement.units import Units

    its = config(mixture, tmp_path / "a", rounds=1)
    improve(its, model=fresh(), quiet=True)
    groups = Journal(tmp_path / "a" / "paths.jsonl", resume=True).groups(0)

    model = fresh()  # as it was
    rollouts = Rollouts(its, model, Mixture.from_yaml(mixture), None, None)
    units = Units(its, model, rollouts)
    batches = Batches(
        units.of(groups), units.shape, batch_size=4, columns=3, seed=0
    )
    seen = 0
    for x, y, weight in (batches[i] for i in range(len(batches))):
        logits = np.asarray(model(x))
        log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        ids = y[..., :1].astype(int)
        found = np.take_along_axis(log_p, ids, -1)[..., 0]
        used = weight > 0
        np.testing.assert_allclose(found[used], y[..., 2][used], atol=1e-4)
        seen += used.sum()
    kept = [p for g in groups for p in g.paths if p.weight]
    assert seen == sum(len(path.token_ids) for path in kept)


def test_a_judge_that_fails_abstains(mixture, tmp_path, capsys):
    name = "tests.improvement.test_improve:fails"
    metrics, _ = run(mixture, tmp_path / "a", rounds=1, judges=[name])
    assert metrics["rounds"][0]["kept"] == metrics["steps"] == 0
    assert "reward" not in metrics["rounds"][0]
    assert "no verdict" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"validation": 0.1}, "no use"),
        ({"method": "distil"}, "teacher"),
        ({"sampling": {"top_k": 5}}, "top_k"),
        ({"judges": ["anser"]}, "majority"),
        ({"method": "majority", "judges": ["answer"]}, "labels"),
        ({"judges": [{"name": "format", "pattern": "("}]}, "expression"),
        ({"right": {"hint": "no place"}}, "{answer}"),
    ],
)
def test_wrong_settings_are_named(mixture, tmp_path, values, words):
    with pytest.raises(ValueError, match=words):
        config(mixture, tmp_path, **values)


class Killed(BaseException):
    """Nothing in the package catches it."""


def killed_at(monkeypatch, place, number):
    """Has the process die at a call of a function."""
    owner, name = place
    ours, calls = getattr(owner, name), [0]

    def call(*arguments, **settings):
        calls[0] += 1
        if calls[0] == number:
            raise Killed
        return ours(*arguments, **settings)

    monkeypatch.setattr(owner, name, call)


SETTINGS = {
    "rounds": 3,
    "passes": 2,
    "guard": {"every": 2, "examples": 4},
    "advantage": {"kl": 0.02},
}


@pytest.fixture(scope="module")
def straight(mixture, tmp_path_factory):
    """A run that nothing stops: its metrics and weights."""
    with pytest.MonkeyPatch.context() as patch:
        name = "keras_flan.improvement.run.save_trained"
        patch.setattr(name, lambda *_: "model")
        return run(mixture, tmp_path_factory.mktemp("straight"), **SETTINGS)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("part", ["sampling", "judging", "training"])
def test_killed_anywhere_it_goes_on_with_the_same_numbers(
    mixture, tmp_path, monkeypatch, straight, part, seed
):
    from keras_flan.improvement import rollouts
    from keras_flan.improvement.run import _Checkpoint

    metrics, weights = straight
    assert metrics["steps"] >= 6
    # In three rounds; what is held out is asked before and after.
    place, most = {
        "sampling": ((rollouts.JudgedPath, "__init__"), 36),
        "judging": ((rollouts.Rollouts, "_judged"), 9),
        "training": ((_Checkpoint, "on_train_batch_end"), metrics["steps"]),
    }[part]
    number = random.Random(f"{part} {seed}").randint(1, most)
    with monkeypatch.context() as patch:
        killed_at(patch, place, number)
        with pytest.raises(Killed):
            run(mixture, tmp_path, **SETTINGS)
    again, found = run(mixture, tmp_path, **SETTINGS)
    assert again["rounds"] == metrics["rounds"]
    assert again["guard"] == metrics["guard"]
    for one, other in zip(found, weights, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_a_stopped_run_has_its_settings(mixture, tmp_path, monkeypatch):
    from keras_flan.improvement.run import _Checkpoint

    with monkeypatch.context() as patch:
        killed_at(patch, (_Checkpoint, "on_train_batch_end"), 2)
        with pytest.raises(Killed):
            run(mixture, tmp_path / "a")
    with pytest.raises(InputError, match="prompts"):
        run(mixture, tmp_path / "a", prompts=4)
    run(mixture, tmp_path / "a", rounds=3)


@pytest.mark.slow
def test_what_never_sampled_leaves_nothing(mixture, tmp_path, monkeypatch):
    """A start that fails is no stopped run, nor are the paths before it."""
    from keras_flan.improvement.rollouts import Rollouts

    run(mixture, tmp_path / "a", rounds=1)
    assert len(journal(tmp_path / "a")) == 3
    with monkeypatch.context() as patch:
        killed_at(patch, (Rollouts, "__init__"), 1)
        with pytest.raises(Killed):
            run(mixture, tmp_path / "a", rounds=1)
    run(mixture, tmp_path / "a", rounds=1, prompts=2)
    assert len(journal(tmp_path / "a")) == 2


@pytest.mark.slow
def test_seconds_are_those_of_all_parts(mixture, tmp_path, monkeypatch):
    from keras_flan.improvement.run import _Checkpoint

    # The journal alone tells what was done before.
    values = {"rounds": 2, "checkpoint_every": 0}
    with monkeypatch.context() as patch:
        killed_at(patch, (_Checkpoint, "on_train_batch_end"), 3)
        with pytest.raises(Killed):
            run(mixture, tmp_path / "a", **values)
    before = {row["round"]: row["seconds"] for row in journal(tmp_path / "a")}
    metrics, _ = run(mixture, tmp_path / "a", **values)
    sampled = sum(seconds["sampling"] for seconds in before.values())
    assert len(before) == 2 and sampled > 0
    assert metrics["seconds"]["sampling"] == pytest.approx(sampled)
    assert metrics["seconds"]["total"] > sampled


@pytest.mark.slow
def test_a_signal_in_the_last_step_of_a_round_loses_nothing(
    mixture, tmp_path, monkeypatch
):
    from keras_flan.errors import Interrupted
    from keras_flan.improvement.run import _Checkpoint

    values = {"rounds": 2, "passes": 2}
    straight, weights = run(mixture, tmp_path / "straight", **values)
    last = straight["rounds"][0]["step"]
    assert last > 1  # Before the first step a signal ends the process.
    ours, calls = _Checkpoint.on_train_batch_end, [0]

    def signalled(self, *arguments, **settings):
        calls[0] += 1
        if calls[0] == last:
            signal.raise_signal(signal.SIGTERM)
        return ours(self, *arguments, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(_Checkpoint, "on_train_batch_end", signalled)
        with pytest.raises(Interrupted):
            run(mixture, tmp_path / "a", **values)
    again, found = run(mixture, tmp_path / "a", **values)
    assert again["rounds"] == straight["rounds"]
    for one, other in zip(found, weights, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_other_records_are_refused(mixture, tmp_path, monkeypatch):
    from keras_flan.improvement.run import _Checkpoint

    own = tmp_path / "data" / "m.yaml"
    shutil.copytree(mixture.parent, own.parent)
    with monkeypatch.context() as patch:
        killed_at(patch, (_Checkpoint, "on_train_batch_end"), 2)
        with pytest.raises(Killed):
            run(own, tmp_path / "a")
    example = Example({"question": "why?", "answer": "so"}, "counts")
    write_records(
        [example] * 24,
        own.parent / "records" / "counts",
        name="counts",
        templates="generic",
    )
    with pytest.raises(InputError, match="records of 'counts' are not those"):
        run(own, tmp_path / "a")


def alike(prompt, texts, target):
    return [0.0] * len(texts)


@pytest.mark.slow
def test_the_guard_keeps_the_best_and_ends_the_run(
    mixture, tmp_path, monkeypatch
):
    saved = []
    monkeypatch.setattr(
        "keras_flan.improvement.run.save_trained",
        lambda config, model, folder, _: saved.append(folder.name) or folder,
    )
    (tmp_path / "a" / "best").mkdir(parents=True)
    values = {
        "rounds": 6,
        "guard": {"every": 1, "examples": 4, "patience": 2},
        "judges": ["tests.improvement.test_improve:alike"],
        "advantage": {"loss": "grpo", "kl": 0.0},
    }
    its = config(mixture, tmp_path / "a", **values)
    metrics = improve(its, model=fresh(), quiet=True, overwrite=True)
    # Nothing rose: two rounds of patience, and no best of an earlier run.
    assert metrics["guard"]["rounds"] == [0, 1, 2] and saved == ["model"]
    assert not (tmp_path / "a" / "best").exists()
    values["judges"] = ["tests.improvement.test_improve:vowels"]
    metrics, _ = run(mixture, tmp_path / "b", **values)
    rewards = metrics["guard"]["reward"]
    rises = sum(r > max(rewards[:i]) for i, r in enumerate(rewards) if i)
    assert rises > 0 and saved[1:] == ["best"] * rises + ["model"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "values",
    [
        {"method": "right", "right": {"least": 0.0, "distinct": False}},
        {"method": "star", "right": {"least": 0.01}},
        {
            "method": "majority",
            "judges": [{"name": "majority", "kind": "text", "confidence": 0}],
            "train_on": ["zero_shot_direct", "few_shot_direct"],
        },
        {"method": "preference"},
        {"method": "advantage", "advantage": {"loss": "grpo", "kl": 0.1}},
    ],
    ids=lambda values: values["method"],
)
def test_every_method_trains(mixture, tmp_path, values):
    before = start()[1]
    values = {"prompts": 6, "data": {**WIDE, "batch_size": 8}, **values}
    metrics, after = run(mixture, tmp_path / "a", rounds=1, **values)
    assert metrics["steps"] > 0 and metrics["left_out"] == 0
    assert any((a != b).any() for a, b in zip(after, before, strict=True))
    if values["method"] == "preference":
        # At the start the margin is 0.
        assert metrics["rounds"][0]["loss"] == pytest.approx(np.log(2), 1e-3)


# Room for both texts of a pair.
WIDE = {"input_length": 320, "target_length": 80}


@pytest.mark.slow
def test_pairs_of_files_are_scored_once(tmp_path, monkeypatch):
    from keras_flan.improvement import rollouts

    rows = [
        Example(
            {"question": f"q {i}", "chosen": "yes", "rejected": "no"}, "pairs"
        )
        for i in range(6)
    ]
    write_records(rows, tmp_path / "pairs", name="pairs")
    calls, ours = [], rollouts.score_tokens
    monkeypatch.setattr(
        rollouts,
        "score_tokens",
        lambda *arguments: calls.append(1) or ours(*arguments),
    )
    values = {"method": "preference", "prompts": 6, "rounds": 4}
    metrics, _ = run(
        tmp_path / "pairs", tmp_path / "a", **values, formats=None, judges=None
    )
    assert calls == [1]
    losses = [row["loss"] for row in metrics["rounds"]]
    assert losses[0] == pytest.approx(np.log(2), 1e-3)
    assert losses == sorted(losses, reverse=True)


@pytest.mark.slow
def test_parts_of_a_batch_are_the_batch(mixture, tmp_path):
    values = {"passes": 2, "rounds": 1, "prompts": 4}
    (_, whole), (_, parts) = (
        run(
            mixture,
            tmp_path / str(number),
            optimizer={
                "name": "adam",
                "learning_rate": 0.01,
                "accumulate": number,
            },
            **values,
        )
        for number in (1, 2)
    )
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-4)


@pytest.mark.slow
def test_an_adapter_learns_and_the_model_below_it_is_the_reference(
    mixture, tmp_path
):
    from keras_flan.improvement.journal import Journal
    from keras_flan.models import add_lora
    from keras_flan.models.adapters.base import adapter_of

    model = make_t5(num_layers=1)
    add_lora(model, 2)
    own = {id(v) for v in adapter_of(model).state().values()}
    assert {id(v) for v in model.trainable_variables} == own
    before = {id(v): np.asarray(v) for v in model.weights}
    values = {"rounds": 3, "prompts": 4, "advantage": {"kl": 0.1}}
    its = config(mixture, tmp_path / "a", **values)
    metrics = improve(its, model=model, quiet=True)
    assert metrics["steps"] > 0
    moved = {
        id(v) for v in model.weights if (np.asarray(v) != before[id(v)]).any()
    }
    assert moved and moved <= own
    # The reference of the last round is the model without the adapter.
    asked = Journal(tmp_path / "a" / "paths.jsonl", resume=True).groups(2)
    path = next(p for g in asked for p in g.paths if p.reference)
    distances = metrics["rounds"][0]["kl"], metrics["rounds"][2]["kl"]
    assert distances[0] == pytest.approx(0, abs=1e-5)
    assert path.reference != path.log_probabilities and distances[1] != 0


@pytest.mark.slow
@pytest.mark.parametrize("on_policy", [False, True])
def test_a_student_learns_from_a_teacher(
    mixture, tmp_path, monkeypatch, on_policy
):
    teacher = make_t5(seed=5, num_layers=1)
    monkeypatch.setattr(
        "keras_flan.improvement.run.load_as", lambda *_: teacher
    )
    its = {"teacher": "theirs", "on_policy": on_policy, "top": 64}
    values = {"method": "distil", "distil": its, "judges": None}
    metrics, _ = run(mixture, tmp_path / "a", rounds=8, **values)
    losses = [row["loss"] for row in metrics["rounds"] if "loss" in row]
    assert losses[-1] < losses[0]
