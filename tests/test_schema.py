import enum
import itertools

import pydantic
import pytest

from keras_flan.errors import InputError
from keras_flan.schema import Strict, parse_yaml, read_yaml, validate


class Colour(enum.StrEnum):
    red = "red"
    blue = "blue"


class Part(Strict):
    size: int
    colour: Colour = Colour.red


class Config(Strict):
    steps: int = 100
    parts: dict[str, list[Part]] = pydantic.Field(default_factory=dict)


def test_returns_the_model():
    data = {"parts": {"a": [{"size": 1, "colour": "blue"}]}}
    config = validate(Config, data, "c.yaml")
    assert config.parts["a"][0].colour is Colour.blue


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"stesp": 1}, "stesp: unknown key. Did you mean 'steps'?"),
        ({"steps": "x" * 99}, "steps: found 'xxx"),
        (
            {"parts": {"a": [{"size": 1}, {"siez": 1}]}},
            "parts.a.1.siez: unknown key. Did you mean 'size'?",
        ),
        ({"parts": {"a": [{}]}}, "parts.a.0.size: this key is missing"),
        (
            {"parts": {"a": [{"size": 1, "colour": "rde"}]}},
            "parts.a.0.colour: 'rde' is not one of the allowed names. Did you "
            "mean 'red'?",
        ),
        (
            {"parts": {"a": [1]}},
            "parts.a.0: found 1; expected keys and values (size, colour)",
        ),
        (None, "expected keys and values (steps, parts), found nothing"),
        ([1], "expected keys and values (steps, parts), found a list"),
    ],
)
def test_errors_are_one_line_with_the_place(data, message):
    with pytest.raises(InputError) as error:
        validate(Config, data, "c.yaml")
    assert str(error.value).startswith(f"c.yaml: {message}")
    assert len(str(error.value)) < 200
    assert "\n" not in str(error.value)


def test_yaml_is_safe_and_refuses_repeated_keys(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("a: {b: 1, c: [x, ü]}\n", encoding="utf-8")
    assert read_yaml(path) == {"a": {"b": 1, "c": ["x", "ü"]}}
    for text, message in (
        ("a: 1\na: 2\n", ":2:1: not valid YAML: the key 'a' is given twice"),
        ("a: !!python/object/apply:os.getcwd []\n", "not valid YAML"),
        ("a: \0", "not valid YAML"),
    ):
        path.write_text(text)
        with pytest.raises(InputError) as error:
            read_yaml(path)
        assert message in str(error.value)
        assert "\n" not in str(error.value)


def test_a_colon_makes_no_number_to_the_base_of_sixty():
    # YAML 1.1 reads 10:20 as 620, and 1:30.5 as 90.5.
    assert parse_yaml("[10:20, -1:05, 1:30.5, 1_0, -2, .5]") == [
        "10:20", "-1:05", "1:30.5", 10, -2, 0.5,
    ]  # fmt: skip


def test_all_faults_are_told_at_once():
    data = {"stesp": 1, "parts": {"a": [{"size": "x"}, {}]}, "steps": 0.5}
    with pytest.raises(InputError) as error:
        validate(Config, data, "c.yaml")
    lines = str(error.value).splitlines()
    assert [line.split(": ")[:2] for line in lines] == [
        ["c.yaml", "stesp"],
        ["c.yaml", "steps"],
        ["c.yaml", "parts.a.0.size"],
        ["c.yaml", "parts.a.1.size"],
    ]


def test_yaml_that_holds_more_than_it_says_is_refused(tmp_path):
    path = tmp_path / "c.yaml"
    tens = "".join(
        f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]\n"
        for a, b in itertools.pairwise("abcdefghij")
    )
    for text, message in (
        ("a: &a [x]\n" + tens, "aliases stand for more"),
        ("a: &a [*a]\n", "holds itself"),
        ("[" * 50_000, "nested too deeply"),
        ("a: " + "1" * 5000, "digits"),
        ("a: -0x" + "f" * 5000, "digits"),
        ("a: 2024-13-45", "month must be"),
        ("a: " + "x" * 2_000_000, "up to 1,000,000 characters"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=message):
            read_yaml(path)
    path.write_text("a: &a {b: 1}\nc: *a\n")
    assert read_yaml(path) == {"a": {"b": 1}, "c": {"b": 1}}


def test_numbers_of_a_config_are_finite():
    class Rate(Strict):
        rate: float

    for rate in (float("inf"), float("nan")):
        with pytest.raises(InputError, match=r"c.yaml: rate: found"):
            validate(Rate, {"rate": rate}, "c.yaml")
