"""The commands of docs/your_own_task.md, run as they stand, in one folder."""

import json
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from keras_flan import cli

PAGE = Path(__file__).parents[1] / "docs" / "your_own_task.md"
TEXT = PAGE.read_text("utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", TEXT, re.S | re.M)


@pytest.mark.slow
def test_a_table_becomes_a_model_a_benchmark_and_a_report(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    for language, text in BLOCKS:
        if language == "python":
            exec(compile(text, PAGE, "exec"), {})
        elif language == "yaml":
            Path(re.match(r"# (\S+\.yaml)\n", text)[1]).write_text(text)
        else:
            for line in text.strip().split("\n"):
                words = shlex.split(line)
                assert words[0] == "keras-flan"
                result = CliRunner().invoke(cli.app, words[1:])
                assert result.exit_code == 0, (line, result.output)
    assert len(BLOCKS) == 10
    before, after = (
        json.loads(Path(f"runs/{name}/metrics.json").read_text())
        for name in ("before", "after")
    )
    assert before["accuracy"] < 0.2 and after["accuracy"] > 0.9
    assert after["macro_f1"] > 0.9
    assert "shipping" in result.stdout
    for page in ("report/report.html", "tickets/training.html"):
        assert (Path("runs") / page).stat().st_size > 5000
