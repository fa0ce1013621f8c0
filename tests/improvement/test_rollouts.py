"""What paths are worth, without a model that writes any."""

import contextlib
import dataclasses
import json
from types import SimpleNamespace

import pytest

from keras_flan.data import Example, Mixture, write_records
from keras_flan.data.mixtures.questions import Question
from keras_flan.errors import InputError
from keras_flan.generation import Path
from keras_flan.generation.outputs import TokenScores
from keras_flan.improvement import ImproveConfig
from keras_flan.improvement.journal import Group, Journal, JudgedPath
from keras_flan.improvement.rollouts import Rollouts
from keras_flan.improvement.run import summary
from keras_flan.improvement.units import Units
from tests.conftest import make_t5


@pytest.fixture(scope="module")
def model():
    return make_t5(num_layers=1)


def mixture(folder, rows=8):
    examples = [
        Example({"question": f"what is {i}?", "answer": f"{i}"}, "counts")
        for i in range(rows)
    ]
    write_records(
        examples,
        folder / "records" / "counts",
        name="counts",
        templates="generic",
    )
    formats = {"zero_shot_direct": 1}
    group = {"tasks": ["counts"], "formats": formats}
    path = folder / "m.yaml"
    text = {"name": "m", "records": "records", "groups": {"a": group}}
    path.write_text(json.dumps(text))
    return path


def rollouts(ours, folder, path=None, **values):
    path = path or mixture(folder)
    config = ImproveConfig.model_validate(
        {
            "output": str(folder / "out"),
            "mixture": str(path),
            "method": "advantage",
            "data": ROWS,
            "vocabulary": str(path),
            **values,
        }
    )
    return Rollouts(config, ours, Mixture.from_yaml(path), None, None)


ROWS = {"input_length": 64, "target_length": 32, "batch_size": 4}
ASKED = Question("counts/0", "what is 0?", "0", "number")


def paths(*texts, open_ended=()):
    return [
        JudgedPath(text, [3], [-1.0], i not in open_ended)
        for i, text in enumerate(texts)
    ]


def punishes(prompt, texts, target):
    return [1.0 if text == target else -1.0 for text in texts]


PUNISHES = ["tests.improvement.test_rollouts:punishes"]


def test_not_to_end_is_no_better_than_to_be_wrong(model, tmp_path):
    its = rollouts(model, tmp_path, judges=PUNISHES)
    group = its._judged(its._judge, ASKED, paths("0", "1", "0", open_ended=[2]))
    assert group.rewards == [1.0, -1.0, -1.0]
    its._weigh(group)
    right, wrong, endless = (path.weight for path in group.paths)
    assert right > 0 > wrong == endless


def test_what_did_not_end_is_not_kept(model, tmp_path):
    its = rollouts(model, tmp_path, method="right", right={"least": 0.0})
    group = its._judged(its._judge, ASKED, paths("1", "2", open_ended=[1]))
    its._weigh(group)
    assert [path.weight for path in group.paths] == [1.0, 0.0]


def silent(prompt, texts, target):
    return [None] * len(texts)


def test_a_hint_is_for_what_was_judged_wrong(model, tmp_path, monkeypatch):
    its = rollouts(model, tmp_path, method="star")
    asked = []

    def written(writer, prompts, sampling):
        asked.extend(prompts)
        return [paths("0", "0") for _ in prompts]

    monkeypatch.setattr(its, "_written", written)
    wrong = its._judged(its._judge, ASKED, paths("1", "2"))
    unknown = Group(ASKED, paths("1", "2"))  # The judge abstained.
    first, second = its._hinted([wrong, unknown], None)
    assert asked == ["what is 0?\n(The answer is 0.)"]
    assert second is unknown
    # What it did with the answer at hand is not told as its own.
    assert [path.reward for path in first.paths] == [1.0, 1.0]
    told = summary([first], 1.0)
    assert told["reward"] == told["right"] == 0


def sees_no_target(prompt, texts, target):
    assert not target
    return [1.0] * len(texts)


def test_a_majority_s_judge_never_sees_a_target(model, tmp_path):
    name = "tests.improvement.test_rollouts:sees_no_target"
    its = rollouts(
        model, tmp_path, method="majority", judges=["majority", name]
    )
    for question in its.questions.draw(0, 4):
        assert not question.target
    [question] = its.questions.draw(0, 1)
    question = dataclasses.replace(question, kind="number")
    judged = its._judged(its._judge, question, paths("0", "0", "1"))
    assert judged.rewards == [2.0, 2.0, 1.0]


def test_step_by_step_label_and_reasoning_weigh_the_same(model, tmp_path):
    values = {
        "train_on": ["zero_shot_cot", "zero_shot_direct"],
        "formats": {"zero_shot_cot": 1},
        "data": {**ROWS, "input_length": 320, "target_length": 96},
    }
    its = rollouts(model, tmp_path, method="right", **values)
    groups = []
    for question in its.questions.draw(0, 2):
        text = f"1 and 1 make 2. the answer is {question.target}."
        ids = [*model.vocabulary.encode(text), model.vocabulary.eos_id]
        path = JudgedPath(text, ids, [-1.0] * len(ids), True)
        groups.append(its._judged(its._judge, question, [path]))
        its._weigh(groups[-1])
    shares = {}
    for [one] in Units(its._config, model, its).of(groups):
        text = model.vocabulary.decode(one.target[:-1])
        assert one.target[-1] == model.vocabulary.eos_id
        shares[text] = one.weight * len(one.target)
    reasons = [text for text in shares if text.startswith("1 and")]
    labels = [group.answer for group in groups]
    assert sorted(shares) == sorted(reasons + labels) and len(shares) == 4
    for texts in (reasons, labels):
        assert sum(shares[text] for text in texts) == pytest.approx(0.5)


def test_an_abstention_is_no_zero_of_the_guard(model, tmp_path, monkeypatch):
    name = "tests.improvement.test_rollouts:silent"
    values = {"guard": {"examples": 2}, "judges": [name]}
    its = rollouts(model, tmp_path, **values)
    monkeypatch.setattr(
        its,
        "_written",
        lambda writer, prompts, _: [paths("0") for _ in prompts],
    )
    assert its.guard() is None
    its = rollouts(model, tmp_path, **{**values, "judges": ["answer"]})
    monkeypatch.setattr(
        its,
        "_written",
        lambda writer, prompts, _: [
            paths(q.target) for q in its.questions.held_out
        ],
    )
    assert its.guard() == 1.0


def test_a_guard_needs_something_to_hold_out(model, tmp_path):
    path = mixture(tmp_path, rows=3)
    with pytest.raises(InputError, match=r"no question can be held out.* 4 "):
        rollouts(model, tmp_path, path, guard={"examples": 2})


@pytest.mark.parametrize("rest", [b"", b"\n", b'{"round": 1, "gr', b"{}\n"])
def test_a_torn_journal_goes_on(tmp_path, rest):
    path = tmp_path / "paths.jsonl"
    groups = [Group(ASKED, paths("0", "1"))] * 2
    Journal(path, resume=False).add(0, groups, {"sampling": 2.0})
    whole = path.read_bytes()
    path.write_bytes(
        (whole[:-1] if rest == b"" else whole) + rest.lstrip(b"\n")
    )
    journal = Journal(path, resume=True)
    # A line without its end is torn, even if it is whole by chance.
    assert (journal.groups(0) is None) == (rest == b"")
    number = 0 if rest == b"" else 1
    journal.add(number, groups, {"sampling": 1.0})
    again = Journal(path, resume=True)
    assert again.groups(number) == groups
    assert again.seconds[number] == {"sampling": 1.0}


@pytest.mark.parametrize("method", ["advantage", "preference"])
def test_dropout_would_compare_unlike_with_unlike(model, tmp_path, method):
    its = rollouts(model, tmp_path, method="right")
    assert its._config.model.dropout == 0
    rollouts(model, tmp_path, method="right", model={"dropout": 0.1})
    with pytest.raises(ValueError, match=r"model\.dropout: found 0\.1"):
        rollouts(model, tmp_path, method=method, model={"dropout": 0.1})


def test_the_end_that_was_sampled_is_the_one_that_is_trained_on(
    model, tmp_path, monkeypatch
):
    its = rollouts(model, tmp_path)

    def stream(*_, **__):
        yield 0, 0, Path("ab", [3, 4], -3.0, True, [-1.0, -1.0, -1.0], end_id=7)
        yield 0, 1, Path("ab", [3, 4], -2.0, False, [-1.0, -1.0])

    monkeypatch.setattr("keras_flan.improvement.rollouts.stream", stream)
    [[ended, cut]] = its._written(model, ["?"], its._config.sampled(0))
    assert ended.token_ids == [3, 4, 7] and cut.token_ids == [3, 4]
    # Of a teacher's text the student's own.
    [[ended, _]] = its._written(object(), ["?"], its._config.sampled(0))
    assert ended.token_ids[-1] == model.vocabulary.eos_id


@pytest.mark.parametrize(
    ("method", "scored"), [("preference", [3, 4]), ("advantage", [3, 4, 5])]
)
def test_a_reference_scores_what_is_learnt_and_a_text_once(
    model, tmp_path, monkeypatch, method, scored
):
    its, seen = rollouts(model, tmp_path, method=method), []
    its._start = SimpleNamespace(lent=contextlib.nullcontext)

    def score(_, prompts, texts, top):
        seen.extend(token for [token] in texts)
        return [TokenScores([float(text[0])], []) for text in texts]

    monkeypatch.setattr("keras_flan.improvement.rollouts.score_tokens", score)
    texts = [
        JudgedPath("", [token], [-1.0], True, weight=weight)
        for token, weight in ((3, 1.0), (4, -1.0), (4, 0.0), (5, 0.0))
    ]
    its._refer([Group(ASKED, texts)])
    assert seen == scored
    assert texts[0].reference == [3.0] and texts[1].reference == [4.0]
    assert texts[3].reference == ([5.0] if 5 in scored else [])


def test_a_conversation_that_is_too_long_is_left_out(
    model, tmp_path, monkeypatch
):
    data = {"input_length": 11, "target_length": 32, "batch_size": 4}
    path = mixture(tmp_path, rows=24)
    values = {"data": {**data, "chat": "model"}, "prompts": 24}
    its = rollouts(model, tmp_path, path, **values)
    monkeypatch.setattr(its, "framed", lambda prompt, *_: [0] * len(prompt))
    asked = []

    def written(writer, prompts, sampling):
        asked.extend(prompts)
        return [paths("0", "1") for _ in prompts]

    monkeypatch.setattr(its, "_written", written)
    groups = its.round(0)
    assert 0 < len(groups) < 24 and its.left_out == 24 - len(groups)
    assert all(len(prompt) <= 11 for prompt in asked)
    assert len(asked) == len(groups)
