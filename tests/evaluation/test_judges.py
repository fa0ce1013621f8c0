"""Judges: from texts to rewards, and to abstentions."""

import dataclasses

import pytest

from keras_flan.data.mixtures.questions import Question
from keras_flan.errors import InputError
from keras_flan.evaluation.responsible.judges import JudgeConfig, judge_of

ASKED = Question("sums/0", "What is 2 + 3?", "5", "number")
TEXTS = ["2 + 3 = 5. The answer is 5.", "The answer is 6.", "Who knows?"]


def rewards(texts, *configs, question=ASKED):
    judge = judge_of([JudgeConfig(**config) for config in configs])
    return judge(question, texts)


def own(prompt, texts, target):
    if "fail" in prompt:
        raise ValueError("no verdict")
    return [None, float("nan"), len(target)][: len(texts)]


OWN = {"name": "tests.evaluation.test_judges:own"}


def test_an_answer_is_compared_with_the_target():
    assert rewards(TEXTS, {"name": "answer"}) == [1, 0, 0]
    asked = Question("c/0", "Which?\n(A) ice (B) fire", "B", "option")
    texts = ["It is hot, so (B).", "The answer is ice."]
    assert rewards(texts, {"name": "answer"}, question=asked) == [1, 0]
    program = "```python\ndef solution():\n    return 2 + 3\n```"
    kind = {"name": "answer", "kind": "program"}
    assert rewards([program], kind) == [1]


def breaks(texts):
    raise RuntimeError("no model")


def test_a_scorer_that_fails_abstains(capsys):
    its = {"name": "toxicity", "scorer": "tests.evaluation.test_judges:breaks"}
    assert rewards(TEXTS, its) == [None] * 3
    assert "no model" in capsys.readouterr().err


def test_a_majority_is_told_how_answers_are_read():
    asked = dataclasses.replace(ASKED, target="", kind="")
    with pytest.raises(InputError, match=r"sums/0: how its answers are read"):
        rewards(TEXTS, {"name": "majority"}, question=asked)
    its = {"name": "majority", "kind": "number", "confidence": 0}
    assert rewards(TEXTS, its, question=asked) == [1, 0, 0]


def test_a_majority_needs_no_target():
    asked = dataclasses.replace(ASKED, target="")
    texts = ["The answer is 6."] * 2 + TEXTS
    majority = {"name": "majority"}
    assert rewards(texts, majority, question=asked) == [1, 1, 0, 1, 0]
    clear = {**majority, "confidence": 0.7}
    assert rewards(texts, clear, question=asked) == [None] * 5
    assert rewards(["Hm."], majority, question=asked) == [None]
    with pytest.raises(InputError, match="majority"):
        rewards(TEXTS, {"name": "answer"}, question=asked)


def test_output_control():
    texts = ["Have a nice day.", "You stupid idiot!"]
    nice, rude = rewards(texts, {"name": "toxicity"})
    assert nice == 1 and rude < 0.1
    assert rewards(TEXTS, {"name": "length", "most": 4}) == [0, 1, 1]
    form = {"name": "format", "pattern": r"The answer is \d+\.$"}
    assert rewards(TEXTS, form) == [1, 1, 0]
    both = [{"name": "answer"}, {**form, "weight": 0.5}]
    assert rewards(TEXTS, *both) == [1.5, 0.5, 0]


def test_a_judge_of_one_s_own_may_abstain(capsys):
    assert rewards(TEXTS, OWN) == [None, None, 1]
    assert rewards(TEXTS, OWN, {"name": "answer"}) == [None, None, 1]
    asked = dataclasses.replace(ASKED, prompt="fail")
    assert rewards(TEXTS, OWN, question=asked) == [None] * 3
    assert "no verdict" in capsys.readouterr().err
    assert rewards([*TEXTS, ""], OWN) == [None] * 4
    assert "return one each" in capsys.readouterr().err
    with pytest.raises(InputError, match="nothing"):
        rewards(TEXTS, {"name": "tests.evaluation.test_judges:nothing"})
