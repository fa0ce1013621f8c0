"""Votes that stop when they know enough."""

import random
import sys

import pytest

from keras_flan import cli
from keras_flan.answers.voting import stopping_point
from keras_flan.errors import InputError
from keras_flan.generation import PromptStyle, ask
from tests.conftest import make_t5
from tests.generation.fakes import CHAINS, QUESTION, Streamed, make_path

# Who reasons like that is right in two of three paths.
SAID = [CHAINS[n] for n in (0, 5, 1, 2, 4, 9, 3, 0, 1, 7, 2, 0)]


class Speaker(Streamed):
    """Says its chains in an order of its own."""

    def __init__(self, order):
        self.order = order
        self.drawn = 0

    def stream(self, prompts, *, enough=None, **settings):
        for number in self.order:
            self.drawn += 1
            yield 0, number, make_path(SAID[number])
            if enough is not None and enough(0):
                return


def voted(order, **settings):
    speaker = Speaker(order)
    [answered] = ask(
        speaker, [QUESTION], samples=len(SAID), kind="number", **settings
    )
    return speaker, answered


def test_it_stops_where_an_adaptive_vote_would():
    _, whole = voted(range(12))
    assert whole.numbers == list(range(12)) and whole.done
    for threshold in (0.9, 0.95, 1.0):
        point = stopping_point(whole.answers, threshold)
        speaker, answered = voted(range(12), adaptive=threshold)
        assert point < 12
        assert speaker.drawn == point
        assert answered.numbers == list(range(point)) and answered.done
        assert answered.answers == whole.answers[:point]
        assert answered.vote.winner == whole.vote.winner == "9"


def test_the_order_in_which_paths_are_done_decides_nothing():
    _, expected = voted(range(12), adaptive=0.9)
    for seed in range(20):
        order = random.Random(seed).sample(range(12), 12)
        speaker, answered = voted(order, adaptive=0.9)
        assert answered.to_dict() == expected.to_dict()
        # More were drawn than count, but not more than it took.
        last = max(order.index(n) for n in expected.numbers)
        assert speaker.drawn == last + 1


@pytest.mark.slow
def test_a_model_says_the_same_and_less():
    model = make_t5(seed=3)
    embedding = model.backbone.token_embedding.embeddings
    embedding.assign(embedding * 20.0)  # It says letters, not spaces.
    settings = {"samples": 12, "temperature": 1e-3, "max_new_tokens": 4}
    prompts = ["what is the time?", "a"]
    whole = ask(model, prompts, **settings)
    some = ask(model, prompts, adaptive=0.95, **settings)
    for all_paths, first in zip(whole, some, strict=True):
        assert len(first.paths) == 4
        assert first.done
        assert [p.token_ids for p in first.paths] == [
            p.token_ids for p in all_paths.paths[:4]
        ]


def test_the_command_says_how_many_were_enough(monkeypatch, capsys):
    speaker = Speaker(range(12))
    monkeypatch.setattr("keras_flan.models.loading.load", lambda _: speaker)
    argv = ["generate", "--model", "m", "--prompt", QUESTION, "--cot"]
    argv += ["--samples", "12", "--kind", "number", "--adaptive", "0.9"]
    monkeypatch.setattr(sys, "argv", ["keras-flan", *argv])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert not stopped.value.code
    drawn = speaker.drawn
    assert drawn < 12
    assert f"of {drawn} paths, enough of 12)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"adaptive": 0.3}, "from 0.5 to 1, and one pass, found 0.3"),
        ({"adaptive": float("nan")}, "found nan"),
        (
            {"adaptive": 0.9, "style": PromptStyle(cot=True, two_passes=True)},
            "found 0.9 with two passes",
        ),
    ],
)
def test_what_cannot_be_is_said(settings, message):
    with pytest.raises(InputError, match=message):
        voted(range(12), **settings)
