import json
import pickle
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from keras_flan import cli
from keras_flan.data.importers import IMPORTERS, import_source, many
from keras_flan.data.importers.writing import Settings
from keras_flan.errors import InputError


@pytest.fixture
def folder(files):
    """Natural Instructions: five tasks, of which one is broken."""
    for i in range(4):
        instances = [
            {"input": f"{i} + {k}", "output": [f"{i + k}"]} for k in range(6)
        ]
        task = {"Definition": ["Add."], "Instances": instances}
        path = files(f"tasks/task{i}_add.json", json.dumps(task))
    files("tasks/task9_broken.json", "{}")
    return path.parent


def _written(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _import(folder, output, **options):
    done = import_source(
        "natural-instructions", folder, output, shards=2, **options
    )
    names = [info["name"] for info in done.tasks]
    assert names == [f"task{i}_add" for i in range(4)]
    [rejected] = done.rejected
    assert "task9_broken.json" in rejected["reason"]
    return _written(output)


@pytest.mark.often
def test_processes_write_the_same_files(folder, tmp_path):
    one = _import(folder, tmp_path / "one")
    assert len(one) == 4 * 3 + 1
    assert _import(folder, tmp_path / "two", processes=2) == one


def test_every_format_goes_to_other_processes():
    for name, importer in IMPORTERS.items():
        assert pickle.loads(pickle.dumps(importer)).format == name


def test_beam_writes_the_same_files(folder, tmp_path):
    pytest.importorskip("apache_beam")
    expected = _import(folder, tmp_path / "local")
    assert _import(folder, tmp_path / "beam", runner="beam") == expected
    with pytest.raises(InputError, match=r"task9_broken.json: expected"):
        _import(folder, tmp_path / "strict", runner="beam", strict=True)


def test_beam_writes_a_single_task(files, tmp_path):
    pytest.importorskip("apache_beam")
    path = files("a.csv", "question,answer\n1+1,2\n,\n2+2,4\n")
    command = ["import", "csv", str(path), "--name", "sums"]
    for runner in ("local", "beam"):
        more = ["--output", str(tmp_path / runner), "--runner", runner]
        run = CliRunner().invoke(cli.app, [*command, *more])
        assert run.exit_code == 0, run.output
    assert _written(tmp_path / "beam") == _written(tmp_path / "local")
    with pytest.raises(InputError, match="no rows to import"):
        import_source(
            "csv", files("b.csv", "a,b\n"), tmp_path / "b", runner="beam"
        )


def test_beam_that_is_absent_is_named(folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    with pytest.raises(InputError, match=r"keras_flan\[beam\]"):
        import_source("natural-instructions", folder, tmp_path, runner="beam")


def test_an_unknown_runner_is_named(folder, tmp_path):
    with pytest.raises(InputError, match=r"unknown runner 'bean'.*'beam'"):
        import_source("natural-instructions", folder, tmp_path, runner="bean")
    with pytest.raises(InputError, match="need the runner 'beam'"):
        import_source(
            "natural-instructions", folder, tmp_path, beam_options=["--x"]
        )


def test_processes_are_used_for_much_data_only(files, monkeypatch):
    monkeypatch.setattr(many.os, "cpu_count", lambda: 3)

    def jobs(sizes):
        parts = [
            many.Part(files(f"{i}", "x" * size), "x", None)
            for i, size in enumerate(sizes)
        ]
        return [many.TaskImport(part, None, Settings()) for part in parts]

    monkeypatch.setattr(many, "_BYTES_PER_PROCESS", 100)
    useful = many.useful_processes
    assert useful(jobs([50, 40])) == 1
    assert useful(jobs([500])) == 1
    assert useful(jobs([150, 140])) == 2
    assert useful(jobs([100] * 9)) == 3


@pytest.mark.realdata
def test_processes_and_beam_on_natural_instructions(realdata, tmp_path):
    folder = realdata / "niv2" / "tasks"

    def run(name, **options):
        done = import_source(
            "natural-instructions", folder, tmp_path / name, **options
        )
        assert len(done.tasks) == 128
        return _written(tmp_path / name)

    expected = run("one")
    assert run("two", processes=2) == expected
    try:
        import apache_beam  # noqa: F401
    except ImportError:
        return
    assert run("beam", runner="beam") == expected
