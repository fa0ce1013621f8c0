"""The page of domains shows what templates make of its rows."""

import json
import re
from pathlib import Path

import pytest

from keras_flan.data.records.example import Example
from keras_flan.data.templates.families import Format
from keras_flan.data.templates.library import load_family
from keras_flan.data.templates.prompts import render_prompt

PAGE = Path(__file__).parents[2] / "docs" / "domains.md"


def test_worked_examples_are_what_templates_make():
    if not PAGE.is_file():
        pytest.skip("the docs are not installed")
    parts = re.split(r"^## ", PAGE.read_text("utf-8"), flags=re.M)[1:]
    assert len(parts) >= 8
    for part in parts:
        name = part.split("\n")[0]
        row = json.loads(re.search(r"```json\n(.*?)\n```", part, re.S)[1])
        shown = re.findall(r"`(\w+)`:\n\n```text\n(.*?)\n```", part, re.S)
        assert shown
        for format, text in shown:
            prompt = render_prompt(
                load_family(name),
                Example(row, name, "test/0"),
                Format(format),
                0,
            )
            assert text == f"{prompt.inputs}\n=> {prompt.targets}"
