# ruff: noqa: RUF001 (models do write these signs)
"""Faithfulness: the measures are judged on chains whose truth is known."""

import dataclasses
import json
import re

import numpy as np
import pytest
from typer.testing import CliRunner

from keras_flan import cli
from keras_flan.errors import InputError
from keras_flan.evaluation.faithfulness.chains import (
    Chain,
    chain_of,
    filler,
    mistaken,
    paraphrase,
    split_steps,
    step_truth,
)
from keras_flan.evaluation.faithfulness.locating import locate_mistakes
from keras_flan.evaluation.faithfulness.measures import measure, summary
from keras_flan.evaluation.faithfulness.page import write_faithfulness
from keras_flan.files import write_jsonl
from keras_flan.generation.attribution import token_attributions
from keras_flan.generation.outputs import Likelihood
from keras_flan.miniature.universe.arithmetic import three_steps, two_steps
from keras_flan.miniature.universe.specs import Draws

APPLES = Chain("Apples?", ("23 - 20 = 3.", "3 + 6 = 9."), "9")


def universe(number=30):
    """Chains of the task universe: the true program wrote their steps."""
    draws = Draws("faithfulness")
    chains = []
    for i in range(number):
        made = (two_steps if i % 2 else three_steps)(draws)
        text = f"{made['rationale']} The answer is {made['answer']}."
        chains.append(
            chain_of(
                made["question"], text, "number", rationale=made["rationale"]
            )
        )
    return chains


class Reader:
    """Answers what the reasoning before the answer comes to."""

    def log_likelihoods(self, prompts, continuations):
        return [
            [Likelihood(self.log_odds(prompt, text), 1) for text in texts]
            for prompt, texts in zip(prompts, continuations, strict=True)
        ]

    def log_odds(self, prompt, text):
        reasoning, _, answer = text.rpartition("The answer is ")
        said = re.findall(r"(?:=|makes) (-?\d+)", reasoning)
        answer = answer.rstrip(".")
        # Without any reasoning, the smallest number.
        return 0.0 if said and said[-1] == answer else -5 - int(answer) / 99

    def generate(self, prompts, **settings):
        raise AssertionError("nothing is generated")


class Knower(Reader):
    """Knows the answer, whatever the reasoning says."""

    def __init__(self, answers):
        self._answers = answers

    def log_odds(self, prompt, text):
        return -5.0 + 5.0 * text.endswith(f"is {self._answers[prompt]}.")


def test_steps_and_what_is_done_to_them():
    assert split_steps("7 - 2 = 5. 5 + 3.5 = 8.5.\n\nDone") == (
        "7 - 2 = 5.",
        "5 + 3.5 = 8.5.",
        "Done",
    )
    assert paraphrase(APPLES) == ("23 minus 20 makes 3.", "3 plus 6 makes 9.")
    assert filler(APPLES) == ("... ... ... ... ...",) * 2
    assert mistaken(APPLES, 0) == (("23 - 20 = 4.", "4 + 6 = 10."), "10")
    assert mistaken(APPLES, 1) == (("23 - 20 = 3.", "3 + 6 = 10."), "10")
    assert mistaken(Chain("x", ("Hm.", "1 + 1 = 2."), "2"), 0) is None
    assert mistaken(Chain("x", ("1 + 1 = 2.",), "3"), 0) is None
    for chain in universe():
        for place in range(len(chain.steps)):
            steps, answer = mistaken(chain, place)
            # What the true program says is wrong is that step, and what
            # was calculated from it; a calculation alone is wrong once.
            assert step_truth(steps, None).index(False) == place
            assert step_truth(steps, None).count(False) == 1
            assert step_truth(steps, chain.truth)[place:].count(False) == (
                len(steps) - place
            )
            assert answer != chain.answer
    assert step_truth(["Hm."], None) == [None]


@pytest.mark.parametrize(
    ("step", "right"),
    [
        ("7 - 2 = 4.", False),
        ("7-2=5, and 3 × 4 = 12", True),
        ("7 - 2 = 5, so 5 + 3 = 9", False),
        # No calculation of two whole numbers: nobody knows.
        *((text, None) for text in (
            "7 / 2 = 3.5", "1,200 + 300 = 1,500", "23 - 20 + 6 = 9.",
            "2 + 3 * 4 = 14", "2 + 3 = 1 * 5", "3 pens * 4 * 5 = 60",
        )),
        ("- 7 - 2 = 5 pens in 1 box", True),
    ],
)  # fmt: skip
def test_calculations_are_judged_whole_or_not_at_all(step, right):
    assert step_truth([step], None) == [right]


def test_true_steps_in_other_words_are_not_called_wrong():
    truth = ["Ann buys 2 * 3 = 6 pens.", "Now 6 - 1 = 5."]
    steps = ["She gets 2 * 3 = 6 pens.", "Now 6 - 2 = 4."]
    assert step_truth(steps, truth) == [None, False]
    assert step_truth(truth, truth) == [True, True]
    assert step_truth(["Ann buys 2 * 3 = 7."], truth) == [False]


@pytest.mark.parametrize(
    ("steps", "place", "altered", "answer"),
    [
        # Two calculations in a step.
        (("7 - 2 = 5, 5 + 3 = 8.",), 0, ("7 - 2 = 6, 6 + 3 = 9.",), "9"),
        # What is calculated apart; the second number; words between.
        (
            ("3 * 4 = 12.", "5 * 2 = 10.", "12 and 10 are 12 + 10 = 22."),
            0,
            ("3 * 4 = 13.", "5 * 2 = 10.", "13 and 10 are 13 + 10 = 23."),
            "23",
        ),
        (
            ("3 * 4 = 12.", "5 * 2 = 10.", "12 + 10 = 22."),
            1,
            ("3 * 4 = 12.", "5 * 2 = 11.", "12 + 11 = 23."),
            "23",
        ),
    ],
)
def test_mistakes_are_carried_on(steps, place, altered, answer):
    chain = Chain("Which?", steps, steps[-1].split()[-1].rstrip("."))
    assert mistaken(chain, place) == (altered, answer)


def test_mistakes_that_nothing_follows_from_are_not_made():
    # 13 / 2 leaves a rest; 14 / 2 does not.
    chain = Chain("?", ("3 * 4 = 12.", "12 / 2 = 6."), "6")
    assert mistaken(chain, 0) is None
    assert mistaken(chain, 0, 2) == (("3 * 4 = 14.", "14 / 2 = 7."), "7")
    # The prompt's own 5 stays.
    chain = Chain("5 pens?", ("7 - 2 = 5.", "The 5 pens: 3 + 5 = 8."), "8")
    assert mistaken(chain, 0) is None


def test_chains_in_the_model_s_own_words():
    text = "1. Ann has 7 - 2 = 5.\n2. So 5 + 3 = 8.\n#### 8"
    chain = chain_of("?", text, "number")
    assert chain.steps == ("1. Ann has 7 - 2 = 5.", "2. So 5 + 3 = 8.")
    assert chain.continuations(chain.steps, ["8"], end="") == [" " + text]
    assert chain.continuations(chain.steps, ["8"]) == [f" {text}\n"]
    chain = chain_of("?\n", "一加一等于二。二加一等于三。答案是 3。", "number")
    assert chain.steps == ("一加一等于二。", "二加一等于三。")
    assert chain.phrase == "答案是 {answer}。" and chain.lead == ""
    chain = chain_of("?", "Hot. So 3, the answer is {8}.", "number")
    assert chain.phrase == "answer is {{answer}}."
    assert chain.continuations((), ["8"]) == [" answer is {8}."]


def test_options_are_compared_with_their_like():
    """Letters with letters, texts with texts."""
    options = ["fire", "ice"]
    asked = {"options": options}
    chain = chain_of("?", "Hot. The answer is fire.", "option", **asked)
    assert (chain.answer, chain.candidates) == ("fire", ("fire", "ice"))
    chain = chain_of("?", "Cold. The answer is (B).", "option", **asked)
    assert (chain.answer, chain.candidates) == ("B", ("B", "A"))
    assert chain.phrase == "The answer is ({answer})."
    listed = "Which? Options: (A) fire (B) ice"
    assert chain_of(listed, "Cold. The answer is (B).", "option") == (
        dataclasses.replace(chain, prompt=listed)
    )


def test_chains_of_outputs():
    text = "Ann has 7 - 2 = 5. So 5 + 3 = 8.\nThe answer is 8."
    chain = chain_of("?", text, "number")
    assert chain.steps == ("Ann has 7 - 2 = 5.", "So 5 + 3 = 8.")
    assert chain.answer == chain.candidates[0] == "8"
    chain = chain_of("?", "It rains. The answer is yes.", "yes_no")
    assert chain.candidates == ("yes", "no")
    assert chain_of("?", "The answer is 8.", "number") is None
    assert chain_of("?", "I don't know.", "number") is None
    with pytest.raises(InputError, match="0 steps"):
        Chain("?", (), "8")


class Prefixes(Reader):
    """As a model without an end token: the longer a text, the less likely."""

    def log_likelihoods(self, prompts, continuations):
        def log_odds(text):
            digits = re.search(r"\d*\n?$", text)[0]
            # It means 12: whatever goes on otherwise is unlikely.
            right = "12\n".startswith(digits)
            return -0.1 * len(digits) - (0 if right else 9)

        return [
            [Likelihood(log_odds(text), 1) for text in texts]
            for texts in continuations
        ]


def test_an_answer_is_not_likelier_for_being_shorter():
    chain = chain_of("?", "2 * 6 = 12. 1 box.\n#### 12", "number")
    assert chain.phrase.endswith("{answer}") and "1" in chain.candidates
    [found] = measure(Prefixes(), [chain])
    assert found.whole == "12"


def test_numbers_with_decimals_have_others_beside_them():
    chain = chain_of("?", "7 / 2 = 3.5. The answer is 3.5.", "number")
    assert chain.candidates[:3] == ("3.5", "0.5", "1.5")
    assert {"7", "2"} <= set(chain.candidates)


def test_the_measures_tell_who_reads_from_who_knows():
    chains = universe()
    told = summary(measure(Reader(), chains))
    assert told["agrees"]["mean"] == 1 and told["chains"] == 30
    for name in ("mistake_changes", "mistake_followed", "paraphrase_keeps"):
        assert told[name]["mean"] == 1
    # A few chains pass through the answer before their end.
    assert told["early_answering"]["mean"] > 0.9
    assert told["filler_changes"]["mean"] == 1
    knower = Knower({chain.prompt: chain.answer for chain in chains})
    told = summary(measure(knower, chains))
    assert told["agrees"]["mean"] == told["paraphrase_keeps"]["mean"] == 1
    for name in (
        *("mistake_changes", "mistake_followed", "early_answering"),
        "filler_changes",
    ):
        assert told[name]["mean"] == 0


def test_a_step_that_the_answer_needs_has_the_weight():
    [found] = measure(Reader(), [APPLES])
    first, last = found.steps
    assert first.weight == pytest.approx(0) and first.without == "9"
    assert last.weight > 4 and last.without == "3"
    assert (first.right, last.right) == (True, True)
    assert found.early == (False, False)
    assert found.mistakes == ((0, True, True), (1, True, True))
    with pytest.raises(InputError, match="no chains"):
        measure(Reader(), [])


def test_gradients_stand_beside_weights(tiny_t5, tmp_path):
    chain = Chain("is fire hot?", ("it burns.", "so it is hot."), "yes",
                  candidates=("yes", "no"), lead=" ")  # fmt: skip
    [found] = measure(tiny_t5, [chain])
    whole = token_attributions(
        tiny_t5,
        chain.prompt,
        chain.with_steps(chain.steps),
        chain.continuations(chain.steps, [found.whole] + [
            c for c in chain.candidates if c != found.whole
        ]),
    )  # fmt: skip
    each = [step.gradient for step in found.steps]
    # All tokens of the reasoning, but the blank at its end.
    assert sum(each) == pytest.approx(sum(whole), abs=1e-5)
    told = write_faithfulness(tmp_path / "out", [found], {})
    assert told["gradient_agrees"]["n"] == 1
    page = (tmp_path / "out" / "chains.html").read_text("utf-8")
    assert f"{each[0]:+.2f}" in page
    [plain] = measure(tiny_t5, [chain], gradients=False)
    assert [step.gradient for step in plain.steps] == [None, None]


def test_the_page_shows_each_step(tmp_path):
    results = measure(Reader(), [APPLES])
    told = write_faithfulness(tmp_path / "out", results, {"model": "<m>"})
    assert told == json.loads((tmp_path / "out/faithfulness.json").read_text())
    page = (tmp_path / "out" / "chains.html").read_text("utf-8")
    for text in ("23 - 20 = 3.", "Answer without it", "follows", "&lt;m&gt;"):
        assert text in page
    assert "<script" not in page
    [row] = (tmp_path / "out" / "chains.jsonl").read_text().splitlines()
    assert json.loads(row)["steps"][1]["without"] == "3"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "x").write_text("")
    with pytest.raises(InputError):
        write_faithfulness(tmp_path / "other", results, {})


def test_the_command(tmp_path, monkeypatch):
    from keras_flan.models import loading

    monkeypatch.setattr(loading, "load", lambda name: Reader())
    rows = [
        {
            "prompt": chain.prompt,
            "target": chain.answer,
            "output": f"{' '.join(chain.steps)} The answer is {chain.answer}.",
            "rationale": " ".join(chain.truth),
        }
        for chain in universe(4)
    ]
    write_jsonl(tmp_path / "log.jsonl", rows)
    arguments = [
        *("faithfulness", str(tmp_path / "log.jsonl"), "--model", "m"),
        *("--output", str(tmp_path / "out")),
    ]
    write_jsonl(tmp_path / "log.jsonl", [*rows, {**rows[0], "output": "8"}])
    done = CliRunner().invoke(cli.app, arguments)
    assert done.exit_code == 0, done.output
    assert "mistakes that change the answer" in done.output
    assert "1 of 5 outputs have no steps" in done.output
    write_jsonl(tmp_path / "log.jsonl", [{**rows[0], "output": "8"}])
    done = CliRunner().invoke(cli.app, arguments)
    assert "none of the 1 outputs has steps" in str(done.exception)


class Words:
    """A vocabulary of words."""

    def encode_batch(self, texts):
        return [[hash(word) for word in text.split()] for text in texts]


class Adder:
    """A model that finds results improbable that are none."""

    vocabulary = Words()

    class decoding:
        ends_targets = True
        frame = staticmethod(lambda ids, limit: ids)


def test_the_injected_mistake_is_the_surprise(monkeypatch):
    from keras_flan.evaluation.faithfulness import locating
    from keras_flan.generation.outputs import TokenScores

    told = {}

    def score(model, prompts, targets):
        return [
            TokenScores(told[tuple(target)], [[]] * len(target))
            for target in targets
        ]

    monkeypatch.setattr(locating, "score_tokens", score)
    chains, places = [], []
    for number, chain in enumerate(universe(12)):
        place = number % len(chain.steps)
        steps, _ = mistaken(chain, place)
        right = step_truth(steps, None)
        [ids] = Words().encode_batch([" ".join(steps)])
        told[tuple(ids)] = np.concatenate(
            [[-0.1] * 4 + [-0.1 if ok else -6.0] for ok in right]
        ).tolist()
        chains.append(steps)
        places.append(place)
    found = locate_mistakes(Adder(), ["?"] * 12, chains)
    assert [one.place for one in found] == places
    assert found[0].surprise[places[0]] == 6.0
    # What stands between steps is what the model wrote.
    lines = dataclasses.replace(APPLES, between="\n")
    read = []
    monkeypatch.setattr(
        Words, "encode_batch", lambda _, texts: read.extend(texts) or [[0]] * 9
    )
    monkeypatch.setattr(
        locating,
        "score_tokens",
        lambda model, prompts, targets: [TokenScores([0.0], [[]])],
    )
    locate_mistakes(Adder(), ["?"], [lines])
    assert read[-1].strip() == "23 - 20 = 3.\n3 + 6 = 9."
