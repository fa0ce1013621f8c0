import dataclasses
import itertools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_flan.data.records.example import Example
from keras_flan.data.templates.families import (
    FewShotStyle,
    Format,
    PromptTemplate,
    TemplateFamily,
)
from keras_flan.data.templates.library import load_family
from keras_flan.data.templates.options import DERIVED_FIELDS, option_values
from keras_flan.data.templates.prompts import render_prompt
from keras_flan.data.templates.prompts_graph import (
    PromptRenderer,
    Questions,
    TemplateTable,
)
from keras_flan.data.templates.task import Task
from keras_flan.data.templates.template import Template
from keras_flan.errors import InputError
from tests.data.test_options import records

FORMATS = list(Format)
# Any Unicode, and often what has a meaning to templates or to this layout.
TEXTS = st.one_of(
    st.text(max_size=12), st.text(alphabet="{}a \n\\\0$é😀", max_size=12)
)
LITERALS = TEXTS.map(lambda t: t.replace("{", "{{").replace("}", "}}"))
FIELDS = ("question", "answer", "rationale", "options")
MMLU = ("question", "options", "answer", "subject")
PLACES = [
    "{question}",
    "{answer}",
    "{rationale}",
    "{options}",
    "{options_}",
    "{lettered_options_}",
    "{rationale?Why: {rationale} ({question})?}",
    "{answer?}}??}",
]


def make_task(family, fields=FIELDS, num_examples=100):
    return Task("toy", Path("toy"), family, "train", num_examples, fields)


def example(*texts):
    return Example(dict(zip(FIELDS, texts, strict=False)), "toy")


@st.composite
def templates(draw):
    pieces = draw(st.lists(LITERALS | st.sampled_from(PLACES), max_size=6))
    return Template.parse("".join(pieces))


def graph_prompts(tasks, queries, exemplars, keep=None, seed=0):
    """Renders (task id, index, format id, example) rows as the pipeline."""
    renderer = PromptRenderer(tasks, seed)
    task_ids, indices, format_ids, examples = zip(*queries, strict=True)
    values = {
        name: [e.fields.get(name, "") for e in examples]
        for name in renderer.field_names
    }
    exemplar_values = {
        name: [[e.fields.get(name, "") for e in row] for row in exemplars]
        for name in renderer.field_names
    }
    asked = Questions(list(task_ids), list(indices), list(format_ids))
    if keep is None:
        prompts, targets = renderer.render(asked, values, exemplar_values)
    else:
        headers, inputs, targets = renderer.query(asked, values)
        blocks = renderer.exemplars(asked, exemplar_values)
        prompts = renderer.assemble(headers, inputs, blocks, keep)
    return [
        (p.decode("utf-8"), t.decode("utf-8"))
        for p, t in zip(prompts.numpy(), targets.numpy(), strict=True)
    ]


@settings(max_examples=15, deadline=None)
@given(
    st.lists(templates(), min_size=1, max_size=4),
    st.lists(st.lists(TEXTS, min_size=4, max_size=4), min_size=1, max_size=4),
)
def test_table_renders_what_templates_render(rendered, rows):
    columns = [*FIELDS, "options_", "lettered_options_"]
    records = [dict(zip(FIELDS, r, strict=True)) for r in rows]
    values = [{**record, **option_values(record)} for record in records]
    pairs = list(itertools.product(range(len(rendered)), range(len(rows))))
    texts = TemplateTable(rendered, columns).render(
        [i for i, _ in pairs],
        [[values[j][name].encode() for name in columns] for _, j in pairs],
    )
    assert [text.decode("utf-8") for text in texts.numpy()] == [
        rendered[i].render(values[j]) for i, j in pairs
    ]


ANY = ("text", "sentence", "options", "answer", "definition")


@st.composite
def families(draw):
    """Families with options, headers and more than one few-shot template."""
    places = [f"{{{name}}}" for name in (*ANY, *DERIVED_FIELDS)]

    def template():
        pieces = draw(st.lists(LITERALS | st.sampled_from(places), max_size=5))
        return Template.parse("".join(pieces))

    def few_shot(target):
        style = FewShotStyle("any", *(draw(TEXTS) for _ in range(4)))
        return tuple(
            PromptTemplate(template(), target, style, header=template())
            for _ in range(draw(st.integers(1, 3)))
        )

    target = template()
    return TemplateFamily(
        "any",
        ANY,
        zero_shot_direct=(
            PromptTemplate(Template.parse("{text}\n{styled_options_}"), target),
            PromptTemplate(template(), template()),
        ),
        few_shot_direct=few_shot(target),
        few_shot_cot=few_shot(template()),
        shots=draw(st.none() | st.integers(1, 2)),
    )


@st.composite
def examples(draw):
    """Examples of which many have an option that is the answer."""
    record = draw(records())
    fields = {name: draw(TEXTS) for name in ANY}
    if draw(st.booleans()):
        fields |= {name: record[name] for name in ("options", "answer")}
    return Example(fields, "toy")


@settings(max_examples=30, deadline=None)
@given(
    st.lists(families(), min_size=1, max_size=2),
    st.lists(examples(), min_size=1, max_size=4),
    st.integers(0, 2**40),
    st.integers(0, 2**62),
    st.sampled_from(["option", "text"]),
)
def test_python_and_graph_render_the_same(
    families, examples, index, seed, kind
):
    tasks = [
        dataclasses.replace(make_task(family, ANY), answer_kind=kind)
        for family in families
    ]
    query, *shown = examples
    queries = [
        (number, index + k, FORMATS.index(format), query)
        for number, task in enumerate(tasks)
        for format in task.formats
        for k in range(3)
    ]
    found = graph_prompts(tasks, queries, [shown] * len(queries), seed=seed)
    for (number, i, format, _), pair in zip(queries, found, strict=True):
        prompt = render_prompt(
            tasks[number], query, FORMATS[format], i, shown, seed=seed
        )
        assert pair == (prompt.inputs, prompt.targets)


@pytest.mark.parametrize("count", [1, 26, 27, 40])
def test_options_agree_beyond_z(count):
    family = TemplateFamily(
        "any",
        FIELDS,
        (
            PromptTemplate(
                Template.parse("{options_}|{lettered_options_}"), Template(())
            ),
        ),
    )
    options = "\n".join(f"o{i}" for i in range(count))
    query = example("", "", "", options)
    task = make_task(family)
    prompt = render_prompt(task, query, Format.zero_shot_direct, 0)
    assert graph_prompts([task], [(0, 0, 0, query)], [[]]) == [
        (prompt.inputs, "")
    ]
    assert prompt.inputs.startswith("OPTIONS:\n- o0")
    assert "(A) o0" in prompt.inputs
    assert ("(Z) o25\n(27) o26" in prompt.inputs) == (count > 26)


def test_works_inside_a_graph_without_known_shapes():
    from keras_flan.runtime.tensorflow import tf

    renderer = PromptRenderer([make_task(load_family("mmlu"), MMLU)])
    fields = {name: [name, "x"] for name in renderer.field_names}
    dataset = tf().data.Dataset.from_tensor_slices(fields).batch(2)
    (prompts,) = dataset.map(
        lambda row: renderer.render(
            Questions(
                tf().zeros_like(row["answer"], tf().int32),
                tf().constant([0, 1], tf().int64),
                tf().zeros([2], tf().int32),
            ),
            row,
        )[0]
    )
    assert prompts.numpy().tolist() == [
        b"question\n(A) options",
        b"Q: x\n(A) x\nA:",
    ]


def test_layout_of_a_few_shot_prompt():
    prompt = render_prompt(
        load_family("generic"),
        example("2 + 2?", "4", "Two and two."),
        "few_shot_cot",
        20,
        [example("1 + 1?", "2", "One and one.")],
    )
    assert prompt.inputs == (
        "Q: 1 + 1?\nA: One and one. The answer is 2.\n\nQ: 2 + 2?\nA:"
    )
    assert prompt.targets == "Two and two. The answer is 4."
    assert (prompt.template, prompt.shots) == (0, 1)


def test_assignment_is_cyclic():
    family = load_family("gsm8k")
    query = example("q", "a", "r")
    found = [
        render_prompt(family, query, "zero_shot_cot", i).template
        for i in range(25)
    ]
    assert found == [i % 10 for i in range(25)]


def test_trailing_blanks_go_but_line_breaks_stay():
    family = load_family("generic")
    query = example("why? \n  ", "a", "r")
    assert render_prompt(family, query, "zero_shot_direct", 0).inputs == (
        "why? \n"
    )


def test_exemplars_are_dropped_whole_from_the_end():
    family = load_family("generic")
    query = example("2 + 2?", "4")
    shown = [example("1", "2"), example("three" * 9, "4"), example("5", "6")]
    blocks = ["Q: 1\nA: 2\n\n", f"Q: {'three' * 9}\nA: 4\n\n", "Q: 5\nA: 6\n\n"]
    end = "Q: 2 + 2?\nA:"
    lengths = list(itertools.accumulate(map(len, blocks), initial=len(end)))
    for shots, length in enumerate(lengths):
        for budget in (length, length + 1):
            prompt = render_prompt(
                family, query, "few_shot_direct", 0, shown, budget
            )
            assert prompt.shots == shots
            assert prompt.inputs == "".join(blocks[:shots]) + end
    # A later, shorter exemplar doesn't take the place of a dropped one.
    budget = lengths[1] + len(blocks[2])
    prompt = render_prompt(family, query, "few_shot_direct", 0, shown, budget)
    assert prompt.shots == 1
    nothing = render_prompt(family, query, "few_shot_direct", 0, shown, 5)
    assert (nothing.shots, nothing.inputs) == (0, end)
    words = render_prompt(
        family,
        *(query, "few_shot_direct", 0, shown, 9),
        length=lambda text: len(text.split()),
    )
    assert words.shots == 1


def test_graph_keeps_the_exemplars_that_it_is_told_to():
    task = make_task(load_family("generic"))
    query, shown = (
        example("q", "a", "r"),
        [example("x", "y"), example("z", "w")],
    )
    rows = [(0, 0, 2, query)] * 3
    keep = [[True, True], [True, False], [False, False]]
    found = graph_prompts([task], rows, [shown] * 3, keep)
    for (prompt, _), shots in zip(found, (2, 1, 0), strict=True):
        expected = render_prompt(
            task, query, "few_shot_direct", 0, shown[:shots]
        )
        assert prompt == expected.inputs


def test_a_format_that_a_task_lacks_is_refused():
    task = make_task(load_family("squad"), ("context", "question", "answer"))
    query = example("q", "a")
    with pytest.raises(InputError, match="'toy' has no zero_shot_cot form"):
        render_prompt(task, query, "zero_shot_cot", 0)
    with pytest.raises(Exception, match="not in"):
        graph_prompts([task], [(0, 0, 1, query)], [[]])


def test_missing_fields():
    query = example("q", "a")
    with pytest.raises(InputError, match="needs the field 'rationale'"):
        render_prompt(load_family("gsm8k"), query, "zero_shot_cot", 0)
    # In a task, records may differ in their fields.
    task = make_task(load_family("gsm8k"))
    prompt = render_prompt(task, query, "zero_shot_cot", 0)
    assert prompt.targets == " The answer is a."


@settings(max_examples=20, deadline=None)
@given(st.text(alphabet="{}question_ \n", max_size=20), st.integers(0, 99))
def test_the_question_does_not_leak_into_its_exemplars(text, index):
    family = load_family("multiple_choice")
    secret = "\N{SNOWMAN}" + text
    query = Example(
        {"question": secret, "options": "a\nb", "answer": "a"}, "toy"
    )
    shown = [
        Example({"question": f"q{i}", "options": "c\nd", "answer": "d"}, "toy")
        for i in range(3)
    ]
    for format in (Format.few_shot_direct, Format.few_shot_mixed):
        prompt = render_prompt(family, query, format, index, shown)
        assert prompt.inputs.count(secret) == 1
        before, _ = prompt.inputs.split(secret)
        assert all(f"q{i}" in before for i in range(3))
