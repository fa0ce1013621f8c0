"""How a question is put: templates, exemplars, one pass or two."""

import json
import sys

import pytest

from keras_flan import cli
from keras_flan.data import load_family
from keras_flan.data.records.example import Example
from keras_flan.data.templates.prompts import render_prompt
from keras_flan.errors import InputError
from keras_flan.generation import PromptStyle, ask
from keras_flan.generation.outputs import Path
from keras_flan.generation.styles import read_exemplars
from tests.generation.fakes import QUESTION

EXEMPLARS = [
    {"question": "1 + 1?", "rationale": "It is two.", "answer": "2"},
    {"question": "2 + 2?", "rationale": "{braces} stay.", "answer": "4"},
]


def make(text, log_probability=-1.0):
    return Path(text, [3, 4], log_probability, True, [log_probability])


def test_prompts_are_those_of_training():
    fields = {"question": QUESTION, "answer": "9", "rationale": "r"}
    for family, format, exemplars in (
        ("generic", "zero_shot_cot", []),
        ("generic", "few_shot_cot", EXEMPLARS),
        ("generic", "few_shot_direct", EXEMPLARS),
        ("mgsm_bn", "zero_shot_cot", []),
    ):
        style = PromptStyle(
            cot=format.endswith("cot"),
            exemplars=exemplars,
            family=family,
            template=1,
        )
        trained = render_prompt(
            load_family(family),
            Example(fields, "t"),
            format,
            1,
            [Example(e, "t") for e in exemplars],
        )
        assert style.render(QUESTION) == trained.inputs


def test_every_exemplar_is_shown_before_the_question():
    prompt = PromptStyle(cot=True, exemplars=EXEMPLARS).render("3 + 3?")
    places = [prompt.index(q) for q in ("1 + 1?", "2 + 2?", "3 + 3?")]
    assert places == sorted(places)
    assert "{braces} stay. The answer is 4." in prompt
    assert "rationale" not in prompt


def test_the_second_pass_reads_each_rationale():
    calls = []

    def model(prompts, **settings):
        calls.append((list(prompts), settings))
        if len(calls) == 1:
            return [[make(f" 23 - 20 = {n}. ", -2.0) for n in (3, 4)]]
        return [
            [make(" 9." if "= 3" in prompt else " 10.", -0.5)]
            for prompt in prompts
        ]

    style = PromptStyle(cot=True, two_passes=True)
    [answered] = ask(model, [QUESTION], style=style, samples=2, kind="number")
    (first, _), (second, settings) = calls
    assert first == [f"{QUESTION}\nLet's think step by step."]
    cue = "Therefore, the answer (arabic numerals) is"
    assert sorted(second) == [
        f"{first[0]} 23 - 20 = {n}.\n{cue}" for n in (3, 4)
    ]
    assert settings["samples"] == 1 and settings["temperature"] == 0
    # The paths keep their numbers, and the answers are those of the cue.
    assert answered.answers == ["9", "10"]
    assert answered.paths[0].text == f"23 - 20 = 3.\n{cue} 9."
    assert answered.paths[0].log_probability == -2.5
    assert len(answered.paths[0].token_log_probabilities) == 2


def test_without_a_style_the_question_is_the_prompt():
    def model(prompts, **settings):
        assert prompts == [" as it is "]
        return [["x"]]

    [answered] = ask(model, [" as it is "])
    assert answered.prompt == " as it is "


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"two_passes": True}, "reads a rationale"),
        ({"cot": True, "template": 99}, "from 0 to"),
        ({"family": "genric"}, "Did you mean 'generic'"),
        ({"exemplars": [{"question": "a"}]}, "exemplar 1: .*'answer'"),
        (
            {"cot": True, "exemplars": [{"question": "a", "answer": "b"}]},
            "'rationale'",
        ),
    ],
)
def test_what_cannot_be_asked_is_said(values, message):
    with pytest.raises(InputError, match=message):
        PromptStyle(**values)


def test_cot_and_style_contradict():
    with pytest.raises(InputError, match="not both"):
        ask(lambda *a, **k: [], ["a"], cot=True, style=PromptStyle())


def test_exemplars_come_from_lines_or_a_list(tmp_path):
    lines, whole = tmp_path / "a.jsonl", tmp_path / "a.json"
    lines.write_text("\n".join(map(json.dumps, EXEMPLARS)))
    whole.write_text(json.dumps(EXEMPLARS, indent=1))
    assert read_exemplars(lines) == read_exemplars(whole) == EXEMPLARS
    for text in ("[1, 2]", "", "[{]"):
        whole.write_text(text)
        with pytest.raises(InputError, match=r"a\.json"):
            read_exemplars(whole)


def test_the_command_asks_that_way(tmp_path, monkeypatch, capsys):
    seen = []

    def model(prompts, **settings):
        seen.append(prompts)
        return [["Drei. Die Antwort ist 9."]]

    monkeypatch.setattr("keras_flan.models.loading.load", lambda _: model)
    exemplars = tmp_path / "e.jsonl"
    exemplars.write_text("\n".join(map(json.dumps, EXEMPLARS)))
    arguments = ["generate", "--model", "m", "--prompt", "Wie viele?", "--cot"]
    arguments += ["--templates", "mgsm_de", "--exemplars", exemplars]
    arguments += ["--two-passes", "--kind", "number"]
    arguments += ["--output", tmp_path / "answers"]
    monkeypatch.setattr(sys, "argv", ["keras-flan", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert not stop.value.code, capsys.readouterr()
    [[first], [second]] = seen
    assert "1 + 1?" in first and second.startswith(first)
    assert "answer: 9" in capsys.readouterr().out
    assert "mgsm_de" in (tmp_path / "answers" / "trace.html").read_text()
