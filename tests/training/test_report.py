"""The page about trainings, alone and side by side."""

import json

import pytest
import yaml
from typer.testing import CliRunner

from keras_flan.cli import app
from keras_flan.errors import InputError
from keras_flan.training import report_training


def write_run(folder, rate, held_out=None):
    """What a finished training leaves, as far as a page needs it."""
    folder.mkdir(parents=True)
    metrics = {
        "steps": 40,
        "loss": [4.0, 2.5],
        "loss_steps": [20, 40],
        "gradient_norm": [1.0, 0.5],
        "speed": {"tokens_per_second": 1234.5, "fill": 0.875},
        "seconds": {"fit": 61.0, "total": 70.0},
    }
    if held_out:
        metrics["held_out"] = held_out
    (folder / "metrics.json").write_text(json.dumps(metrics))
    values = {"seed": 0, "optimizer": {"learning_rate": rate, "name": "<b>"}}
    (folder / "config.yaml").write_text(yaml.safe_dump(values))
    facts = {"finished": True, "data": {"odd": "ab12"}, "vocabulary": "x"}
    (folder / "run.json").write_text(json.dumps(facts))
    mark = {"kinds": ["run"], "version": 1}
    (folder / ".keras_flan.json").write_text(json.dumps(mark))
    return folder


def test_runs_stand_side_by_side(tmp_path):
    curve = {"steps": [20, 40], "loss": [3.0, 3.5], "stopped": True}
    write_run(tmp_path / "runs" / "slow", 0.001)
    write_run(tmp_path / "runs" / "fast", 0.1, curve)
    page = report_training([tmp_path / "runs"], tmp_path / "out").read_text()
    for text in ("slow", "fast", "40, stopped early", "3.000 (step 20)"):
        assert text in page
    # What differs is told once; what doesn't is only among the settings.
    differing = page.split("What differs")[1].split("</section>")[0]
    assert "optimizer.learning_rate" in differing and "0.001" in differing
    assert "seed" not in differing
    assert "&lt;b&gt;" in page and "<b>'" not in page
    assert (tmp_path / "out" / "loss.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(InputError, match="expected a finished training"):
        report_training([tmp_path / "out"], tmp_path / "other")


def test_the_command_puts_the_page_beside_the_run(tmp_path):
    run = write_run(tmp_path / "run", 0.1)
    result = CliRunner().invoke(app, ["report", str(run)])
    assert result.exit_code == 0, result.output
    assert result.output == f"{run / 'training.html'}\n"
    page = (run / "training.html").read_text()
    for text in ("1,234", "2.500", "1 min 01 s", "ab12"):
        assert text in page
    result = CliRunner().invoke(app, ["report", str(run), str(run)])
    assert "give --output" in str(result.exception or result.output)
