"""Every code block of the README is run, in order, in one empty folder.

Then those of the page that goes on from there. The two set-up commands make
environments of their own; `.ci/run` runs them.
"""

import json
import re
import shlex
import sys
from pathlib import Path

import pytest

from keras_flan import cli

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
NEXT = (ROOT / "docs" / "get_started.md").read_text("utf-8")
BLOCKS, FURTHER = (
    re.findall(r"^```(\w*)\n(.*?)^```", page, re.S | re.M)
    for page in (README, NEXT)
)
SETUP = [
    "pip install . && keras-flan quickstart\n",
    "pip install -e '.[test]' && pytest\n",
]


def test_begins_with_exactly_two_setup_commands():
    bash = [text for language, text in BLOCKS if language == "bash"]
    assert bash[:2] == SETUP
    assert not any("pip install" in text for text in bash[2:])
    assert len(README.splitlines()) <= 150


def write_inputs():
    """GSM8K files in the current folder, as a user would have them."""
    rows = [
        {
            "question": f"Ann has {a} pens and buys {b} more. How many?",
            "answer": f"{a}+{b}=<<{a}+{b}={a + b}>>{a + b} pens.\n#### {a + b}",
        }
        for a in range(1, 12)
        for b in range(1, 12)
    ]
    text = "\n".join(json.dumps(row) for row in rows)
    Path("train.jsonl").write_text(text)
    Path("test.jsonl").write_text(text)


@pytest.mark.often
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_blocks_run_in_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_inputs()
    done = {"bash": 0, "yaml": 0, "python": 0}
    namespace = {"__name__": "__main__"}
    for language, text in BLOCKS + FURTHER:
        if language == "" or text in SETUP:
            continue  # A picture in letters, or see the module's docstring.
        done[language] += 1
        if language == "yaml":
            name = re.match(r"# (\S+\.yaml)\n", text)[1]
            Path(name).write_text(text)
        elif language == "python":
            exec(compile(text, "README.md", "exec"), namespace)
        else:
            for line in text.replace("\\\n", " ").strip().split("\n"):
                monkeypatch.setattr(sys, "argv", shlex.split(line))
                assert sys.argv[0] == "keras-flan"
                try:
                    cli.main()
                except SystemExit as stop:
                    assert not stop.code, line
    assert min(done.values()) >= 2


def test_public_names_exist():
    import importlib

    table = (ROOT / "docs" / "public_names.md").read_text("utf-8")
    rows = re.findall(r"^\| `(keras_flan\.\w+)` \| (.*) \|$", table, re.M)
    assert len(rows) == 6
    for package, names in rows:
        module = importlib.import_module(package)
        for name in re.findall(r"`(\w+)`", names):
            assert getattr(module, name) is not None
