import re
import runpy
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from keras_flan import cli
from keras_flan.data.importers import import_source
from keras_flan.data.records.shards import read_records
from keras_flan.errors import InputError

PAGE = Path(__file__).parents[2] / "docs" / "adding_a_format.md"


def test_the_page_is_true(tmp_path, monkeypatch, capsys):
    if not PAGE.is_file():
        pytest.skip("the docs are not installed")
    format, script = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    (tmp_path / "glossary.py").write_text(format)
    (tmp_path / "script.py").write_text(script)
    (tmp_path / "french.txt").write_text("bonjour = hello\noui\nnon = no\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    runpy.run_path("script.py")
    assert capsys.readouterr().out == "french 2 1\n"
    [command] = re.findall(r"keras-flan (import glossary.*)", PAGE.read_text())
    run = CliRunner().invoke(cli.app, command.split())
    assert run.exit_code == 0, run.output
    [first, _] = read_records("records/french", verify=True)
    assert first.fields == {
        "question": "What is 'bonjour' in English?",
        "answer": "hello",
    }


@pytest.mark.parametrize(
    ("name", "text", "rows"),
    [
        (
            "quiz.csv",
            "Question,A,B,Key\nHot?,ice,fire,B\n",
            {"question": "Hot?", "options": "ice\nfire", "answer": "B"},
        ),
        (
            "posts.csv",
            "title,body,label\nA,b,x\n",
            {"question": "A\nb", "answer": "x"},
        ),
        (
            "codah.tsv",
            "o\tI\ta\tb\tc\td\t3\n",
            {"question": "I", "options": "a\nb\nc\nd", "answer": "D"},
        ),
        (
            "commonsenseqa.jsonl",
            '{"answerKey": "A", "question": {"stem": "Where?", "choices": '
            '[{"label": "A", "text": "x"}, {"label": "B", "text": "y"}]}}\n',
            {"question": "Where?", "options": "x\ny", "answer": "A"},
        ),
        (
            "sst2.train",
            "0 bad film\n",
            {
                "question": "bad film",
                "options": "negative\npositive",
                "answer": "negative",
            },
        ),
    ],
)
def test_the_commands_of_the_page(tmp_path, monkeypatch, name, text, rows):
    if not PAGE.is_file():
        pytest.skip("the docs are not installed")
    page = PAGE.read_text().replace("\\\n", " ")
    [command] = re.findall(rf"keras-flan (import \S+ {name} .*)", page)
    monkeypatch.chdir(tmp_path)
    Path(name).write_text(text)
    run = CliRunner().invoke(cli.app, shlex.split(command))
    assert run.exit_code == 0, run.output
    [example] = read_records(command.split("--output ")[1].split()[0])
    assert example.fields == rows


def test_a_file_without_importer(tmp_path):
    (tmp_path / "own.py").write_text("IMPORTER = 3\n")
    with pytest.raises(InputError, match=r"own\.py: expected an `Importer`"):
        import_source(str(tmp_path / "own.py"), PAGE.parent, tmp_path / "out")
    with pytest.raises(InputError, match=r"no\.py: no such file"):
        import_source(str(tmp_path / "no.py"), PAGE.parent, tmp_path / "out")
