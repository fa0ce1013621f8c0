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
