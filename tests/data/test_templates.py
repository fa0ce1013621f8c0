import dataclasses

from keras_flan.data.mixtures.mixture import Mixture, MixtureGroup
from keras_flan.data.records.example import Example
from keras_flan.data.templates.families import Format, TemplateFamily
from keras_flan.data.templates.library import load_family
from keras_flan.data.templates.options import draw_style
from keras_flan.data.templates.prompts import render_prompt
from tests.data.test_prompts import make_task

SUMS = Example(
    {"question": "1 + 1?", "rationale": "One and one.", "answer": "2"}, "toy"
)
COLOURS = {"text": "The sky.", "options": "red\nblue", "answer": "blue"}


def test_without_options_nothing_of_them_is_left():
    family = load_family("topic")
    for format in (Format.zero_shot_no_options, Format.few_shot_no_options):
        for index in range(len(family.templates(format))):
            prompt = render_prompt(
                family,
                Example(COLOURS, "toy"),
                format,
                index,
                [Example({**COLOURS, "text": "Blood.", "answer": "A"}, "toy")],
            )
            assert "blue" not in prompt.inputs
            assert prompt.targets in ("blue", "The topic is blue.")
            if format.few_shot:
                assert "red" in prompt.inputs  # the text, for the letter


def test_the_slot_goes_with_its_line_breaks():
    (template, *_) = load_family("multiple_choice").zero_shot_no_options
    assert str(template.input) == "{question}"
    assert str(template.target) == "{choice_}"


def test_letters_mean_nothing_without_options():
    family = load_family("medical_qa")
    for template in family.few_shot_no_options:
        assert "letter_" not in template.fields
    assert not load_family("mmlu").few_shot_no_options


def test_zero_shot_answers_with_the_marker_it_shows():
    family = load_family("topic")
    seen = set()
    for index in range(200):
        prompt = render_prompt(
            family, Example(COLOURS, "toy"), "zero_shot_direct", index, seed=3
        )
        style = draw_style(3, index)
        assert style.render(["red", "blue"]) in prompt.inputs
        assert prompt.targets == (style.marker(1) or "blue")
        assert prompt.answer == prompt.targets
        seen.add(prompt.targets)
    assert "blue" in seen
    assert len(seen) > 20


def test_a_seed_draws_other_styles():
    family = load_family("topic")
    one, two = (
        [
            render_prompt(
                family, Example(COLOURS, "toy"), "zero_shot_direct", i, seed=s
            ).inputs
            for i in range(20)
        ]
        for s in (0, 1)
    )
    assert sum(a != b for a, b in zip(one, two, strict=True)) > 15


def test_mixed_templates_write_the_answer_alike():
    family = load_family("generic")
    targets = {str(template.target) for template in family.few_shot_mixed}
    assert targets == {"{answer}"}
    assert len(family.few_shot_mixed) == 9
    alone = dataclasses.replace(
        family, few_shot_direct=family.few_shot_direct[:1]
    )
    assert not alone.few_shot_mixed
    assert not TemplateFamily("none", ()).few_shot_mixed


def test_exemplars_of_the_mixed_format_have_templates_of_their_own():
    family = load_family("generic")
    shown = [SUMS] * 5
    for index in range(9):
        prompt = render_prompt(family, SUMS, "few_shot_mixed", index, shown)
        template = family.few_shot_mixed[index]
        *blocks, query = prompt.inputs.split(template.separator)
        possible = [
            one.solved.render(SUMS.fields) for one in family.few_shot_mixed
        ]
        if len(blocks) == 5:  # the separator may also stand in a template
            assert set(blocks) <= set(possible)
            assert len(set(blocks)) > 1
            assert query == template.query.render(SUMS.fields)
        assert prompt.shots == 5


def test_turned_around_examples():
    family = load_family("gsm8k")
    kinds = []
    for template in family.zero_shot_inverted:
        given, wanted = (
            frozenset(part.fields) for part in (template.input, template.target)
        )
        assert given | wanted == {"question", "rationale", "answer"}
        assert not given & wanted
        kinds.append((given, wanted))
    counts = [
        kinds.count((frozenset(given), frozenset(wanted)))
        for given, wanted in (
            ({"rationale"}, {"question", "answer"}),
            ({"question", "answer"}, {"rationale"}),
            ({"answer"}, {"question", "rationale"}),
            ({"rationale", "answer"}, {"question"}),
        )
    ]
    assert counts == [6, 5, 4, 3]
    prompt = render_prompt(family, SUMS, "few_shot_inverted", 17, [SUMS])
    assert prompt.targets == "1 + 1?"
    assert prompt.shots == 1


def test_a_mixture_weighs_turned_around_examples_apart():
    formats = {
        **{"zero_shot_cot": 1, "few_shot_cot": 1},
        **{"zero_shot_inverted": 0.3, "few_shot_inverted": 0.3},
    }
    task = make_task(load_family("gsm8k"))
    group = MixtureGroup("cot", [task], formats=formats)
    (part,) = Mixture("m", [group]).tasks
    share = sum(p for f, p in part.formats.items() if "inverted" in f.value)
    # arXiv:2301.13688 and its code: 76.9% forward, 23.1% inverted.
    assert round(share, 3) == 0.231
    (plain,) = Mixture("m", [MixtureGroup("cot", [task])]).tasks
    assert [f.value for f in plain.formats] == [
        *("zero_shot_direct", "zero_shot_cot"),
        *("few_shot_direct", "few_shot_cot"),
    ]


def test_natural_instructions_in_three_forms():
    family = load_family("natural_instructions")
    fields = {
        "definition": "Add one.",
        "inputs": "4",
        "targets": "5",
        "example_input": "1",
        "example_output": "2",
        "example_explanation": "Two follows one.",
    }
    asked = Example(fields, "toy")
    others = [
        Example({**fields, "inputs": str(i), "targets": str(i + 1)}, "toy")
        for i in (6, 7, 8)
    ]
    few = render_prompt(family, asked, "few_shot_direct", 0, others)
    assert few.inputs == "Add one.\n\nQ: 6\nA: 7\n\nQ: 7\nA: 8\n\nQ: 4\nA:"
    assert (few.shots, few.targets) == (2, "5")
    none = render_prompt(family, asked, "few_shot_direct", 0, others, budget=30)
    assert none.inputs == "Add one.\n\nQ: 6\nA: 7\n\nQ: 4\nA:"
    for index in range(10):
        for format, inside in (
            (Format.zero_shot_direct, ["Add one.", "4"]),
            (Format.one_shot_inline, [*fields.values()]),
            (Format.few_shot_direct, ["Add one.", "6", "7", "8", "4"]),
        ):
            prompt = render_prompt(family, asked, format, index, others)
            shown = (
                inside
                if format is not Format.one_shot_inline
                else [
                    text for name, text in fields.items() if name != "targets"
                ]
            )
            assert all(text in prompt.inputs for text in shown)
            assert prompt.inputs.count("Add one.") == 1
            assert prompt.targets == "5"
