"""Fixtures of the data tests."""

import gzip
import json

import pytest

from keras_flan.data.importers import import_source
from keras_flan.data.records.shards import read_records


@pytest.fixture
def files(tmp_path):
    """Writes a file into the test's folder `files` and returns the path."""

    def write(name, text):
        path = tmp_path / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data = text if isinstance(text, bytes) else text.encode("utf-8")
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return path

    return write


@pytest.fixture
def imported(files, tmp_path):
    """Imports a text; returns info, fields of the rows, reasons of rejects."""

    def run(format, name, text, **options):
        path = files(name, text)
        output = tmp_path / "out"
        [info] = import_source(format, path, output, **options).tasks
        rows = [e.fields for e in read_records(output, verify=True)]
        rejects = output / "rejects.jsonl"
        lines = rejects.read_text("utf-8") if rejects.is_file() else ""
        reasons = [
            json.loads(line)["reason"] for line in lines.split("\n")[:-1]
        ]
        return info, rows, reasons

    return run
