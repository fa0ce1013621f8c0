import re

import pytest

from keras_flan.data.templates.template import Field, Literal, Template
from keras_flan.errors import InputError


def test_parses_literals_fields_and_escapes():
    template = Template.parse("{{a}} {question}{answer}\n}}")
    assert template.parts == (
        Literal("{a} "),
        Field("question"),
        Field("answer"),
        Literal("\n}"),
    )
    assert template.fields == ("question", "answer")
    assert Template.parse(str(template)) == template
    assert Template.parse("").render({}) == ""


def test_field_text_is_not_parsed_again():
    template = Template.parse("{a}{b}")
    assert template.render({"a": "{b}{{", "b": "x"}) == "{b}{{x"


@pytest.mark.parametrize(
    "text", ["{", "a }", "{}", "{a b}", "{1}", "{a!r}", "{{{", "{a.b}"]
)
def test_refuses_stray_braces(text):
    with pytest.raises(InputError, match=r"single '[{}]' at character"):
        Template.parse(text)


def test_missing_field_names_field_and_template():
    with pytest.raises(InputError) as error:
        Template.parse("Q: {question}").render({"qestion": ""})
    assert "'Q: {question}'" in str(error.value)
    assert "Did you mean 'qestion'?" in str(error.value)


def test_concatenation_equals_concatenated_text():
    whole = Template.parse("a{x}") + "b" + Template.parse("c{y}")
    assert whole == Template.parse("a{x}bc{y}")


def test_substitute_puts_templates_in_the_place_of_fields():
    phrase = Template.parse("It is {answer}.")
    filled = Template.parse("{a} {phrase}{phrase}").substitute(
        {"phrase": phrase}
    )
    assert str(filled) == "{a} It is {answer}.It is {answer}."


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("{q}\n{options}", "{q}"),
        ("{q}\n\n{options}\n\nA:", "{q}\n\nA:"),
        ("{options}\n{q}", "{q}"),
        ("Q\n{options}{q}", "Q{q}"),
        ("{options}", ""),
        ("{q} {options} so", "{q}  so"),
        ("{{options}}", "{{options}}"),
    ],
)
def test_without_takes_line_breaks_along(text, left):
    assert str(Template.parse(text).without({"options"})) == left


def test_optional_parts_are_left_out_where_their_field_is_blank():
    text = "{input?{input}\n?}{task}{input? (see above)?}{{?}}"
    template = Template.parse(text)
    assert template.fields == ("input", "task")
    assert template.required == ("task",)
    assert Template.parse(str(template)) == template
    for values in ({"task": "a"}, {"task": "a", "input": " \n"}):
        assert template.render(values) == "a{?}"
    filled = template.render({"task": "a", "input": "b"})
    assert filled == "b\na (see above){?}"
    # A part of another field needs its own.
    assert Template.parse("{a?{b}?}").required == ("b",)
    assert str(Template.parse("{a?x?}{a?y?}")) == "{a?xy?}"
    assert str(template.without({"input"})) == "{task}{{?}}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{a?x", "the optional part of 'a' in '{a?x' has no end"),
        ("{a?{b?x?}?}", "inside that of 'a'; end that one before"),
        ("x?}", "single '}' at character 1"),
        ("{?x?}", "single '{' at character 0"),
    ],
)
def test_refuses_optional_parts_that_are_not_whole(text, message):
    with pytest.raises(InputError, match=re.escape(message)):
        Template.parse(text)


def test_an_optional_part_does_not_come_into_that_of_another():
    inner = {"b": Template.parse("{c?x?}")}
    assert str(Template.parse("{b}").substitute(inner)) == "{c?x?}"
    with pytest.raises(InputError, match="can't stand inside that of 'a'"):
        Template.parse("{a?{b}?}").substitute(inner)
