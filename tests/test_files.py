"""Tests of reading JSON files."""

import gzip
import json
import math

import pytest

from keras_flan.errors import InputError
from keras_flan.files import (
    read_json,
    read_json_object,
    read_jsonl,
    read_text,
    write_json,
    write_jsonl,
)


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path):
    path = tmp_path / "x.json"
    path.write_bytes(b'\xef\xbb\xbf{"a": "\xef\xbb\xbfb"}\r\n')
    assert read_text(path) == '{"a": "\ufeffb"}\r\n'
    assert read_json(path) == read_jsonl(path)[0] == {"a": "\ufeffb"}
    packed = tmp_path / "x.json.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert read_json_object(packed) == {"a": "\ufeffb"}


@pytest.mark.parametrize(
    ("text", "place", "fault"),
    [
        ('{"a":\n1,}', ":2", "Expecting property name .* at column 3"),
        ('{"a": "b', ":1", "Unterminated string starting at column 7"),
        ("", ":1", "Expecting value at column 1"),
        ('{"a": 1}\n{"a": 2}', ":2", "Extra data at column 1"),
        ("[" * 100_000, "", "maximum recursion depth"),
        ('{"a":' * 100_000, "", "maximum recursion depth"),
        ("9" * 5000, "", r"Exceeds the limit \(4300 digits\)"),
        ('{"a": NaN}', "", "NaN is not a JSON number"),
        ("[1, -Infinity]", "", "-Infinity is not a JSON number"),
    ],
)
def test_faults_name_place_and_remedy(tmp_path, text, place, fault):
    path = tmp_path / "x.json"
    path.write_text(text)
    message = rf"x\.json{place}: not JSON \({fault}.*\); fetch it again$"
    with pytest.raises(InputError, match=message):
        read_json(path, remedy="fetch it again")
    path.write_text('{"b": 0}\n' + text.replace("\n", " ") + "?\n")
    with pytest.raises(InputError, match=r"x\.json:2: not JSON \("):
        read_jsonl(path)


def test_numbers_that_python_writes_and_json_has_not(tmp_path):
    path = tmp_path / "metrics.json"
    write_json(path, {"loss": math.nan, "rows": [(-math.inf, 1.5)]})
    assert read_json(path) == {"loss": None, "rows": [[None, 1.5]]}
    path.write_text(json.dumps({"loss": math.nan, "low": -math.inf}))
    assert read_jsonl(path, allow_nan=True)[0]["low"] == -math.inf
    with pytest.raises(InputError, match="NaN is not a JSON number"):
        read_jsonl(path)


def test_rows_are_strict_json(tmp_path):
    path = tmp_path / "rows.jsonl"
    write_jsonl(path, [{"loss": math.inf}, {"loss": math.nan, "é": [1.5]}])
    assert read_jsonl(path) == [{"loss": None}, {"loss": None, "é": [1.5]}]


def test_other_values_than_objects(tmp_path):
    path = tmp_path / "x.json"
    path.write_text("[1]")
    with pytest.raises(InputError, match=r"a JSON object, found list; mend"):
        read_json_object(path)
    with pytest.raises(InputError, match=r"x.json:1: .* object, found list"):
        read_jsonl(path)
    with pytest.raises(InputError, match="no such file"):
        read_json(tmp_path / "y.json")
