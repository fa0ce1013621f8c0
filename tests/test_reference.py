"""The reference is what the models and docstrings say, and says all of it."""

import json
import sys
from pathlib import Path

import pytest
import yaml

from keras_flan import cli
from keras_flan.data.mixtures.files import LIBRARY as MIXTURES
from keras_flan.data.templates.library import LIBRARY as TEMPLATES
from keras_flan.evaluation.benchmarks import protocols
from keras_flan.reference.examples import commented, in_yaml
from keras_flan.reference.files import ConfigFile
from keras_flan.reference.pages import reference_files
from keras_flan.reference.schemas import json_schema, model_of, models_in
from keras_flan.schema import parse_yaml

PAGES = Path(__file__).parents[1] / "docs" / "reference"
EVERY = pytest.mark.parametrize("file", list(ConfigFile))


def test_the_pages_and_schemas_are_current():
    found = {path.name: path.read_text("utf-8") for path in PAGES.iterdir()}
    made = reference_files()
    assert found.keys() == made.keys()
    old = [name for name in made if made[name] != found[name]]
    assert old == [], "run `python -m keras_flan.reference docs/reference`"


@EVERY
def test_every_key_says_what_it_is(file):
    schema = json_schema(file)
    parts = [schema, *schema.get("$defs", {}).values()]
    silent = [
        f"{part['title']}.{name}"
        for part in parts
        for name, key in part.get("properties", {}).items()
        if not key.get("description")
    ]
    assert silent == [], "say it under Args or Attributes of the class"


@EVERY
def test_the_example_is_valid_and_gives_defaults(file):
    model, text = model_of(file), commented(file)
    values = parse_yaml(text)
    found = model.model_validate(values)
    required = {n for n, f in model.model_fields.items() if f.is_required()}
    assert required <= set(values) == set(model.model_fields)
    changed = {n for n in values if getattr(found, n) != _default(model, n)}
    # What is not the default is what an example can't be without.
    assert len(changed) <= 7, changed
    for one in models_in(model):
        for name in one.model_fields:
            assert f"{name}:" in text, (one, name)
    assert max(map(len, text.split("\n"))) < 240


def _default(model, name):
    return model.model_fields[name].get_default(call_default_factory=True)


@EVERY
def test_what_is_off_can_be_put_on(file):
    lines = commented(file).split("\n")
    assert any(map(_is_off, lines))
    for line in filter(_is_off, lines):
        assert isinstance(yaml.safe_load(line.replace("#", "", 1)), dict | list)


def _is_off(line):
    return line.lstrip().startswith("#") and line.lstrip()[1:2].strip() != ""


def test_schemas_allow_what_the_library_has():
    """By the schema itself, where a checker is installed."""
    checker = pytest.importorskip("jsonschema")
    library = Path(protocols.__file__).with_name("protocol_library")
    names = protocols.protocol_names()
    files = {
        ConfigFile.mixture: sorted(MIXTURES.glob("*.yaml")),
        ConfigFile.template: sorted(TEMPLATES.glob("[a-z]*.yaml")),
        ConfigFile.protocol: [library / f"{name}.yaml" for name in names],
    }
    for file, paths in files.items():
        check = checker.Draft202012Validator(json_schema(file))
        for path in paths:
            faults = list(check.iter_errors(yaml.safe_load(path.read_text())))
            assert faults == [], (path.name, faults[0].message)
    wrong = checker.Draft202012Validator(json_schema(ConfigFile.train))
    assert list(wrong.iter_errors({"output": "a", "mixture": "b", "stesp": 3}))


def test_values_are_written_as_yaml_reads_them():
    values = [
        *(
            None,
            True,
            3,
            5e-05,
            1e-3,
            1e22,
            "a b",
            "no",
            "x: y",
            "*",
            "batch=-1",
        ),
        *("Q: {question}\nA:", [], {}, {"a": [1, "two"], "0": None}, "é", ""),
    ]
    for value in values:
        assert parse_yaml(f"key: {in_yaml(value)}") == {"key": value}


def test_the_command_prints_both(monkeypatch, capsys):
    for option, start in (((), "# train.yaml"), (("--schema",), "{")):
        monkeypatch.setattr(
            sys, "argv", ["keras-flan", "config", "train", *option]
        )
        with pytest.raises(SystemExit) as stop:
            cli.main()
        out = capsys.readouterr().out
        assert not stop.value.code and out.startswith(start)
    assert json.loads(out) == json_schema(ConfigFile.train)
